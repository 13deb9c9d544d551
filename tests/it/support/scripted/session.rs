//! One control connection of a scripted server: reads commands, applies the rules, answers.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::net::{Connection, Gate, Ticket, Waited, open_connections};
use super::rules::{Act, AsImage, CONNECT, DataFault, LimitAt, Paths, Rest};
use super::tree::{join, normal};
use super::{Command, Manner, Shared, Visit, World, listing, passive};

/// A longer line is not taken: the connection is closed.
const LONGEST_LINE: usize = 64 * 1024;

/// The connection is over, for whatever reason.
pub(super) struct Gone;

/// What most steps of a session come to.
pub(super) type Step = Result<(), Gone>;

/// One control connection.
pub(super) struct Session<'a> {
    pub(super) id: u64,
    pub(super) shared: &'a Shared,
    pub(super) gate: Arc<Gate>,
    pub(super) control: Arc<TcpStream>,
    /// What was read and not yet taken.
    unread: Vec<u8>,
    pub(super) cwd: Vec<u8>,
    user: Option<String>,
    logged_in: bool,
    /// ASCII until the client says otherwise, as the RFC wants it: a zip comes broken then.
    pub(super) binary: bool,
    /// Where the next RETR begins.
    pub(super) restart_at: u64,
    pub(super) passive: Option<TcpListener>,
    /// The data connection that came before its command.
    pub(super) came: Option<Arc<TcpStream>>,
    /// Where the client listens, in active mode.
    pub(super) active: Option<SocketAddr>,
    /// Taken before the journal shows the command.
    pub(super) ticket: Ticket,
}

/// What the rules want for one command, put together.
#[derive(Default)]
pub(super) struct Acts {
    hang: bool,
    delay: Duration,
    reply: Option<Vec<u8>>,
    close: bool,
    pub(super) opening: Option<Vec<u8>>,
    pub(super) closing: Option<Vec<u8>>,
    pub(super) data: Vec<DataFault>,
}

impl<'a> Session<'a> {
    /// Serves a connection to its end.
    pub(super) fn serve(connection: Connection, shared: &'a Shared) {
        let Connection { id, stream, gate } = connection;
        let Ok(addr) = stream.local_addr() else { return };
        let (ticket, open) = (gate.ticket(), open_connections(addr));
        shared.note(|journal| {
            journal.connections.insert(id, Visit { opened: Instant::now(), closed: None });
            journal.max_open = journal.max_open.max(open);
        });
        let mut session = Self {
            id,
            shared,
            gate,
            control: stream,
            unread: Vec::new(),
            cwd: b"/".to_vec(),
            user: None,
            logged_in: false,
            binary: false,
            restart_at: 0,
            passive: None,
            came: None,
            active: None,
            ticket,
        };
        match session.talk() {
            Ok(()) | Err(Gone) => drop(session),
        }
        shared.note(|journal| {
            let visit = journal.connections.get_mut(&id).expect("it was opened");
            visit.closed = Some(Instant::now());
        });
    }

    fn talk(&mut self) -> Step {
        self.greet()?;
        let mut commands = 0;
        loop {
            let line = self.read_line()?;
            commands += 1;
            if self.manner(|manner| manner.commands_per_connection).is_some_and(|most| commands > most) {
                return Err(Gone);
            }
            self.obey(&line)?;
        }
    }

    fn obey(&mut self, line: &[u8]) -> Step {
        let command = self.understand(line);
        let about = command.path.clone().unwrap_or_else(|| command.argument.clone());
        let acts = self.acts(&command.verb, &about);
        self.ticket = self.gate.ticket();
        let (verb, argument) = (command.verb.clone(), command.argument.clone());
        self.shared.note(|journal| journal.commands.push(command));
        self.wait(self.manner(|manner| manner.latency))?;
        if !self.act(&acts)? {
            self.answer(&verb, &argument, &about, &acts)?;
        } else if verb == "RETR" {
            // refused: what REST had said is forgotten
            (self.restart_at, self.passive) = (0, None);
        }
        Ok(())
    }

    /// Before the final reply of a transfer: the commands that are here already. Answers how many there are.
    pub(super) fn look_for_early(&mut self) -> Result<usize, Gone> {
        self.wait(self.manner(|manner| manner.closing_latency))?;
        self.control.set_read_timeout(Some(Duration::from_millis(1))).map_err(gone)?;
        let mut chunk = [0; 4096];
        let read = self.control.as_ref().read(&mut chunk).unwrap_or(0);
        self.unread.extend_from_slice(&chunk[..read]);
        let early = self.unread.iter().filter(|byte| **byte == b'\n').count();
        if self.manner(|manner| manner.side_by_side) {
            for _ in 0..early {
                let line = self.read_line()?;
                self.obey(&line)?;
            }
        }
        Ok(early)
    }

    fn greet(&mut self) -> Step {
        self.refuse_one_too_many(LimitAt::Greeting)?;
        let acts = self.acts(CONNECT, b"");
        if !self.act(&acts)? {
            self.reply("220 scripted server ready")?;
        }
        Ok(())
    }

