//! How directories are listed, and what a listing is worth that fails, lies or is not understood.

use crate::support::scripted::{File, ListStyle, Rule, ScriptedServer};
use crate::support::steps::{
    SOON, content, error_shown, faultless, logged, names, one, put, recorded, rescanned, shown, with,
};
use crate::support::zips::zip;

/// Three zips in two directories, and an empty directory.
fn three(ftp: &ScriptedServer) {
    for (n, path) in ["/1.zip", "/a/2.zip", "/a/b/3.zip"].iter().enumerate() {
        put(ftp, path, zip(n as u64, 2000));
    }
    ftp.make_directory("/empty");
}

/// interface 10.21
#[test]
fn a_directory_that_cannot_be_listed_costs_itself_alone() {
    for (mlsd, verb) in [(true, "MLSD"), (false, "CWD")] {
        let ftp = ScriptedServer::start();
        three(&ftp);
        put(&ftp, "/bad/4.zip", zip(4, 2000));
        ftp.manner(|manner| manner.mlsd_in_feat = mlsd);
        ftp.rule(Rule::on(verb).about("/bad").reply("550 Permission denied.\r\n"));
        let service = one(&ftp).started().run();
        recorded(&service, 3);
        error_shown(&service, "/bad: ");
        assert!(shown(&service, "last_error").as_str().unwrap().contains("550 Permission denied."));
        assert_eq!(shown(&service, "state").as_str().filter(|state| *state == "unreachable"), None);
        let before = ftp.connections();
        rescanned(&ftp, 2);
        assert_eq!(ftp.connections(), before, "a refusal costs no login");
        ftp.behave();
        recorded(&service, 4);
        faultless(&service);
    }
}

#[test]
fn a_listing_that_the_server_cut_is_reported_and_what_it_shows_is_fetched() {
    let replies = [
        "226-Options: -a -l\r\n226 Output truncated to 10000 matches\r\n",
        "226-Output truncated to 10000 matches\r\n226 done\r\n",
    ];
    for reply in replies {
        let ftp = ScriptedServer::start();
        three(&ftp);
        ftp.rule(Rule::on("MLSD").about("/a").closing(reply));
        let service = one(&ftp).started().run();
        recorded(&service, 3);
        error_shown(&service, "/a: listing incomplete: 226");
        service.wait_for(SOON, "it is counted", |service| shown(service, "cut_listings") == 1);
        assert!(!logged(&service, "truncated").is_empty());
        ftp.behave();
        faultless(&service);
    }
}

#[test]
fn a_listing_that_breaks_off_is_a_fault_and_what_it_showed_is_fetched() {
    let cases = [
        ("451", Rule::on("MLSD").about("/a").closing("451 Local error.\r\n")),
        ("426", Rule::on("MLSD").about("/a").closing("426 Connection closed.\r\n")),
        (
            "refused",
            Rule::on("MLSD").about("/a").closing("226 Transfer done (but failed to open directory).\r\n"),
        ),
    ];
    for (what, rule) in cases {
        let ftp = ScriptedServer::start();
        three(&ftp);
        ftp.rule(rule);
        let service = one(&ftp).started().run();
        recorded(&service, 3);
        error_shown(&service, "/a: ");
        ftp.behave();
        faultless(&service);
        assert_eq!(ftp.retrs("/a/2.zip"), 1, "{what}");
    }
}

#[test]
fn a_listing_of_which_nothing_is_understood_is_a_fault_and_no_empty_directory() {
    for mlsd in [true, false] {
        let ftp = ScriptedServer::start();
        three(&ftp);
        ftp.manner(|manner| manner.mlsd_in_feat = mlsd);
        let listing = "<html><body>\r\nTotal of 1 Files, 12 Blocks.\r\n";
        ftp.rule(Rule::on(if mlsd { "MLSD" } else { "LIST" }).about("/a").content(listing));
        let service = one(&ftp).started().run();
        recorded(&service, 1);
        error_shown(&service, "/a: listing not understood, first line: <html><body>");
        rescanned(&ftp, 1);
        assert_eq!(shown(&service, "directories_seen"), 2, "the root and the empty one");
        ftp.behave();
        recorded(&service, 3);
        faultless(&service);
    }
}

