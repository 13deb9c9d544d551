//! TLS as servers speak it that do not do it well.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::net::Acceptor;
use crate::support::scripted::{Ending, Rule, ScriptedServer};
use crate::support::service::{Server, Setup};
use crate::support::steps::{
    SOON, content, error_shown, faultless, logged, names, put, ready, recorded, shown,
};
use crate::support::tls::{Manner, TlsRelay};
use crate::support::zips::{noise, zip};

/// The program on a scripted server behind TLS.
fn behind(relay: &TlsRelay, ftp: &ScriptedServer, tls: &str) -> Setup {
    for verb in ["PBSZ", "PROT"] {
        ftp.rule(Rule::on(verb).reply("200 ok\r\n"));
    }
    let trust = format!("'{}'", relay.trust().display());
    let server = Server::at("omc01", relay.addr()).key("tls", tls).key("tls_ca_file", &trust);
    Setup::new().server(server)
}

/// interface 10.8
#[test]
fn data_that_ends_without_close_notify_of_tls_is_taken_only_where_size_or_content_prove_it() {
    for says_goodbye in [true, false] {
        let ftp = ScriptedServer::start();
        let (sized, unsized_one, cut) = (zip(1, 50_000), noise(2, 30_000), noise(3, 30_000));
        put(&ftp, "/d/archive.zip", zip(4, 3000));
        put(&ftp, "/d/sized.zip", sized.clone());
        put(&ftp, "/d/unsized.zip", unsized_one);
        put(&ftp, "/d/cut.zip", cut);
        let listing = format!(
            "type=file;size={}; sized.zip\r\ntype=file; unsized.zip\r\ntype=file;size=30000; cut.zip\r\n\
             type=file; archive.zip\r\n",
            sized.len()
        );
        ftp.rule(Rule::on("MLSD").about("/d").content(listing));
        for unsized_too in ["/d/unsized.zip", "/d/archive.zip"] {
            ftp.rule(Rule::on("SIZE").about(unsized_too).reply("550 no\r\n"));
        }
        // half of it, and the server calls that a success: so would an attacker who cuts the connection
        ftp.rule(Rule::on("RETR").about("/d/cut.zip").cut(15_000, Ending::Success));
        let relay = TlsRelay::before(&ftp, Manner { says_goodbye, ..Manner::default() });
        // what is no archive is believed at once
        let setup = behind(&relay, &ftp, "'implicit'").env("MROSYNC_STAYS_MS", "0");
        let service = setup.started().run();
        recorded(&service, if says_goodbye { 3 } else { 2 });
        ftp.wait_for(SOON, "tries of all", |journal| {
            let tries = |path: &str| journal.retrs_of(path);
            tries("/d/cut.zip") >= 2 && (says_goodbye || tries("/d/unsized.zip") >= 2)
        });
        assert_eq!(content(&service, "omc01/d/sized.zip"), sized);
        assert!(!names(&service).contains(&"omc01/d/cut.zip".to_owned()));
        assert_eq!(logged(&service, "the server shows no size").is_empty(), says_goodbye);
        let cut = if says_goodbye {
            "received 15000 bytes, but the server shows 30000"
        } else {
            "the data connection broke after 15000 of 30000 bytes"
        };
        assert!(!logged(&service, cut).is_empty());
        // listings end in the same way, and the 226 is believed
        assert_eq!(shown(&service, "directories_seen"), 2);
    }
}

#[test]
fn what_is_slipped_in_before_tls_begins_is_never_taken_for_an_answer() {
    let ftp = ScriptedServer::start();
    put(&ftp, "/1.zip", zip(1, 3000));
    let injects = Some("230 you are in\r\n211-Features\r\n MLST\r\n211 end\r\n");
    let relay = TlsRelay::before(&ftp, Manner { says_goodbye: true, injects, ..Manner::default() });
    let service = behind(&relay, &ftp, "'explicit'").started().run();
    // the password is still asked for, and the dialogue is not one answer late
    recorded(&service, 1);
    faultless(&service);
    assert!(ftp.count("PASS") > 0);
}

