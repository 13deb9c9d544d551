//! The program against the FTP daemons that people run.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::certificates::Certificate;
use crate::support::daemons::{Daemon, Kind, Options, Tls};
use crate::support::net::{Acceptor, Connection, calm};
use crate::support::processes;
use crate::support::raw::RawClient;
use crate::support::service::{Server, Service, Setup, Stream};
use crate::support::steps::{SOON, recorded, run};
use crate::support::wait::{eventually, obtain};
use crate::support::zips::{sized, zip};

/// Thousands of files on a machine that does other things too.
const MANY: Duration = Duration::from_secs(180);

const KINDS: [Kind; 3] = [Kind::Vsftpd, Kind::Proftpd, Kind::PureFtpd];

/// Stands before a daemon and reads what clients say on control connections.
pub struct Tap {
    acceptor: Acceptor,
    said: Arc<Mutex<Vec<u8>>>,
}

impl Tap {
    /// A tap before the server at `addr`.
    pub fn before(addr: SocketAddr) -> Self {
        let said = Arc::new(Mutex::default());
        let acceptor = Acceptor::start(IpAddr::V4(Ipv4Addr::LOCALHOST), {
            let said = Arc::clone(&said);
            move |connection| relay(&connection, addr, &said).unwrap_or_default()
        });
        Self { acceptor, said }
    }

    /// Where clients have to go.
    pub fn addr(&self) -> SocketAddr {
        self.acceptor.addr()
    }

    /// All commands so far.
    pub fn commands(&self) -> Vec<String> {
        let said = calm(self.said.lock());
        said.split(|byte| *byte == b'\n')
            .map(|line| String::from_utf8_lossy(line).trim_end().to_owned())
            .collect()
    }

    fn of(&self, server: Server) -> Server {
        server.key("port", &self.addr().port().to_string())
    }
}

fn relay(connection: &Connection, addr: SocketAddr, said: &Mutex<Vec<u8>>) -> std::io::Result<()> {
    let (client, server) = (Arc::clone(&connection.stream), Arc::new(TcpStream::connect(addr)?));
    connection.gate.adopt(connection.id, &server);
    let back = std::thread::spawn({
        let (client, server) = (Arc::clone(&client), Arc::clone(&server));
        move || {
            std::io::copy(&mut server.as_ref(), &mut client.as_ref()).ok();
            client.shutdown(Shutdown::Both).ok();
        }
    });
    let mut bytes = [0; 4096];
    while let Ok(count @ 1..) = client.as_ref().read(&mut bytes) {
        calm(said.lock()).extend_from_slice(&bytes[..count]);
        server.as_ref().write_all(&bytes[..count])?;
    }
    server.shutdown(Shutdown::Both).ok();
    back.join().ok();
    Ok(())
}

