//! SFTP servers as equals of FTP ones: against OpenSSH's daemon.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use crate::real_servers::put;
use crate::support::service::{Setup, Stream};
use crate::support::sshd::Sshd;
use crate::support::steps::{SOON, logged, ready, recorded, run};
use crate::support::zips::zip;

/// interface 5.21
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

/// interface 10.25
#[test]
fn links_to_zips_are_files_and_links_to_directories_are_not_followed() {
    let Some(sshd) = Sshd::start() else { return };
    put(&sshd.root, "real/a.zip", &zip(1, 30_000));
    put(&sshd.root, "there/plain.zip", &zip(2, 1_000));
    let link = |to: &str, name: &str| std::os::unix::fs::symlink(to, sshd.root.join(name)).unwrap();
    link("real/a.zip", "link.zip");
    link("real", "directory");
    link("..", "loop");
    link("real", "no-file.zip");
    link("nowhere", "dangling.zip");
    let service = run(Setup::new().server(sshd.server("omc01")));
    recorded(&service, 3);
    service.wait_for(SOON, "two are tried in vain", |service| {
        service.server_status("omc01")["incomplete_files"] == 2
    });
    let local = std::fs::read(service.root().join(sshd.mirrored("omc01", "link.zip"))).unwrap();
    assert!(local == zip(1, 30_000));
    let names: Vec<String> = service.mirrored().into_keys().collect();
    let expected = ["link.zip", "real/a.zip", "there/plain.zip"].map(|path| sshd.mirrored("omc01", path));
    assert_eq!(names, expected);
    for name in ["directory", "loop"] {
        assert!(!service.root().join(sshd.mirrored("omc01", name)).try_exists().unwrap(), "{name}");
    }
    // it is tried again later, and not complained of again
    let warn_once = logged(&service, "it is no file");
    assert_eq!(warn_once.iter().filter(|line| line.contains("WARN")).count(), 1, "{warn_once:?}");
}

#[test]
fn names_are_bytes_in_the_servers_encoding() {
    let Some(sshd) = Sshd::start() else { return };
    let names: [&[u8]; 6] =
        [b"with blank.zip", b"a[1].zip", b"-la.zip", b"\xd6\xd0\xce\xc4.zip", b"\xff.zip", b" lead.zip"];
    for (n, name) in names.iter().enumerate() {
        put(&sshd.root, OsStr::from_bytes(&[b"d[1]/", *name].concat()), &zip(n as u64, 20_000));
    }
    let service = run(Setup::new().server(sshd.server("omc01").key("encoding", "'gbk'")));
    recorded(&service, 6);
    let mirrored = service.mirrored();
    for name in ["with blank.zip", "a[1].zip", "-la.zip", "中文.zip", "%FF.zip", " lead.zip"] {
        assert!(mirrored.contains_key(&sshd.mirrored("omc01", &format!("d[1]/{name}"))), "{name}");
    }
}