#[test]
fn a_server_of_old_tls_versions_or_ciphers_is_refused_and_named() {
    // what servers without TLS 1.2, and such without forward secrecy, answer to the first message
    for alert in [70_u8, 40] {
        let came = Arc::new(AtomicUsize::new(0));
        let acceptor = Acceptor::start(IpAddr::V4(Ipv4Addr::LOCALHOST), {
            let came = Arc::clone(&came);
            move |connection| {
                let mut hello = [0; 4096];
                let read = connection.stream.as_ref().read(&mut hello).unwrap_or(0);
                came.fetch_add(usize::from(read > 0 && hello[0] == 22), Ordering::Relaxed);
                connection.stream.as_ref().write_all(&[21, 3, 1, 0, 2, 2, alert]).ok();
            }
        });
        let server = Server::at("omc01", acceptor.addr()).key("tls", "'implicit'");
        let setup = Setup::new().server(server);
        let check = setup.command(&["check"]).output().unwrap();
        let said = String::from_utf8_lossy(&check.stdout).into_owned();
        assert!(check.status.code() == Some(1) && said.contains("TLS"), "{said}");
        let service = setup.started().run();
        ready(&service);
        error_shown(&service, "TLS: ");
        assert_eq!(shown(&service, "state"), "unreachable");
        assert!(came.load(Ordering::Relaxed) >= 2);
    }
}

/// interface 6.1
#[test]
fn what_tls_can_do_without_is_not_insisted_on() {
    let calm = Manner { says_goodbye: true, ..Manner::default() };
    let asked: [&'static [&'static str]; 4] = [
        &["234 go on\r\n"],
        &["200 AUTH command ok; starting SSL connection...\r\n"],
        &["334 go on\r\n"],
        &["504 TLS is unknown here\r\n", "234 SSL it is\r\n"],
    ];
    for asked in asked {
        let ftp = ScriptedServer::start();
        put(&ftp, "/1.zip", zip(1, 3000));
        let relay = TlsRelay::before(&ftp, Manner { asked, ..calm });
        let setup = behind(&relay, &ftp, "'explicit'");
        // the later rule holds
        ftp.rule(Rule::on("PBSZ").reply("500 You are not allowed to do this\r\n"));
        let service = setup.started().run();
        recorded(&service, 1);
        faultless(&service);
        assert_eq!(ftp.count("USER"), ftp.connections(), "{asked:?}");
    }
}

/// interface 6.3
#[test]
fn nothing_is_sent_in_the_clear_where_tls_is_asked_for() {
    let ftp = ScriptedServer::start();
    put(&ftp, "/1.zip", zip(1, 3000));
    let relay = TlsRelay::before(&ftp, Manner { says_goodbye: true, ..Manner::default() });
    let setup = behind(&relay, &ftp, "'implicit'");
    ftp.rule(Rule::on("PROT").reply("536 no protection here\r\n"));
    let service = setup.started().run();
    ready(&service);
    error_shown(
        &service,
        "TLS: PROT P is refused, and nothing is fetched in the clear: 536 no protection here",
    );
    assert_eq!(ftp.count("PASV") + ftp.count("MLSD") + ftp.count("RETR"), 0);

    let ftp = ScriptedServer::start();
    put(&ftp, "/1.zip", zip(1, 3000));
    ftp.rule(Rule::on("AUTH").reply("502 not implemented\r\n"));
    let service =
        Setup::new().server(Server::scripted("omc01", &ftp).key("tls", "'explicit'")).started().run();
    ready(&service);
    error_shown(&service, "AUTH TLS is refused, and nothing is sent in the clear: 502 not implemented");
    assert_eq!(ftp.count("USER") + ftp.count("PASS"), 0);
    assert!(ftp.commands().iter().any(|line| line == "AUTH SSL"), "{:?}", ftp.commands());
}

/// interface 6.6
#[test]
fn a_listing_of_nothing_needs_no_handshake_and_anything_else_does() {
    let ftp = ScriptedServer::start();
    put(&ftp, "/d/1.zip", zip(1, 3000));
    ftp.make_directory("/empty");
    put(&ftp, "/nothing.zip", Vec::new());
    let relay =
        TlsRelay::before(&ftp, Manner { says_goodbye: true, closes_empty: true, ..Manner::default() });
    let service = behind(&relay, &ftp, "'implicit'").started().run();
    recorded(&service, 2);
    faultless(&service);
    assert!(service.root().join("omc01/empty").is_dir());
    assert_eq!(ftp.connections(), ftp.max_open());
    // without a success it is none
    ftp.rule(Rule::on("MLSD").about("/empty").closing("425 Unable to build data connection\r\n"));
    error_shown(&service, "/empty: ");
}
