//! Names, links and listings that were made to do harm, or look so.

use std::fs;
use std::os::unix::fs::symlink;

use crate::support::certificates::Certificate;
use crate::support::daemons::{Daemon, Kind, Options, Tls};
use crate::support::notify::{Answer, NotifyStub};
use crate::support::scripted::{CONNECT, ListStyle, MlsdLinks, Rule, ScriptedServer};
use crate::support::service::{Server, Setup, Stream};
use crate::support::steps::{
    SOON, content, error_shown, faultless, logged, names, one, put, recorded, rescanned, shown, with,
};
use crate::support::zips::zip;

/// interface 10.28
#[test]
fn names_that_lead_elsewhere_cost_their_entry_alone_and_are_never_asked_for() {
    let ftp = ScriptedServer::start();
    let good = zip(1, 3000);
    put(&ftp, "/good.zip", good.clone());
    let long = format!("{}.zip", "x".repeat(300));
    let mut listing = Vec::new();
    let refused: [&[u8]; 9] = [
        b"../evil.zip",
        b"/etc/evil.zip",
        b"sub/evil.zip",
        b"a\0evil.zip",
        b"a\revil.zip",
        b"..\0",
        b"",
        long.as_bytes(),
        b"..//",
    ];
    for name in refused {
        let kind: &[u8] = if name.ends_with(b".zip") { b"type=file;size=3000; " } else { b"type=dir; " };
        listing.extend_from_slice(&[kind, name, b"\r\n"].concat());
    }
    listing.extend_from_slice(b"type=dir; ..\r\ntype=dir; .\r\nevil\nevil.zip\r\n");
    listing.extend_from_slice(format!("type=file;size={}; good.zip\r\n", good.len()).as_bytes());
    ftp.rule(Rule::on("MLSD").content(&listing));
    let service = one(&ftp).started().run();
    recorded(&service, 1);
    rescanned(&ftp, 2);
    assert_eq!(names(&service), ["omc01/good.zip"]);
    assert_eq!(content(&service, "omc01/good.zip"), good);
    let mut top: Vec<_> =
        fs::read_dir(service.root()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    top.sort();
    assert_eq!(top, [".partial", "omc01"]);
    let asked = ftp.commands();
    let evil = |line: &&String| line.contains("evil") || line.contains("xxx") || line.contains("..");
    assert_eq!(asked.iter().find(evil), None);
    // the empty name cannot be told from a line that is none
    let lost = shown(&service, "lines_not_understood").as_u64().unwrap();
    assert_eq!(lost, refused.len() as u64 + 2);
    let told = logged(&service, "lines of the listing are not usable");
    assert_eq!(told.iter().filter(|line| line.contains("WARN")).count(), 1, "{told:#?}");
}

#[test]
fn names_may_have_255_bytes_in_the_mirror_and_no_more() {
    let ftp = ScriptedServer::start();
    let fits = format!("/{}.zip", "x".repeat(251));
    put(&ftp, &fits, zip(1, 2000));
    put(&ftp, format!("/{}.zip", "y".repeat(252)), zip(2, 2000));
    // each odd byte takes three in the mirror
    put(&ftp, [b"/".to_vec(), vec![0xff; 84], b".zip".to_vec()].concat(), zip(3, 2000));
    let service = one(&ftp).started().run();
    recorded(&service, 1);
    rescanned(&ftp, 1);
    assert_eq!((names(&service), ftp.count("RETR")), (vec![format!("omc01{fits}")], 1));
    assert_eq!(shown(&service, "lines_not_understood"), 2);
}

#[test]
fn odd_but_harmless_names_are_fetched_and_mirrored_as_they_are() {
    let odd = [
        " lead.zip",
        "tail .zip",
        "a b.zip",
        "-la.zip",
        "a[1].zip",
        "st*r.zip",
        "a;b; c.zip",
        "'q\".zip",
        "back\\slash.zip",
        "%41.zip",
        "…。.zip",
        "\u{3000}x.zip",
        "~.zip",
        "{a,b}.zip",
    ];
    let directory = "/d/-la/ x [1]";
    for mlsd in [true, false] {
        let ftp = ScriptedServer::start();
        ftp.manner(|manner| manner.mlsd_in_feat = mlsd);
        for (n, name) in odd.iter().enumerate() {
            put(&ftp, format!("{directory}/{name}"), zip(n as u64, 2000));
        }
        let service = one(&ftp).started().run();
        recorded(&service, odd.len());
        for (n, name) in odd.iter().enumerate() {
            assert_eq!(content(&service, &format!("omc01{directory}/{name}")), zip(n as u64, 2000), "{name}");
        }
        faultless(&service);
        // what looks like an option or a pattern is never given to LIST
        assert!(ftp.commands().iter().all(|line| !line.starts_with("LIST ")));
    }
}

/// interface 10.29
#[test]
fn what_the_encoding_cannot_decode_is_mirrored_with_percent_signs_and_asked_for_byte_by_byte() {
    let ftp = ScriptedServer::start();
    put(&ftp, b"/bad\x81\xfe.zip", zip(1, 2000));
    put(&ftp, b"/dir\xff/\xe4\xb8\xad.zip", zip(2, 2000));
    let service = one(&ftp).started().run();
    recorded(&service, 2);
    assert_eq!(names(&service), ["omc01/bad%81%FE.zip", "omc01/dir%FF/中.zip"]);
    assert_eq!(content(&service, "omc01/bad%81%FE.zip"), zip(1, 2000));
    let paths: Vec<_> = service.records().into_iter().map(|record| record["path"].clone()).collect();
    assert!(paths.contains(&"/bad%81%FE.zip".into()), "{paths:?}");
}

#[test]
fn gbk_names_are_fetched_byte_by_byte_and_mirrored_decoded() {
    // 上海/十一月.zip, a name whose second byte is a backslash on the wire, and a byte that GBK lacks
    let path = b"/\xc9\xcf\xba\xa3/\xca\xae\xd2\xbb\xd4\xc2.zip";
    for mlsd in [true, false] {
        let ftp = ScriptedServer::start();
        ftp.manner(|manner| manner.mlsd_in_feat = mlsd);
        put(&ftp, path, zip(1, 2000));
        put(&ftp, b"/\x8e\x5c.zip", zip(2, 2000));
        put(&ftp, b"/x\xa0.zip", zip(3, 2000));
        let keys = [("encoding", "'gbk'"), ("directories", "['/', '/上海']")];
        let service = with(&ftp, &keys).started().run();
        recorded(&service, 3);
        let seen = names(&service);
        for name in ["omc01/x%A0.zip", "omc01/上海/十一月.zip", "omc01/嶾.zip"] {
            assert!(seen.iter().any(|seen| seen == name), "{name}: {seen:?}");
        }
        assert_eq!((ftp.retrs(path), ftp.count("OPTS")), (1, 0));
    }
}

#[test]
fn of_two_names_that_are_one_in_the_mirror_the_second_is_refused() {
    let ftp = ScriptedServer::start();
    put(&ftp, "/%FF.zip", zip(1, 2000));
    put(&ftp, b"/\xff.zip", zip(2, 3000));
    let service = with(&ftp, &[("connections", "1")]).started().run();
    recorded(&service, 1);
    error_shown(&service, "FF.zip");
    rescanned(&ftp, 1);
    let size = service.mirrored()["omc01/%FF.zip"];
    assert_eq!(service.records()[0]["size"], size);
    assert_eq!(names(&service), ["omc01/%FF.zip"]);
}

/// interface 10.28
#[test]
fn a_symbolic_link_planted_in_the_mirror_leads_nowhere() {
    let ftp = ScriptedServer::start();
    for (n, path) in ["/evil/1.zip", "/d/2.zip", "/d/3.zip", "/d/deep/4.zip"].iter().enumerate() {
        put(&ftp, path, zip(n as u64, 2000));
    }
    let setup = one(&ftp);
    let (outside, home) = (setup.directory().join("outside"), setup.directory().join("sync/omc01"));
    fs::create_dir(&outside).unwrap();
    fs::create_dir_all(home.join("d")).unwrap();
    fs::write(outside.join("precious"), "theirs").unwrap();
    symlink(&outside, home.join("evil")).unwrap();
    symlink(&outside, home.join("d/deep")).unwrap();
    symlink(outside.join("precious"), home.join("d/2.zip")).unwrap();
    let service = setup.started().run();
    recorded(&service, 1);
    error_shown(&service, "");
    rescanned(&ftp, 2);
    let left: Vec<_> = fs::read_dir(&outside).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["precious"]);
    assert_eq!(fs::read(outside.join("precious")).unwrap(), b"theirs");
    assert_eq!(service.records()[0]["path"], "/d/3.zip");
    assert_eq!((ftp.retrs("/d/2.zip"), ftp.retrs("/evil/1.zip")), (0, 0));
}