/// interface 5.22
#[test]
fn a_host_key_that_nobody_vouches_for_is_refused_with_what_to_write() {
    let Some(sshd) = Sshd::start() else { return };
    put(&sshd.root, "1.zip", &zip(1, 1000));
    let other = "SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let stranger = sshd.server("stranger").without("host_key");
    let wrong = sshd.server("wrong").key("host_key", &format!("'{other}'"));
    let either = sshd.server("either").key("host_key", &format!("['{other}', '{}']", sshd.fingerprint));
    let setup = Setup::new().server(stranger).server(wrong).server(either);
    let output = setup.command(&["check"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = |words: &str| text.lines().find(|line| line.contains(words)).unwrap().to_owned();
    let hint = format!("write host_key = \"{}\"", sshd.fingerprint);
    for (server, why) in [("server stranger", "unknown host key"), ("server wrong", "wrong host key")] {
        let line = line(server);
        assert!(line.starts_with("failed") && line.contains(why) && line.contains(&hint), "{line}");
    }
    assert!(line("server either").starts_with("ok"), "{text}");
    let service = run(setup);
    recorded(&service, 1);
    for name in ["stranger", "wrong"] {
        service.wait_for(SOON, name, |service| service.server_status(name)["state"] == "unreachable");
    }
    assert_eq!(service.records()[0]["server"], "either");
    assert!(!sshd.output().contains("Failed publickey"), "no key was shown to a stranger");
}

/// interface 5.22
#[test]
fn known_hosts_are_read_as_openssh_writes_them_and_what_is_revoked_is_refused() {
    let Some(sshd) = Sshd::start() else { return };
    put(&sshd.root, "1.zip", &zip(1, 1000));
    let setup = Setup::new();
    let file = setup.directory().join("known_hosts");
    let (key, host) = (&sshd.public_key, format!("[127.0.0.1]:{}", sshd.addr.port()));
    std::fs::write(&file, format!("# comment\nother {key}\n{host} {key}\n")).unwrap();
    let server = sshd.server("omc01").without("host_key");
    let service = run(setup.server(server.key("known_hosts_file", &format!("'{}'", file.display()))));
    recorded(&service, 1);
    std::fs::write(&file, format!("{host} {key}\n@revoked * {key}\n")).unwrap();
    sshd.end_sessions();
    service.wait_for(SOON, "the status shows it", |service| {
        let error = service.server_status("omc01")["last_error"].clone();
        error.as_str().is_some_and(|error| error.contains("revokes"))
    });
}

#[test]
fn an_encrypted_key_is_opened_with_its_passphrase_which_is_shown_nowhere() {
    let Some(sshd) = Sshd::start() else { return };
    put(&sshd.root, "1.zip", &zip(1, 1000));
    sshd.encrypt_key("geheim");
    let setup = || Setup::new().env("PHRASE", "geheim").env("WRONG", "falsch");
    for (key, fault) in [("", "is encrypted"), ("WRONG", "that this passphrase opens")] {
        let server = sshd.server("omc01");
        let server = if key.is_empty() { server } else { server.key("passphrase_env", &format!("'{key}'")) };
        let output = setup().server(server).command(&["check"]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(
            text.contains("private_key_file") && text.contains(fault) && !text.contains("falsch"),
            "{text}"
        );
    }
    let service = run(setup().server(sshd.server("omc01").key("passphrase_env", "'PHRASE'")));
    recorded(&service, 1);
    assert_eq!(logged(&service, "geheim"), [""; 0]);
}

/// interface 5.8
#[test]
fn a_server_that_has_only_what_is_weak_is_spoken_to_on_request_alone() {
    let lines = "KexAlgorithms diffie-hellman-group14-sha1\nCiphers aes128-cbc\nMACs hmac-sha1\n";
    let Some(sshd) = Sshd::start_with(lines) else { return };
    put(&sshd.root, "1.zip", &zip(1, 1000));
    let old = sshd.server("old").key("old_algorithms", "true");
    let service = run(Setup::new().server(sshd.server("omc01")).server(old));
    recorded(&service, 1);
    assert_eq!(service.records()[0]["server"], "old");
    let error = service.server_status("omc01")["last_error"].as_str().unwrap().to_owned();
    assert!(error.contains("diffie-hellman-group14-sha1; old_algorithms = true"), "{error}");
}

#[test]
fn killed_again_and_again_it_ends_with_all_files_once() {
    let Some(sshd) = Sshd::start() else { return };
    (0..60).for_each(|n| put(&sshd.root, format!("{}/{n}.zip", n % 6), &zip(n, 100_000)));
    let mut service = run(Setup::new().server(sshd.server("omc01")));
    for round in 1..=6 {
        service.wait_for(SOON, "some more of it", |service| service.mirrored().len() >= round * 8);
        service.restart();
        ready(&service);
    }
    recorded(&service, 60);
    for n in 0..60 {
        let path = sshd.mirrored("omc01", &format!("{}/{n}.zip", n % 6));
        assert!(std::fs::read(service.root().join(&path)).unwrap() == zip(n, 100_000), "{path}");
    }
    service.wait_for(SOON, "nothing is left half done", |service| service.partial().is_empty());
}

#[test]
fn a_transfer_outlives_a_change_of_keys() {
    let Some(sshd) = Sshd::start_with("RekeyLimit 512K\n") else { return };
    put(&sshd.root, "1.zip", &zip(1, 5_000_000));
    let service = run(Setup::new().server(sshd.server("omc01")));
    recorded(&service, 1);
    assert!(
        std::fs::read(service.root().join(sshd.mirrored("omc01", "1.zip"))).unwrap() == zip(1, 5_000_000)
    );
    assert_eq!(logged(&service, "trying again"), [""; 0]);
}
