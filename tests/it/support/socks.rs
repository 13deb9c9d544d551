//! A SOCKS5 proxy (RFC 1928, RFC 1929) that does what it should, or refuses as told.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};

use super::net::{Acceptor, Connection, calm};

/// How the proxy behaves.
#[derive(Debug, Clone, Default)]
pub struct Manner {
    /// User and password, where it wants them.
    pub login: Option<(&'static str, &'static str)>,
    /// It answers every request with this code (RFC 1928 section 6) and connects to nothing.
    pub refusal: Option<u8>,
    /// It takes connections and says nothing, until the test ends.
    pub hangs: bool,
}

/// A running proxy; it ends when it is dropped.
pub struct SocksProxy {
    acceptor: Acceptor,
    asked: Arc<Mutex<Vec<String>>>,
}

impl SocksProxy {
    /// Starts a proxy on 127.0.0.1.
    pub fn start(manner: Manner) -> Self {
        let asked = Arc::new(Mutex::default());
        let acceptor = Acceptor::start(IpAddr::V4(Ipv4Addr::LOCALHOST), {
            let asked = Arc::clone(&asked);
            move |connection| serve(&connection, &manner, &asked).unwrap_or_default()
        });
        Self { acceptor, asked }
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.acceptor.addr()
    }

    /// The targets that it was asked for, such as `127.0.0.1:2121` or `localhost:2121`.
    pub fn asked(&self) -> Vec<String> {
        calm(self.asked.lock()).clone()
    }
}

fn serve(connection: &Connection, manner: &Manner, asked: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let client = connection.stream.as_ref();
    if manner.hangs {
        connection.gate.hang(connection.gate.ticket(), &[client]);
        return Ok(());
    }
    let [_, count] = read(client)?;
    let mut methods = vec![0; usize::from(count)];
    (&mut &*client).read_exact(&mut methods)?;
    let wanted = if manner.login.is_some() { 2 } else { 0 };
    if !methods.contains(&wanted) {
        return (&mut &*client).write_all(&[5, 0xFF]);
    }
    (&mut &*client).write_all(&[5, wanted])?;
    if let Some((user, password)) = manner.login {
        let [_version] = read(client)?;
        let given = (text(client)?, text(client)?);
        let fits = given == (user.to_owned(), password.to_owned());
        (&mut &*client).write_all(&[1, u8::from(!fits)])?;
        if !fits {
            return Ok(());
        }
    }
    let [_, command, _, kind] = read(client)?;
    assert_eq!(command, 1, "CONNECT");
    let host = match kind {
        1 => IpAddr::from(read::<4>(client)?).to_string(),
        3 => text(client)?,
        _ => Ipv6Addr::from(read::<16>(client)?).to_string(),
    };
    let port = u16::from_be_bytes(read(client)?);
    calm(asked.lock()).push(format!("{host}:{port}"));
    let server = TcpStream::connect((host.as_str(), port));
    let code = manner.refusal.unwrap_or(if server.is_ok() { 0 } else { 5 });
    (&mut &*client).write_all(&[5, code, 0, 1, 0, 0, 0, 0, 0, 0])?;
    if code == 0 { relay(connection, Arc::new(server?)) } else { Ok(()) }
}

fn relay(connection: &Connection, server: Arc<TcpStream>) -> std::io::Result<()> {
    connection.gate.adopt(connection.id, &server);
    let back = std::thread::spawn({
        let (client, server) = (Arc::clone(&connection.stream), Arc::clone(&server));
        move || {
            std::io::copy(&mut server.as_ref(), &mut client.as_ref()).ok();
            client.shutdown(Shutdown::Write).ok();
        }
    });
    std::io::copy(&mut connection.stream.as_ref(), &mut server.as_ref()).ok();
    server.shutdown(Shutdown::Write).ok();
    back.join().ok();
    Ok(())
}

fn read<const N: usize>(mut stream: &TcpStream) -> std::io::Result<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Text after its length.
fn text(mut stream: &TcpStream) -> std::io::Result<String> {
    let [length] = read(stream)?;
    let mut bytes = vec![0; usize::from(length)];
    stream.read_exact(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