/// interface 10.25
#[test]
fn links_to_zips_are_fetched_and_links_to_directories_are_not_followed() {
    for mlsd in [true, false] {
        let ftp = ScriptedServer::start();
        let whole = zip(1, 3000);
        put(&ftp, "/real/1.zip", whole.clone());
        ftp.edit(|tree| {
            tree.link("/a/link.zip", "../real/1.zip");
            tree.link("/a/up", "..");
            tree.link("/a/dir", "/real");
            tree.link("/a/nowhere.zip", "/none");
        });
        ftp.manner(|manner| manner.mlsd_in_feat = mlsd);
        let service = one(&ftp).started().run();
        recorded(&service, 2);
        rescanned(&ftp, 1);
        assert_eq!(names(&service), ["omc01/a/link.zip", "omc01/real/1.zip"]);
        assert_eq!(content(&service, "omc01/a/link.zip"), whole);
        for link in ["omc01/a/up", "omc01/a/dir"] {
            assert!(!service.root().join(link).try_exists().unwrap(), "{link}");
        }
        assert_eq!(ftp.listings("/a/up"), 0);
        // the link's own size is not the file's, and no change of it either
        assert_eq!(shown(&service, "changed_files"), 0);
        assert!(!logged(&service, "/a/nowhere.zip").is_empty());
    }
}