pub fn put(root: &Path, path: impl AsRef<std::ffi::OsStr>, content: &[u8]) {
    let path = root.join(path.as_ref());
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    for directory in path.ancestors().skip(1).take_while(|directory| directory.starts_with(root)) {
        std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    std::fs::write(&path, content).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
}

/// Mirrors a small tree with nasty names, then a file and a directory that come later.
fn collects(kind: Kind, options: &Options, tls: Tls) {
    let Some(daemon) = Daemon::start(kind, options) else { return };
    let names: [&[u8]; 6] =
        [b"plain.zip", b"with blank.zip", b"a[1].zip", b"-la.zip", b"\xd6\xd0\xce\xc4.zip", b" lead.zip"];
    for (n, name) in names.iter().enumerate() {
        let path = [b"d[1]/", *name].concat();
        put(&daemon.root, std::ffi::OsStr::from_bytes(&path), &zip(n as u64, 20_000));
    }
    (0..40).for_each(|n| put(&daemon.root, format!("many/{}/{n}.zip", n % 4), &zip(n, 3_000)));
    let server = Server::daemon("omc01", &daemon, tls).key("encoding", "'gbk'").key("timeout", "'20s'");
    let service = run(Setup::new().server(server));
    recorded(&service, 46);
    assert_eq!(service.mirrored()["omc01/d[1]/中文.zip"], zip(4, 20_000).len() as u64);
    assert!(service.mirrored().contains_key("omc01/d[1]/ lead.zip"));
    let local = std::fs::read(service.root().join("omc01/d[1]/a[1].zip")).unwrap();
    assert_eq!(local, zip(2, 20_000));
    put(&daemon.root, "later/new.zip", &zip(99, 5_000));
    recorded(&service, 47);
    service.wait_for(SOON, "a scan without a fault", |service| {
        service.server_status("omc01")["last_error"].is_null() && service.partial().is_empty()
    });
}

#[test]
fn vsftpd_is_collected_from() {
    collects(Kind::Vsftpd, &Options::default(), Tls::Off);
}

#[test]
fn proftpd_is_collected_from() {
    collects(Kind::Proftpd, &Options::default(), Tls::Off);
}

#[test]
fn pure_ftpd_is_collected_from() {
    collects(Kind::PureFtpd, &Options::default(), Tls::Off);
}

#[test]
fn vsftpd_with_tls_that_demands_session_reuse_is_collected_from() {
    for tls in [Tls::Explicit, Tls::Implicit] {
        collects(Kind::Vsftpd, &Options { tls, require_session_reuse: true, ..Options::default() }, tls);
    }
}

#[test]
fn proftpd_with_tls_that_demands_session_reuse_is_collected_from() {
    for tls12_only in [false, true] {
        let options =
            Options { tls: Tls::Explicit, require_session_reuse: true, tls12_only, ..Options::default() };
        collects(Kind::Proftpd, &options, Tls::Explicit);
    }
}

#[test]
fn pure_ftpd_with_tls_is_collected_from() {
    collects(Kind::PureFtpd, &Options { tls: Tls::Explicit, ..Options::default() }, Tls::Explicit);
}

#[test]
fn a_self_signed_certificate_is_trusted_when_it_is_named_and_refused_else() {
    let options = Options { tls: Tls::Explicit, certificate: Certificate::SelfSigned, ..Options::default() };
    collects(Kind::Vsftpd, &options, Tls::Explicit);
    let Some(daemon) = Daemon::start(Kind::Vsftpd, &options) else { return };
    let server = Server::at("omc01", daemon.addr).key("tls", "'explicit'").key("user", "'anonymous'");
    let service = run(Setup::new().server(server));
    service.wait_for(SOON, "the certificate is refused", |service| {
        let status = service.server_status("omc01");
        status["state"] == "unreachable"
            && status["last_error"].as_str().is_some_and(|text| text.contains("TLS"))
    });
}

#[test]
fn a_certificate_of_an_unknown_authority_is_refused_with_a_reason_and_nothing_is_sent_in_it() {
    let options = Options { tls: Tls::Explicit, ..Options::default() };
    let (Some(daemon), Some(other)) =
        (Daemon::start(Kind::Vsftpd, &options), Daemon::start(Kind::Vsftpd, &options))
    else {
        return;
    };
    put(&daemon.root, "a.zip", &zip(1, 1000));
    let tap = Tap::before(daemon.addr);
    // the authority of another one: both are called "test authority"
    let trust = format!("'{}'", other.trust.display());
    let server = tap.of(Server::daemon("omc01", &daemon, Tls::Explicit)).key("tls_ca_file", &trust);
    let setup = Setup::new().server(server);
    let check = setup.command(&["check"]).output().unwrap();
    assert_eq!(check.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&check.stdout).contains("certificate"), "{check:?}");
    let service = run(setup);
    service.wait_for(SOON, "the certificate is refused", |service| {
        let status = service.server_status("omc01");
        let error = status["last_error"].as_str().unwrap_or_default().to_owned();
        status["state"] == "unreachable" && error.contains("certificate")
    });
    let plain = tap.commands();
    assert!(!plain.iter().any(|line| line.starts_with("USER") || line.starts_with("PASS")), "{plain:?}");
    assert!(service.mirrored().is_empty());
}

