//! What a test sets: how a scripted server is ([`Manner`]), and where it goes wrong ([`Rule`]).

use std::net::SocketAddr;
use std::time::Duration;

use super::passive;

/// The verb that stands for the moment a client connects: its answer is the greeting.
pub const CONNECT: &str = "CONNECT";

/// How the server is, all the time. The default is a well-behaved one with MLSD that speaks as vsftpd does.
#[derive(Debug, Clone)]
pub struct Manner {
    /// The only user that may log in, and the password.
    pub login: (String, String),
    /// The password on the wire, where it is not that of `login` in UTF-8.
    pub wire_password: Option<Vec<u8>>,
    /// Whether USER alone logs nobody in.
    pub asks_for_password: bool,
    /// What a login is answered.
    pub welcome: &'static str,
    /// RETR and SIZE know nothing but names in the current directory: 550 for whatever holds a slash.
    pub bare_names_only: bool,
    /// After PASV no further command is read until the data connection is there, as by Twisted.
    pub blocks_after_pasv: bool,
    /// Whether FEAT shows MLST.
    pub mlsd_in_feat: bool,
    /// Whether MLSD works; else it answers 500.
    pub mlsd_works: bool,
    /// How LIST prints an entry.
    pub list_style: ListStyle,
    /// What becomes of the directory that a listing is asked of.
    pub paths: Paths,
    /// What becomes of LIST, NLST and MLSD while the type is not ASCII, as RFC 959 may be read.
    pub lists_as_image: AsImage,
    /// What MLSD says of a symbolic link.
    pub mlsd_links: MlsdLinks,
    /// What becomes of REST.
    pub rest: Rest,
    /// The answer to PASV, from the address that listens.
    pub pasv: fn(SocketAddr) -> Vec<u8>,
    /// The answer to EPSV, from the address that listens.
    pub epsv: fn(SocketAddr) -> Vec<u8>,
    /// Most connections at a time, and how one too many is refused.
    pub limit: Option<Limit>,
    /// A connection without a command for so long gets 421 and is closed.
    pub idle_limit: Option<Duration>,
    /// A connection is closed, without a word, instead of answering the command after this many.
    pub commands_per_connection: Option<usize>,
    /// What a listing of an empty directory is answered instead of 150, an empty listing and 226.
    pub empty_listing: Option<Vec<u8>>,
    /// The final reply comes only after the client has closed its side of the data connection, as from vsftpd and
    /// ProFTPD.
    pub waits_for_client_close: bool,
    /// Commands that come before the final reply of a transfer are answered before it, as by libunftp.
    pub side_by_side: bool,
    /// Before the final reply of a transfer.
    pub closing_latency: Duration,
    /// Before each answer.
    pub latency: Duration,
}

/// How LIST prints an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListStyle {
    /// `-rw-r--r--   1 mro mro 123 Nov 23 03:00 a.zip`
    Unix,
    /// `11-23-26  03:00AM       123 a.zip`, as IIS does.
    Dos,
}

/// What becomes of the directory that a listing is asked of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paths {
    /// It is listed.
    Honoured,
    /// The argument of LIST and MLSD is ignored: the working directory is listed.
    Ignored,
    /// LIST and MLSD with an argument are refused with 501.
    NotTaken,
    /// MLSD with an argument shows nothing unless the working directory is the root, as by uftpd.
    FromRootAlone,
    /// CWD is answered 250, and the working directory stays the root.
    NeverEntered,
}

/// What becomes of a listing under TYPE I.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AsImage {
    /// It comes as under TYPE A.
    Shown,
    /// It is refused.
    Refused,
    /// It is empty, with 226.
    Empty,
}

/// What MLSD says of a symbolic link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MlsdLinks {
    /// `type=OS.unix=slink:target`, as ProFTPD and Pure-FTPd do.
    Told,
    /// The type and size of what it names, as pyftpdlib does: a link upwards looks like one more directory.
    Followed,
}

/// What becomes of REST.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    /// RETR begins there.
    Honoured,
    /// 502.
    Refused,
    /// 350, and RETR begins at 0 all the same.
    Ignored,
}

/// The most connections at a time.
#[derive(Debug, Clone)]
pub struct Limit {
    /// So many are served.
    pub connections: usize,
    /// When one too many is told.
    pub at: LimitAt,
    /// What it is told before it is closed.
    pub reply: Vec<u8>,
}

/// When a client learns that it is one too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitAt {
    /// Instead of the greeting, as vsftpd and Pure-FTPd do (421).
    Greeting,
    /// Instead of 230, as ProFTPD does (530).
    Login,
}

/// What the server does at some commands instead of what it should.
///
/// All rules that fit a command apply together; of two that contradict each other the later one holds.
#[derive(Debug, Clone)]
pub struct Rule {
    verb: String,
    argument: Option<Vec<u8>>,
    passes: u32,
    left: u32,
    act: Option<Act>,
}

/// What happens at a command.
#[derive(Debug, Clone)]
pub enum Act {
    /// Nothing, until the test releases what hangs; then the command is answered.
    Hang,
    /// The answer comes late.
    Delay(Duration),
    /// These bytes are the whole answer.
    Reply(Vec<u8>),
    /// These bytes, and the connection is closed.
    ReplyAndClose(Vec<u8>),
    /// Instead of 150.
    Opening(Vec<u8>),
    /// Instead of the final 226 of a transfer or listing.
    Closing(Vec<u8>),
    /// Something with the data connection.
    Data(DataFault),
}

