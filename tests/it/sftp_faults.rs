//! SFTP servers that log in differently, answer oddly, or not at all.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use crate::support::notify::NotifyStub;
use crate::support::service::{Server, Service, Setup, Stream};
use crate::support::sftp::{DIRECTORY, FILE, LINK, OPEN, READ, READ_DIRECTORY, SftpServer};
use crate::support::steps::{SOON, content, error_shown, logged, ready, recorded, run};
use crate::support::unftp::Unftp;
use crate::support::wait::eventually;
use crate::support::zips::zip;

#[track_caller]
fn stops_in_time(service: &mut Service) {
    let asked = Instant::now();
    assert!(service.command("stop").starts_with("ok"));
    assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
}

#[test]
fn a_password_logs_in_whether_it_is_taken_or_asked_for() {
    for asks in [false, true] {
        let sftp = SftpServer::start();
        sftp.manner(|manner| manner.asks = asks);
        sftp.put("/a/1.zip", zip(1, 20_000));
        let service = run(Setup::new().server(sftp.server("omc01")));
        recorded(&service, 1);
        assert!(content(&service, "omc01/a/1.zip") == zip(1, 20_000));
    }
}

/// interface 5.23
#[test]
fn a_wrong_password_is_tried_once_a_scan_and_never_shown() {
    for asks in [false, true] {
        let sftp = SftpServer::start();
        sftp.manner(|manner| {
            manner.password = "another".to_owned();
            manner.asks = asks;
        });
        let service = run(Setup::new().interval("1h").server(sftp.server("omc01")));
        error_shown(&service, "login refused");
        assert_eq!(sftp.journal().passwords, 1);
        assert_eq!(service.server_status("omc01")["state"], "unreachable");
        assert_eq!(logged(&service, "mro-pass"), [""; 0]);
    }
}

#[test]
fn answers_that_are_short_and_come_in_any_order_make_the_same_file() {
    for (most, backwards) in [(10_000, false), (usize::MAX, true), (7_777, true)] {
        let sftp = SftpServer::start();
        sftp.manner(|manner| (manner.most, manner.backwards) = (most, backwards));
        for (n, size) in [0, 32_768 - 108, 32_769, 1_000_000].into_iter().enumerate() {
            sftp.put(&format!("/{n}.zip"), zip(n as u64, size));
        }
        let service = run(Setup::new().server(sftp.server("omc01")));
        recorded(&service, 4);
        assert!(content(&service, "omc01/1.zip") == zip(1, 32_768 - 108));
        assert!(content(&service, "omc01/3.zip") == zip(3, 1_000_000));
        assert!(logged(&service, "readable").is_empty(), "it was right at once");
    }
}

#[test]
fn a_connection_that_breaks_is_resumed_where_it_broke() {
    let sftp = SftpServer::start();
    sftp.put("/1.zip", zip(1, 3_000_000));
    sftp.manner(|manner| manner.leaves_after = Some((1_000_000, "going down for maintenance")));
    let service = run(Setup::new().server(sftp.server("omc01")));
    recorded(&service, 1);
    assert!(content(&service, "omc01/1.zip") == zip(1, 3_000_000));
    let reads = sftp.journal().reads;
    let begun = reads.iter().filter(|(_, offset)| *offset == 0).count();
    assert_eq!(begun, 1, "its beginning is fetched once");
    assert_eq!(logged(&service, "going down for maintenance").len(), 1);
}

#[test]
fn what_is_half_downloaded_at_a_kill_is_resumed_by_the_next_process() {
    let sftp = SftpServer::start();
    sftp.put("/1.zip", zip(1, 3_000_000));
    sftp.manner(|manner| manner.silent_after = Some(1_000_000));
    let mut service = run(Setup::new().server(sftp.server("omc01")));
    service.wait_for(SOON, "a part of it is there", |service| {
        service.partial().values().any(|size| *size > 500_000)
    });
    service.kill();
    eventually(SOON, "what it asked for is dealt with", || sftp.journal().open == 0);
    sftp.manner(|manner| manner.silent_after = None);
    let before = sftp.journal().reads.len();
    service.restart();
    ready(&service);
    recorded(&service, 1);
    assert!(content(&service, "omc01/1.zip") == zip(1, 3_000_000));
    let again = sftp.journal().reads.split_off(before);
    // a little of what is there is fetched again, to compare it
    assert!(again.iter().all(|(_, offset)| *offset > 400_000), "{:?}", again.first());
}

