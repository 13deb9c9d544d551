//! Connecting to an FTP server: address, TLS, user and password in; a logged-in [`Session`] out.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use async_trait::async_trait;
use encoding_rs::Encoding;
use rustls_pki_types::ServerName as TlsName;
use suppaftp::FtpError as SuppaError;
use suppaftp::tokio::ImplAsyncFtpStream;

use super::address::Addressing;
use super::control::reply::{Features, Reply};
use super::control::transport::{ControlConnector, ControlStream, Outbox, Tls};
use super::data::active::Active;
use super::data::early::Bearing;
use super::error::{FtpError, refused_login};
use super::list::compare::Clock;
use super::list::ways::Ways;
use super::session::{Session, WireEncoding, reply_of};
use crate::config::{ServerSettings, TlsMode};
use crate::net::deadline::within;
use crate::net::error::NetError;
use crate::net::pace::Speed;
use crate::net::rate::Limit;
use crate::net::resolve::Resolver;
use crate::net::route::{Route, Way, routes};
use crate::net::tls::Trust;
use crate::protocol::{FingerprintKey, ProtocolError};

/// For logging out again where logging in did not come to its end.
const QUIT_LIMIT: Duration = Duration::from_secs(1);

/// The server wants ACCT after user or password (RFC 959 section 5.4).
const ASKS_FOR_ACCOUNT: u16 = 332;

/// Makes sessions with one server, and keeps what was learnt of it. Lives on the server's own thread.
#[derive(Debug)]
pub struct Connector {
    settings: ServerSettings,
    trust: Option<Trust>,
    resolver: Arc<Resolver>,
    speed: Speed,
    learned: Rc<Learned>,
}

/// What one session finds out for all later ones.
#[derive(Debug, Default)]
pub(super) struct Learned {
    /// What FEAT said, asked once.
    pub(super) features: Cell<Option<Features>>,
    /// How directories are listed.
    pub(super) ways: Ways,
    /// Whether the clock is ahead.
    pub(super) clock: Cell<Clock>,
    /// Held by the session that tries a way of listing out.
    pub(super) trial: tokio::sync::Mutex<()>,
    /// PASV has brought a port.
    pub(super) pasv_works: Cell<bool>,
    /// Whether EPSV works (or PASV, if false).
    pub(super) extended_passive: Cell<Option<bool>>,
    /// For telling whether a listing is what it was.
    pub(super) fingerprint_key: FingerprintKey,
    /// How the server takes the names of files that are fetched.
    pub(super) fetched: Addressing,
    /// The same of those whose size is asked for.
    pub(super) sized: Addressing,
    /// Whether a port may be asked for before the transfer that runs is answered.
    pub(super) early_passive: Bearing,
}

impl Connector {
    /// Reads the certificates that the settings ask for; connects to nothing yet.
    ///
    /// # Errors
    ///
    /// Where TLS is on and there is no usable certificate to trust.
    pub fn new(settings: ServerSettings) -> anyhow::Result<Self> {
        let trust = match settings.tls {
            TlsMode::Off => None,
            TlsMode::Explicit | TlsMode::Implicit => Some(Trust::load(settings.tls_ca_file.as_deref())?),
        };
        let (least, timeout) = (settings.min_speed, settings.timeout);
        let speed = Speed { least, timeout, received: Rc::default(), limit: Limit::new(&settings.network) };
        Ok(Self { settings, trust, resolver: Resolver::system(), speed, learned: Rc::default() })
    }

