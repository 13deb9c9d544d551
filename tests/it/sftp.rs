//! SFTP servers as equals of FTP ones: against OpenSSH's daemon.

use std::time::Duration;

use crate::real_servers::put;
use crate::steps::ready;
use crate::support::service::{Service, Setup, Stream};
use crate::support::sshd::Sshd;
use crate::support::zips::zip;

const SOON: Duration = Duration::from_secs(60);

fn run(setup: Setup) -> Service {
    let service = setup.started().run();
    ready(&service);
    service
}

#[track_caller]
fn recorded(service: &Service, count: usize) {
    service.wait_for(SOON, "all files are recorded", |service| service.records().len() == count);
}

#[test]
fn a_tree_is_mirrored_with_empty_directories_and_what_comes_later() {
    let Some(sshd) = Sshd::start() else { return };
    for n in 0..10 {
        put(&sshd.root, format!("a/b{n}/{n}.zip"), &zip(n, 40_000));
    }
    put(&sshd.root, "big.ZIP", &zip(11, 3_000_000));
    put(&sshd.root, "empty/nothing.txt", b"x");
    let service = run(Setup::new().server(sshd.server("omc01")));
    recorded(&service, 11);
    assert!(service.root().join(sshd.mirrored("omc01", "empty")).is_dir());
    let local = std::fs::read(service.root().join(sshd.mirrored("omc01", "big.ZIP"))).unwrap();
    assert!(local == zip(11, 3_000_000));
    put(&sshd.root, "later/new.zip", &zip(99, 5_000));
    recorded(&service, 12);
    assert!(service.mirrored().keys().all(|path| path.to_lowercase().ends_with(".zip")));
    let lines = service.lines(Stream::Stderr);
    let mirroring = lines.iter().filter(|line| !line.contains("[notify::"));
    assert_eq!(mirroring.filter(|line| line.contains("WARN")).count(), 0, "{lines:#?}");
}