/// interface 10.7
#[test]
fn a_file_that_grows_behind_its_last_byte_is_not_taken_by_its_listed_size() {
    let sftp = SftpServer::start();
    let mut whole = zip(1, 200_000);
    let rest = whole.split_off(100_000);
    sftp.put("/1.zip", whole);
    sftp.manner(|manner| manner.grows = Some(("/1.zip".to_owned(), rest)));
    let service = run(Setup::new().server(sftp.server("omc01").key("verify", "'size'")));
    recorded(&service, 1);
    assert!(content(&service, "omc01/1.zip") == zip(1, 200_000));
}

#[test]
fn stop_waits_for_no_server_that_hangs_wherever_it_hangs() {
    for kind in [OPEN, READ, READ_DIRECTORY] {
        let sftp = SftpServer::start();
        sftp.put("/a/1.zip", zip(1, 100_000));
        sftp.manner(|manner| manner.silent_on = Some(kind));
        let mut service = run(Setup::new().server(sftp.server("omc01").key("timeout", "'1h'")));
        eventually(SOON, "it hangs", || {
            let journal = sftp.journal();
            journal.open > 0 && (kind == READ_DIRECTORY || journal.listings >= 2)
        });
        stops_in_time(&mut service);
        eventually(SOON, "the login is gone", || sftp.journal().open == 0);
    }
}

#[test]
fn stop_waits_for_no_server_that_hangs_before_the_login() {
    for greeting in [&b""[..], b"SSH-2.0-x\r\n"] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let (reached, waiting) = std::sync::mpsc::channel();
        let serving = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(greeting).unwrap();
            reached.send(()).unwrap();
            // until the other side gives up
            std::io::copy(&mut Read::by_ref(&mut stream), &mut std::io::sink()).ok();
        });
        let server = Server::at("omc01", addr).key("protocol", "'sftp'").key("timeout", "'1h'");
        let mut service = run(Setup::new().server(server));
        waiting.recv_timeout(SOON).unwrap();
        stops_in_time(&mut service);
        serving.join().unwrap();
    }
}

#[test]
fn a_server_that_does_not_answer_is_given_up_after_the_timeout_and_holds_up_no_other() {
    let (silent, good) = (SftpServer::start(), SftpServer::start());
    silent.put("/1.zip", zip(1, 1000));
    good.put("/2.zip", zip(2, 1000));
    silent.manner(|manner| manner.silent_on = Some(READ));
    let server = silent.server("omc01").key("timeout", "'300ms'");
    let service = run(Setup::new().server(server).server(good.server("omc02")));
    error_shown(&service, "no answer for 300ms");
    recorded(&service, 1);
    silent.manner(|manner| manner.silent_on = None);
    recorded(&service, 2);
}

#[test]
fn hostile_names_cost_themselves_alone() {
    let sftp = SftpServer::start();
    sftp.put("/good.zip", zip(1, 1000));
    let files: [&[u8]; 8] =
        [b"../../up.zip", b"a/b.zip", b"", b"nul\0.zip", b"line\r\n.zip", b".", b"..", b"/etc/x.zip"];
    let mut names: Vec<_> = files.iter().map(|name| (name.to_vec(), FILE)).collect();
    names.extend([(b"..".to_vec(), DIRECTORY), (b"a/b".to_vec(), DIRECTORY), (b"away.zip".to_vec(), LINK)]);
    names.push((vec![b'x'; 9000], FILE));
    sftp.manner(|manner| manner.names = names);
    let service = run(Setup::new().server(sftp.server("omc01")));
    recorded(&service, 1);
    service.wait_for(SOON, "they are counted", |service| {
        service.server_status("omc01")["lines_not_understood"].as_u64() >= Some(6)
    });
    assert_eq!(service.mirrored().into_keys().collect::<Vec<_>>(), ["omc01/good.zip"]);
    assert!(!service.directory().join("up.zip").try_exists().unwrap());
}

