//! The host that the programs announce their files to: it answers 200 and notes when which file was announced.
//!
//! `GET /count` answers `{calls} {unix time of the last one}`, `GET /calls` a line `{unix time} {target}` for each,
//! `GET /reset` forgets them.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Result, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

type Calls = Arc<Mutex<Vec<(f64, String)>>>;

/// Serves until it is killed.
pub fn serve(address: &str) -> Result<()> {
    let listener = TcpListener::bind(address)?;
    let calls = Calls::default();
    loop {
        // a client that went away costs its own connection alone
        if let Ok((stream, _)) = listener.accept() {
            let calls = calls.clone();
            std::thread::spawn(move || answer_all(&stream, &calls));
        }
    }
}

fn answer_all(stream: &TcpStream, calls: &Calls) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    while let Some(target) = read_request(&mut reader)? {
        let body = answer(target, calls);
        let mut writer = stream;
        writer.write_all(
            format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).as_bytes(),
        )?;
    }
    Ok(())
}

/// The target of the next request, none at the end of the connection.
fn read_request(reader: &mut impl BufRead) -> Result<Option<String>> {
    let mut first = String::new();
    if reader.read_line(&mut first)? == 0 {
        return Ok(None);
    }
    let mut header = String::new();
    while reader.read_line(&mut header)? > 2 {
        header.clear();
    }
    Ok(first.split(' ').nth(1).map(str::to_owned))
}

fn answer(target: String, calls: &Calls) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    let mut calls = calls.lock().unwrap_or_else(PoisonError::into_inner);
    match target.as_str() {
        "/count" => format!("{} {:.6}", calls.len(), calls.last().map_or(0.0, |call| call.0)),
        "/calls" => calls.iter().fold(String::new(), |mut lines, (time, target)| {
            // to a string this cannot fail
            writeln!(lines, "{time:.6} {target}").ok();
            lines
        }),
        "/reset" => {
            calls.clear();
            String::new()
        }
        _ => {
            calls.push((now, target));
            String::new()
        }
    }
}
