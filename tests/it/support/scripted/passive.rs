//! Answers to PASV and EPSV as servers really give them, from the address that listens for the data connection.
//!
//! Each has the shape that [`super::Manner`] wants.

use std::net::{IpAddr, SocketAddr};

/// As RFC 959 has it.
pub fn pasv(at: SocketAddr) -> Vec<u8> {
    format!("227 Entering Passive Mode ({}).\r\n", numbers(at)).into_bytes()
}

/// Without the brackets.
pub fn pasv_without_brackets(at: SocketAddr) -> Vec<u8> {
    format!("227 Entering Passive Mode {}\r\n", numbers(at)).into_bytes()
}

/// With a blank after each comma.
pub fn pasv_with_blanks(at: SocketAddr) -> Vec<u8> {
    format!("227 Entering Passive Mode ( {} ).\r\n", numbers(at).replace(',', ", ")).into_bytes()
}

/// Chinese text in GBK, which is not UTF-8 (进入被动模式).
pub fn pasv_in_gbk(at: SocketAddr) -> Vec<u8> {
    let text = b"\xbd\xf8\xc8\xeb\xb1\xbb\xb6\xaf\xc4\xa3\xca\xbd";
    [b"227 ", &text[..], format!(" ({})\r\n", numbers(at)).as_bytes()].concat()
}

/// The port is right, the host is another one: a NAT that nobody told, or an attack.
pub fn pasv_foreign_host(at: SocketAddr) -> Vec<u8> {
    let port = at.port();
    format!("227 Entering Passive Mode (127,0,0,2,{},{}).\r\n", port >> 8, port & 255).into_bytes()
}

/// The port is right, the host is `0.0.0.0`.
pub fn pasv_zero_host(at: SocketAddr) -> Vec<u8> {
    let port = at.port();
    format!("227 Entering Passive Mode (0,0,0,0,{},{}).\r\n", port >> 8, port & 255).into_bytes()
}

/// Numbers that are no address.
pub fn pasv_garbage(_: SocketAddr) -> Vec<u8> {
    b"227 Entering Passive Mode (999,1,2,3).\r\n".to_vec()
}

/// As RFC 2428 has it.
pub fn epsv(at: SocketAddr) -> Vec<u8> {
    format!("229 Entering Extended Passive Mode (|||{}|)\r\n", at.port()).into_bytes()
}

/// With another delimiter, which the RFC allows.
pub fn epsv_other_delimiter(at: SocketAddr) -> Vec<u8> {
    format!("229 Entering Extended Passive Mode (!!!{}!)\r\n", at.port()).into_bytes()
}

/// Without the brackets.
pub fn epsv_without_brackets(at: SocketAddr) -> Vec<u8> {
    format!("229 Entering Extended Passive Mode |||{}|\r\n", at.port()).into_bytes()
}

/// With the network and a foreign address filled in.
pub fn epsv_with_address(at: SocketAddr) -> Vec<u8> {
    format!("229 Entering Extended Passive Mode (|1|127.0.0.2|{}|)\r\n", at.port()).into_bytes()
}

/// A server that does not know the command.
pub fn refused(_: SocketAddr) -> Vec<u8> {
    b"500 Unknown command.\r\n".to_vec()
}

fn numbers(at: SocketAddr) -> String {
    let octets = match at.ip() {
        IpAddr::V4(v4) => v4.octets(),
        // PASV cannot name an IPv6 address; servers then say something useless
        IpAddr::V6(_) => [0, 0, 0, 0],
    };
    let port = at.port();
    format!("{},{},{},{},{},{}", octets[0], octets[1], octets[2], octets[3], port >> 8, port & 255)
}

/// Where the client listens, by PORT (`127,0,0,1,195,80`) or EPRT (`|2|::1|50000|`).
pub fn client_port(verb: &str, argument: &[u8]) -> Option<SocketAddr> {
    let text = std::str::from_utf8(argument).ok()?;
    if verb == "EPRT" {
        let parts: Vec<&str> = text.split('|').collect();
        return Some(SocketAddr::new(parts.get(2)?.parse().ok()?, parts.get(3)?.parse().ok()?));
    }
    let numbers: Vec<u8> = text.split(',').map(str::parse).collect::<Result<_, _>>().ok()?;
    let [a, b, c, d, high, low] = numbers.try_into().ok()?;
    Some(SocketAddr::new(IpAddr::from([a, b, c, d]), u16::from_be_bytes([high, low])))
}