/// What goes wrong with the bytes of a transfer or listing.
#[derive(Debug, Clone)]
pub enum DataFault {
    /// These bytes instead of the file or listing.
    Content(Vec<u8>),
    /// For ever, until the client closes: these bytes again and again; `{n}` in them counts.
    Repeat(Vec<u8>),
    /// The data connection is closed after so many bytes.
    Cut(u64, Ending),
    /// Nothing comes after so many bytes, until the test releases what hangs.
    Stall(u64),
    /// So many bytes at a time, each time after a pause.
    Trickle(usize, Duration),
}

/// What follows on the control connection where the data connection was cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// 226, as if it had been all.
    Success,
    /// 426.
    Aborted,
    /// 426 and then 226.
    AbortedThenSuccess,
    /// Nothing at all; the connection stays open.
    Silence,
    /// The control connection is closed too.
    Close,
    /// A reset, once the client has had the time to read what came, and 226.
    Reset,
}

impl Default for Manner {
    fn default() -> Self {
        Self {
            login: ("mro".to_owned(), "mro-pass".to_owned()),
            wire_password: None,
            asks_for_password: true,
            welcome: "230 Login successful.",
            bare_names_only: false,
            blocks_after_pasv: false,
            mlsd_in_feat: true,
            mlsd_works: true,
            list_style: ListStyle::Unix,
            paths: Paths::Honoured,
            lists_as_image: AsImage::Shown,
            mlsd_links: MlsdLinks::Told,
            rest: Rest::Honoured,
            pasv: passive::pasv,
            epsv: passive::epsv,
            limit: None,
            idle_limit: None,
            commands_per_connection: None,
            empty_listing: None,
            waits_for_client_close: true,
            side_by_side: false,
            closing_latency: Duration::ZERO,
            latency: Duration::ZERO,
        }
    }
}

impl Rule {
    /// A rule for a command, or for [`CONNECT`]. It needs one of the acts below.
    pub fn on(verb: &str) -> Self {
        Self { verb: verb.to_owned(), argument: None, passes: 0, left: u32::MAX, act: None }
    }

    /// Only for this path (of a listing: the directory listed), or this argument where the verb takes no path.
    pub fn about(mut self, path: impl AsRef<[u8]>) -> Self {
        self.argument = Some(path.as_ref().to_vec());
        self
    }

    /// Lets the first `times` pass.
    pub fn after(mut self, times: u32) -> Self {
        self.passes = times;
        self
    }

    /// Applies this many times only.
    pub fn times(mut self, times: u32) -> Self {
        self.left = times;
        self
    }

    /// Applies once.
    pub fn once(self) -> Self {
        self.times(1)
    }

    /// Answers nothing until the test releases what hangs.
    pub fn hang(self) -> Self {
        self.act(Act::Hang)
    }

    /// Answers late.
    pub fn delay(self, time: Duration) -> Self {
        self.act(Act::Delay(time))
    }

    /// Answers exactly these bytes; the command is not carried out.
    pub fn reply(self, bytes: impl AsRef<[u8]>) -> Self {
        self.act(Act::Reply(bytes.as_ref().to_vec()))
    }

    /// Answers exactly these bytes, which may be none, and closes the connection.
    pub fn reply_and_close(self, bytes: impl AsRef<[u8]>) -> Self {
        self.act(Act::ReplyAndClose(bytes.as_ref().to_vec()))
    }

    /// Answers exactly these bytes, which may be none, instead of 150.
    pub fn opening(self, bytes: impl AsRef<[u8]>) -> Self {
        self.act(Act::Opening(bytes.as_ref().to_vec()))
    }

    /// Answers exactly these bytes, which may be none, instead of the 226 at the end.
    pub fn closing(self, bytes: impl AsRef<[u8]>) -> Self {
        self.act(Act::Closing(bytes.as_ref().to_vec()))
    }

    /// Sends these bytes instead of the file or listing.
    pub fn content(self, bytes: impl AsRef<[u8]>) -> Self {
        self.act(Act::Data(DataFault::Content(bytes.as_ref().to_vec())))
    }

    /// Sends these bytes again and again, for ever; `{n}` in them counts from 1.
    pub fn repeat(self, bytes: impl AsRef<[u8]>) -> Self {
        self.act(Act::Data(DataFault::Repeat(bytes.as_ref().to_vec())))
    }

    /// Closes the data connection after so many bytes.
    pub fn cut(self, after: u64, ending: Ending) -> Self {
        self.act(Act::Data(DataFault::Cut(after, ending)))
    }

    /// Sends nothing more after so many bytes, until the test releases what hangs.
    pub fn stall(self, after: u64) -> Self {
        self.act(Act::Data(DataFault::Stall(after)))
    }

    /// Sends so many bytes at a time, each time after a pause.
    pub fn trickle(self, bytes: usize, every: Duration) -> Self {
        self.act(Act::Data(DataFault::Trickle(bytes, every)))
    }

    fn act(mut self, act: Act) -> Self {
        self.act = Some(act);
        self
    }

    /// The act for this command, where the rule applies; counts it.
    pub(super) fn apply(&mut self, verb: &str, argument: &[u8]) -> Option<Act> {
        let fits = self.verb == verb && self.argument.as_deref().is_none_or(|wanted| wanted == argument);
        if !fits || self.left == 0 {
            return None;
        }
        if self.passes > 0 {
            self.passes -= 1;
            return None;
        }
        self.left = self.left.saturating_sub(u32::from(self.left != u32::MAX));
        Some(self.act.clone().expect("a rule without an act"))
    }
}
