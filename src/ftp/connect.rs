//! Connecting to an FTP server: address, TLS, user and password in; a logged-in [`Session`] out.

use std::io;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use async_trait::async_trait;
use rustls_pki_types::ServerName as TlsName;
use suppaftp::FtpError as SuppaError;
use suppaftp::tokio::ImplAsyncFtpStream;

use super::address::FileNames;
use super::control::connection::{Control, reply_of};
use super::control::reply::Reply;
use super::control::transport::{ConnectState, ControlConnector, ControlStream, Outbox, Tls};
use super::data::active::Active;
use super::data::open::DataOpener;
use super::data::passive::{LearnedPorts, Passive};
use super::error::{FtpError, refused_login};
use super::list::lister::Lists;
use super::list::stream::LearnedLists;
use super::login::log_in;
use super::session::Session;
use crate::config::{ServerSettings, TlsMode};
use crate::net::deadline::within;
use crate::net::error::NetError;
use crate::net::network::Network;
use crate::net::pace::Speed;
use crate::net::rate::Limit;
use crate::net::resolve::Resolver;
use crate::net::route::{Route, routes};
use crate::net::tls::Trust;
use crate::protocol::ProtocolError;

/// For logging out again where logging in did not come to its end.
const QUIT_LIMIT: Duration = Duration::from_secs(1);

/// Makes sessions with one server, and keeps what was learnt of it. Lives on the server's own thread.
#[derive(Debug)]
pub struct Connector {
    settings: ServerSettings,
    trust: Option<Trust>,
    resolver: Arc<Resolver>,
    speed: Speed,
    learned: Learned,
}

/// What one session finds out for all later ones.
#[derive(Debug, Default)]
struct Learned {
    lists: Rc<LearnedLists>,
    ports: Rc<LearnedPorts>,
    names: FileNames,
}

impl Connector {
    /// Reads the certificates that the settings ask for; connects to nothing yet.
    ///
    /// # Errors
    ///
    /// Where TLS is on and there is no usable certificate to trust.
    pub fn new(settings: ServerSettings, network: &Network) -> anyhow::Result<Self> {
        let trust = match settings.tls {
            TlsMode::Off => None,
            TlsMode::Explicit | TlsMode::Implicit => Some(Trust::load(settings.tls_ca_file.as_deref())?),
        };
        let (least, timeout) = (settings.min_speed, settings.timeout);
        let limit = Limit::new(&settings.network, network.fleet_rate.clone());
        let speed = Speed { least, timeout, limit };
        let resolver = Arc::clone(&network.resolver);
        Ok(Self { settings, trust, resolver, speed, learned: Learned::default() })
    }

    /// Connects and logs in, in binary mode. All addresses of the host are tried in turn.
    async fn connect(&self) -> Result<Session, FtpError> {
        let mut last = None;
        for route in routes(&self.settings, &self.resolver).await? {
            match self.connect_by(route).await {
                Ok(session) => return Ok(session),
                Err(
                    error @ (FtpError::LoginRefused(..)
                    | FtpError::AccountAsked(_)
                    | FtpError::TooManyLogins(_)),
                ) => return Err(error),
                Err(error) => last = Some(error),
            }
        }
        let cause = io::ErrorKind::NotFound.into();
        Err(last.unwrap_or(FtpError::Net(NetError::Resolve { host: self.settings.host.clone(), cause })))
    }

    async fn connect_by(&self, route: Route) -> Result<Session, FtpError> {
        let Self { settings, .. } = self;
        let tls = self.tls().map_err(|error| FtpError::Tls(crate::base::humanize::why(&error)))?;
        let (outbox, way) = (Outbox::default(), ConnectState::default());
        let connector = ControlConnector {
            tls: tls.clone().map(|tls| (settings.tls, tls)),
            outbox: outbox.clone(),
            route: (route.clone(), settings.port),
            way: way.clone(),
        };
        // suppaftp's way in for a stream of one's own; whether TLS is spoken is the connector's choice
        let address = route.first_hop(settings.port);
        let connecting =
            ImplAsyncFtpStream::<ControlStream>::connect_secure_implicit(address, connector, &settings.host);
        let connected = within("greeting", settings.timeout, connecting).await.map_err(FtpError::from);
        let (client, local) = match (connected, way.end()) {
            (Ok(Ok(client)), Ok(local)) => (client, local),
            (Err(error), Ok(_)) => return Err(error),
            (Ok(Err(error)), Ok(_)) => return Err(greeting_error(&route.reached(settings.port), error)),
            (connected, Err(blocked)) => {
                return Err(way_error(&route, settings.port, blocked, connected.map(Result::err)));
            }
        };
        let mut control = Control::new(client, outbox, tls, settings.timeout).await;
        self.learned.ports.early.named(control.greeting());
        if let Err(error) = log_in(&mut control, settings, &self.learned.lists).await {
            // half a login counts against the server's limit like a whole one
            control.quit(QUIT_LIMIT).await;
            return Err(match error {
                FtpError::Refused { step, reply } if matches!(reply.code, 421 | 530) => {
                    refused_login(reply, step)
                }
                error => error,
            });
        }
        Ok(self.session(control, route, local))
    }

