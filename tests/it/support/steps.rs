//! What the tests of scanning do again and again: start the program on a server, wait for scans, look at the result.

use std::process::Output;
use std::time::Duration;

use serde_json::Value;

use super::scripted::{File, ScriptedServer};
use super::service::{Server, Service, Setup, Stream};

/// For what takes a moment: the machine may be slow, and everything else runs beside it.
pub const SOON: Duration = Duration::from_secs(60);

/// The program, not run yet, with `ftp` as its only server, `omc01`.
pub fn one(ftp: &ScriptedServer) -> Setup {
    with(ftp, &[])
}

/// The same with some of the server's keys set to TOML values.
pub fn with(ftp: &ScriptedServer, keys: &[(&str, &str)]) -> Setup {
    let server = Server::scripted("omc01", ftp);
    Setup::new().server(keys.iter().fold(server, |server, (key, value)| server.key(key, value)))
}

/// Starts the program with `--start`, and waits until it can be asked.
#[track_caller]
pub fn run(setup: Setup) -> Service {
    let service = setup.started().run();
    ready(&service);
    service
}

/// Waits until the program can be asked: its records and its control socket are there.
#[track_caller]
pub fn ready(service: &Service) {
    service.wait_line(Stream::Stderr, SOON, "it is ready", |line| line.contains("is ready"));
}

/// Waits until there are `count` records.
#[track_caller]
pub fn recorded(service: &Service, count: usize) {
    ready(service);
    service.wait_for(SOON, "all files are recorded", |service| service.records().len() == count);
}

/// Waits until `more` scans have begun and ended after now; each lists `/` once.
#[track_caller]
pub fn rescanned(ftp: &ScriptedServer, more: usize) {
    let before = ftp.listings("/");
    ftp.wait_for(SOON, "further scans", |journal| journal.listings_of("/") > before + more);
}

/// Scans of `omc01` that have ended.
#[track_caller]
pub fn scans(service: &Service) -> u64 {
    service.server_status("omc01")["scans"].as_u64().unwrap_or(0)
}

/// Waits until `more` scans have begun and ended after now, as the status counts them.
#[track_caller]
pub fn scanned(service: &Service, more: u64) {
    let before = scans(service);
    service.wait_for(SOON, "further scans", |service| scans(service) > before + more);
}

/// The status of `omc01` under this key.
#[track_caller]
pub fn shown(service: &Service, key: &str) -> Value {
    ready(service);
    service.server_status("omc01")[key].clone()
}

/// Waits until the status shows an error with these words, and returns it.
#[track_caller]
pub fn error_shown(service: &Service, words: &str) -> String {
    let error = |service: &Service| shown(service, "last_error").as_str().unwrap_or_default().to_owned();
    let what = format!("the status shows an error with '{words}'");
    service.wait_for(SOON, &what, |service| error(service).contains(words));
    error(service)
}

/// Waits until a scan went through without a fault.
#[track_caller]
pub fn faultless(service: &Service) {
    ready(service);
    service.wait_for(SOON, "a scan without a fault", |service| {
        let status = service.server_status("omc01");
        status["last_error"].is_null() && status["scans"].as_u64() > Some(0)
    });
}

/// The lines of the log with these words.
pub fn logged(service: &Service, words: &str) -> Vec<String> {
    service.lines(Stream::Stderr).into_iter().filter(|line| line.contains(words)).collect()
}

/// How many lines of the log have these words.
pub fn count_logged(service: &Service, words: &str) -> usize {
    logged(service, words).len()
}

/// The lines of the log of level warn and above.
pub fn warnings(service: &Service) -> Vec<String> {
    let lines = service.lines(Stream::Stderr).into_iter();
    lines.filter(|line| line.contains(" WARN ") || line.contains(" ERROR ")).collect()
}

/// A command ended with this status, and said this on either output.
#[track_caller]
pub fn says(output: &Output, status: i32, text: &str) {
    let said = [&output.stdout[..], &output.stderr[..]].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.code() == Some(status) && said.contains(text), "{text}: {output:?}");
}

/// The names of the mirrored files, below the root.
pub fn names(service: &Service) -> Vec<String> {
    service.mirrored().into_keys().collect()
}

/// The bytes of a mirrored file, by its path below the root.
#[track_caller]
pub fn content(service: &Service, path: &str) -> Vec<u8> {
    std::fs::read(service.root().join(path)).expect("a mirrored file")
}

/// Puts a file of some bytes in place.
pub fn put(ftp: &ScriptedServer, path: impl AsRef<[u8]>, bytes: impl Into<Vec<u8>>) {
    ftp.put(path, File::new(bytes));
}