/// interface 10.26
#[test]
fn a_tree_without_end_is_cut_at_256_directories_with_a_warning() {
    let ftp = ScriptedServer::start();
    put(&ftp, "/1.zip", zip(1, 2000));
    ftp.make_directory("/a".repeat(300));
    let service = one(&ftp).interval("10s").started().run();
    recorded(&service, 1);
    service.wait_for(SOON, "the end of the scan", |service| shown(service, "scans") == 1);
    // the root, and 256 below it; the first of them is looked at from within, because it holds one of its own name
    assert_eq!((shown(&service, "directories_seen"), ftp.count("MLSD")), (257.into(), 258));
    let told = logged(&service, "deeper than 256 directories");
    assert!(told.len() == 1 && told[0].contains("WARN"), "{told:?}");
}

#[test]
fn a_loop_is_seen_by_the_identity_that_mlsd_shows() {
    let ftp = ScriptedServer::start();
    put(&ftp, "/a/1.zip", zip(1, 2000));
    let size = zip(1, 2000).len();
    // the first directory appears below itself, as a server shows a link to it
    ftp.rule(
        Rule::on("MLSD")
            .content(format!("type=file;size={size};unique=9U1; 1.zip\r\ntype=dir;unique=9U7; a\r\n")),
    );
    ftp.edit(|tree| tree.link("/a/a", "/a"));
    put(&ftp, "/1.zip", zip(1, 2000));
    let service = one(&ftp).started().run();
    recorded(&service, 2);
    rescanned(&ftp, 2);
    assert_eq!((ftp.listings("/a/a"), names(&service).len()), (0, 2));
    assert!(!logged(&service, "the same directory as one above it").is_empty());
}