#[test]
fn a_certificate_as_boxes_have_it_is_trusted_when_it_is_pinned() {
    for tls in [Tls::Explicit, Tls::Implicit] {
        let options = Options { tls, certificate: Certificate::Boxed, ..Options::default() };
        let Some(daemon) = Daemon::start(Kind::Proftpd, &options) else { return };
        put(&daemon.root, "a.zip", &zip(1, 1000));
        recorded(&run(Setup::new().server(Server::daemon("omc01", &daemon, tls))), 1);
    }
}

/// interface 6.3
#[test]
fn a_server_without_tls_gets_no_password_where_tls_is_asked_for() {
    for daemon in KINDS.into_iter().filter_map(|kind| Daemon::start(kind, &Options::default())) {
        put(&daemon.root, "a.zip", &zip(1, 1000));
        let tap = Tap::before(daemon.addr);
        let server = tap.of(Server::daemon("omc01", &daemon, Tls::Off)).key("tls", "'explicit'");
        let service = run(Setup::new().server(server));
        service.wait_for(SOON, "it is refused", |service| {
            let status = service.server_status("omc01");
            let error = status["last_error"].as_str().unwrap_or_default().to_owned();
            status["state"] == "unreachable" && error.contains("TLS")
        });
        let said = tap.commands();
        assert!(said.iter().any(|line| line == "AUTH TLS"), "{said:?}");
        assert!(!said.iter().any(|line| line.starts_with("USER") || line.starts_with("PASS")), "{said:?}");
        assert!(service.mirrored().is_empty());
    }
}

#[test]
fn both_listing_commands_show_the_same_files() {
    for kind in [Kind::Proftpd, Kind::PureFtpd] {
        let Some(daemon) = Daemon::start(kind, &Options::default()) else { return };
        (0..20)
            .for_each(|n| put(&daemon.root, format!("d {}/[{n}] a.zip", n % 3), &zip(n, 1000 + n as usize)));
        std::fs::create_dir(daemon.root.join("empty")).unwrap();
        let mirrored: Vec<_> = ["mlsd", "list"]
            .into_iter()
            .map(|command| {
                let tap = Tap::before(daemon.addr);
                let server = tap.of(Server::daemon("omc01", &daemon, Tls::Off));
                let service = run(Setup::new().server(server.key("listing", &format!("'{command}'"))));
                recorded(&service, 20);
                service
                    .wait_for(SOON, "the empty one", |service| service.root().join("omc01/empty").is_dir());
                let (mlsd, list) = (command == "mlsd", command == "list");
                let said = tap.commands();
                assert_eq!(said.iter().any(|line| line.starts_with("MLSD")), mlsd, "{kind:?} {said:?}");
                assert_eq!(said.iter().any(|line| line.starts_with("LIST")), list, "{kind:?} {said:?}");
                service.mirrored()
            })
            .collect();
        assert_eq!(mirrored[0], mirrored[1], "{kind:?}");
    }
}

/// Many files in 40 directories, then some more.
fn collects_many(kind: Kind, options: &Options, tls: Tls, count: u64) {
    let Some(daemon) = Daemon::start(kind, options) else { return };
    let name = |n: u64| format!("MR/{:02}/{n}.zip", n % 40);
    (0..count).for_each(|n| put(&daemon.root, name(n), &zip(n, 500 + n as usize)));
    let server = Server::daemon("omc01", &daemon, tls).key("timeout", "'20s'");
    let service = run(Setup::new().server(server));
    service.wait_for(MANY, "all files are recorded", |service| {
        service.server_status("omc01")["files_downloaded"] == count
    });
    recorded(&service, count as usize);
    assert_eq!(service.mirrored().len(), count as usize);
    for n in 0..count {
        let local = std::fs::read(service.root().join("omc01").join(name(n))).unwrap();
        assert!(local == zip(n, 500 + n as usize), "{}", name(n));
    }
    // what comes later is there within an interval, which a daemon on a loaded machine may stretch
    let before = service.server_status("omc01")["scans"].as_u64().unwrap();
    put(&daemon.root, "MR/41/new.zip", &zip(1, 500));
    put(&daemon.root, "MR/05/new.zip", &zip(2, 500));
    std::fs::create_dir(daemon.root.join("MR/42")).unwrap();
    service.wait_for(SOON, "two further scans", |service| {
        service.server_status("omc01")["scans"].as_u64().unwrap() >= before + 2
    });
    recorded(&service, count as usize + 2);
    assert!(service.root().join("omc01/MR/42").is_dir());
    assert!(service.server_status("omc01")["last_error"].is_null(), "{}", service.server_status("omc01"));
}

