//! The scripted server, against a client that knows nothing.

use std::io::Read;
use std::time::{Duration, Instant};

use crate::support::raw::RawClient;
use crate::support::scripted::{
    CONNECT, Ending, File, Limit, LimitAt, ListStyle, MlsdLinks, Rest, Rule, ScriptedServer, passive,
};
use crate::support::zips::{noise, zip};

const SOON: Duration = Duration::from_secs(5);

fn log_in(server: &ScriptedServer) -> RawClient {
    RawClient::log_in(server.addr(), "mro", "mro-pass")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn it_lists_and_sends_what_was_put_there() {
    let server = ScriptedServer::start();
    let content = zip(1, 300_000);
    server.put("/MR/sub/a.zip", File::new(content.clone()));
    server.edit(|tree| tree.link("/MR/l.zip", "sub/a.zip"));
    let mut client = log_in(&server);

    assert!(client.tell("FEAT").contains(" MLST "));
    let (listing, done) = client.fetch("MLSD /MR/sub").unwrap();
    let line = format!("type=file;size={};modify=20261123030000; a.zip\r\n", content.len());
    assert!(text(&listing).ends_with(&line), "{}", text(&listing));
    assert_eq!(done, "226 Transfer complete.");
    let (listing, _) = client.fetch("MLSD /MR").unwrap();
    assert!(text(&listing).contains("type=OS.unix=slink:sub/a.zip;"), "{}", text(&listing));
    assert_eq!(client.tell("SIZE /MR/l.zip"), format!("213 {}", content.len()));
    assert_eq!(client.tell("MDTM /MR/sub/a.zip"), "213 20261123030000");

    assert_eq!(client.fetch("RETR /MR/sub/a.zip").unwrap().0, content);
    assert!(client.tell("REST 299000").starts_with("350"));
    assert_eq!(client.fetch("RETR /MR/l.zip").unwrap().0, content[299_000..]);
    assert!(client.fetch("RETR /MR/none.zip").unwrap_err().starts_with("550"));

    assert_eq!((server.retrs("/MR/sub/a.zip"), server.listings("/MR"), server.max_open()), (1, 1, 1));
    assert_eq!(server.journal(|journal| journal.retrs[1].offset), 299_000);
    assert_eq!(server.commands()[..3], ["USER mro", "PASS mro-pass", "TYPE I"]);
}

#[test]
fn list_speaks_both_dialects() {
    let server = ScriptedServer::start();
    server.put("/d/a b.zip", File::new("x").showing(123).modified(1_700_000_000));
    server.make_directory("/d/e");
    let mut client = log_in(&server);
    assert!(client.tell("CWD /d").starts_with("250"));
    let (listing, _) = client.fetch("LIST -a").unwrap();
    let unix = "-rw-r--r--   1 mro      mro           123 Nov 14  2023 a b.zip\r\ndrwxr-xr-x ";
    assert!(text(&listing).starts_with(unix), "{}", text(&listing));
    server.manner(|manner| manner.list_style = ListStyle::Dos);
    let (listing, _) = client.fetch("LIST").unwrap();
    let dos =
        "11-14-23  10:13PM                  123 a b.zip\r\n11-23-26  03:00AM       <DIR>          e\r\n";
    assert_eq!(text(&listing), dos);
}

#[test]
fn links_may_be_shown_as_what_they_name() {
    let server = ScriptedServer::start();
    server.edit(|tree| tree.link("/d/up", ".."));
    server.edit(|tree| tree.link("/d/round", "round"));
    server.manner(|manner| manner.mlsd_links = MlsdLinks::Followed);
    let mut client = log_in(&server);
    let (listing, _) = client.fetch("MLSD /d/up/d/up").unwrap();
    assert!(text(&listing).contains("type=dir;modify=20261123030000; d\r\n"), "{}", text(&listing));
    assert!(client.tell("CWD /d/round").starts_with("550"));
}

#[test]
fn a_client_that_forgets_binary_mode_gets_a_broken_file() {
    let server = ScriptedServer::start();
    server.put("/a.zip", File::new("a\nb\n"));
    let mut client = log_in(&server);
    client.tell("TYPE A");
    assert_eq!(client.fetch("RETR /a.zip").unwrap().0, b"a\r\nb\r\n");
    assert!(client.tell("SIZE /a.zip").starts_with("550"));
}

#[test]
fn an_answer_given_by_the_test_is_sent_as_it_is() {
    let server = ScriptedServer::start();
    server.put("/a.zip", File::new("abc"));
    server.rule(Rule::on("RETR").about("/a.zip").closing("426 no\r\n226\n").once());
    server.rule(Rule::on("SIZE").reply("213 123 bytes\r\n").after(1).once());
    server.rule(Rule::on(CONNECT).reply("220-\r\n100 users\r\n220 x\r\n"));
    let mut client = log_in(&server);
    assert_eq!(client.greeting, "220-\r\n100 users\r\n220 x");
    assert_eq!(client.fetch("RETR /a.zip").unwrap().1, "426 no");
    assert_eq!(client.reply().unwrap(), "226");
    let sizes = [client.tell("SIZE /a.zip"), client.tell("SIZE /a.zip"), client.tell("SIZE /a.zip")];
    assert_eq!(sizes, ["213 3", "213 123 bytes", "213 3"]);
}

#[test]
fn what_hangs_goes_on_when_released() {
    let server = ScriptedServer::start();
    server.put("/a.zip", File::new(noise(1, 5000)));
    server.rule(Rule::on("PWD").hang().once());
    server.rule(Rule::on("RETR").stall(1000).once());
    let mut client = log_in(&server);
    client.send("PWD").unwrap();
    server.wait_for(SOON, "PWD has come", |journal| journal.count("PWD") == 1);
    client.send("NOOP").unwrap();
    log_in(&server).tell("NOOP");
    assert!(client.is_silent(), "it answered");
    server.release();
    assert!(client.reply().unwrap().starts_with("257"));
    assert!(client.reply().unwrap().starts_with("200"));

    let mut data = client.open_data();
    client.tell("RETR /a.zip");
    data.read_exact(&mut [0; 1000]).unwrap();
    server.wait_for(SOON, "the first part is sent", |journal| journal.retrs[0].sent == 1000);
    data.set_nonblocking(true).unwrap();
    assert!(data.read(&mut [0]).is_err(), "it did not stall");
    data.set_nonblocking(false).unwrap();
    server.release();
    assert_eq!(data.read_to_end(&mut Vec::new()).unwrap(), 4000);
}

#[test]
fn a_transfer_can_be_cut_with_any_ending() {
    let server = ScriptedServer::start();
    server.put("/a.zip", File::new(noise(1, 200_000)));
    let endings = [
        (Ending::Success, "226"),
        (Ending::Aborted, "426"),
        (Ending::AbortedThenSuccess, "426"),
        (Ending::Silence, "200 NOOP ok."),
    ];
    for (ending, expected) in endings {
        server.behave();
        server.rule(Rule::on("RETR").cut(100_000, ending));
        let mut client = log_in(&server);
        let mut data = client.open_data();
        client.tell("RETR /a.zip");
        client.send("NOOP").unwrap();
        assert_eq!(data.read_to_end(&mut Vec::new()).unwrap(), 100_000, "{ending:?}");
        drop(data);
        let reply = client.reply().unwrap();
        assert!(reply.starts_with(expected), "{ending:?}: {reply}");
    }
    server.behave();
    server.rule(Rule::on("RETR").cut(0, Ending::Close));
    let mut client = log_in(&server);
    let mut data = client.open_data();
    client.tell("RETR /a.zip");
    assert_eq!(data.read_to_end(&mut Vec::new()).unwrap(), 0);
    assert!(client.is_closed());
}

#[test]
fn a_listing_that_never_ends_ends_with_the_client() {
    let server = ScriptedServer::start();
    server.rule(Rule::on("MLSD").about("/").repeat("type=file;size=1; {n}.zip\r\n"));
    let mut client = log_in(&server);
    let mut data = client.open_data();
    client.tell("MLSD /");
    let mut start = [0; 52];
    data.read_exact(&mut start).unwrap();
    assert_eq!(text(&start), "type=file;size=1; 1.zip\r\ntype=file;size=1; 2.zip\r\nty");
    drop(data);
    assert!(client.reply().unwrap().starts_with("426"));
}

#[test]
fn a_trickle_takes_its_time() {
    let server = ScriptedServer::start();
    server.put("/a.zip", File::new("abcdef"));
    server.rule(Rule::on("RETR").trickle(2, Duration::from_millis(20)));
    let mut client = log_in(&server);
    let start = Instant::now();
    assert_eq!(client.fetch("RETR /a.zip").unwrap().0, b"abcdef");
    assert!(start.elapsed() >= Duration::from_millis(60), "{:?}", start.elapsed());
}

#[test]
fn files_lie_and_grow_as_told() {
    let server = ScriptedServer::start();
    server.put("/lie.zip", File::new("abc").showing(10));
    server.put("/grow.zip", File::new("abc").growing(2));
    server.put("/read.zip", File::new("abc").growing_while_read(4));
    server.put("/big.zip", File::repeating("0123456789", 1 << 30));
    let mut client = log_in(&server);
    let sizes: Vec<String> = ["/lie.zip", "/grow.zip", "/grow.zip", "/read.zip", "/big.zip"]
        .map(|path| client.tell(format!("SIZE {path}")))
        .to_vec();
    assert_eq!(sizes, ["213 10", "213 3", "213 5", "213 3", "213 1073741824"]);
    assert_eq!(client.fetch("RETR /read.zip").unwrap().0, b"abc++++");
    client.tell("REST 1073741819");
    assert_eq!(client.fetch("RETR /big.zip").unwrap().0, b"90123");
}

#[test]
fn rest_can_be_refused_or_ignored() {
    let server = ScriptedServer::start();
    server.put("/a.zip", File::new("abcdef"));
    let mut client = log_in(&server);
    server.manner(|manner| manner.rest = Rest::Refused);
    assert!(client.tell("REST 3").starts_with("502"));
    server.manner(|manner| manner.rest = Rest::Ignored);
    assert!(client.tell("REST 3").starts_with("350"));
    assert_eq!(client.fetch("RETR /a.zip").unwrap().0, b"abcdef");
}

#[test]
fn one_connection_too_many_is_refused_and_open_ones_are_counted() {
    let server = ScriptedServer::start();
    let limit = |at, reply: &str| Some(Limit { connections: 2, at, reply: reply.into() });
    server.manner(|manner| manner.limit = limit(LimitAt::Greeting, "421 too many\r\n"));
    let (first, _second) = (log_in(&server), log_in(&server));
    assert_eq!(RawClient::connect(server.addr()).unwrap().greeting, "421 too many");
    assert_eq!((server.max_open(), server.open(), server.connections()), (3, 2, 3));
    drop(first);
    log_in(&server);

    server.manner(|manner| manner.limit = limit(LimitAt::Login, "530 too many\r\n"));
    let _third = log_in(&server);
    let mut fourth = RawClient::connect(server.addr()).unwrap();
    fourth.tell("USER mro");
    assert_eq!(fourth.tell("PASS mro-pass"), "530 too many");
}

#[test]
fn a_wrong_password_is_refused() {
    let server = ScriptedServer::start();
    let mut client = RawClient::connect(server.addr()).unwrap();
    client.tell("USER mro");
    assert!(client.tell("PASS wrong").starts_with("530"));
    assert!(client.tell("PWD").starts_with("530"));
    assert_eq!(server.journal(|journal| journal.logins), 0);
}

#[test]
fn connections_end_when_idle_or_after_so_many_commands() {
    let server = ScriptedServer::start();
    server.manner(|manner| manner.idle_limit = Some(Duration::from_millis(50)));
    assert!(log_in(&server).reply().unwrap().starts_with("421"));
    server.manner(|manner| (manner.idle_limit, manner.commands_per_connection) = (None, Some(3)));
    let mut client = log_in(&server);
    client.send("NOOP").unwrap();
    assert!(client.is_closed());
}

#[test]
fn a_server_that_went_down_comes_back_at_the_same_port() {
    let server = ScriptedServer::start();
    let mut client = log_in(&server);
    server.go_down();
    assert!(RawClient::connect(server.addr()).is_err());
    assert!(client.is_closed());
    server.come_back();
    log_in(&server);
}

#[test]
fn passive_answers_have_the_wanted_shape() {
    let server = ScriptedServer::start();
    server.manner(|manner| (manner.pasv, manner.epsv) = (passive::pasv_in_gbk, passive::refused));
    let mut client = log_in(&server);
    assert!(client.tell("EPSV").starts_with("500"));
    client.open_data();
    server.manner(|manner| manner.pasv = passive::pasv_foreign_host);
    assert!(client.tell("PASV").contains("(127,0,0,2,"));
    let server = ScriptedServer::start_v6();
    let reply = log_in(&server).tell("EPSV");
    assert!(reply.starts_with("229 ") && reply.ends_with("|)"), "{reply}");
}

#[test]
fn the_end_of_the_test_ends_what_hangs() {
    let server = ScriptedServer::start();
    server.put("/a.zip", File::new(noise(1, 2000)));
    server.rule(Rule::on("PWD").hang());
    server.rule(Rule::on("RETR").stall(1000));
    server.rule(Rule::on("MLSD").repeat("x"));
    let mut clients = [log_in(&server), log_in(&server), log_in(&server), log_in(&server)];
    clients[0].send("PWD").unwrap();
    let _stalled = clients[1].open_data();
    clients[1].tell("RETR /a.zip");
    let _endless = clients[2].open_data();
    clients[2].tell("MLSD /");
    let start = Instant::now();
    drop(server);
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
    assert!(clients.iter_mut().all(RawClient::is_closed));
}
