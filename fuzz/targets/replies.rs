//! Replies: a byte for the cuts, then what came on the control connection.

use mrosync::ftp::control::reply::{Features, Reply, ReplyFault, ReplyRepair};

use super::{choice, pieces};

/// Whatever comes, what is handed on are lines that suppaftp can read, and the cuts of the packets change nothing.
pub fn run(data: &[u8]) {
    let Some((cuts, bytes)) = choice(data) else { return };
    let (ready, fault) = repair([bytes]);
    let (pieced, fault_of_pieces) = repair(pieces(bytes, cuts));
    assert_eq!((&ready, fault), (&pieced, fault_of_pieces), "the cuts of the packets changed the replies");
    // a bare line feed gains a CR, a bare code a blank, and inner lines a blank in front
    assert!(ready.len() <= bytes.len() * 4);
    assert!(ready.is_empty() || ready.ends_with(b"\r\n"));
    if fault.is_none() {
        assert_eq!(repair([&ready[..]]), (ready.clone(), None), "repairing again changed the replies");
    }
    for reply in replies(&ready) {
        read(reply, &bytes[..bytes.len().min(8)]);
    }
    // what suppaftp hands back is not always what was repaired
    read(Reply::from_body(bytes.to_vec()), b"secret");
}

fn repair<'d>(pieces: impl IntoIterator<Item = &'d [u8]>) -> (Vec<u8>, Option<ReplyFault>) {
    let (mut repair, mut ready) = (ReplyRepair::default(), Vec::new());
    for piece in pieces {
        if let Err(fault) = repair.feed(piece, &mut ready) {
            return (ready, Some(fault));
        }
    }
    (ready, None)
}

/// The replies in repaired lines: each ends with a line that begins with its code and no `-` behind it.
fn replies(ready: &[u8]) -> Vec<Reply> {
    let (mut replies, mut body) = (Vec::new(), Vec::new());
    for line in ready.split_inclusive(|byte| *byte == b'\n') {
        body.extend_from_slice(line);
        if line.first().is_some_and(u8::is_ascii_digit) && line.get(3) != Some(&b'-') {
            replies.push(Reply::from_body(std::mem::take(&mut body)));
        }
    }
    for reply in &replies {
        assert!((100..700).contains(&reply.code), "{reply:?}");
        assert_ne!(reply.code, 120, "{reply:?}");
    }
    replies
}

/// All that is ever asked of a reply.
fn read(reply: Reply, secret: &[u8]) {
    assert!(reply.code < 1000);
    super::assert_harmless(&reply.to_string());
    assert!(reply.to_string().len() < 5000);
    assert!(reply.last_line().len() <= reply.body.len());
    let _ = (reply.size(), reply.is_done(), reply.is_preliminary(), reply.mentions("too many"));
    assert_eq!(Features::from_reply(&reply), Features::from_reply(&reply));
    let secret = secret.trim_ascii();
    let blotted = reply.without(secret);
    // stars may be put together from what was blotted out
    if !secret.is_empty() && !secret.contains(&b'*') {
        assert!(!blotted.body.windows(secret.len()).any(|window| window == secret), "{blotted:?}");
    }
}
