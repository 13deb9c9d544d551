//! The answers to PASV and EPSV: the whole reply.

use mrosync::ftp::control::reply::Reply;

/// A port is one of the numbers in the reply, and never 0.
pub fn run(data: &[u8]) {
    let reply = Reply::from_body(data.to_vec());
    let text = String::from_utf8_lossy(reply.last_line()).into_owned();
    let numbers: Vec<&str> =
        text.split(|c: char| !c.is_ascii_digit()).filter(|part| !part.is_empty()).collect();
    let shown =
        |number: u16| numbers.iter().any(|digits| digits.trim_start_matches('0') == number.to_string());
    if let Some(port) = reply.epsv_port() {
        assert!(port > 0 && shown(port), "{port} of {reply:?}");
    }
    if let Some(port) = reply.pasv_port() {
        let [high, low] = port.to_be_bytes().map(u16::from);
        let zero = |number| number == 0;
        assert!(port > 0 && numbers.len() >= 6, "{port} of {reply:?}");
        assert!((zero(high) || shown(high)) && (zero(low) || shown(low)), "{port} of {reply:?}");
    }
}
