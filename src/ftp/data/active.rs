//! Active mode: we listen, and the server connects (RFC 959 PORT, RFC 2428 EPRT).
//!
//! Only the server's own address is let in. The port is open from its announcement until the server has come, or the
//! transfer has failed.

use std::cell::Cell;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::config::{NetworkSettings, TransferMode};
use crate::ftp::control::connection::Control;
use crate::ftp::error::FtpError;
use crate::net::route::Route;

/// Connections that wait to be looked at: the server's, and a few of others.
const BACKLOG: u32 = 8;

/// Where in its range the next search for a free port begins. One for all servers, whose ranges may be the same; a
/// port that was used a moment ago is used again last, because the old connection may still be remembered.
static NEXT: AtomicU32 = AtomicU32::new(0);

/// What the operator wants of active mode.
#[derive(Debug, Clone)]
pub(crate) struct Active {
    ports: Option<RangeInclusive<u16>>,
    address: Option<IpAddr>,
}

/// An open port that the server was told of.
#[derive(Debug)]
pub(crate) struct OpenPort {
    listener: TcpListener,
    told: SocketAddr,
    server: IpAddr,
}

impl Active {
    /// `None` in passive mode.
    pub(crate) fn of(settings: &NetworkSettings) -> Option<Self> {
        let NetworkSettings { active_ports, active_address, .. } = settings;
        (settings.mode == TransferMode::Active)
            .then(|| Self { ports: active_ports.clone(), address: *active_address })
    }

    /// Listens at the next free port of the range, or at one that the system chooses.
    fn listen(&self, at: IpAddr) -> io::Result<TcpListener> {
        let Some(range) = &self.ports else { return listen(SocketAddr::new(at, 0)) };
        let (first, count) = (*range.start(), u32::from(range.end() - range.start()) + 1);
        let begin = NEXT.fetch_add(1, Ordering::Relaxed) % count;
        for n in 0..count {
            let offset = u16::try_from((begin + n) % count).unwrap_or(0);
            match listen(SocketAddr::new(at, first.saturating_add(offset))) {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                outcome => return outcome,
            }
        }
        let (first, last) = (range.start(), range.end());
        Err(io::Error::new(
            io::ErrorKind::AddrInUse,
            format!("every port of active_ports ({first}-{last}) is in use"),
        ))
    }
}

fn listen(at: SocketAddr) -> io::Result<TcpListener> {
    let socket = if at.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // a connection that ended a moment ago does not keep its port
    socket.set_reuseaddr(true)?;
    socket.bind(at)?;
    socket.listen(BACKLOG)
}

impl Active {
    /// Opens a port and tells the server at the end of `route` of it; `local` is our end of the control connection.
    pub(crate) async fn open_port(
        &self,
        control: &mut Control,
        step: &'static str,
        (route, local): (&Route, IpAddr),
    ) -> Result<OpenPort, FtpError> {
        let failed = |cause| FtpError::Data { step, cause };
        let &Route::Straight(server) = route else {
            return Err(failed(io::Error::other("no active mode through a proxy")));
        };
        let listener = self.listen(local).map_err(failed)?;
        let port = listener.local_addr().map_err(failed)?.port();
        let told = SocketAddr::new(self.address.unwrap_or(local), port);
        if told.is_ipv4() != server.is_ipv4() {
            let fault = format!("active_address {} is of another family than the server {server}", told.ip());
            return Err(failed(io::Error::other(fault)));
        }
        let (command, line) = announcement(told);
        control.require(command, line.as_bytes()).await?;
        Ok(OpenPort { listener, told, server })
    }
}

impl OpenPort {
    /// Waits for the server; whoever else comes is sent away.
    pub(crate) async fn accept(self, step: &'static str, after: Duration) -> Result<TcpStream, FtpError> {
        let stranger = Cell::new(None);
        let coming = async {
            loop {
                let (stream, from) = self.listener.accept().await?;
                if from.ip().to_canonical() == self.server.to_canonical() {
                    return Ok(stream);
                }
                log::debug!("{} connected to the data port of {}, and was sent away", from.ip(), self.server);
                stranger.set(Some(from.ip()));
            }
        };
        let came: io::Result<TcpStream> = tokio::time::timeout(after, coming).await.unwrap_or_else(|_| {
            let limit = crate::base::humanize::duration(after);
            let others =
                stranger.get().map(|other| format!("; {other} did, which is not the server's address"));
            let others = others.unwrap_or_default();
            let fault = format!("the server did not connect to {} for {limit}{others}", self.told);
            Err(io::Error::new(io::ErrorKind::TimedOut, fault))
        });
        crate::base::watchdog::beat();
        came.map_err(|cause| FtpError::Data { step, cause })
    }
}

/// The command and its line for a port that the server shall connect to.
fn announcement(at: SocketAddr) -> (&'static str, String) {
    match at {
        SocketAddr::V4(at) => {
            let ([a, b, c, d], [high, low]) = (at.ip().octets(), at.port().to_be_bytes());
            ("PORT", format!("PORT {a},{b},{c},{d},{high},{low}"))
        }
        SocketAddr::V6(at) => ("EPRT", format!("EPRT |2|{}|{}|", at.ip(), at.port())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, TcpListener as StdListener};

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn active(ports: RangeInclusive<u16>) -> Active {
        Active { ports: Some(ports), address: None }
    }

    #[test]
    fn ports_are_announced_by_port_and_eprt() {
        let line = |at: &str| announcement(at.parse().unwrap()).1;
        assert_eq!(line("10.1.2.3:50001"), "PORT 10,1,2,3,195,81");
        assert_eq!(line("[2001:db8::7]:50001"), "EPRT |2|2001:db8::7|50001|");
    }

    /// interface 6.7
    #[tokio::test]
    async fn ports_in_use_are_skipped_and_no_port_at_all_is_told() {
        let taken: Vec<StdListener> = (0..2).map(|_| StdListener::bind((HERE, 0)).unwrap()).collect();
        let port = taken[0].local_addr().unwrap().port();
        let fault = active(port..=port).listen(HERE).unwrap_err();
        assert_eq!(fault.to_string(), format!("every port of active_ports ({port}-{port}) is in use"));
        let free = active(port..=port.saturating_add(50));
        for _ in 0..60 {
            let listener = free.listen(HERE).unwrap();
            let found = listener.local_addr().unwrap().port();
            assert!(found != port && (port..=port.saturating_add(50)).contains(&found), "{found}");
        }
    }

    /// interface 6.7
    #[tokio::test]
    async fn only_the_server_is_let_in() {
        let listener = active(1..=1);
        let listener = Active { ports: None, ..listener }.listen(HERE).unwrap();
        let told = listener.local_addr().unwrap();
        let port = OpenPort { listener, told, server: IpAddr::from([127, 0, 0, 9]) };
        let stranger = TcpStream::connect(told).await.unwrap();
        let fault = port.accept("RETR", Duration::from_millis(100)).await.unwrap_err().to_string();
        assert!(
            fault.contains("did not connect to 127.0.0.1") && fault.contains("; 127.0.0.1 did"),
            "{fault}"
        );
        drop(stranger);
    }
}
