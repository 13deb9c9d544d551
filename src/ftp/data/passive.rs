//! Passive mode: the server opens a port, and we connect to it (RFC 959 PASV, RFC 2428 EPSV), early where the server
//! bears it ([`super::early`]).

use std::cell::Cell;
use std::io;
use std::rc::Rc;

use tokio::net::TcpStream;

use super::early::{EarlyPort, PipeliningSupport};
use crate::config::PassiveCommand;
use crate::ftp::control::answers::denies_data;
use crate::ftp::control::connection::{Control, is_one_line};
use crate::ftp::control::reply::Reply;
use crate::ftp::error::FtpError;
use crate::net::deadline::within;
use crate::net::error::NetError;
use crate::net::route::Route;

/// What passive mode has learnt of a server, for all sessions with it.
#[derive(Debug, Default)]
pub(crate) struct LearnedPorts {
    /// PASV has brought a port.
    pub(crate) pasv_works: Cell<bool>,
    /// Whether EPSV works (or PASV, if false).
    pub(crate) extended: Cell<Option<bool>>,
    /// Whether a port may be asked for before the transfer that runs is answered.
    pub(crate) early: PipeliningSupport,
}

/// Passive mode on one control connection.
pub(crate) struct Passive {
    pub(crate) command: PassiveCommand,
    /// The way of the control connection, and so of every data connection.
    pub(crate) route: Route,
    pub(crate) learned: Rc<LearnedPorts>,
    /// Opened by the server at the end of the transfer before.
    pub(crate) early_port: Option<EarlyPort>,
}

impl Passive {
    /// Makes `path` the current directory, and asks for the port of the listing that follows in the same round trip
    /// where the server handles one command after the other.
    pub(crate) async fn enter(&mut self, control: &mut Control, path: &[u8]) -> Result<(), FtpError> {
        let line = [b"CWD ", path].concat();
        let extended = self.learned.extended.get();
        let together = extended.filter(|_| self.early_port.is_none() && self.learned.early.is_in_order());
        let Some(extended) = together.filter(|_| is_one_line(&line)) else {
            return control.require("CWD", &line).await.map(drop);
        };
        control.push(&line);
        control.push(passive_command(extended).0.as_bytes());
        let reply = control.next_reply("CWD").await?;
        let reply = control.fitting("CWD", reply)?;
        let reply = control.final_after("CWD", reply).await?;
        control.pending = true;
        if reply.code == 421 {
            return Err(FtpError::Refused { step: "CWD", reply });
        }
        if reply.is_done() {
            control.cwd = Some(path.to_vec());
        }
        self.take_early_port(control, extended).await;
        match (control.pending, reply.is_done()) {
            (true, _) => Err(out_of_step("CWD", &FtpError::Refused { step: "CWD", reply })),
            (false, true) => Ok(()),
            (false, false) => Err(FtpError::Refused { step: "CWD", reply }),
        }
    }

    /// Reads the answer to the port that was asked for early. Whatever it is, the transfer before it has ended well;
    /// a session that does not answer as it should stays marked.
    pub(crate) async fn take_early_port(&mut self, control: &mut Control, extended: bool) {
        let (step, _) = passive_command(extended);
        let answer = control.next_reply(step).await;
        let port = answer.as_ref().ok().and_then(|reply| self.told_port(reply, extended));
        match (port, answer) {
            (Some(port), _) => {
                self.early_port = Some(EarlyPort::new(self.route.clone(), port));
                control.pending = false;
            }
            (None, Ok(reply)) => self.learned.early.record_failure(&reply),
            (None, Err(error)) => self.learned.early.record_failure(&error),
        }
    }

    /// Asks a server that did not say in its greeting what it is, so that those which are known to answer out of
    /// order are never asked early.
    pub(crate) async fn learn_name(&self, control: &mut Control) -> Result<(), FtpError> {
        if self.learned.early.wants_a_name() {
            let reply = control.command("HELP", b"HELP").await?;
            self.learned.early.named(&String::from_utf8_lossy(&reply.body));
            self.learned.early.stays_unnamed();
        }
        Ok(())
    }

    /// PASV (RFC 959) or EPSV (RFC 2428), then TCP to where the control connection leads; whether the port was opened
    /// early.
    pub(crate) async fn connect(
        &mut self,
        control: &mut Control,
        step: &'static str,
    ) -> Result<(TcpStream, bool), FtpError> {
        let mut early = self.early_port.take();
        if let Some(port) = early.as_mut().filter(|port| port.is_fresh()) {
            match port.connected(step, control.timeout).await {
                Ok(stream) => return Ok((stream, true)),
                Err(error) => self.learned.early.record_failure(&error),
            }
        }
        let port = self.ask_for_port(control, step).await?;
        // one that is too old is closed only now: before another one is asked for, its end would be a transfer's to
        // servers that have accepted it (pyftpdlib: 226)
        drop(early);
        let stream = within(step, control.timeout, self.route.connect(port)).await?;
        Ok((stream.map_err(|cause| FtpError::Data { step, cause })?, false))
    }

    /// The port that a reply tells. Some servers answer EPSV as if it were PASV; that is believed where PASV itself never
    /// brought a port: where it did, 227 is a late answer to one, and its port somebody else's.
    fn told_port(&self, reply: &Reply, extended: bool) -> Option<u16> {
        match reply.code {
            229 if extended => reply.epsv_port(),
            227 if !extended || !self.learned.pasv_works.get() => reply.pasv_port(),
            _ => None,
        }
    }

    /// PASV first on IPv4 and EPSV first on IPv6, unless the operator says which; what the server refuses for good is not asked again.
    async fn ask_for_port(&self, control: &mut Control, step: &'static str) -> Result<u16, FtpError> {
        let extended_first = self.learned.extended.get().unwrap_or(self.route.is_ipv6());
        let commands: &[bool] = match self.command {
            PassiveCommand::Auto => &[extended_first, !extended_first],
            PassiveCommand::Pasv => &[false],
            PassiveCommand::Epsv => &[true],
        };
        let mut refusal = None;
        for extended in commands.iter().copied() {
            let (command, code) = passive_command(extended);
            let reply = match control.command(command, command.as_bytes()).await {
                Err(FtpError::OutOfStep { reply, .. }) if self.told_port(&reply, extended).is_some() => {
                    control.pending = false;
                    reply
                }
                outcome => outcome?,
            };
            let port = match self.told_port(&reply, extended) {
                Some(port) => Some(port),
                None if reply.code == code => None,
                None if reply.code / 100 != 5 || denies_data(command, &reply) => {
                    return Err(FtpError::Refused { step: command, reply });
                }
                None => None,
            };
            if let Some(port) = port {
                self.learned.extended.set(Some(extended));
                self.learned.pasv_works.set(self.learned.pasv_works.get() || !extended);
                return Ok(port);
            }
            refusal = refusal.or(Some((command, reply)));
        }
        Err(match refusal {
            Some((command, reply)) => FtpError::Refused { step: command, reply },
            None => FtpError::Data { step, cause: io::ErrorKind::Unsupported.into() },
        })
    }
}

/// The command that opens a data port, and the code of its answer.
pub(crate) fn passive_command(extended: bool) -> (&'static str, u16) {
    if extended { ("EPSV", 229) } else { ("PASV", 227) }
}

/// What is wrong may be that replies and commands do not belong together: nothing is said against the file, and
/// another session is tried.
pub(crate) fn out_of_step(step: &'static str, error: &FtpError) -> FtpError {
    FtpError::Net(NetError::Lost { step, cause: io::Error::other(format!("after an early PASV: {error}")) })
}