    fn session(&self, control: Control, route: Route, local: IpAddr) -> Session {
        let Self { settings, learned, .. } = self;
        let passive = Passive {
            command: settings.network.passive,
            route,
            learned: Rc::clone(&learned.ports),
            early_port: None,
        };
        let lists = Lists {
            mode: settings.listing,
            encoding: settings.encoding,
            files: settings.selection.files.clone(),
            learned: Rc::clone(&learned.lists),
            listed_by: None,
        };
        let opener = DataOpener {
            control,
            local,
            active: Active::of(&settings.network),
            passive,
            speed: self.speed.clone(),
            buffer: Vec::new(),
        };
        Session { opener, lists, names: Rc::clone(&learned.names) }
    }

    fn tls(&self) -> anyhow::Result<Option<Tls>> {
        let Some(trust) = &self.trust else { return Ok(None) };
        let name = TlsName::try_from(self.settings.host.clone()).context("the host is no name for TLS")?;
        let network = &self.settings.network;
        Ok(Some(Tls::new(trust.client_config(network.tls_min..=network.tls_max)?, name)))
    }
}

#[async_trait(?Send)]
impl crate::protocol::Connector for Connector {
    async fn connect(&self) -> Result<Box<dyn crate::protocol::Session>, ProtocolError> {
        Ok(Box::new(Connector::connect(self).await?))
    }

    fn describe_listing(&self) -> Option<String> {
        self.learned.lists.ways.describe()
    }
}

/// What kept a connection from the server: the first hop, or what the proxy answered.
fn way_error(
    route: &Route,
    port: u16,
    blocked: Option<io::Error>,
    connected: Result<Option<SuppaError>, FtpError>,
) -> FtpError {
    let address = route.reached(port);
    match (blocked, connected, route) {
        (Some(cause), ..) => FtpError::Net(NetError::Connect { address, cause }),
        (None, Err(FtpError::Net(NetError::Timeout { after, .. })), Route::Proxied(_)) => {
            FtpError::Net(NetError::Timeout { step: route.step(), after })
        }
        (None, Err(error), _) => error,
        (None, Ok(Some(error)), Route::Proxied(_)) => greeting_error(&route.to_string(), error),
        (None, Ok(Some(error)), _) => greeting_error(&address, error),
        (None, Ok(None), _) => {
            FtpError::Net(NetError::Connect { address, cause: io::ErrorKind::NotConnected.into() })
        }
    }
}

fn greeting_error(address: &str, error: SuppaError) -> FtpError {
    match error {
        SuppaError::UnexpectedResponse(response) => {
            refused_login(Reply::from_body(response.body), "greeting")
        }
        SuppaError::ConnectionError(cause) => {
            FtpError::Net(NetError::Connect { address: address.to_owned(), cause })
        }
        other => match reply_of("greeting", Err(other)) {
            Ok(reply) => refused_login(reply, "greeting"),
            Err(error) => error,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::names::{RemotePath, ServerName};
    use crate::config::{ListingMode, NetworkSettings, Order, Password, Protocol, Selection, Verify};

    fn settings(host: &str, timeout: Duration) -> ServerSettings {
        ServerSettings {
            name: ServerName::new("omc01").unwrap(),
            host: host.to_owned(),
            protocol: Protocol::Ftp,
            port: 21,
            user: "mro".to_owned(),
            password: Password::new("x"),
            directories: vec![RemotePath::root()],
            connections: 4,
            timeout,
            min_speed: 0,
            tls: TlsMode::Off,
            tls_ca_file: None,
            encoding: encoding_rs::UTF_8,
            listing: ListingMode::Auto,
            verify: Verify::Auto,
            network: NetworkSettings::default(),
            selection: Selection::default(),
            order: Order::default(),
        }
    }

    #[tokio::test]
    async fn a_resolver_that_never_answers_fails_the_login_after_the_timeout() {
        let resolver = Resolver::new(|_| {
            loop {
                std::thread::park();
            }
        });
        let mut connector =
            Connector::new(settings("omc01.example", Duration::from_millis(50)), &Network::default())
                .unwrap();
        connector.resolver = Arc::new(resolver);
        let error = connector.connect().await.err().unwrap();
        assert_eq!(error.to_string(), "resolving the host: no answer for 50ms");
    }
}
