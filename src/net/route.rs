//! The way to a server: straight to an address of it, or through a SOCKS5 proxy. Control and data connections take the
//! same one, so that data comes from where the control connection leads, whatever the server says.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_socks::tcp::Socks5Stream;
use tokio_socks::{Error as SocksError, TargetAddr};

use super::deadline::within;
use super::error::NetError;
use super::resolve::Resolver;
use crate::config::{Password, Proxy, ServerSettings};

/// Ways to one server that are tried; each may take the whole timeout.
const MAX_ROUTES: usize = 8;

/// See the module. The deadlines are the caller's.
#[derive(Debug, Clone)]
pub enum Route {
    /// To this address.
    Straight(IpAddr),
    /// By way of a proxy.
    Proxied(Arc<ProxyRoute>),
}

/// What a proxy is told.
#[derive(Debug)]
pub struct ProxyRoute {
    /// Where the proxy is.
    pub(crate) proxy: SocketAddr,
    /// User and password for it.
    pub(crate) login: Option<(String, Password)>,
    /// The server, as the proxy is told.
    pub(crate) server: Destination,
}

/// The server from the proxy's point of view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// We looked it up.
    Address(IpAddr),
    /// The proxy looks it up.
    Name(String),
}

/// The ways to the server, in the order in which to try them.
///
/// # Errors
///
/// Where the name of the server, or of its proxy, has no address, or is not looked up within the timeout.
pub(crate) async fn routes(
    settings: &ServerSettings,
    resolver: &Arc<Resolver>,
) -> Result<Vec<Route>, NetError> {
    let mut routes: Vec<Route> = match &settings.network.proxy {
        Some(proxy) => routes_through(proxy, settings, resolver).await?,
        None => {
            let addresses = resolve(&settings.host, settings, resolver).await?;
            addresses.into_iter().map(Route::Straight).collect()
        }
    };
    routes.truncate(MAX_ROUTES);
    Ok(routes)
}

async fn routes_through(
    proxy: &Proxy,
    settings: &ServerSettings,
    resolver: &Arc<Resolver>,
) -> Result<Vec<Route>, NetError> {
    let host = &settings.host;
    let servers: Vec<Destination> = match host.parse() {
        Err(_) if proxy.resolves => vec![Destination::Name(host.clone())],
        Ok(address) => vec![Destination::Address(address)],
        Err(_) => {
            let addresses = resolve(host, settings, resolver).await?;
            addresses.into_iter().map(Destination::Address).collect()
        }
    };
    let mut routes = Vec::new();
    for address in resolve(&proxy.host, settings, resolver).await? {
        let through = |server: &Destination| {
            let (proxy, login) = (SocketAddr::new(address, proxy.port), proxy.login.clone());
            Route::Proxied(Arc::new(ProxyRoute { proxy, login, server: server.clone() }))
        };
        routes.extend(servers.iter().map(through));
    }
    Ok(routes)
}

async fn resolve(
    host: &str,
    settings: &ServerSettings,
    resolver: &Arc<Resolver>,
) -> Result<Vec<IpAddr>, NetError> {
    let looking_up = async {
        crate::base::failpoints::hang_here("resolve", settings.name.as_str()).await;
        resolver.resolve(host, settings.port).await
    };
    let addresses = within("resolving the host", settings.timeout, looking_up).await?;
    let addresses = addresses.map_err(|cause| NetError::Resolve { host: host.to_owned(), cause })?;
    Ok(addresses.into_iter().map(|address| address.ip()).collect())
}

