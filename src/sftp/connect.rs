//! Connecting to an SFTP server: address, host key, user and key or password in; a logged-in [`Session`] out.

use std::rc::Rc;
use std::sync::Arc;

use async_trait::async_trait;
use russh::client::{Config, GexParams, connect_stream};

use super::algorithms::preferred;
use super::error::SftpError;
use super::host_key::{HostKeyVerifier, Trust};
use super::login::{Login, no_channel};
use super::server_messages::ServerMessages;
use super::session::{Session, Shared};
use super::socket::Socket;
use crate::config::{ServerSettings, SftpSettings};
use crate::net::deadline::within;
use crate::net::error::NetError;
use crate::net::network::Network;
use crate::net::pace::Speed;
use crate::net::rate::Limit;
use crate::net::resolve::Resolver;
use crate::net::route::{Route, routes};
use crate::protocol::{FingerprintKey, ProtocolError};

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
    shared: Shared,
}

impl Connector {
    /// Connects to nothing yet.
    #[must_use]
    pub fn new(settings: ServerSettings, sftp: SftpSettings, network: &Network) -> Self {
        let (least, timeout) = (settings.min_speed, settings.timeout);
        let limit = Limit::new(&settings.network, network.fleet_rate.clone());
        let shared = Shared {
            timeout,
            speed: Speed { least, timeout, limit },
            encoding: settings.encoding,
            files: settings.selection.files.clone(),
            fingerprint_key: FingerprintKey::default(),
            habits: Rc::default(),
        };
        Self { settings, sftp, resolver: Arc::clone(&network.resolver), shared }
    }

    /// Connects and logs in. All addresses of the host are tried in turn.
    async fn connect(&self) -> Result<Session, SftpError> {
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
        Err(last.unwrap_or_else(|| NetError::Resolve { host: self.settings.host.clone(), cause }.into()))
    }

    async fn connect_by(&self, route: &Route) -> Result<Session, SftpError> {
        let Self { settings, .. } = self;
        let unconnected = |cause| NetError::Connect { address: route.reached(settings.port), cause };
        let stream = within(route.step(), settings.timeout, route.connect(settings.port)).await?;
        let stream = stream.map_err(unconnected)?;
        // requests are small, and each is waited for
        stream.set_nodelay(true).map_err(unconnected)?;
        let (socket, abort_on_drop) = Socket::new(stream);
        let trust = Trust::load(&self.sftp, &settings.host, settings.port)?;
        let config = Arc::new(self.config(&trust)?);
        let messages = ServerMessages::default();
        let connecting = connect_stream(config, socket, HostKeyVerifier::new(trust, &messages));
        let connected = within("key exchange", settings.timeout, connecting).await?;
        let mut handle = connected.map_err(|broken| {
            let said = messages.disconnect_reason().or_else(|| abort_on_drop.greeting());
            broken.into_error("key exchange", said)
        })?;
        let login = Login {
            settings,
            sftp: &self.sftp,
            handle: &mut handle,
            messages: &messages,
            abort_on_drop: &abort_on_drop,
        };
        login.log_in().await?;
        let channel = within("opening a channel", settings.timeout, handle.channel_open_session()).await?;
        let channel = channel.map_err(|error| no_channel(error, &messages))?;
        Session::begin((handle, channel), messages, abort_on_drop, self.shared.clone()).await
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
}

#[async_trait(?Send)]
impl crate::protocol::Connector for Connector {
    async fn connect(&self) -> Result<Box<dyn crate::protocol::Session>, ProtocolError> {
        Ok(Box::new(Connector::connect(self).await?))
    }
}