#[test]
fn a_loop_that_nothing_tells_is_cut_where_the_way_leads_to_the_same_listing_again() {
    // as pyftpdlib without `unique`, and as IIS shows junctions
    for mlsd in [true, false] {
        let ftp = ScriptedServer::start();
        ftp.manner(|manner| {
            manner.mlsd_in_feat = mlsd;
            (manner.mlsd_links, manner.list_style) = (MlsdLinks::Followed, ListStyle::Dos);
        });
        put(&ftp, "/1.zip", zip(1, 2000));
        put(&ftp, "/a/2.zip", zip(2, 2000));
        put(&ftp, "/a/b/3.zip", zip(3, 2000));
        ftp.edit(|tree| {
            tree.link("/a/top", "/");
            tree.link("/a/b/up", "..");
            tree.link("/a/b/self", ".");
        });
        // else LIST, which shows no sizes of links but directories, would be compared with MLSD
        let listing = if mlsd { "'mlsd'" } else { "'list'" };
        let mut service = with(&ftp, &[("listing", listing)]).started().run();
        recorded(&service, 3);
        rescanned(&ftp, 2);
        assert_eq!(names(&service), ["omc01/1.zip", "omc01/a/2.zip", "omc01/a/b/3.zip"]);
        assert_eq!((ftp.count("RETR"), shown(&service, "scans").as_u64() > Some(1)), (3, true));
        for link in ["omc01/a/top", "omc01/a/b/up", "omc01/a/b/self"] {
            let below = fs::read_dir(service.root().join(link)).unwrap().count();
            assert_eq!(below, 0, "{link}");
        }
        let told = logged(&service, "leads to itself again and again");
        assert_eq!(told.iter().filter(|line| line.contains("WARN")).count(), 3, "{told:#?}");
        // what comes later is found, and not by way of the loop
        // (beside a scan it might come between the two listings that are compared)
        assert!(service.command("stop").starts_with("ok"));
        put(&ftp, "/a/4.zip", zip(4, 2000));
        assert!(service.command("start").starts_with("ok"));
        recorded(&service, 4);
        rescanned(&ftp, 2);
        assert_eq!(names(&service).len(), 4);
    }
}

#[test]
fn an_honest_tree_that_holds_copies_of_itself_is_mirrored_completely() {
    let ftp = ScriptedServer::start();
    // the same file of the same time and a directory of the same name, six levels deep, and two alike side by side
    let levels: Vec<String> = (0..6).map(|level| "/x".repeat(level)).collect();
    levels.iter().for_each(|level| put(&ftp, format!("{level}/same.zip"), zip(1, 2000)));
    for side in ["/l/s1", "/l/s2"] {
        put(&ftp, format!("{side}/same.zip"), zip(1, 2000));
        put(&ftp, format!("{side}/x/same.zip"), zip(1, 2000));
    }
    let service = one(&ftp).started().run();
    recorded(&service, levels.len() + 4);
    faultless(&service);
    assert!(logged(&service, "not followed").is_empty());
}

#[test]
fn a_line_that_is_too_long_costs_itself_alone() {
    let ftp = ScriptedServer::start();
    put(&ftp, "/1.zip", zip(1, 2000));
    let facts = "x=y;".repeat(5000);
    let size = zip(1, 2000).len();
    ftp.rule(
        Rule::on("MLSD")
            .content(format!("type=file;{facts}size=1; long.zip\r\ntype=file;size={size}; 1.zip\r\n")),
    );
    let service = one(&ftp).started().run();
    recorded(&service, 1);
    rescanned(&ftp, 1);
    assert_eq!((shown(&service, "lines_not_understood"), ftp.count("RETR")), (1.into(), 1));
}

#[test]
fn a_listing_without_end_takes_no_memory_without_end() {
    let ftp = ScriptedServer::start();
    put(&ftp, "/good/1.zip", zip(1, 2000));
    ftp.make_directory("/bad");
    ftp.rule(Rule::on("MLSD").about("/bad").repeat("x".repeat(60_000)));
    let service = one(&ftp).started().run();
    recorded(&service, 1);
    let before = service.peak_memory();
    let much = ftp.journal(|journal| journal.data_bytes) + (40 << 20);
    ftp.wait_for(SOON, "a long listing", |journal| journal.data_bytes > much);
    let after = service.peak_memory();
    assert!(after < before + (20 << 20), "from {before} to {after} bytes");
}