impl Route {
    /// The step in which a connection is made by it, as errors call it.
    pub(crate) fn step(&self) -> &'static str {
        match self {
            Self::Straight(_) => "connecting",
            Self::Proxied(_) => "connecting through the proxy",
        }
    }

    /// The server as errors show it.
    pub(crate) fn reached(&self, port: u16) -> String {
        match self {
            Self::Straight(_) => self.first_hop(port).to_string(),
            Self::Proxied(proxied) => format!("{} through {self}", proxied.server.with_port(port)),
        }
    }

    /// Where the TCP connection goes that leads to `port` of the server.
    pub(crate) fn first_hop(&self, port: u16) -> SocketAddr {
        match self {
            Self::Straight(address) => SocketAddr::new(*address, port),
            Self::Proxied(route) => route.proxy,
        }
    }

    /// Returns whether the server is known to be reached by IPv6.
    pub(crate) fn is_ipv6(&self) -> bool {
        match self {
            Self::Straight(address) => address.is_ipv6(),
            Self::Proxied(route) => {
                matches!(&route.server, Destination::Address(address) if address.is_ipv6())
            }
        }
    }

    /// A connection to `port` of the server.
    ///
    /// # Errors
    ///
    /// The system's, or what the proxy answered, in words.
    pub(crate) async fn connect(&self, port: u16) -> io::Result<TcpStream> {
        let stream = TcpStream::connect(self.first_hop(port)).await;
        let stream = match self {
            Self::Straight(_) => stream?,
            Self::Proxied(route) => stream.map_err(|error| {
                io::Error::new(error.kind(), format!("cannot connect to the proxy {}: {error}", route.proxy))
            })?,
        };
        self.go_on(stream, port).await
    }

    /// The rest of the way, from the first hop to `port` of the server.
    ///
    /// # Errors
    ///
    /// What the proxy answered, in words.
    pub(crate) async fn go_on(&self, stream: TcpStream, port: u16) -> io::Result<TcpStream> {
        let Self::Proxied(route) = self else { return Ok(stream) };
        let target = match &route.server {
            Destination::Address(address) => TargetAddr::Ip(SocketAddr::new(*address, port)),
            Destination::Name(name) => TargetAddr::Domain(name.into(), port),
        };
        let tunnel = match &route.login {
            Some((user, password)) => {
                Socks5Stream::connect_with_password_and_socket(stream, target, user, password.reveal()).await
            }
            None => Socks5Stream::connect_with_socket(stream, target).await,
        };
        let tunnel = tunnel.map_err(|error| {
            io::Error::new(kind(&error), format!("the proxy {} {}", route.proxy, describe(&error)))
        })?;
        Ok(tunnel.into_inner())
    }
}

impl Destination {
    /// With its port, as errors show it.
    pub(crate) fn with_port(&self, port: u16) -> String {
        match self {
            Self::Address(address) => SocketAddr::new(*address, port).to_string(),
            Self::Name(name) => format!("{name}:{port}"),
        }
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Straight(address) => address.fmt(f),
            Self::Proxied(route) => write!(f, "the proxy {}", route.proxy),
        }
    }
}

fn kind(error: &SocksError) -> io::ErrorKind {
    match error {
        SocksError::Io(error) => error.kind(),
        SocksError::ConnectionRefused => io::ErrorKind::ConnectionRefused,
        SocksError::HostUnreachable => io::ErrorKind::HostUnreachable,
        SocksError::NetworkUnreachable => io::ErrorKind::NetworkUnreachable,
        _ => io::ErrorKind::Other,
    }
}

/// What the proxy answered (RFC 1928 section 6), as the end of a sentence that begins with the proxy.
fn describe(error: &SocksError) -> String {
    match error {
        SocksError::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            "closes the connection: is it a SOCKS5 proxy?".to_owned()
        }
        SocksError::Io(error) => format!("breaks off: {error}"),
        SocksError::InvalidResponseVersion => "does not speak SOCKS5".to_owned(),
        SocksError::NoAcceptableAuthMethods | SocksError::UnknownAuthMethod => {
            "wants another login: give user and password, or none, in proxy".to_owned()
        }
        SocksError::PasswordAuthFailure(_) => "refuses user or password".to_owned(),
        SocksError::GeneralSocksServerFailure => "answers: general failure".to_owned(),
        SocksError::ConnectionNotAllowedByRuleset => "does not allow the connection by its rules".to_owned(),
        SocksError::NetworkUnreachable => "answers: network unreachable".to_owned(),
        SocksError::HostUnreachable => "answers: host unreachable".to_owned(),
        SocksError::ConnectionRefused => "answers: connection refused".to_owned(),
        SocksError::TtlExpired => "answers: no way in time (TTL expired)".to_owned(),
        SocksError::CommandNotSupported => "does not support CONNECT".to_owned(),
        SocksError::AddressTypeNotSupported => "does not support this kind of address".to_owned(),
        other => format!("fails: {other}"),
    }
}
