//! The data port of the next file is asked for at the end of the data of the one before, and only where that is
//! safe.

use std::time::Duration;

use crate::support::daemons::{Daemon, Kind, Options, Tls};
use crate::support::raw::RawClient;
use crate::support::scripted::{CONNECT, Rule, ScriptedServer, passive};
use crate::support::service::{Server, Service, Setup};
use crate::support::steps::{content, faultless, logged, one, put, recorded, rescanned, with};
use crate::support::unftp::Unftp;
use crate::support::zips::zip;

const FILES: u64 = 40;

/// A server of that name, with enough files for one connection to have many in a row. Its final replies take long
/// enough for what comes early to be seen.
fn server(greeting: &str) -> ScriptedServer {
    let ftp = ScriptedServer::start();
    ftp.rule(Rule::on(CONNECT).reply(format!("220 {greeting}\r\n")));
    ftp.manner(|manner| manner.closing_latency = Duration::from_millis(10));
    (0..FILES).for_each(|n| put(&ftp, format!("/{}/{n}.zip", n % 2), zip(n, 2000)));
    ftp
}

#[track_caller]
fn all_is_there(service: &Service) {
    recorded(service, FILES as usize);
    for n in 0..FILES {
        assert_eq!(content(service, &format!("omc01/{}/{n}.zip", n % 2)), zip(n, 2000));
    }
}

/// Files whose final reply was not waited for with the next command.
fn early(ftp: &ScriptedServer) -> usize {
    ftp.journal(|journal| journal.retrs.iter().map(|retr| retr.early).sum())
}

/// How many commands there are for each file, of those that a transfer needs.
fn transfers(ftp: &ScriptedServer) -> (usize, usize) {
    (ftp.count("PASV") + ftp.count("EPSV"), ftp.count("RETR") + ftp.count("LIST") + ftp.count("MLSD"))
}

#[test]
fn the_next_port_is_asked_for_at_the_end_of_the_data() {
    for greeting in ["(vsFTPd 3.0.3)", "ProFTPD Server", "Welcome to Pure-FTPd", "pyftpdlib 2.2.0 ready."] {
        let ftp = server(greeting);
        let service = one(&ftp).interval("1h").started().run();
        all_is_there(&service);
        faultless(&service);
        // each connection has a last file, and a listing may have come between two
        let early = early(&ftp);
        assert!(early >= FILES as usize / 2, "{early} of {FILES} for {greeting}");
        let (ports, used) = transfers(&ftp);
        assert!(ports <= used + 4, "{ports} ports for {used} transfers");
        assert_eq!(ftp.count("HELP"), 0);
    }
}

#[test]
fn no_port_is_asked_for_while_a_listing_runs_or_for_nothing() {
    let ftp = server("(vsFTPd 3.0.3)");
    ftp.manner(|manner| manner.mlsd_in_feat = false);
    let service = one(&ftp).started().run();
    all_is_there(&service);
    let (ports, used) = transfers(&ftp);
    assert!(ports <= used + 4, "{ports} ports for {used} transfers");
    // nothing is fetched any more: each listing asks for its own
    let before = transfers(&ftp);
    rescanned(&ftp, 3);
    let after = transfers(&ftp);
    assert!(after.0 - before.0 <= after.1 - before.1 + 1, "{before:?} {after:?}");
    assert_eq!(ftp.journal(|journal| journal.early_at_listings), 0);
}

#[test]
fn a_directory_is_entered_and_its_port_asked_for_in_one_round_trip() {
    let ftp = server("(vsFTPd 3.0.3)");
    ftp.manner(|manner| manner.mlsd_in_feat = false);
    ftp.make_directory("/gone");
    ftp.rule(Rule::on("CWD").about("/gone").reply("550 Failed to change directory.\r\n"));
    let service = one(&ftp).started().run();
    all_is_there(&service);
    rescanned(&ftp, 3);
    // the first port is asked for in turn: until then nobody knows by which command
    let together = ftp.journal(|journal| journal.arrived_together("CWD", "PASV"));
    assert!(together >= 12, "{together}");
    assert_eq!(logged(&service, "early PASV"), [""; 0]);
    crate::support::steps::error_shown(&service, "/gone: CWD: 550 Failed to change directory.");
    let before = ftp.connections();
    rescanned(&ftp, 3);
    assert_eq!(ftp.connections(), before);
}

#[test]
fn the_only_new_file_of_a_scan_asks_for_no_second_port() {
    let ftp = ScriptedServer::start();
    ftp.rule(Rule::on(CONNECT).reply("220 (vsFTPd 3.0.3)\r\n"));
    put(&ftp, "/1.zip", zip(1, 2000));
    let service = with(&ftp, &[("listing", "'mlsd'")]).interval("1h").started().run();
    recorded(&service, 1);
    faultless(&service);
    assert_eq!((early(&ftp), transfers(&ftp)), (0, (2, 2)));
}

