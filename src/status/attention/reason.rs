//! What lies behind a fault of a server, read from its words, so that faults of one kind are one need.

use serde::{Deserialize, Serialize};

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Nothing listens there.
    Refused,
    /// No packet comes back, or no answer in time.
    NoAnswer,
    /// The network knows no way.
    NoRoute,
    /// The name has no address.
    Name,
    /// The host key is another one, or none is known.
    HostKey,
    /// TLS, or a certificate.
    Tls,
    /// The server is full.
    TooManyLogins,
    /// User, password or key.
    Login,
    /// The server ended the connection.
    Lost,
    /// The records did not answer or failed.
    Records,
    /// There is no room, or the disk does not answer.
    Disk,
    /// A directory or file that is not there.
    NotThere,
    /// A directory or file that the user may not read.
    Permission,
    /// An answer or a listing that is not understood.
    NotUnderstood,
    /// Our own mistake.
    Internal,
    /// Anything else.
    Other,
}

/// The first line with one of these words, in lower case, says the reason. Our own words come before those of servers.
const WORDS: [(Reason, &[&str]); 15] = [
    (Reason::Name, &["cannot resolve", "name or service not known", "no address associated"]),
    (Reason::HostKey, &["host key"]),
    (Reason::TooManyLogins, &["no more logins", "too many connections", "too many users"]),
    (Reason::Login, &["login refused", "asks for an account", "authentication"]),
    (Reason::Records, &["the records", "record database"]),
    (Reason::Internal, &["panicked", "internal error"]),
    (Reason::Disk, &["the disk", "no space", "no room", "the room", "read-only file system", "no inodes"]),
    (Reason::Refused, &["connection refused"]),
    (Reason::NoRoute, &["no route", "network is unreachable", "host is unreachable", "network unreachable"]),
    (Reason::NoAnswer, &["no answer", "timed out", "does not answer"]),
    (Reason::Tls, &["tls", "certificate"]),
    (Reason::Permission, &["permission", "denied", "not permitted", "not allowed", "access is"]),
    (Reason::NotThere, &["no such", "not exist", "not found", "cannot find", " 501", " 550"]),
    (
        Reason::Lost,
        &[
            "connection lost",
            "connection closed",
            "closed the connection",
            "reset",
            "broken pipe",
            "data connection",
        ],
    ),
    (Reason::NotUnderstood, &["not understood", "out of step", "longer than", "belong to no reply", "cut"]),
];

impl Reason {
    /// Reads the words of a fault.
    #[must_use]
    pub fn of(fault: &str) -> Self {
        let fault = fault.to_lowercase();
        let said = |words: &[&str]| words.iter().any(|word| fault.contains(word));
        WORDS.iter().find(|(_, words)| said(words)).map_or(Self::Other, |(reason, _)| *reason)
    }

    /// A few words for people.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Refused => "connection refused",
            Self::NoAnswer => "no answer",
            Self::NoRoute => "no route",
            Self::Name => "host name not known",
            Self::HostKey => "host key",
            Self::Tls => "TLS",
            Self::TooManyLogins => "no more logins",
            Self::Login => "login refused",
            Self::Lost => "connection lost",
            Self::Records => "the records fail",
            Self::Disk => "no room, or the disk fails",
            Self::NotThere => "not there",
            Self::Permission => "no permission",
            Self::NotUnderstood => "not understood",
            Self::Internal => "internal error",
            Self::Other => "other faults",
        }
    }

    /// What to do; none where the cause says it as well.
    #[must_use]
    pub fn next_step(self) -> Option<&'static str> {
        Some(match self {
            Self::Refused => "see that its service runs, and that host and port are right",
            Self::NoAnswer => "see that the host is up and no firewall drops the packets (nc -vz HOST PORT)",
            Self::NoRoute => "see the network and the routes of this host",
            Self::Name => "correct host, or the name service of this host",
            Self::HostKey => "ask its operator whether the key changed; then correct host_key or known_hosts",
            Self::Tls => "compare tls and tls_ca_file with the certificate of the server",
            Self::TooManyLogins => "lower connections, or have the server allow more logins",
            Self::Login => "correct user, password or key; mrosync check tries it at once",
            Self::Records => "free or repair the disk of records.path",
            Self::Disk => "free or repair the disk of the mirror",
            Self::NotThere => "correct directories, or ask its operator where the files are",
            Self::Permission => "have its operator allow the user to read it, or exclude it",
            Self::NotUnderstood => "try another listing or encoding for this server",
            Self::Internal => "keep the log and report it; the service goes on by itself",
            Self::Lost | Self::Other => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_of_one_kind_are_told_apart_by_their_words_whatever_host_and_path() {
        for (fault, reason) in [
            ("cannot connect to 10.0.0.2:21: connection refused", Reason::Refused),
            ("cannot connect to 10.0.0.9:2121: Connection refused (os error 111)", Reason::Refused),
            ("logging in to 10.0.0.2:21 as mro: connecting: no answer for 30s", Reason::NoAnswer),
            ("cannot connect to [fd00::1]:21: No route to host", Reason::NoRoute),
            ("cannot resolve omc: no such host", Reason::Name),
            ("login refused: 530 Permission denied.", Reason::Login),
            ("the server takes no more logins now: 421 Too many users", Reason::TooManyLogins),
            ("/MR: CWD: 550 /MR: No such file or directory", Reason::NotThere),
            ("/nix: 501 what is that", Reason::NotThere),
            ("/a: 550 Permission denied", Reason::Permission),
            ("/a: listing: connection lost: closed", Reason::Lost),
            ("/a: the records do not answer", Reason::Records),
            ("TLS: unknown issuer", Reason::Tls),
            ("/x: something else", Reason::Other),
        ] {
            assert_eq!(Reason::of(fault), reason, "{fault}");
        }
    }
}
