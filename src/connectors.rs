//! Which protocol a server speaks, decided once: the one place that knows all of them, one line for each.

use crate::config::{Protocol, ServerSettings};
use crate::ftp;
use crate::net::network::Network;
use crate::protocol::Connector;
use crate::sftp;

/// What turns a server's settings into its connector: [`connector`] in the service, and in tests a protocol that the
/// program does not have.
pub type Connect = fn(ServerSettings, &Network) -> anyhow::Result<Box<dyn Connector>>;

/// Returns what makes sessions with the server of `settings` through `network`. Reads what they name, such as certificates; connects to
/// nothing yet.
///
/// # Errors
///
/// Where there is nobody to trust.
pub fn connector(settings: ServerSettings, network: &Network) -> anyhow::Result<Box<dyn Connector>> {
    Ok(match settings.protocol.clone() {
        Protocol::Ftp => Box::new(ftp::Connector::new(settings, network)?),
        Protocol::Sftp(sftp) => Box::new(sftp::Connector::new(settings, *sftp, network)),
    })
}
