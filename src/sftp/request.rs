//! The requests of SFTP version 3 (draft-ietf-secsh-filexfer-02), as bytes. Pure. Paths are bytes: the draft says nothing of
//! their encoding.

/// The version that is asked for.
pub const VERSION: u32 = 3;

/// Requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request<'a> {
    /// Opens a file for reading.
    Open(&'a [u8]),
    /// Gives a handle back.
    Close(&'a [u8]),
    /// So many bytes of an open file from an offset on.
    Read {
        /// The file.
        handle: &'a [u8],
        /// From which byte on.
        offset: u64,
        /// At most so many.
        length: u32,
    },
    /// The attributes of an open file.
    Fstat(&'a [u8]),
    /// Opens a directory.
    OpenDirectory(&'a [u8]),
    /// The next names of an open directory.
    ReadDirectory(&'a [u8]),
    /// The attributes of what a path leads to, through links.
    Stat(&'a [u8]),
    /// The attributes of a path itself, which may be a link.
    Lstat(&'a [u8]),
    /// What the server calls a path.
    RealPath(&'a [u8]),
}

impl Request<'_> {
    /// The word by which errors call it.
    #[must_use]
    pub fn step(&self) -> &'static str {
        match self {
            Self::Open(_) => "OPEN",
            Self::Close(_) => "CLOSE",
            Self::Read { .. } => "READ",
            Self::Fstat(_) => "FSTAT",
            Self::OpenDirectory(_) => "OPENDIR",
            Self::ReadDirectory(_) => "READDIR",
            Self::Stat(_) => "STAT",
            Self::Lstat(_) => "LSTAT",
            Self::RealPath(_) => "REALPATH",
        }
    }

    /// Appends the packet to `bytes`.
    pub fn write(&self, id: u32, bytes: &mut Vec<u8>) {
        let (kind, subject): (u8, &[u8]) = match self {
            Self::Open(path) => (3, path),
            Self::Close(handle) => (4, handle),
            Self::Read { handle, .. } => (5, handle),
            Self::Fstat(handle) => (8, handle),
            Self::OpenDirectory(path) => (11, path),
            Self::ReadDirectory(handle) => (12, handle),
            Self::Stat(path) => (17, path),
            Self::Lstat(path) => (7, path),
            Self::RealPath(path) => (16, path),
        };
        let mut rest = Vec::with_capacity(12);
        match self {
            // SSH_FXF_READ, and no attributes
            Self::Open(_) => {
                rest.extend(1_u32.to_be_bytes());
                rest.extend(0_u32.to_be_bytes());
            }
            Self::Read { offset, length, .. } => {
                rest.extend(offset.to_be_bytes());
                rest.extend(length.to_be_bytes());
            }
            _ => {}
        }
        bytes.extend(length(1 + 4 + 4 + subject.len() + rest.len()));
        bytes.push(kind);
        bytes.extend(id.to_be_bytes());
        bytes.extend(length(subject.len()));
        bytes.extend(subject);
        bytes.extend(rest);
    }
}

/// The first packet of all.
pub fn write_init(bytes: &mut Vec<u8>) {
    bytes.extend(length(1 + 4));
    bytes.push(1);
    bytes.extend(VERSION.to_be_bytes());
}

/// Paths have at most a few thousand bytes.
pub(super) fn length(length: usize) -> [u8; 4] {
    u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_written_as_the_draft_says() {
        let mut bytes = Vec::new();
        Request::Read { handle: b"h1", offset: 7, length: 32768 }.write(9, &mut bytes);
        let expected = b"\0\0\0\x17\x05\0\0\0\x09\0\0\0\x02h1\0\0\0\0\0\0\0\x07\0\0\x80\0";
        assert_eq!(bytes, expected);
        bytes.clear();
        Request::Open(b"/\xd6\xd0.zip").write(1, &mut bytes);
        assert_eq!(bytes, b"\0\0\0\x18\x03\0\0\0\x01\0\0\0\x07/\xd6\xd0.zip\0\0\0\x01\0\0\0\0");
        bytes.clear();
        write_init(&mut bytes);
        assert_eq!(bytes, b"\0\0\0\x05\x01\0\0\0\x03");
    }
}