    /// Does what the rules want before or instead of an answer; true where that was all.
    fn act(&mut self, acts: &Acts) -> Result<bool, Gone> {
        if acts.hang && self.gate.hang(self.ticket, &[&self.control]) == Waited::Gone {
            return Err(Gone);
        }
        self.wait(acts.delay)?;
        if let Some(reply) = &acts.reply {
            self.send(reply)?;
        }
        if acts.close { Err(Gone) } else { Ok(acts.reply.is_some()) }
    }

    fn answer(&mut self, verb: &str, argument: &[u8], path: &[u8], acts: &Acts) -> Step {
        match verb {
            "USER" => {
                self.user = Some(String::from_utf8_lossy(argument).into_owned());
                if !self.manner(|manner| manner.asks_for_password) {
                    return self.let_in();
                }
                self.reply("331 Please specify the password.")
            }
            "PASS" => self.log_in(argument),
            "QUIT" => self.reply("221 Goodbye.").and(Err(Gone)),
            "NOOP" => self.reply("200 NOOP ok."),
            "SYST" => self.reply("215 UNIX Type: L8"),
            "FEAT" => self.features(),
            "OPTS" => self.reply("200 Always in UTF8 mode."),
            _ if !self.logged_in => self.reply("530 Please login with USER and PASS."),
            "RETR" | "SIZE" if argument.contains(&b'/') && self.manner(|manner| manner.bare_names_only) => {
                self.passive = None;
                self.reply("550 Requested action not taken, invalid file name.")
            }
            "TYPE" => {
                self.binary = argument.eq_ignore_ascii_case(b"I");
                self.reply("200 Type set.")
            }
            "PWD" => self.send(&[b"257 \"", &self.cwd[..], b"\" is the current directory\r\n"].concat()),
            "CWD" | "CDUP" => self.change_directory(path),
            "PASV" | "EPSV" => self.listen(verb),
            "PORT" | "EPRT" => {
                self.active = passive::client_port(verb, argument);
                self.reply(if self.active.is_some() { "200 command successful." } else { "501 no address" })
            }
            "REST" => self.restart(argument),
            "SIZE" | "MDTM" => self.tell(verb, path),
            "LIST" | "MLSD" | "NLST" if self.as_image() == AsImage::Refused => {
                self.reply("550 data encoding must be set to utf8 for listing.")
            }
            "LIST" | "MLSD" | "NLST" if self.as_image() == AsImage::Empty => self.list_nothing(acts),
            "LIST" | "MLSD" | "NLST" => match self.manner(|manner| manner.paths) {
                Paths::NotTaken if !argument.is_empty() => self.reply("501 Syntax error in parameters."),
                Paths::FromRootAlone if verb == "MLSD" && !argument.is_empty() && self.cwd != b"/" => {
                    self.list_nothing(acts)
                }
                _ => self.list(verb, path, acts),
            },
            "RETR" => self.retrieve(path, acts),
            _ => self.reply("500 Unknown command."),
        }
    }

    fn log_in(&mut self, password: &[u8]) -> Step {
        self.refuse_one_too_many(LimitAt::Login)?;
        let (user, secret) = self.manner(|manner| manner.login.clone());
        let secret = self.manner(|manner| manner.wire_password.clone()).unwrap_or(secret.into_bytes());
        if self.user.as_deref() != Some(&user) || password != secret {
            return self.reply("530 Login incorrect.");
        }
        self.let_in()
    }

    fn let_in(&mut self) -> Step {
        self.logged_in = true;
        self.shared.note(|journal| journal.logins += 1);
        self.reply(self.manner(|manner| manner.welcome))
    }

    /// What becomes of listings under the type that is set.
    fn as_image(&self) -> AsImage {
        if self.binary { self.manner(|manner| manner.lists_as_image) } else { AsImage::Shown }
    }

    fn features(&mut self) -> Step {
        let mlst =
            if self.manner(|manner| manner.mlsd_in_feat) { " MLST type*;size*;modify*;\r\n" } else { "" };
        let features = " EPSV\r\n MDTM\r\n PASV\r\n REST STREAM\r\n SIZE\r\n UTF8";
        self.reply(&format!("211-Features:\r\n{mlst}{features}\r\n211 End"))
    }

    fn change_directory(&mut self, path: &[u8]) -> Step {
        if !self.shared.lock().tree.is_directory(path) {
            return self.reply("550 Failed to change directory.");
        }
        if self.manner(|manner| manner.paths != Paths::NeverEntered) {
            self.cwd = path.to_vec();
        }
        self.reply("250 Directory successfully changed.")
    }

    fn listen(&mut self, verb: &str) -> Step {
        let host = self.control.local_addr().map_err(gone)?.ip();
        let listener = TcpListener::bind((host, 0)).map_err(gone)?;
        let shape = self.manner(|manner| if verb == "PASV" { manner.pasv } else { manner.epsv });
        let reply = shape(listener.local_addr().map_err(gone)?);
        (self.passive, self.came) = (Some(listener), None);
        self.send(&reply)?;
        if self.manner(|manner| manner.blocks_after_pasv) {
            self.came = self.accept()?;
        }
        Ok(())
    }