#[test]
fn a_server_that_sends_no_sftp_costs_itself_alone() {
    let (mad, good) = (SftpServer::start(), SftpServer::start());
    mad.manner(|manner| manner.shouts = true);
    good.put("/2.zip", zip(2, 1000));
    let service = run(Setup::new().server(mad.server("omc01")).server(good.server("omc02")));
    error_shown(&service, "a packet is longer than 256 KiB");
    recorded(&service, 1);
    assert_eq!(logged(&service, "panic"), [""; 0]);
}

/// interface 5.23
#[test]
fn there_are_never_more_logins_than_connections() {
    let sftp = SftpServer::start();
    for n in 0..40 {
        sftp.put(&format!("/{}/{n}.zip", n % 5), zip(n, 20_000));
    }
    let service = run(Setup::new().server(sftp.server("omc01").key("connections", "2")));
    recorded(&service, 40);
    assert_eq!(sftp.journal().most_open, 2);
}

/// interface 5.21
#[test]
fn fourteen_servers_of_both_protocols_are_mirrored_by_one_process() {
    let notify = NotifyStub::start();
    let ftp: Vec<Unftp> = (0..7).map(|_| Unftp::start()).collect();
    let sftp: Vec<SftpServer> = (0..7).map(|_| SftpServer::start()).collect();
    let mut setup = Setup::new().notify(&notify.url());
    for (n, (ftp, sftp)) in ftp.iter().zip(&sftp).enumerate() {
        for file in 0..5 {
            ftp.put(&format!("/MR/{file}.zip"), &zip(file, 5000));
            sftp.put(&format!("/MR/{file}.zip"), zip(file, 5000));
        }
        setup = setup.server(Server::anonymous(&format!("ftp{n}"), ftp));
        setup = setup.server(sftp.server(&format!("sftp{n}")));
    }
    let mut service = run(setup);
    recorded(&service, 70);
    service.wait_for(SOON, "all are announced", |_| notify.files().len() == 70);
    for n in 0..7 {
        assert!(content(&service, &format!("sftp{n}/MR/4.zip")) == zip(4, 5000));
    }
    let status = service.status();
    let servers = status["servers"].as_array().unwrap();
    assert!(servers.iter().all(|server| server["last_error"].is_null()), "{servers:?}");
    stops_in_time(&mut service);
    assert!(service.lines(Stream::Stderr).iter().all(|line| !line.contains("panic")));
}

#[test]
fn a_far_server_is_asked_for_many_pieces_at_a_time() {
    let sftp = SftpServer::start();
    sftp.put("/1.zip", zip(1, 3_000_000));
    // a round trip that no answer comes back from before so many requests are on their way
    sftp.manner(|manner| manner.hoards = 16);
    let service = run(Setup::new().server(sftp.server("omc01").key("timeout", "'2s'")));
    recorded(&service, 1);
    assert!(content(&service, "omc01/1.zip") == zip(1, 3_000_000));
    assert_eq!(logged(&service, "no answer"), [""; 0]);
}

#[test]
fn a_server_that_closes_a_directory_at_its_end_has_told_all_of_it() {
    let sftp = SftpServer::start();
    (0..25).for_each(|n| sftp.put(&format!("/a/{n}.zip"), zip(n, 1000)));
    sftp.manner(|manner| manner.forgets = true);
    let service = run(Setup::new().server(sftp.server("omc01")));
    recorded(&service, 25);
    service.wait_for(SOON, "scans without a fault", |service| {
        let status = service.server_status("omc01");
        status["last_error"].is_null() && status["scans"].as_u64() > Some(2)
    });
}