#[test]
fn two_thousand_small_files_of_vsftpd_are_complete_and_the_same() {
    collects_many(Kind::Vsftpd, &Options::default(), Tls::Off, 2000);
}

#[test]
fn many_small_files_of_proftpd_are_complete_and_the_same() {
    collects_many(Kind::Proftpd, &Options::default(), Tls::Off, 400);
}

#[test]
fn many_small_files_of_pure_ftpd_are_complete_and_the_same() {
    collects_many(Kind::PureFtpd, &Options::default(), Tls::Off, 800);
}

#[test]
fn many_small_files_of_proftpd_by_resumed_tls_sessions_are_complete_and_the_same() {
    let options = Options { tls: Tls::Explicit, require_session_reuse: true, ..Options::default() };
    collects_many(Kind::Proftpd, &options, Tls::Explicit, 400);
}

/// Makes vsftpd send no faster than this from the next session on.
fn throttle_vsftpd(daemon: &Daemon, bytes_per_second: u32) {
    let configuration = daemon.root.parent().unwrap().join("vsftpd.conf");
    let text = std::fs::read_to_string(&configuration).unwrap();
    let log = configuration.with_file_name("protocol.log");
    let more = format!(
        "anon_max_rate={bytes_per_second}\nxferlog_enable=YES\nxferlog_std_format=NO\nvsftpd_log_file={}\n",
        log.display()
    );
    std::fs::write(&configuration, text + &more).unwrap();
    let listener = obtain(SOON, "the daemon's process", || {
        let pids = std::fs::read_dir("/proc").unwrap().flatten();
        let mut pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        let wanted = configuration.as_os_str().as_bytes();
        pids.find(|pid| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.split(|byte| *byte == 0).any(|word| word == wanted)
        })
    });
    processes::end(&[listener], Signal::HUP);
    eventually(SOON, "it has read its configuration again", || {
        RawClient::connect(daemon.addr).is_ok() && std::fs::metadata(&log).is_ok_and(|log| log.len() > 0)
    });
}

/// Stops in the midst of a slow transfer, and goes on where it was.
fn resumes(daemon: &Daemon) {
    let whole = sized(1, 3_000_000);
    put(&daemon.root, "big.zip", &whole);
    let tap = Tap::before(daemon.addr);
    let server = tap.of(Server::daemon("omc01", daemon, Tls::Off)).key("timeout", "'20s'");
    let mut service = run(Setup::new().server(server));
    let half = |service: &Service| service.partial().values().any(|size| *size > 500_000);
    service.wait_for(SOON, "a part of it", half);
    let asked = Instant::now();
    assert!(service.command("stop").starts_with("ok"));
    assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
    assert!(half(&service), "it is kept");
    assert!(service.mirrored().is_empty());
    assert!(service.command("start").starts_with("ok"));
    recorded(&service, 1);
    assert!(std::fs::read(service.root().join("omc01/big.zip")).unwrap() == whole);
    let said = tap.commands();
    let offsets: Vec<u64> = said
        .iter()
        .filter_map(|line| line.strip_prefix("REST ")?.parse().ok())
        .filter(|at| *at > 0)
        .collect();
    assert!(offsets.iter().any(|at| *at > 400_000), "it did not go on where it was: {said:?}");
}

#[test]
fn a_slow_transfer_from_vsftpd_is_resumed_after_a_stop() {
    let Some(daemon) = Daemon::start(Kind::Vsftpd, &Options::default()) else { return };
    throttle_vsftpd(&daemon, 1_000_000);
    resumes(&daemon);
}

