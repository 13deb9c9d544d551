//! What can go wrong on the way to a server, and what it means for the caller.

use std::io;

use super::control::answers::denies_data;
use super::control::reply::Reply;
use crate::net::error::{NetError, broke};
use crate::protocol::{Detail, ErrorScope, ListingCut, ProtocolError};

/// A failed step of a conversation with a server. The caller adds server and path.
#[derive(Debug, thiserror::Error)]
pub enum FtpError {
    /// What goes wrong with any server: no address, no connection, no answer, too slow.
    #[error(transparent)]
    Net(#[from] NetError),
    /// TLS could not be agreed on, or the certificate is not trusted.
    #[error("TLS: {0}")]
    Tls(String),
    /// The server refuses another login for now: 421, or 530 with words such as "too many".
    #[error("the server takes no more logins now: {0}")]
    TooManyLogins(Reply),
    /// The server refuses user or password; and what is odd about the password, where that is sent.
    #[error("login refused: {0}{1}")]
    LoginRefused(Reply, &'static str),
    /// User and password are not all that the server asks for (RFC 959 section 4.1.1).
    #[error("the server asks for an account (ACCT) beside user and password, for which there is no key: {0}")]
    AccountAsked(Reply),
    /// An answer that cannot belong to its command: what the session says cannot be relied on any more.
    #[error("{step}: the answers are out of step, this one belongs to another command: {reply}")]
    OutOfStep {
        /// The command without its argument.
        step: &'static str,
        /// What came.
        reply: Reply,
    },
    /// The server says no to a command.
    #[error("{step}: {reply}")]
    Refused {
        /// The command without its argument.
        step: &'static str,
        /// The server's words.
        reply: Reply,
    },
    /// The data connection could not be opened or broke.
    #[error("{step}: data connection: {}", broke(cause))]
    Data {
        /// The command it was opened for.
        step: &'static str,
        /// How it broke.
        cause: io::Error,
    },
    /// A listing went over a limit, or the server cut it.
    #[error(transparent)]
    ListingCut(#[from] ListingCut),
    /// Nothing of a listing could be read.
    #[error("listing not understood, first line: {0}")]
    ListingUnreadable(String),
    /// The receiver of the bytes failed: a local matter.
    #[error("{}", crate::base::humanize::why(.0))]
    Local(anyhow::Error),
}

impl From<anyhow::Error> for FtpError {
    fn from(error: anyhow::Error) -> Self {
        Self::Local(error)
    }
}

impl FtpError {
    /// Returns whom the failure concerns.
    #[must_use]
    pub fn scope(&self) -> ErrorScope {
        match self {
            // 421 means that the server closes the connection (RFC 959 section 4.2)
            Self::Refused { reply, .. } if matches!(reply.code, 421 | 530) => {
                if says_too_many(reply) {
                    ErrorScope::TooManyLogins
                } else {
                    ErrorScope::Connection
                }
            }
            Self::Refused { step, reply } if denies_data(step, reply) => ErrorScope::Connection,
            Self::Net(error) => error.scope(),
            Self::Refused { .. } | Self::ListingCut(_) | Self::ListingUnreadable(_) => ErrorScope::Entry,
            Self::TooManyLogins(_) => ErrorScope::TooManyLogins,
            Self::LoginRefused(..) | Self::AccountAsked(_) => ErrorScope::Login,
            Self::Local(_) => ErrorScope::Local,
            Self::OutOfStep { .. } | Self::Tls(_) | Self::Data { .. } => ErrorScope::Connection,
        }
    }
}

impl From<FtpError> for ProtocolError {
    fn from(error: FtpError) -> Self {
        let detail = match &error {
            FtpError::ListingCut(_) => Detail::ListingCut,
            // the answer to REST, or to a RETR that came to nothing because of REST
            FtpError::Refused { step: "REST", .. } => Detail::NotResumable,
            FtpError::Refused { step: "RETR", reply } if reply.code / 100 == 5 => Detail::NotResumable,
            _ => Detail::Plain,
        };
        match error {
            FtpError::Local(error) => Self::Local(error),
            error => Self::remote(error.scope(), error).with(detail),
        }
    }
}

/// Words by which servers say that there is no room for another login.
const LIMIT_WORDS: [&str; 11] = [
    "too many",
    "maximum",
    "max ",
    "limit",
    "no more ",
    "already connected",
    "exceeded",
    "connections allowed",
    "users allowed",
    "sessions allowed",
    "logins allowed",
];
/// The same in Chinese, as it comes in UTF-8 or GBK: too many, full, upper limit, maximum.
const CHINESE_LIMIT_WORDS: [&str; 4] = ["过多", "已满", "上限", "最大"];
/// Words of refusals that are about the account all the same: "maximum login attempts (3) exceeded".
const ACCOUNT_WORDS: [&str; 6] = ["attempt", "password", "incorrect", "failure", "failed", "anonymous"];

/// What a refused greeting, USER or PASS is: a limit, which is shared with other clients and no fault of the password;
/// an account that is not taken; or something else.
pub(super) fn refused_login(reply: Reply, step: &'static str) -> FtpError {
    let any = |words: &[&str]| words.iter().any(|word| reply.mentions(word));
    let account = any(&ACCOUNT_WORDS);
    let chinese = || {
        let gbk = |word: &str| encoding_rs::GBK.encode(word).0.into_owned();
        let holds = |bytes: &[u8]| reply.body.windows(bytes.len()).any(|window| window == bytes);
        CHINESE_LIMIT_WORDS.iter().any(|word| holds(word.as_bytes()) || holds(&gbk(word)))
    };
    match reply.code {
        421 | 530 if account => FtpError::LoginRefused(reply, ""),
        421 => FtpError::TooManyLogins(reply),
        400..600 if any(&LIMIT_WORDS) || chinese() => FtpError::TooManyLogins(reply),
        530 | 430 | 532 => FtpError::LoginRefused(reply, ""),
        _ => FtpError::Refused { step, reply },
    }
}

/// The same of a 421 or 530 later on, where 421 mostly means that the connection was idle for too long.
fn says_too_many(reply: &Reply) -> bool {
    let of_limit = reply.mentions("too many") || reply.mentions("maximum");
    of_limit && !reply.mentions("time") && !reply.mentions("idle")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(text: &str) -> Reply {
        Reply::from_body(format!("{text}\r\n").into_bytes())
    }

    #[test]
    fn limits_are_told_from_accounts_by_the_words_of_servers() {
        let blame = |reply: Reply| refused_login(reply, "login").scope();
        for limit in [
            "421 Service not available.",
            "421 There are too many connected users, please try later.",
            "421 Too many connections (8) from this IP",
            "530 Sorry, the maximum number of clients (2) for this user are already connected.",
            "530 User access denied; limit of 5 users reached.",
            "530 Too many users logged in, try again later",
            "530 Only 3 connections allowed",
            "530 no more sessions",
            "550 too many users",
            "530 用户数已满",
            "530 连接数过多，请稍后再试",
        ] {
            assert_eq!(blame(reply(limit)), ErrorScope::TooManyLogins, "{limit}");
        }
        let gbk = [&b"530 "[..], &encoding_rs::GBK.encode("已达最大连接数").0, b"\r\n"].concat();
        assert_eq!(blame(Reply::from_body(gbk)), ErrorScope::TooManyLogins);
        for account in [
            "530 Login incorrect.",
            "530 Login incorrect: maximum login attempts (3) exceeded",
            "421 Too many failed login attempts from this address.",
            "530 This FTP server is anonymous only.",
            "530 Non-anonymous sessions must use encryption.",
            "530 用户名或密码错误",
            "430 Invalid username",
            "532 Need account",
            "530 Login not allowed",
        ] {
            assert_eq!(blame(reply(account)), ErrorScope::Login, "{account}");
        }
        assert_eq!(blame(reply("500 unknown command")), ErrorScope::Entry);
    }

    #[test]
    fn how_a_connection_broke_is_said_without_the_manual_of_a_library() {
        let text = "peer closed connection without sending TLS close_notify: https://docs.rs/rustls/latest/";
        let cause = || io::Error::new(io::ErrorKind::UnexpectedEof, text);
        for error in [
            NetError::Lost { step: "PASV", cause: cause() }.into(),
            FtpError::Data { step: "RETR", cause: cause() },
        ] {
            let said = error.to_string();
            assert!(said.contains("without TLS close_notify") && !said.contains("http"), "{said}");
        }
    }

    #[test]
    fn a_later_421_is_a_limit_only_where_it_says_so() {
        let blame = |text| FtpError::Refused { step: "RETR", reply: reply(text) }.scope();
        assert_eq!(blame("421 Too many connections from this address"), ErrorScope::TooManyLogins);
        assert_eq!(blame("530 maximum number of transfers"), ErrorScope::TooManyLogins);
        for idle in ["421 Timeout.", "421 Maximum idle time exceeded", "421 closing", "530 Please login"] {
            assert_eq!(blame(idle), ErrorScope::Connection, "{idle}");
        }
        assert_eq!(blame("550 too many"), ErrorScope::Entry);
    }
}
