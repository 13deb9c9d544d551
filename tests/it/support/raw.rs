//! A tiny FTP client for plain connections, to try the test servers with: it knows nothing and hides nothing.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// No wait of this client takes longer.
const PATIENCE: Duration = Duration::from_secs(10);

/// One control connection.
pub struct RawClient {
    control: BufReader<TcpStream>,
    /// What the server said first.
    pub greeting: String,
}

impl RawClient {
    /// Connects and reads the greeting.
    pub fn connect(addr: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&addr, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut client = Self { control: BufReader::new(stream), greeting: String::new() };
        client.greeting = client.reply()?;
        Ok(client)
    }

    /// Connects, logs in and asks for binary transfers.
    #[track_caller]
    pub fn log_in(addr: SocketAddr, user: &str, password: &str) -> Self {
        let mut client = Self::connect(addr).expect("a greeting");
        client.tell(format!("USER {user}"));
        let reply = client.tell(format!("PASS {password}"));
        assert!(reply.starts_with("230"), "{reply}");
        client.tell("TYPE I");
        client
    }

    /// Sends a command without waiting for the reply.
    pub fn send(&mut self, command: impl AsRef<[u8]>) -> io::Result<()> {
        self.control.get_mut().write_all(&[command.as_ref(), b"\r\n"].concat())
    }

    /// Reads one reply, multi-line ones to their end; bytes that are not UTF-8 come as U+FFFD.
    pub fn reply(&mut self) -> io::Result<String> {
        let mut text = Vec::new();
        loop {
            let start = text.len();
            if self.control.read_until(b'\n', &mut text)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let line = &text[start..];
            let is_last = line.len() >= 3 && line[..3] == text[..3] && line.get(3) != Some(&b'-');
            if is_last {
                return Ok(String::from_utf8_lossy(&text).trim_end().to_owned());
            }
        }
    }

    /// Whether the server has closed the connection, without another reply; waits for one of both.
    pub fn is_closed(&mut self) -> bool {
        let closed = [io::ErrorKind::UnexpectedEof, io::ErrorKind::ConnectionReset];
        self.reply().is_err_and(|error| closed.contains(&error.kind()))
    }

    /// Whether nothing has come that was not read yet.
    pub fn is_silent(&self) -> bool {
        let stream = self.control.get_ref();
        stream.set_nonblocking(true).expect("a socket");
        let silent = stream.peek(&mut [0]).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock);
        stream.set_nonblocking(false).expect("a socket");
        silent && self.control.buffer().is_empty()
    }

    /// One command and its reply.
    #[track_caller]
    pub fn tell(&mut self, command: impl AsRef<[u8]>) -> String {
        self.send(command).expect("a command sent");
        self.reply().expect("a reply")
    }

    /// PASV, and the data connection.
    #[track_caller]
    pub fn open_data(&mut self) -> TcpStream {
        let reply = self.tell("PASV");
        let numbers = reply.split(['(', ')']).nth(1).expect("an address in brackets");
        let numbers: Vec<u16> = numbers.split(',').map(|number| number.parse().expect("a number")).collect();
        let host = self.control.get_ref().peer_addr().expect("a peer").ip();
        let data = TcpStream::connect((host, numbers[4] << 8 | numbers[5])).expect("a data connection");
        data.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        data
    }

    /// LIST, MLSD or RETR from PASV to the final reply: the bytes and that reply; the error is the reply that
    /// refused it.
    #[track_caller]
    pub fn fetch(&mut self, command: impl AsRef<[u8]>) -> Result<(Vec<u8>, String), String> {
        let mut data = self.open_data();
        let opening = self.tell(command);
        if !opening.starts_with('1') {
            return Err(opening);
        }
        let mut bytes = Vec::new();
        data.read_to_end(&mut bytes).expect("bytes up to the end");
        drop(data);
        Ok((bytes, self.reply().expect("a final reply")))
    }
}
