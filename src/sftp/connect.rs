//! Connecting to an SFTP server: address, host key, user and key or password in; a logged-in [`Session`] out.

use std::rc::Rc;
use std::sync::{Arc, PoisonError};

use russh::client::{AuthResult, Config, GexParams, Handle, KeyboardInteractiveAuthResponse, connect_stream};
use russh::keys::{HashAlg, PrivateKeyWithHashAlg};
use russh::{ChannelOpenFailure, MethodKind, MethodSet};

use super::algorithms::preferred;
use super::error::{SftpError, shown};
use super::host_key::{Guard, NO_WAY_LEFT, Trust};
use super::list::FingerprintKey;
use super::session::{Farewell, Parts, Session, lost};
use super::socket::Socket;
use crate::config::{ServerSettings, SftpSettings};
use crate::ftp::FtpError;
use crate::ftp::pace::Speed;
use crate::ftp::rate::Limit;
use crate::ftp::resolve::Resolver;
use crate::ftp::route::{Route, routes};
use crate::ftp::session::within;

/// Steps of a login: a key, then a password where the server wants both, and one more for servers with a third.
const MAX_STEPS: usize = 4;
/// Rounds of questions; a server asks for a password, and may say something after it.
const MAX_QUESTIONS: usize = 4;
/// Bytes on their way to us before the server has to wait: twice what one transfer asks for at a time.
const WINDOW: u32 = 4 << 20;
/// Longest piece of data in a packet.
const MAX_PACKET: u32 = 32 * 1024;
/// Pieces that wait for us in memory; more stay in the server's hands.
const MAX_BUFFERED: usize = 64;
/// Questions of ours without an answer before the connection counts as dead.
const MAX_SILENT_PROBES: usize = 2;

/// Makes sessions with one server. Lives on the server's own thread.
#[derive(Debug)]
pub struct Connector {
    settings: ServerSettings,
    sftp: SftpSettings,
    resolver: Arc<Resolver>,
    speed: Speed,
    fingerprint_key: FingerprintKey,
}

impl Connector {
    /// Connects to nothing yet.
    #[must_use]
    pub fn new(settings: ServerSettings, sftp: SftpSettings) -> Self {
        let (least, timeout) = (settings.min_speed, settings.timeout);
        let speed = Speed { least, timeout, received: Rc::default(), limit: Limit::new(&settings.reach) };
        let (resolver, fingerprint_key) = (Resolver::system(), FingerprintKey::default());
        Self { settings, sftp, resolver, speed, fingerprint_key }
    }

