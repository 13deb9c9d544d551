//! The program against the FTP daemons that people run.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use crate::support::certificates::Certificate;
use crate::support::daemons::{Daemon, Kind, Options, Tls};
use crate::support::service::{Server, Service, Setup, Stream};
use crate::support::zips::zip;

/// TLS and slow password hashes take their time when everything runs at once.
const SOON: Duration = Duration::from_secs(60);

fn put(root: &Path, path: impl AsRef<std::ffi::OsStr>, content: &[u8]) {
    let path = root.join(path.as_ref());
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    for directory in path.ancestors().skip(1).take_while(|directory| directory.starts_with(root)) {
        std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    std::fs::write(&path, content).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
}

fn run(setup: Setup) -> Service {
    let service = setup.started().run();
    service.wait_line(Stream::Stderr, SOON, "it is ready", |line| line.contains("is ready"));
    service
}

fn recorded(service: &Service, count: usize) {
    service.wait_for(SOON, "all files are recorded", |service| service.records().len() == count);
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
fn a_server_without_tls_gets_no_password_where_tls_is_asked_for() {
    let Some(daemon) = Daemon::start(Kind::Vsftpd, &Options::default()) else { return };
    let server = Server::at("omc01", daemon.addr).key("tls", "'explicit'").key("user", "'anonymous'");
    let service = run(Setup::new().server(server));
    service
        .wait_for(SOON, "it is refused", |service| service.server_status("omc01")["state"] == "unreachable");
    assert!(!daemon.output().contains("PASS"), "{}", daemon.output());
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