/// interface 10.22
#[test]
fn lines_that_are_not_understood_are_counted_and_the_rest_is_used() {
    let ftp = ScriptedServer::start();
    put(&ftp, "/1.zip", zip(1, 2000));
    ftp.manner(|manner| manner.mlsd_in_feat = false);
    let size = zip(1, 2000).len();
    ftp.rule(Rule::on("LIST").content(format!(
        "total 12\r\nhello\r\n-rw-r--r-- 1 u g {size} Nov 23 03:00 1.zip\r\n[R----F--] supervisor 512 Jan 16 18:53 x\r\n"
    )));
    let service = one(&ftp).started().run();
    recorded(&service, 1);
    service.wait_for(SOON, "both are counted", |service| shown(service, "lines_not_understood") == 2);
    error_shown(&service, "/: 2 lines of the listing are not usable, the first: hello");
    ftp.behave();
    faultless(&service);
    assert_eq!(shown(&service, "lines_not_understood"), 0);
}

/// interface 10.22
#[test]
fn what_is_neither_file_directory_nor_link_is_counted_and_named() {
    let size = zip(1, 2000).len();
    let cases = [
        (
            "LIST",
            format!(
                "prw-r--r-- 1 u g 0 Nov 23 03:00 fifo.zip\r\n-rw-r--r-- 1 u g {size} Nov 23 03:00 1.zip\r\n"
            ),
        ),
        ("MLSD", format!("type=OS.unix=fifo; fifo.zip\r\ntype=file;size={size}; 1.zip\r\n")),
    ];
    for (verb, listing) in cases {
        let ftp = ScriptedServer::start();
        put(&ftp, "/1.zip", zip(1, 2000));
        ftp.manner(|manner| manner.mlsd_in_feat = verb == "MLSD");
        ftp.rule(Rule::on(verb).content(listing));
        let service = one(&ftp).started().run();
        recorded(&service, 1);
        service.wait_for(SOON, "it is counted", |service| shown(service, "lines_not_understood") == 1);
        error_shown(&service, "fifo.zip");
        ftp.behave();
        faultless(&service);
    }
}