    /// Bytes of listings and files that all sessions received so far.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.speed.received.get()
    }

    /// Connects and logs in. All addresses of the host are tried in turn.
    ///
    /// # Errors
    ///
    /// Each step has the configured timeout. Cancelled, nothing is left but a closed connection.
    pub async fn connect(&self) -> Result<Session, SftpError> {
        let mut last = None;
        for route in routes(&self.settings, &self.resolver).await? {
            match self.connect_by(&route).await {
                Ok(session) => return Ok(session),
                Err(
                    error
                    @ (SftpError::LoginRefused(_) | SftpError::TooManyLogins(_) | SftpError::HostKey(_)),
                ) => return Err(error),
                Err(error) => last = Some(error),
            }
        }
        let cause = std::io::ErrorKind::NotFound.into();
        Err(last.unwrap_or_else(|| FtpError::Resolve { host: self.settings.host.clone(), cause }.into()))
    }

    async fn connect_by(&self, route: &Route) -> Result<Session, SftpError> {
        let Self { settings, .. } = self;
        let unconnected = |cause| FtpError::Connect { address: route.reached(settings.port), cause };
        let stream = within(route.step(), settings.timeout, route.connect(settings.port)).await?;
        let stream = stream.map_err(unconnected)?;
        // requests are small, and each is waited for
        stream.set_nodelay(true).map_err(unconnected)?;
        let (socket, scissors) = Socket::new(stream);
        let trust = Trust::load(&self.sftp, &settings.host, settings.port)?;
        let config = Arc::new(self.config(&trust)?);
        let farewell = Farewell::default();
        let connecting = connect_stream(config, socket, Guard::new(trust, &farewell));
        let mut handle = within("key exchange", settings.timeout, connecting)
            .await?
            .map_err(|broken| broken.into_error("key exchange"))?;
        self.log_in(&mut handle, &farewell).await?;
        let channel = within("opening a channel", settings.timeout, handle.channel_open_session()).await?;
        let channel = channel.map_err(|error| no_channel(error, &farewell))?;
        let (timeout, speed, encoding) = (settings.timeout, self.speed.clone(), settings.encoding);
        let fingerprint_key = self.fingerprint_key;
        Session::begin(Parts {
            handle,
            channel,
            farewell,
            scissors,
            timeout,
            speed,
            encoding,
            fingerprint_key,
        })
        .await
    }

    fn config(&self, trust: &Trust) -> Result<Config, SftpError> {
        let old = self.sftp.old_algorithms;
        let mut config = Config {
            window_size: WINDOW,
            maximum_packet_size: MAX_PACKET,
            channel_buffer_size: MAX_BUFFERED,
            preferred: preferred(&trust.kinds(), old),
            // a connection that is kept from scan to scan would be forgotten by what lies between
            keepalive_interval: Some(self.settings.timeout),
            keepalive_max: MAX_SILENT_PROBES,
            ..Config::default()
        };
        if old {
            // the smallest that the library takes; old servers have no larger groups
            config.gex = GexParams::new(2048, 2048, 8192)
                .map_err(|error| SftpError::Ssh { step: "key exchange", text: error.to_string() })?;
        }
        Ok(config)
    }

    /// Asks how the server lets users in, and tries what is configured of that: each way once, so that no account is
    /// locked.
    async fn log_in(&self, handle: &mut Handle<Guard>, farewell: &Farewell) -> Result<(), SftpError> {
        let user = &self.settings.user;
        let asked = within("login", self.settings.timeout, handle.authenticate_none(user)).await?;
        let mut outcome = asked.map_err(|_| lost("login", said(farewell)))?;
        let mut ways = self.ways();
        for _ in 0..MAX_STEPS {
            let AuthResult::Failure { remaining_methods, .. } = outcome else { return Ok(()) };
            if handle.is_closed() {
                return Err(thrown_out(farewell));
            }
            let Some(place) = ways.iter().position(|way| remaining_methods.contains(way)) else {
                return Err(SftpError::LoginRefused(self.refusal(&remaining_methods, &ways)));
            };
            let way = ways.remove(place);
            if way == MethodKind::Password {
                // the same password by another door is the same to a server that counts
                ways.retain(|way| *way != MethodKind::KeyboardInteractive);
            }
            let trying = within("login", self.settings.timeout, self.log_in_by(way, handle)).await?;
            outcome = trying.map_err(|_| lost("login", said(farewell)))?;
        }
        match outcome {
            AuthResult::Success => Ok(()),
            AuthResult::Failure { .. } => {
                Err(SftpError::LoginRefused("the server asks for more and more".to_owned()))
            }
        }
    }

    /// The ways to log in that the configuration has something for, best first.
    fn ways(&self) -> Vec<MethodKind> {
        let key = self.sftp.private_key.is_some().then_some(MethodKind::PublicKey);
        let password = [MethodKind::Password, MethodKind::KeyboardInteractive];
        let password = password.into_iter().filter(|_| self.sftp.sends_password);
        key.into_iter().chain(password).collect()
    }

    fn refusal(&self, remaining: &MethodSet, left: &[MethodKind]) -> String {
        let offered: Vec<&str> = remaining.iter().map(<&str>::from).collect();
        let offered = if offered.is_empty() { "nothing more".to_owned() } else { offered.join(" or ") };
        let all = self.ways();
        let tried: Vec<&str> = all.iter().filter(|way| !left.contains(way)).map(<&str>::from).collect();
        match tried.as_slice() {
            [] => format!("the server takes {offered}, for which nothing is configured"),
            tried => format!("{} was not taken, and the server takes {offered}", tried.join(" or ")),
        }
    }

    async fn log_in_by(
        &self,
        way: MethodKind,
        handle: &mut Handle<Guard>,
    ) -> Result<AuthResult, russh::Error> {
        let user = &self.settings.user;
        let password = self.settings.password.reveal();
        match (way, &self.sftp.private_key) {
            (MethodKind::PublicKey, Some(key)) => {
                let hash = if key.is_rsa() { self.rsa_hash(handle).await? } else { None };
                let key = PrivateKeyWithHashAlg::new(key.reveal(), hash);
                handle.authenticate_publickey(user, key).await
            }
            (MethodKind::KeyboardInteractive, _) => answer_questions(handle, user, password).await,
            _ => handle.authenticate_password(user, password).await,
        }
    }

    /// SHA-1 is signed with on request alone. Servers that do not say what they take are old.
    async fn rsa_hash(&self, handle: &Handle<Guard>) -> Result<Option<HashAlg>, russh::Error> {
        Ok(match handle.best_supported_rsa_hash().await? {
            Some(Some(hash)) => Some(hash),
            _ if self.sftp.old_algorithms => None,
            _ => Some(HashAlg::Sha256),
        })
    }
}

