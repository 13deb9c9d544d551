//! A connection to the first of the hosts that takes writes.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::spawn_local;
use tokio::time::timeout;
use tokio_postgres::config::SslMode;
use tokio_postgres::{Client, Config, NoTls};

use super::super::error::{Failure, words};
use super::super::rows::get;
use super::tls::Rustls;
use crate::config::{PostgresHost, PostgresSettings, TlsVersion};
use crate::net::resolve::Resolver;
use crate::net::tls::Trust;
use crate::records::error::FailureKind;

/// For one host to let us in; several are tried one after the other.
pub(super) const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// No sign of life for this long, in the middle of something: the connection is lost.
const SILENCE: Duration = Duration::from_secs(15);
/// Firewalls forget connections on which nothing moves.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// 15 has what is used here; older ones are near the end of their support.
const OLDEST: i32 = 150_000;

const GREETING: &str = "SELECT current_setting('server_version_num')::int4,
    current_setting('server_version'),
    pg_is_in_recovery() OR current_setting('transaction_read_only')::bool,
    current_setting('synchronous_commit') = 'off',
    current_setting('server_encoding') <> 'UTF8'";

/// A connection that answers.
pub(in crate::records::postgres) struct Connected {
    pub(in crate::records::postgres) client: Client,
    /// Where, and how, for people.
    pub(super) place: String,
    /// Of the database program, as `15.18`.
    pub(super) version: String,
}

/// What all connections to one database share.
#[derive(Debug, Clone)]
pub(super) struct Connector {
    settings: PostgresSettings,
    trust: Option<Trust>,
    resolver: Arc<Resolver>,
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

impl Connector {
    /// Reads whom to trust, where any of the hosts is reached with TLS.
    pub(super) fn new(settings: PostgresSettings) -> anyhow::Result<Self> {
        let wants_tls = settings.hosts.iter().any(|(host, _)| settings.wants_tls(host));
        let trust = wants_tls.then(|| Trust::load(settings.ca_file.as_deref())).transpose()?;
        Ok(Self { settings, trust, resolver: Arc::default() })
    }

    /// Tries the hosts in their order. To be called on the driver's runtime, on which the connection lives then.
    ///
    /// # Errors
    ///
    /// What each host said.
    pub(super) async fn connect(&self) -> Result<Connected, Failure> {
        let mut refusals: Vec<Failure> = Vec::new();
        for (host, port) in &self.settings.hosts {
            let place = match host {
                PostgresHost::Directory(path) => format!("{} (port {port})", path.display()),
                PostgresHost::Network(_) => format!("{host}:{port}"),
            };
            let outcome = timeout(CONNECT_LIMIT, self.connect_to(host, *port, &place)).await;
            let silent = || Failure::unreachable(format!("no answer within {} s", CONNECT_LIMIT.as_secs()));
            match outcome.unwrap_or_else(|_| Err(silent())) {
                Ok(connected) => return Ok(connected),
                Err(failure) => refusals.push(failure.at(&place)),
            }
        }
        // where one host at least may come back, the others do not decide
        let kind = refusals
            .iter()
            .map(|refusal| refusal.kind)
            .reduce(|one, other| if one == other { one } else { FailureKind::Unreachable });
        let detail: Vec<_> = refusals.into_iter().map(|refusal| refusal.detail).collect();
        Err(Failure { kind: kind.unwrap_or(FailureKind::Unreachable), detail: detail.join("; ") })
    }

    async fn connect_to(&self, host: &PostgresHost, port: u16, place: &str) -> Result<Connected, Failure> {
        let stream = self.stream(host, port).await?;
        let (client, is_encrypted) = self.log_in(stream, host).await?;
        let (version, mut place) = (greet(&client).await?, place.to_owned());
        if is_encrypted {
            place.push_str(", with TLS");
        }
        Ok(Connected { client, place, version })
    }