    /// Connects and logs in, in binary mode. All addresses of the host are tried in turn.
    async fn connect(&self) -> Result<Session, FtpError> {
        let mut last = None;
        for route in routes(&self.settings, &self.resolver).await? {
            match self.connect_by(route).await {
                Ok(session) => return Ok(session),
                Err(
                    error @ (FtpError::LoginRefused(_)
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
        let (outbox, way) = (Outbox::default(), Way::default());
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
        let mut session = Session {
            client,
            outbox,
            early_port: None,
            route,
            local,
            active: Active::of(&settings.network),
            passive: settings.network.passive,
            tls,
            timeout: settings.timeout,
            speed: self.speed.clone(),
            encoding: settings.encoding,
            listing: settings.listing,
            learned: Rc::clone(&self.learned),
            pending: false,
            cwd: None,
            is_text: false,
            listed_by: None,
            buffer: Vec::new(),
        };
        self.learned.early_passive.named(session.client.get_welcome_msg().unwrap_or_default());
        session.client.set_encoding(WireEncoding).await;
        match session.log_in(settings).await {
            Ok(()) => Ok(session),
            Err(error) => {
                // half a login counts against the server's limit like a whole one
                session.quit(QUIT_LIMIT).await;
                Err(match error {
                    FtpError::Refused { step, reply } if matches!(reply.code, 421 | 530) => {
                        refused_login(reply, step)
                    }
                    error => error,
                })
            }
        }
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

    fn received(&self) -> u64 {
        self.speed.received.get()
    }

    fn describe_listing(&self) -> Option<String> {
        self.learned.ways.in_words()
    }
}

impl Session {
    /// USER and PASS, protection of the data connections, binary type, and what FEAT tells.
    async fn log_in(&mut self, settings: &ServerSettings) -> Result<(), FtpError> {
        self.introduce(settings).await?;
        if self.tls.is_some() {
            self.protect_data().await?;
        }
        self.ask_for_binary().await?;
        let features = match self.learned.features.get() {
            Some(features) => features,
            None => self.ask_features().await?,
        };
        if features.utf8 && self.encoding == encoding_rs::UTF_8 {
            // a refusal does no harm; never sent for other encodings, because it switches IIS over
            self.command("OPTS", b"OPTS UTF8 ON").await?;
        }
        Ok(())
    }

    /// USER, and PASS where the server wants it, in the server's encoding. The first digit of the answers decides.
    async fn introduce(&mut self, settings: &ServerSettings) -> Result<(), FtpError> {
        let user = encoded(&settings.user, settings.encoding)?;
        let password = encoded(settings.password.reveal(), settings.encoding)?;
        let mut reply = self.command("login", &[b"USER ", user.as_slice()].concat()).await?;
        if reply.code / 100 == 3 && reply.code != ASKS_FOR_ACCOUNT {
            reply = self.command("login", &[b"PASS ", password.as_slice()].concat()).await?;
        }
        let reply = reply.without(&password);
        match reply.code {
            200..300 => Ok(()),
            ASKS_FOR_ACCOUNT => Err(FtpError::AccountAsked(reply)),
            _ => Err(refused_login(reply, "login")),
        }
    }

    /// PBSZ and PROT (RFC 4217 section 9). Implicit servers ask for these as well, though data on them is encrypted from
    /// the start (vsftpd: 522). PBSZ says nothing where TLS is spoken, and may be refused (DrFTPD: 500); without PROT
    /// data would come in the clear.
    async fn protect_data(&mut self) -> Result<(), FtpError> {
        self.suggest("PBSZ", b"PBSZ 0").await?;
        let reply = self.suggest("PROT", b"PROT P").await?;
        if reply.is_done() {
            return Ok(());
        }
        Err(FtpError::Tls(format!("PROT P is refused, and nothing is fetched in the clear: {reply}")))
    }

    /// Servers start in ASCII type, which would change line ends inside the zips. One that knows no types may have no
    /// other than binary; if not, the content shows it.
    async fn ask_for_binary(&mut self) -> Result<(), FtpError> {
        // the same by another name (RFC 959 section 3.1.1.4)
        for line in ["TYPE I", "TYPE L 8"] {
            let reply = self.suggest("TYPE", line.as_bytes()).await?;
            if reply.is_done() {
                return Ok(());
            }
            log::debug!("{line} is refused ({reply}); going on without it");
        }
        Ok(())
    }

    /// A command that can be done without: a refusal is no error, unless it is about the login.
    async fn suggest(&mut self, step: &'static str, line: &[u8]) -> Result<Reply, FtpError> {
        let reply = self.command(step, line).await?;
        if matches!(reply.code, 421 | 530) { Err(FtpError::Refused { step, reply }) } else { Ok(reply) }
    }

    async fn ask_features(&mut self) -> Result<Features, FtpError> {
        let reply = self.command("FEAT", b"FEAT").await?;
        let features = if reply.is_done() { Features::from_reply(&reply) } else { Features::default() };
        self.learned.features.set(Some(features));
        Ok(features)
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

/// User and password as the server reads them. The configuration was refused where that cannot be.
fn encoded(text: &str, encoding: &'static Encoding) -> Result<Vec<u8>, FtpError> {
    match encoding.encode(text) {
        (bytes, _, false) => Ok(bytes.into_owned()),
        _ => Err(FtpError::Local(anyhow!(
            "user or password hold a character that the server's encoding lacks"
        ))),
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
        let mut connector = Connector::new(settings("omc01.example", Duration::from_millis(50))).unwrap();
        connector.resolver = Arc::new(resolver);
        let error = connector.connect().await.err().unwrap();
        assert_eq!(error.to_string(), "resolving the host: no answer for 50ms");
    }
}