#[test]
fn facts_with_blanks_make_up_no_names() {
    let ftp = ScriptedServer::start();
    put(&ftp, "/1.zip", zip(1, 2000));
    put(&ftp, "/sub/2.zip", zip(2, 2000));
    let size = zip(1, 2000).len();
    let facts = "UNIX.group=1051;UNIX.groupname=domain users;UNIX.mode=0600;UNIX.owner=10;";
    let file = |name| format!("modify=20260803180421;size={size};type=file;{facts} {name}\r\n");
    let root = format!("{}modify=20260803180421;type=dir;{facts} sub\r\n", file("1.zip"));
    ftp.rule(Rule::on("MLSD").about("/").content(root));
    ftp.rule(Rule::on("MLSD").about("/sub").content(file("2.zip")));
    let service = one(&ftp).started().run();
    recorded(&service, 2);
    faultless(&service);
    assert_eq!(names(&service), ["omc01/1.zip", "omc01/sub/2.zip"]);
    let mut made: Vec<_> = std::fs::read_dir(service.root().join("omc01"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    made.sort();
    assert_eq!(made, ["1.zip", "sub"]);
}

#[test]
fn mlsd_that_is_shown_and_not_known_gives_way_to_list_for_good() {
    for reply in ["500 Unknown command.\r\n", "502 Not implemented.\r\n", "504 Not now.\r\n"] {
        let ftp = ScriptedServer::start();
        three(&ftp);
        ftp.rule(Rule::on("MLSD").reply(reply));
        let service = with(&ftp, &[("connections", "1")]).started().run();
        recorded(&service, 3);
        ftp.drop_connections();
        rescanned(&ftp, 2);
        assert_eq!(ftp.count("MLSD"), 1, "{reply}");
        assert!(service.root().join("omc01/empty").is_dir());
        faultless(&service);
    }
}

/// The root lists these zips by MLSD, for as long as the rule holds.
fn shows_by_mlsd(names: &[&str]) -> Rule {
    let size = zip(0, 2000).len();
    let lines = names.iter().map(|name| format!("type=file;size={size};modify=20261123030000; {name}\r\n"));
    Rule::on("MLSD").about("/").content(lines.collect::<String>())
}

#[test]
fn mlsd_that_leaves_out_what_list_shows_gives_way_to_list_for_good() {
    // entries that are lost, and all of them
    for shown in [&["1.zip", "3.zip"][..], &[]] {
        let ftp = ScriptedServer::start();
        (1..=3).for_each(|n| put(&ftp, format!("/{n}.zip"), zip(n, 2000)));
        put(&ftp, "/d/4.zip", zip(4, 2000));
        ftp.rule(shows_by_mlsd(shown));
        let service = with(&ftp, &[("connections", "1")]).started().run();
        recorded(&service, 4);
        let before = ftp.count("MLSD");
        rescanned(&ftp, 2);
        assert!(before <= 2 && ftp.count("MLSD") == before, "{before} {}", ftp.count("MLSD"));
        faultless(&service);
        assert_eq!((shown_files(&service), ftp.count("RETR")), (4, 4));
        let told = logged(&service, "MLSD leaves out what LIST shows");
        assert!(told.len() == 1 && told[0].contains("WARN"), "{told:?}");
    }
}

fn shown_files(service: &crate::support::service::Service) -> u64 {
    shown(service, "files_seen").as_u64().unwrap()
}

#[test]
fn mlsd_that_loses_the_seventeenth_entry_is_found_out_in_the_first_large_directory() {
    let ftp = ScriptedServer::start();
    let size = zip(0, 2000).len();
    let mut lines = String::new();
    for n in 1..=25 {
        put(&ftp, format!("/d/{n:02}.zip"), zip(n, 2000));
        if n != 17 {
            lines += &format!("type=file;size={size};modify=20261123030000; {n:02}.zip\r\n");
        }
    }
    ftp.rule(Rule::on("MLSD").about("/d").content(lines));
    let service = one(&ftp).started().run();
    recorded(&service, 25);
    faultless(&service);
}

/// interface 10.18
#[test]
fn mlsd_is_compared_with_list_once_and_kept_where_it_shows_as_much() {
    let same = |_: &ScriptedServer| {};
    let less = |ftp: &ScriptedServer| ftp.rule(Rule::on("LIST").content("total 0\r\n"));
    // a file came while the first listing was on its way: it is in the second and third, and all later ones
    let grows = |ftp: &ScriptedServer| ftp.rule(shows_by_mlsd(&["1.zip"]).once());
    let refused = |ftp: &ScriptedServer| ftp.rule(Rule::on("LIST").reply("502 no\r\n"));
    let silent = |ftp: &ScriptedServer| ftp.rule(Rule::on("LIST").hang());
    type Prepare<'a> = &'a dyn Fn(&ScriptedServer);
    let cases: [(&str, Prepare); 5] = [
        ("the same", &same),
        ("LIST shows less", &less),
        ("a file comes", &grows),
        ("LIST is refused", &refused),
        ("LIST hangs", &silent),
    ];
    for (what, prepare) in cases {
        let ftp = ScriptedServer::start();
        (1..=2).for_each(|n| put(&ftp, format!("/{n}.zip"), zip(n, 2000)));
        put(&ftp, "/d/3.zip", zip(3, 2000));
        prepare(&ftp);
        let service = with(&ftp, &[("timeout", "'500ms'")]).started().run();
        recorded(&service, 3);
        faultless(&service);
        rescanned(&ftp, 3);
        assert_eq!(ftp.count("LIST"), 1, "{what}");
        assert!(ftp.count("MLSD") > 6, "{what}");
        assert!(logged(&service, "leaves out").is_empty(), "{what}");
    }
}

#[test]
fn a_directory_that_seems_to_have_become_empty_is_entered_before_that_is_believed() {
    let ftp = ScriptedServer::start();
    three(&ftp);
    let service = one(&ftp).started().run();
    recorded(&service, 3);
    // missing or forbidden, and answered with an empty success
    ftp.rule(Rule::on("MLSD").about("/a").content(""));
    ftp.rule(Rule::on("CWD").about("/a").reply("550 Permission denied.\r\n"));
    error_shown(&service, "/a: CWD: 550 Permission denied.");
    assert_eq!(names(&service).len(), 3, "nothing is deleted");
    ftp.behave();
    faultless(&service);
    // empty in earnest: asked once
    let entered = || ftp.commands().iter().filter(|line| *line == "CWD /a/b").count();
    let before = entered();
    ftp.remove("/a/b/3.zip");
    rescanned(&ftp, 3);
    assert_eq!(entered(), before + 1);
    faultless(&service);
    assert_eq!(names(&service).len(), 3);
}

#[test]
fn a_configured_directory_that_is_missing_and_answered_with_an_empty_listing_is_a_fault() {
    let ftp = ScriptedServer::start();
    three(&ftp);
    ftp.make_directory("/none");
    ftp.rule(Rule::on("CWD").about("/none").reply("550 Failed to change directory.\r\n"));
    let service = with(&ftp, &[("directories", "['/none', '/a']")]).started().run();
    error_shown(&service, "/none: CWD: 550");
    recorded(&service, 2);
}

#[test]
fn a_number_of_entries_at_which_servers_cut_listings_is_reported_though_nothing_says_so() {
    for (count, cut) in [(9_998, 1), (10_000, 1), (10_001, 0)] {
        let ftp = ScriptedServer::start();
        put(&ftp, "/big/1.zip", zip(1, 2000));
        let size = zip(1, 2000).len();
        let others = (1..count).map(|n| format!("type=file;size=1; {n}.xml\r\n"));
        let listing = others.chain([format!("type=file;size={size}; 1.zip\r\n")]).collect::<String>();
        ftp.rule(Rule::on("MLSD").about("/big").content(listing));
        let service = one(&ftp).started().run();
        recorded(&service, 1);
        service.wait_for(SOON, "the end of a scan", |service| shown(service, "scans") != 0);
        assert_eq!(shown(&service, "cut_listings"), cut, "{count}");
        let told = logged(&service, "where some servers cut a listing");
        assert_eq!(told.iter().filter(|line| line.contains("WARN")).count() as u64, cut, "{told:?}");
        if cut == 1 {
            error_shown(&service, &format!("/big: exactly {count} entries"));
        } else {
            faultless(&service);
        }
    }
}

/// interface 10.17
#[test]
fn every_shape_of_feat_tells_whether_there_is_mlsd() {
    let with_mlsd = [
        "211-Features:\r\n MLST type*;size*;modify*;\r\n211 End\r\n",
        "211-Features:\r\nMLST type*;size*\r\nUTF8\r\n211 End\r\n",
        "211-Features:\r\n\tMLST\r\n211 End\r\n",
        "211-Features:\r\n211-mlst size*;\r\n211-UTF8\r\n211 End\r\n",
        "211-Features:\r\n\r\n MLST\r\n\r\n211\r\n",
        "211-Features\n MLSD\n211 End\n",
    ];
    let without = [
        "211 no features\r\n",
        "211-Features:\r\n EPSV\r\n REST STREAM\r\n211 End\r\n",
        "211-Features:\r\n XMLST\r\n211 End\r\n",
        "500 What?\r\n",
        "502 Not implemented\r\n",
        "530 Not now\r\n",
    ];
    let shapes =
        with_mlsd.map(|reply| (reply, "MLSD")).into_iter().chain(without.map(|reply| (reply, "LIST")));
    for (reply, verb) in shapes {
        let ftp = ScriptedServer::start();
        three(&ftp);
        ftp.rule(Rule::on("FEAT").reply(reply));
        let service = one(&ftp).started().run();
        recorded(&service, 3);
        faultless(&service);
        let other = if verb == "MLSD" { "LIST" } else { "MLSD" };
        rescanned(&ftp, 1);
        // where MLSD is shown, it is compared with LIST once, and the first empty directory is looked at by LIST
        let looks = if verb == "MLSD" { 2 } else { 0 };
        assert!(ftp.count(verb) > 1 && ftp.count(other) == looks, "{reply}: {verb} {}", ftp.count(verb));
    }
}

/// interface 10.17
#[test]
fn the_configuration_may_choose_the_command() {
    for (listing, verb, other) in [("'list'", "LIST", "MLSD"), ("'mlsd'", "MLSD", "LIST")] {
        let ftp = ScriptedServer::start();
        three(&ftp);
        ftp.manner(|manner| manner.mlsd_in_feat = listing == "'list'");
        let service = with(&ftp, &[("listing", listing)]).started().run();
        recorded(&service, 3);
        assert!(ftp.count(verb) > 0 && ftp.count(other) == 0, "{listing}");
    }
}

#[test]
fn unix_and_dos_listings_are_read() {
    for style in [ListStyle::Unix, ListStyle::Dos] {
        let ftp = ScriptedServer::start();
        ftp.manner(|manner| (manner.mlsd_in_feat, manner.list_style) = (false, style));
        three(&ftp);
        ftp.put("/MR DIR/a  b.zip", File::new(zip(7, 2000)).modified(1_700_000_000));
        let service = one(&ftp).started().run();
        recorded(&service, 4);
        assert_eq!(content(&service, "omc01/MR DIR/a  b.zip"), zip(7, 2000));
        assert!(service.root().join("omc01/empty").is_dir());
        faultless(&service);
        let records = service.records();
        let record = records.iter().find(|record| record["path"] == "/MR DIR/a  b.zip").unwrap();
        let modified = record["modified"].as_str().unwrap();
        assert!(modified.starts_with("2023-11-14T"), "{modified}");
        // the server is never asked to list a path: it would take one for a pattern or for options
        assert!(ftp.commands().iter().all(|line| !line.starts_with("LIST ")));
    }
}

#[test]
fn odd_listings_are_read() {
    let size = zip(1, 2000).len();
    let lines: [&[u8]; 8] = [
        b"-rw-r--r--+ 1 u Domain Users @ Nov 23 03:00 1.zip",
        b"-rw-r--r--. 1 u @ 2026-11-23 03:00 1.zip",
        b"-rw-r--r-- 1 u g @ 11\xd4\xc2 23 03:00 1.zip",
        b"-rw-r--r-- 1 u g @ 23. Nov 03:00 1.zip",
        b"-rw-r--r-- 1 u g @ Feb 29 2024 1.zip",
        b"-rw-r--r-- 1 u g @ Feb 29 23:59 1.zip",
        b"11-23-2026  03:00AM @ 1.zip",
        b"11-23-26  15:00 @ 1.zip",
    ];
    for line in lines {
        let ftp = ScriptedServer::start();
        put(&ftp, "/1.zip", zip(1, 2000));
        ftp.manner(|manner| manner.mlsd_in_feat = false);
        let at = line.iter().rposition(|byte| *byte == b'@').unwrap();
        let listing = [&line[..at], size.to_string().as_bytes(), &line[at + 1..], b"\r\n"].concat();
        ftp.rule(Rule::on("LIST").content(&listing));
        let service = with(&ftp, &[("encoding", "'gbk'")]).started().run();
        recorded(&service, 1);
        assert_eq!(ftp.count("SIZE"), 0, "{}", String::from_utf8_lossy(&listing));
        faultless(&service);
    }
}

/// interface 10.21
#[test]
fn an_empty_directory_may_be_refused_as_having_no_files() {
    for reply in ["550 No files found.\r\n", "450 No files found\r\n"] {
        let ftp = ScriptedServer::start();
        three(&ftp);
        ftp.manner(|manner| (manner.mlsd_in_feat, manner.empty_listing) = (false, Some(reply.into())));
        let service = one(&ftp).started().run();
        recorded(&service, 3);
        faultless(&service);
        assert!(service.root().join("omc01/empty").is_dir());
        assert_eq!(shown(&service, "directories_seen"), 4);
    }
}

#[test]
fn a_file_that_vanishes_between_listing_and_fetching_costs_itself_alone() {
    let ftp = ScriptedServer::start();
    three(&ftp);
    let size = zip(0, 2000).len();
    let listing = format!("type=file;size=9; gone.zip\r\ntype=file;size={size}; 1.zip\r\ntype=dir; a\r\n");
    ftp.rule(Rule::on("MLSD").about("/").content(listing));
    let service = with(&ftp, &[("connections", "1")]).started().run();
    recorded(&service, 3);
    error_shown(&service, "/gone.zip: RETR: 550");
    assert_eq!((ftp.connections(), names(&service).len()), (1, 3));
    ftp.behave();
    faultless(&service);
    assert_eq!(shown(&service, "pending_files"), 0);
    service.wait_for(SOON, "an empty .partial", |service| service.partial().is_empty());
}

#[test]
fn an_error_for_a_missing_configured_directory_is_shown_and_the_others_are_mirrored() {
    let ftp = ScriptedServer::start();
    three(&ftp);
    let service = with(&ftp, &[("directories", "['/none', '/a']")]).started().run();
    recorded(&service, 2);
    error_shown(&service, "/none: MLSD: 550");
}

#[test]
fn entries_that_are_called_by_their_path_are_collected_and_those_of_another_directory_are_refused() {
    for (mlsd, verb) in [(true, "MLSD"), (false, "LIST")] {
        for before in ["./", "/a/"] {
            let ftp = ScriptedServer::start();
            ftp.manner(|manner| manner.mlsd_in_feat = mlsd);
            put(&ftp, "/a/1.zip", zip(1, 2000));
            put(&ftp, "/a/d/2.zip", zip(2, 2000));
            put(&ftp, "/b/3.zip", zip(3, 2000));
            let size = zip(1, 2000).len();
            let (file, directory) = match mlsd {
                true => (format!("type=file;size={size}; "), "type=dir; ".to_owned()),
                false => (
                    format!("-rw-r--r-- 1 u g {size} Nov 23 2025 "),
                    "drwxr-xr-x 1 u g 9 Nov 23 2025 ".into(),
                ),
            };
            let own = format!("{directory}{before}.\r\n{directory}{before}..\r\n");
            let others = format!("{file}../b/3.zip\r\n{file}/b/3.zip\r\n");
            let content = format!("{own}{file}{before}1.zip\r\n{directory}{before}d\r\n{others}");
            ftp.rule(Rule::on(verb).about("/a").content(content));
            let service = one(&ftp).started().run();
            recorded(&service, 3);
            assert_eq!(
                names(&service),
                ["omc01/a/1.zip", "omc01/a/d/2.zip", "omc01/b/3.zip"],
                "{verb} {before}"
            );
            assert_eq!(shown(&service, "lines_not_understood"), 2, "{verb} {before}");
            rescanned(&ftp, 2);
            assert_eq!(ftp.count("RETR"), 3, "{verb} {before}");
        }
    }
}