    async fn stream(&self, host: &PostgresHost, port: u16) -> Result<Box<dyn Stream>, Failure> {
        let name = match host {
            PostgresHost::Directory(directory) => return unix_stream(directory, port).await,
            PostgresHost::Network(name) => name,
        };
        let addresses = self.resolver.resolve(name, port).await;
        let addresses = addresses
            .map_err(|error| Failure::unreachable(format!("its name cannot be looked up: {error}")))?;
        let mut refused = "its name has no address".to_owned();
        for address in addresses {
            match tcp_stream(address).await {
                Ok(stream) => return Ok(Box::new(stream)),
                Err(error) => refused = error.to_string(),
            }
        }
        Err(Failure::unreachable(refused))
    }

    async fn log_in(&self, stream: Box<dyn Stream>, host: &PostgresHost) -> Result<(Client, bool), Failure> {
        let PostgresSettings { user, database, password, .. } = &self.settings;
        let mut config = Config::new();
        config.user(user).dbname(database).application_name("mrosync");
        if let Some(password) = password {
            config.password(password.reveal());
        }
        let refused = |error: tokio_postgres::Error| Failure::of(&error);
        let Some((trust, name)) =
            self.trust.as_ref().filter(|_| self.settings.wants_tls(host)).zip(name_of(host))
        else {
            let (client, connection) =
                config.ssl_mode(SslMode::Disable).connect_raw(stream, NoTls).await.map_err(refused)?;
            drop(spawn_local(drive(connection)));
            return Ok((client, false));
        };
        let versions = TlsVersion::Tls12..=TlsVersion::Tls13;
        let tls = trust.client_config(versions).map_err(|error| Failure::other(error.to_string()))?;
        let tls = Rustls { config: Arc::new(tls), name };
        let (client, connection) =
            config.ssl_mode(SslMode::Require).connect_raw(stream, tls).await.map_err(refused)?;
        drop(spawn_local(drive(connection)));
        Ok((client, true))
    }
}

/// Until it is lost, or its client is dropped. Whoever waits for an answer then is told.
async fn drive(connection: impl Future<Output = Result<(), tokio_postgres::Error>>) {
    if let Err(error) = connection.await {
        log::debug!("a connection of the records ended: {}", words(&error));
    }
}

fn name_of(host: &PostgresHost) -> Option<ServerName<'static>> {
    match host {
        PostgresHost::Network(name) => ServerName::try_from(name.clone()).ok(),
        // sockets of one machine have no certificates
        PostgresHost::Directory(_) => ServerName::try_from("localhost").ok(),
    }
}

async fn unix_stream(directory: &Path, port: u16) -> Result<Box<dyn Stream>, Failure> {
    let stream = UnixStream::connect(directory.join(format!(".s.PGSQL.{port}"))).await;
    match stream {
        Ok(stream) => Ok(Box::new(stream)),
        Err(error) => Err(Failure::unreachable(error.to_string())),
    }
}

async fn tcp_stream(address: SocketAddr) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let socket = SockRef::from(&stream);
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE).with_interval(SILENCE))?;
    socket.set_tcp_user_timeout(Some(SILENCE))?;
    Ok(stream)
}

/// Makes sure that it is a database that records can be kept in, and returns its version.
async fn greet(client: &Client) -> Result<String, Failure> {
    let rows = client.query_typed(GREETING, &[]).await?;
    let row = rows.first().ok_or_else(|| Failure::other("it does not say what it is"))?;
    let (number, version): (i32, String) = (get(row, 0)?, get(row, 1)?);
    let [takes_none, forgets, is_foreign]: [bool; 3] = [get(row, 2)?, get(row, 3)?, get(row, 4)?];
    if number < OLDEST {
        return Err(Failure::other(format!("it is PostgreSQL {version}, and 15 or later is needed")));
    }
    if takes_none {
        return Err(Failure::unreachable("it takes no writes: a standby, or read-only"));
    }
    if forgets {
        return Err(Failure::other(
            "synchronous_commit is off, and what is on record must survive a power cut: ALTER ROLE … SET \
             synchronous_commit = on",
        ));
    }
    if is_foreign {
        return Err(Failure::other("the database is not in UTF8: CREATE DATABASE … ENCODING 'UTF8'"));
    }
    Ok(version)
}
