//! The real daemons come up, let the user in and serve. (Their TLS is tried by the program's own tests.)

use std::io::{ErrorKind, Read};

use crate::support::daemons::{Daemon, Kind, Options};
use crate::support::raw::RawClient;
use crate::support::wait::eventually;
use crate::support::zips::zip;

const KINDS: [Kind; 3] = [Kind::Vsftpd, Kind::Proftpd, Kind::PureFtpd];

#[test]
fn each_daemon_lists_and_sends_what_lies_in_its_directory() {
    for daemon in KINDS.into_iter().filter_map(|kind| Daemon::start(kind, &Options::default())) {
        let content = zip(1, 100_000);
        std::fs::create_dir(daemon.root.join("MR")).unwrap();
        std::fs::write(daemon.root.join("MR/a.zip"), &content).unwrap();
        let mut client = RawClient::log_in(daemon.addr, daemon.user, daemon.password);
        assert!(client.tell("CWD /MR").starts_with("250"), "{}", daemon.output());
        let (listing, _) = client.fetch("LIST").unwrap();
        assert!(String::from_utf8_lossy(&listing).contains(" a.zip\r\n"), "{}", daemon.output());
        assert_eq!(client.fetch("RETR /MR/a.zip").unwrap().0, content);
    }
}

#[test]
fn each_daemon_refuses_a_wrong_password() {
    for daemon in KINDS.into_iter().filter_map(|kind| Daemon::start(kind, &Options::default())) {
        let mut client = RawClient::connect(daemon.addr).unwrap();
        client.tell(format!("USER {}", daemon.user));
        assert!(client.tell("PASS wrong").starts_with("530"), "{}", daemon.output());
    }
}

#[test]
fn each_daemon_limits_its_clients() {
    let options = Options { max_clients: Some(1), ..Options::default() };
    for kind in KINDS {
        let Some(daemon) = Daemon::start(kind, &options) else { continue };
        // the session that waited for the greeting may not be gone yet
        let mut first = None;
        eventually(std::time::Duration::from_secs(5), "the one client is let in", || {
            first = RawClient::connect(daemon.addr).ok().filter(|client| client.greeting.starts_with("220"));
            first.is_some()
        });
        let mut first = first.unwrap();
        first.tell(format!("USER {}", daemon.user));
        assert!(first.tell(format!("PASS {}", daemon.password)).starts_with("230"), "{}", daemon.output());
        let mut second = RawClient::connect(daemon.addr).unwrap();
        if kind == Kind::Proftpd {
            second.tell(format!("USER {}", daemon.user));
            assert!(
                second.tell(format!("PASS {}", daemon.password)).starts_with("530"),
                "{}",
                daemon.output()
            );
        } else {
            assert!(second.greeting.starts_with("421"), "{}", second.greeting);
        }
    }
}

#[test]
fn pure_ftpd_truncates_listings_where_a_test_wants_it() {
    let options = Options { listing_limit: Some(3), ..Options::default() };
    let Some(daemon) = Daemon::start(Kind::PureFtpd, &options) else { return };
    for number in 0..5 {
        std::fs::write(daemon.root.join(format!("{number}.zip")), "x").unwrap();
    }
    let mut client = RawClient::log_in(daemon.addr, daemon.user, daemon.password);
    let (_, done) = client.fetch("LIST").unwrap();
    assert!(done.contains("Output truncated to 3 matches"), "{done}");
}

#[test]
fn the_end_of_a_daemon_ends_its_sessions() {
    for daemon in KINDS.into_iter().filter_map(|kind| Daemon::start(kind, &Options::default())) {
        let mut client = RawClient::log_in(daemon.addr, daemon.user, daemon.password);
        let mut data = client.open_data();
        drop(daemon);
        assert!(client.is_closed());
        let closed = data.read(&mut [0]);
        assert!(!matches!(closed, Err(ref error) if error.kind() == ErrorKind::WouldBlock), "{closed:?}");
    }
}