    fn restart(&mut self, argument: &[u8]) -> Step {
        let offset = std::str::from_utf8(argument).ok().and_then(|text| text.parse().ok());
        match (self.manner(|manner| manner.rest), offset) {
            (Rest::Refused, _) => self.reply("502 REST is not implemented."),
            (_, None) => self.reply("501 Not a number."),
            (Rest::Ignored, Some(_)) => self.reply("350 Restart position accepted."),
            (Rest::Honoured, Some(offset)) => {
                self.restart_at = offset;
                self.reply("350 Restart position accepted.")
            }
        }
    }

    fn tell(&mut self, verb: &str, path: &[u8]) -> Step {
        // ProFTPD and pyftpdlib refuse SIZE in ASCII mode, where it would be another number
        if verb == "SIZE" && !self.binary {
            return self.reply("550 SIZE not allowed in ASCII mode.");
        }
        let answer = self.shared.lock().tree.file_mut(path).map(|file| match verb {
            "SIZE" => format!("213 {}", file.look()),
            _ => format!("213 {}", listing::digits(file.modified)),
        });
        self.reply(answer.as_deref().unwrap_or("550 No such file."))
    }

    /// What a command line says, the path it is about included.
    fn understand(&self, line: &[u8]) -> Command {
        let blank = line.iter().position(|byte| *byte == b' ').unwrap_or(line.len());
        let verb = String::from_utf8_lossy(&line[..blank]).to_ascii_uppercase();
        let argument = line.get(blank + 1..).unwrap_or_default().to_vec();
        let path = match verb.as_str() {
            "CWD" | "RETR" | "SIZE" | "MDTM" => Some(self.path(&argument)),
            "CDUP" => Some(self.path(b"..")),
            // what begins like an option is one, as with the real servers: never pass a path to LIST
            "LIST" if argument.starts_with(b"-") => Some(self.cwd.clone()),
            "LIST" | "MLSD" | "NLST" if self.manner(|manner| manner.paths == Paths::Ignored) => {
                Some(self.cwd.clone())
            }
            "LIST" | "MLSD" | "NLST" => Some(self.path(&argument)),
            _ => None,
        };
        let more = self.unread.contains(&b'\n');
        Command { connection: self.id, at: Instant::now(), more, verb, argument, path }
    }

    fn path(&self, argument: &[u8]) -> Vec<u8> {
        normal(&join(&self.cwd, argument))
    }

    fn acts(&self, verb: &str, about: &[u8]) -> Acts {
        let mut acts = Acts::default();
        let World { rules, .. } = &mut *self.shared.lock();
        for act in rules.iter_mut().filter_map(|rule| rule.apply(verb, about)) {
            match act {
                Act::Hang => acts.hang = true,
                Act::Delay(time) => acts.delay = time,
                Act::Reply(bytes) => acts.reply = Some(bytes),
                Act::ReplyAndClose(bytes) => (acts.reply, acts.close) = (Some(bytes), true),
                Act::Opening(bytes) => acts.opening = Some(bytes),
                Act::Closing(bytes) => acts.closing = Some(bytes),
                Act::Data(fault) => acts.data.push(fault),
            }
        }
        acts
    }

    fn refuse_one_too_many(&mut self, at: LimitAt) -> Step {
        let Some(limit) = self.manner(|manner| manner.limit.clone()) else { return Ok(()) };
        let addr = self.control.local_addr().map_err(gone)?;
        if limit.at != at || open_connections(addr) <= limit.connections {
            return Ok(());
        }
        self.send(&limit.reply).and(Err(Gone))
    }

    fn read_line(&mut self) -> Result<Vec<u8>, Gone> {
        let idle_limit = self.manner(|manner| manner.idle_limit);
        self.control.set_read_timeout(idle_limit).map_err(gone)?;
        loop {
            if let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
                let mut line: Vec<u8> = self.unread.drain(..=end).collect();
                line.pop();
                line.pop_if(|last| *last == b'\r');
                return Ok(line);
            }
            let mut chunk = [0; 4096];
            match self.control.as_ref().read(&mut chunk) {
                Ok(bytes) if bytes > 0 && self.unread.len() < LONGEST_LINE => {
                    self.unread.extend_from_slice(&chunk[..bytes]);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return self.reply("421 Timeout.").and(Err(Gone));
                }
                _ => return Err(Gone),
            }
        }
    }

    pub(super) fn manner<T>(&self, look: impl FnOnce(&Manner) -> T) -> T {
        look(&self.shared.lock().manner)
    }

    pub(super) fn reply(&mut self, text: &str) -> Step {
        self.send(format!("{text}\r\n").as_bytes())
    }

    pub(super) fn send(&mut self, bytes: &[u8]) -> Step {
        self.control.as_ref().write_all(bytes).map_err(gone)
    }

    fn wait(&self, time: Duration) -> Step {
        if !time.is_zero() && self.gate.pause(time) == Waited::Gone {
            return Err(Gone);
        }
        Ok(())
    }
}

/// Whatever failed: the connection is over.
pub(super) fn gone(_: io::Error) -> Gone {
    Gone
}
