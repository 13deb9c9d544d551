//! Words of unit tests.

use encoding_rs::UTF_8;

use super::facts::Notice;
use super::names::{RemoteName, RemotePath, ServerName};

/// The server of this name.
pub(crate) fn server(name: &str) -> ServerName {
    ServerName::new(name).unwrap()
}

/// The path of this text, in UTF-8.
pub(crate) fn path(text: &str) -> RemotePath {
    RemotePath::from_text(text, UTF_8).unwrap()
}

/// The name of these bytes, in UTF-8 where they are.
pub(crate) fn name(wire: impl AsRef<[u8]>) -> RemoteName {
    RemoteName::from_wire(wire.as_ref(), UTF_8).unwrap()
}

/// The notice of `/{id}.zip` of a server, which was called for in vain so often.
pub(crate) fn notice(of: &str, id: i64, attempts: u32) -> Notice {
    Notice { id, server: server(of), path: path(&format!("/{id}.zip")), attempts, downloaded_at: 0, size: 0 }
}
