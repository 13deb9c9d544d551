//! What an SFTP server sends on its channel, however it is cut.

use bytes::BytesMut;
use mrosync::protocol::Kind;
use mrosync::sftp::packet::{Packet, Reply, Seen, take_packet};

/// Cuts change nothing, no answer holds more than came, what is said can be shown, and a link has no size.
pub fn run(data: &[u8]) {
    let Some((seed, data)) = super::choice(data) else { return };
    let whole = packets(&[data]);
    assert_eq!(packets(&super::pieces(data, seed)), whole);
    for packet in whole.into_iter().flatten() {
        match packet.reply() {
            Ok((_, Reply::Status { text, .. })) => super::assert_harmless(&text),
            Ok((_, Reply::Handle(bytes) | Reply::Data(bytes))) => assert!(bytes.len() < data.len()),
            Ok((_, Reply::Names(mut names))) => {
                let mut length = 0;
                while let Ok(Some(name)) = names.take_next() {
                    length += name.name.len() + name.long.len();
                    let kind = match name.seen() {
                        Seen::Is(kind) => Some(kind),
                        Seen::Special | Seen::Untold => None,
                    };
                    assert!(kind == Some(Kind::File) || name.facts(kind).size.is_none(), "{name:?}");
                }
                assert!(length < data.len());
            }
            Ok((_, Reply::Attributes(_))) | Err(_) => {}
        }
    }
}

/// The packets of these pieces, and at their end what was wrong, if anything.
fn packets(pieces: &[&[u8]]) -> Vec<Result<Packet, &'static str>> {
    let (mut bytes, mut packets) = (BytesMut::new(), Vec::new());
    for piece in pieces {
        bytes.extend_from_slice(piece);
        loop {
            match take_packet(&mut bytes) {
                Ok(Some(packet)) => packets.push(Ok(packet)),
                Ok(None) => break,
                Err(what) => {
                    packets.push(Err(what));
                    return packets;
                }
            }
        }
    }
    packets
}