/// Answers every question for something hidden with the password, and every other one with nothing.
async fn answer_questions(
    handle: &mut Handle<Guard>,
    user: &str,
    password: &str,
) -> Result<AuthResult, russh::Error> {
    let mut answer = handle.authenticate_keyboard_interactive_start(user, None).await?;
    for _ in 0..MAX_QUESTIONS {
        let prompts = match answer {
            KeyboardInteractiveAuthResponse::Success => return Ok(AuthResult::Success),
            KeyboardInteractiveAuthResponse::Failure { remaining_methods, partial_success } => {
                return Ok(AuthResult::Failure { remaining_methods, partial_success });
            }
            KeyboardInteractiveAuthResponse::InfoRequest { prompts, .. } => prompts,
        };
        let hidden = |prompt: &russh::client::Prompt| if prompt.echo { "" } else { password };
        let answers = prompts.iter().map(|prompt| hidden(prompt).to_owned()).collect();
        answer = handle.authenticate_keyboard_interactive_respond(answers).await?;
    }
    Ok(AuthResult::Failure { remaining_methods: MethodSet::empty(), partial_success: false })
}

fn said(farewell: &Farewell) -> Option<String> {
    farewell.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// Words by which servers say that it is the number of logins, and no fault of the password.
const LIMIT_WORDS: [&str; 4] =
    ["too many connections", "too many logins", "too many users", "maximum number"];
/// The same of a password or key that was tried too often.
const ATTEMPT_WORDS: [&str; 1] = ["too many authentication failures"];

/// The server closed the connection in the middle of a login.
fn thrown_out(farewell: &Farewell) -> SftpError {
    let said = said(farewell);
    let text = said.clone().unwrap_or_default();
    let lower = text.to_lowercase();
    let any = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    if text == NO_WAY_LEFT || any(&ATTEMPT_WORDS) {
        SftpError::LoginRefused(text)
    } else if any(&LIMIT_WORDS) {
        SftpError::TooManyLogins(text)
    } else {
        lost("login", said)
    }
}

fn no_channel(error: russh::Error, farewell: &Farewell) -> SftpError {
    match error {
        russh::Error::ChannelOpenFailure(ChannelOpenFailure::Other { reason, .. }) => {
            SftpError::TooManyLogins(shown(reason.as_bytes()))
        }
        russh::Error::ChannelOpenFailure(failure) => {
            SftpError::TooManyLogins(format!("no channel is opened ({failure:?})"))
        }
        _ => thrown_out(farewell),
    }
}
