//! The host for the calls, against requests written by hand.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::support::notify::{Answer, NotifyStub};

const SOON: Duration = Duration::from_secs(5);

fn ask(stream: &mut TcpStream, target: &str) {
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream.write_all(format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).unwrap();
}

fn status(stream: &mut TcpStream) -> String {
    let mut answer = [0; 512];
    let bytes = stream.read(&mut answer).unwrap();
    String::from_utf8_lossy(&answer[..bytes]).split(' ').nth(1).unwrap_or_default().to_owned()
}

#[test]
fn it_remembers_calls_and_answers_as_told() {
    let stub = NotifyStub::start();
    stub.answer(Answer::Status(404));
    stub.answer_next([Answer::Status(503), Answer::Late(Duration::from_millis(20), 204)]);
    let mut stream = TcpStream::connect(stub.addr()).unwrap();
    for expected in ["503", "204", "404"] {
        ask(&mut stream, "/dls.php?x=1&file=%2Fomc01%2Fa%20b.zip");
        assert_eq!(status(&mut stream), expected);
    }
    assert_eq!(stub.files(), ["/omc01/a b.zip"; 3]);
    let calls = stub.calls();
    assert_eq!((calls[2].connection, calls[2].headers[0].as_str()), (1, "Host: x"));
    assert_eq!(calls[0].target, "/dls.php?x=1&file=%2Fomc01%2Fa%20b.zip");
}

#[test]
fn it_hangs_until_released_and_closes_when_told() {
    let stub = NotifyStub::start();
    stub.answer(Answer::Hang);
    let mut streams = [TcpStream::connect(stub.addr()).unwrap(), TcpStream::connect(stub.addr()).unwrap()];
    for stream in &mut streams {
        ask(stream, "/dls.php?file=a");
    }
    stub.wait_for(SOON, "both have come", |calls| calls.len() == 2);
    stub.release();
    for stream in &mut streams {
        assert_eq!(status(stream), "200");
    }
    assert_eq!(stub.max_under_way(), 2);
    stub.answer(Answer::Close);
    ask(&mut streams[0], "/dls.php?file=b");
    assert_eq!(status(&mut streams[0]), "");
    stub.go_down();
    let dropped = TcpStream::connect(stub.addr()).map(|mut stream| stream.read(&mut [0]).unwrap_or(0));
    assert_eq!(dropped.unwrap_or(0), 0, "nobody answers");
    stub.come_back();
    stub.answer(Answer::EndlessBody);
    let mut stream = TcpStream::connect(stub.addr()).unwrap();
    ask(&mut stream, "/dls.php?file=c");
    let mut body = vec![0; 1 << 20];
    stream.read_exact(&mut body).unwrap();
}