#[test]
fn a_slow_transfer_from_proftpd_is_resumed_after_a_stop() {
    let Some(daemon) = Daemon::start(Kind::Proftpd, &Options::default()) else { return };
    put(&daemon.root, ".ftpaccess", b"TransferRate RETR 1000\n");
    resumes(&daemon);
}

/// A process that writes a file in twelve pieces, a moment between them, and renames it where `done` is given.
fn upload(from: &Path, to: &Path, done: Option<&Path>) -> std::process::Child {
    let script = r#"
        size=$(stat -c %s "$1"); piece=$((size / 12 + 1)); n=0
        while [ $((n * piece)) -lt "$size" ]; do
            tail -c +$((n * piece + 1)) "$1" | head -c "$piece" >> "$2"
            n=$((n + 1)); sleep 0.3
        done
        if [ -n "$3" ]; then mv "$2" "$3"; fi
    "#;
    std::process::Command::new("sh")
        .args(["-c", script, "upload"])
        .args([from, to, done.unwrap_or(Path::new(""))])
        .spawn()
        .expect("a shell")
}

#[test]
fn slow_uploads_to_vsftpd_end_whole_written_in_place_or_renamed_or_over_another() {
    let Some(daemon) = Daemon::start(Kind::Vsftpd, &Options::default()) else { return };
    let (whole, other) = (zip(1, 600_000), zip(2, 400_000));
    let elsewhere = tempfile::tempdir().unwrap();
    let source = elsewhere.path().join("whole");
    std::fs::write(&source, &whole).unwrap();
    let at = |name: &str| daemon.root.join("up").join(name);
    put(&daemon.root, "up/cut.zip", &other[..300_000]);
    put(&daemon.root, "up/over.zip", &other[..300_000]);
    let service = run(Setup::new().server(Server::daemon("omc01", &daemon, Tls::Off)));
    service.wait_for(SOON, "two are incomplete", |service| {
        service.server_status("omc01")["incomplete_files"] == 2
    });
    let uploads = [
        upload(&source, &at("in-place.zip"), None),
        upload(&source, &at("tmp.zip.tmp"), Some(&at("renamed.zip"))),
        upload(&source, &at("over.zip.part"), Some(&at("over.zip"))),
    ];
    service.wait_for(SOON, "the uploads are fetched", |service| {
        let taken = service.mirrored();
        assert!(taken.values().all(|size| *size == whole.len() as u64), "{taken:?}");
        taken.len() == 3
    });
    for mut upload in uploads {
        assert!(upload.wait().unwrap().success());
    }
    let told = service.lines(Stream::Stderr);
    assert!(
        told.iter().any(|line| line.contains("in-place.zip") && line.contains("has no end")),
        "{told:#?}"
    );
    for name in ["in-place", "renamed", "over"] {
        let local = std::fs::read(service.root().join(format!("omc01/up/{name}.zip"))).unwrap();
        assert!(local == whole, "{name}");
    }
    service.wait_for(SOON, "one is left", |service| service.server_status("omc01")["incomplete_files"] == 1);
    let status = service.server_status("omc01");
    assert_eq!(status["changed_files"], 0, "{status}");
    assert_eq!(status["incomplete"][0]["path"], "/up/cut.zip");
}

#[test]
fn a_listing_that_pure_ftpd_cuts_is_reported() {
    let options = Options { listing_limit: Some(20), ..Options::default() };
    let Some(daemon) = Daemon::start(Kind::PureFtpd, &options) else { return };
    (0..30).for_each(|n| put(&daemon.root, format!("{n}.zip"), &zip(n, 500)));
    let service = run(Setup::new().server(Server::daemon("omc01", &daemon, Tls::Off)));
    service.wait_for(SOON, "the cut is shown", |service| {
        let status = service.server_status("omc01");
        status["last_error"].as_str().is_some_and(|text| text.contains("truncated"))
    });
    service.wait_for(SOON, "what is shown is fetched", |service| service.records().len() >= 15);
}