#[test]
fn a_reply_without_end_takes_no_memory_without_end() {
    let ftp = ScriptedServer::start();
    put(&ftp, "/1.zip", zip(1, 2000));
    ftp.rule(Rule::on("FEAT").reply("211-Features\r\n".to_owned() + &" more\r\n".repeat(200_000)));
    let service = one(&ftp).started().run();
    error_shown(&service, "");
    assert!(service.peak_memory() < 200 << 20, "{} bytes", service.peak_memory());
    ftp.behave();
    recorded(&service, 1);
}

/// Whether something in `text` moves a cursor, ends a line or turns the direction of writing.
fn is_unsafe_to_print(text: &str) -> bool {
    let mark = |c: char| matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars().any(|c| mark(c) || (c.is_control() && c != '\n'))
}

#[test]
fn nothing_that_a_server_says_reaches_a_terminal_as_a_command() {
    const NAME: &str = "\u{1b}]0;x\u{7}\u{1b}[2J\u{9b}2J\u{7f}\u{85}\u{2028}\u{202e}gpj\u{2066}";
    let (ftp, host) = (ScriptedServer::start(), NotifyStub::start());
    // a good one, one that is no zip, one that is refused with words of its own; and lines that are none
    put(&ftp, format!("/d{NAME}/good{NAME}.zip"), zip(1, 2000));
    put(&ftp, format!("/d{NAME}/odd{NAME}.zip"), "no zip");
    put(&ftp, format!("/bad{NAME}.zip"), zip(2, 2000));
    ftp.rule(Rule::on(CONNECT).reply(format!("220-{NAME}\r\n220 {NAME}\r\n")));
    ftp.rule(Rule::on("RETR").about(format!("/bad{NAME}.zip")).reply(format!("550 no{NAME}\r\n")));
    ftp.make_directory("/junk");
    ftp.rule(Rule::on("MLSD").about("/junk").content(format!("{NAME}\r\n{NAME}\r\n")));
    ftp.make_directory("/shut");
    ftp.rule(Rule::on("MLSD").about("/shut").reply(format!("550 shut{NAME}\r\n")));
    ftp.rule(Rule::on("LIST").about("/shut").reply(format!("550 shut{NAME}\r\n")));
    host.answer(Answer::Raw(format!("HTTP/1.1 500 {NAME}\r\nX: {NAME}\r\n\r\n{NAME}").into_bytes()));
    let setup = one(&ftp).notify(&host.url()).env("MROSYNC_STAYS_MS", "0");
    let mut service = setup.started().run();
    recorded(&service, 2);
    error_shown(&service, "");
    rescanned(&ftp, 2);
    host.wait_for(SOON, "calls", |calls| calls.len() >= 2);
    assert!(service.command("stop").starts_with("ok"));
    let said = [service.lines(Stream::Stderr), service.lines(Stream::Stdout)].concat();
    for words in ["550 no\\u{1b}]0;x", "550 shut\\u{1b}", "first line: \\u{1b}", "no zip archive"] {
        assert!(said.iter().any(|line| line.contains(words)), "{words}: {said:#?}");
    }
    let mut shown: Vec<String> = said;
    for (command, arguments) in [
        ("ctl", &["status"][..]),
        ("ctl", &["status", "--json"]),
        ("records", &[]),
        ("records", &["--format", "json"]),
        ("check", &[]),
    ] {
        let output = service.mrosync(&[command], arguments);
        shown.push(String::from_utf8(output.stdout).unwrap());
        shown.push(String::from_utf8(output.stderr).unwrap());
    }
    for text in &shown {
        assert!(!is_unsafe_to_print(text), "{text:?}");
    }
    // the data itself is as it was: programs get the name back
    let paths: Vec<_> = service.records().into_iter().map(|record| record["path"].clone()).collect();
    assert!(paths.contains(&format!("/d{NAME}/good{NAME}.zip").into()), "{paths:?}");
    assert!(names(&service).contains(&format!("omc01/d{NAME}/good{NAME}.zip")));
}