#[test]
fn a_server_that_is_not_known_by_name_is_asked_once_and_tried_with_care() {
    let ftp = server("welcome");
    let service = one(&ftp).interval("1h").started().run();
    all_is_there(&service);
    faultless(&service);
    assert_eq!(ftp.count("HELP"), 1);
    assert!(early(&ftp) >= 4);
}

#[test]
fn a_server_that_answers_out_of_order_loses_no_file_and_is_never_asked_early_again() {
    for greeting in ["welcome", "(vsFTPd 3.0.3)"] {
        let ftp = server(greeting);
        ftp.manner(|manner| manner.side_by_side = true);
        let service = one(&ftp).interval("1h").started().run();
        all_is_there(&service);
        faultless(&service);
        // one for each connection at most was under way when the first answer did not fit
        let early = early(&ftp);
        assert!((1..=4).contains(&early), "{early} after {greeting}");
    }
}

#[test]
fn a_server_that_calls_itself_libunftp_is_never_asked_early() {
    let ftp = server("welcome");
    ftp.rule(Rule::on("HELP").reply("214-Help:\r\n Powered by libunftp: 0.24.0\r\n214 end\r\n"));
    let service = one(&ftp).interval("1h").started().run();
    all_is_there(&service);
    assert_eq!((ftp.count("HELP"), early(&ftp)), (1, 0));
}

#[test]
fn an_early_port_that_is_refused_or_of_no_use_is_given_up_for_good() {
    let refusals: [fn(std::net::SocketAddr) -> Vec<u8>; 3] = [
        |_| b"450 a transfer is running\r\n".to_vec(),
        passive::pasv_garbage,
        |_| b"227 Entering Passive Mode (127,0,0,1,0,1).\r\n".to_vec(),
    ];
    for refusal in refusals {
        let ftp = server("(vsFTPd 3.0.3)");
        let reply = refusal(ftp.addr());
        // the listings and the files between them have theirs; the sixth is the first early one
        ftp.rule(Rule::on("PASV").after(8).once().reply(reply));
        let keys = [("connections", "1"), ("listing", "'mlsd'")];
        let service = with(&ftp, &keys).interval("1h").started().run();
        all_is_there(&service);
        faultless(&service);
        assert_eq!(early(&ftp), 4);
    }
}

#[test]
fn a_server_that_reads_nothing_until_its_port_is_used_is_never_kept_waiting() {
    let ftp = server("Twisted FTP Server");
    ftp.manner(|manner| (manner.blocks_after_pasv, manner.mlsd_in_feat) = (true, false));
    for n in 0..3 {
        ftp.make_directory(format!("/secret{n}"));
        ftp.rule(Rule::on("CWD").about(format!("/secret{n}")).reply("550 permission denied\r\n"));
    }
    let service = with(&ftp, &[("timeout", "'8s'")]).started().run();
    all_is_there(&service);
    rescanned(&ftp, 5);
    assert!(early(&ftp) >= 4);
    assert_eq!(logged(&service, "no answer for"), [""; 0]);
    assert_eq!(logged(&service, "early PASV"), [""; 0]);
}

#[test]
fn real_daemons_bear_it_and_libunftp_is_spared() {
    for (kind, tls) in [
        (Kind::Vsftpd, Tls::Off),
        (Kind::Vsftpd, Tls::Explicit),
        (Kind::Proftpd, Tls::Off),
        (Kind::Proftpd, Tls::Explicit),
        (Kind::PureFtpd, Tls::Off),
        (Kind::PureFtpd, Tls::Explicit),
    ] {
        let options = Options {
            tls,
            require_session_reuse: tls != Tls::Off && kind != Kind::PureFtpd,
            ..Options::default()
        };
        let Some(daemon) = Daemon::start(kind, &options) else { return };
        for n in 0..FILES {
            crate::real_servers::put(&daemon.root, format!("{}/{n}.zip", n % 2), &zip(n, 2000));
        }
        let server = Server::daemon("omc01", &daemon, tls).key("timeout", "'20s'");
        let service = Setup::new().server(server).interval("1h").started().run();
        all_is_there(&service);
        faultless(&service);
        let given_up = logged(&service, "early PASV");
        assert_eq!(given_up, [""; 0], "{kind:?} {tls:?}");
    }
    let unftp = Unftp::start();
    // it may answer in order by chance, so what counts is that it says what it is
    let help = RawClient::log_in(unftp.addr(), "anonymous", "a@b").tell("HELP");
    assert!(help.contains("libunftp"), "{help}");
    (0..FILES).for_each(|n| unftp.put(&format!("/{}/{n}.zip", n % 2), &zip(n, 2000)));
    let service = Setup::new().server(Server::anonymous("omc01", &unftp)).interval("1h").started().run();
    all_is_there(&service);
    faultless(&service);
    assert_eq!(logged(&service, "early PASV"), [""; 0]);
}
