//! Codes of answers (draft-ietf-secsh-filexfer-02 section 7), see [`super::packet::Reply::Status`].

/// It is done.
pub const OK: u32 = 0;
/// There is nothing more.
pub const EOF: u32 = 1;
/// It is not there.
pub const NO_SUCH_FILE: u32 = 2;
/// It may not be had.
pub const PERMISSION_DENIED: u32 = 3;
/// Anything else.
pub const FAILURE: u32 = 4;
/// The request makes no sense to the server.
pub const BAD_MESSAGE: u32 = 5;
/// "No connection", which is said of a server behind the server.
pub const NO_CONNECTION: u32 = 6;
/// The same of one that was there.
pub const CONNECTION_LOST: u32 = 7;
/// The server does not know the request.
pub const UNSUPPORTED: u32 = 8;