#[test]
fn no_cell_of_csv_begins_with_what_a_server_says() {
    let ftp = ScriptedServer::start();
    for (n, name) in ["=cmd|' /C calc'!A0", "+1", "-1", "@SUM(A1)", "\t=1", "\"=1", ",=1"].iter().enumerate()
    {
        put(&ftp, format!("/{name}.zip"), zip(n as u64, 2000));
    }
    let service = one(&ftp).started().run();
    recorded(&service, 7);
    let output = service.mrosync(&["records"], &["--format", "csv"]);
    let mut reader = csv::Reader::from_reader(&output.stdout[..]);
    let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    assert_eq!(rows.len(), 7);
    for cell in rows.iter().flatten() {
        assert!(!cell.starts_with(['=', '+', '-', '@', '\t', '\r']), "a spreadsheet would run {cell:?}");
    }
}

#[test]
fn no_variable_of_the_environment_turns_the_verification_of_certificates_off() {
    let options = Options { tls: Tls::Explicit, certificate: Certificate::Boxed, ..Options::default() };
    let (Some(daemon), Some(other)) =
        (Daemon::start(Kind::Vsftpd, &options), Daemon::start(Kind::Vsftpd, &options))
    else {
        return;
    };
    let server = Server::daemon("omc01", &daemon, Tls::Explicit);
    let trusting = Setup::new().server(server.clone());
    let check = trusting.command(&["check"]).output().unwrap();
    assert!(String::from_utf8_lossy(&check.stdout).contains("ok      server omc01"), "{check:?}");
    let wrong = server.key("tls_ca_file", &format!("'{}'", other.trust.display()));
    let mut setup = Setup::new().server(wrong);
    for (name, value) in [
        ("MROSYNC_TLS_VERIFY", "false"),
        ("MROSYNC_INSECURE", "1"),
        ("SSL_VERIFY", "0"),
        ("SSL_NO_VERIFY", "1"),
        ("GIT_SSL_NO_VERIFY", "1"),
        ("NODE_TLS_REJECT_UNAUTHORIZED", "0"),
        ("PYTHONHTTPSVERIFY", "0"),
        ("CURL_CA_BUNDLE", ""),
        ("SSL_CERT_FILE", "/dev/null"),
        ("SSL_CERT_DIR", "/nonexistent"),
        // the authority of the environment adds nothing to a file that is named
        ("REQUESTS_CA_BUNDLE", &daemon.trust.display().to_string()),
    ] {
        setup = setup.env(name, value);
    }
    let check = setup.command(&["check"]).output().unwrap();
    let said = String::from_utf8_lossy(&check.stdout).into_owned();
    let line = said.lines().find(|line| line.contains("server omc01")).unwrap();
    assert!(line.starts_with("failed") && line.contains("certificate"), "{said}");
    // and one that sounds as if it did is no key
    for name in ["MROSYNC_DEFAULTS__TLS_VERIFY", "MROSYNC_DEFAULTS__INSECURE", "MROSYNC_TLS__VERIFY"] {
        let check = trusting.command(&["check"]).env(name, "false").output().unwrap();
        assert_eq!(check.status.code(), Some(2), "{name}: {check:?}");
    }
}

#[test]
fn a_certificate_file_without_a_certificate_is_refused_at_the_start() {
    let ftp = ScriptedServer::start();
    for content in ["", "garbage\n", "-----BEGIN CERTIFICATE-----\n?\n-----END CERTIFICATE-----\n"] {
        let setup = Setup::new();
        let path = setup.directory().join("ca.pem");
        fs::write(&path, content).unwrap();
        let server = Server::scripted("omc01", &ftp).key("tls", "'explicit'");
        let mut service =
            setup.server(server.key("tls_ca_file", &format!("'{}'", path.display()))).started().run();
        assert_eq!(service.wait_exit(SOON).code(), Some(2), "{content:?}");
        service.wait_line(Stream::Stderr, SOON, "the key and the file are named", |line| {
            line.contains("servers[0] (omc01).tls_ca_file: ") && line.contains("ca.pem")
        });
    }
    assert_eq!(ftp.connections(), 0);
}
