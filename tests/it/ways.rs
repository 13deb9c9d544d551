//! How the way of listing is found that shows a server's tree: by what each shows, and not by what the server promises.

use crate::support::scripted::{AsImage, Paths, Rule, ScriptedServer};
use crate::support::steps::{
    SOON, content, error_shown, faultless, logged, names, one, put, recorded, rescanned, shown, with,
};
use crate::support::zips::zip;

/// Zips in directories below each other, one of which is named like the one above it.
fn tree() -> ScriptedServer {
    let ftp = ScriptedServer::start();
    for (n, path) in ["/MR/1.zip", "/MR/d1/2.zip", "/MR/d1/d2/3.zip", "/MR/d1/d1/4.zip"].iter().enumerate() {
        put(&ftp, path, zip(n as u64, 2000));
    }
    ftp
}

const FOUR: [&str; 4] =
    ["omc01/MR/1.zip", "omc01/MR/d1/2.zip", "omc01/MR/d1/d1/4.zip", "omc01/MR/d1/d2/3.zip"];

/// interface 10.16
#[test]
fn a_server_that_ignores_the_path_of_its_listings_is_entered() {
    for directories in ["['/']", "['/MR']", "['/MR/d1', '/MR']"] {
        for (listing, way) in [("'auto'", "CWD+MLSD"), ("'mlsd'", "CWD+MLSD"), ("'list'", "CWD+LIST")] {
            let ftp = tree();
            ftp.manner(|manner| manner.paths = Paths::Ignored);
            let keys = [("directories", directories), ("listing", listing)];
            let service = with(&ftp, &keys).started().run();
            recorded(&service, 4);
            faultless(&service);
            assert_eq!(names(&service), FOUR, "{directories} {listing}");
            assert!(!service.root().join("omc01/MR/MR").try_exists().unwrap(), "{directories} {listing}");
            assert_eq!(shown(&service, "listing"), way, "{directories} {listing}");
            let told = logged(&service, "does not show what the directory holds");
            assert_eq!(told.len(), usize::from(listing != "'list'"), "{told:?}");
        }
    }
}

#[test]
fn a_server_that_ignores_the_directory_that_is_entered_is_given_the_path() {
    let ftp = tree();
    ftp.manner(|manner| (manner.mlsd_in_feat, manner.mlsd_works) = (false, false));
    ftp.manner(|manner| manner.paths = Paths::NeverEntered);
    let service = one(&ftp).started().run();
    recorded(&service, 4);
    faultless(&service);
    assert_eq!(
        (names(&service), shown(&service, "listing")),
        (FOUR.map(str::to_owned).to_vec(), "LIST path".into())
    );
    assert!(!service.root().join("omc01/MR/MR").try_exists().unwrap());
}

#[test]
fn mlsd_that_shows_the_root_whatever_it_is_asked_for_gives_way_to_list() {
    for first in ["", "type=dir;modify=20261101000000; A\r\n"] {
        let ftp = tree();
        let facts = "modify=20261101000000";
        let root = format!("{first}type=dir;{facts}; MR\r\ntype=file;{facts};size=2000; 0.zip\r\n");
        put(&ftp, "/0.zip", zip(9, 2000));
        if !first.is_empty() {
            // where nothing is seen from within, nothing is settled
            ftp.make_directory("/A");
        }
        ftp.rule(Rule::on("MLSD").content(&root));
        let service = with(&ftp, &[("connections", "1")]).started().run();
        recorded(&service, 5);
        faultless(&service);
        assert_eq!(names(&service), [&["omc01/0.zip"][..], &FOUR].concat());
        assert_eq!(shown(&service, "listing"), "CWD+LIST");
        assert!(!service.root().join("omc01/MR/MR").try_exists().unwrap());
    }
}

#[test]
fn mlsd_that_knows_paths_from_the_root_alone_shows_the_same_in_every_scan() {
    let ftp = tree();
    ftp.make_directory("/MR/empty");
    ftp.manner(|manner| manner.paths = Paths::FromRootAlone);
    // the first one is compared with LIST, for which it is entered
    let keys = [("directories", "['/MR']"), ("connections", "1")];
    let service = with(&ftp, &keys).started().run();
    recorded(&service, 4);
    ftp.wait_for(SOON, "further scans", |journal| journal.listings_of("/MR") > 5);
    faultless(&service);
    assert_eq!((shown(&service, "files_seen"), shown(&service, "directories_seen")), (4.into(), 5.into()));
    // by the way that FEAT shows, which was not given up
    assert_eq!(shown(&service, "listing"), "MLSD path");
    put(&ftp, "/MR/d1/d2/5.zip", zip(5, 2000));
    recorded(&service, 5);
}

/// interface 10.18
#[test]
fn a_listing_that_calls_itself_a_directory_above_is_a_fault_and_nothing_of_it_is_used() {
    let ftp = ScriptedServer::start();
    put(&ftp, "/1.zip", zip(1, 2000));
    put(&ftp, "/d/2.zip", zip(2, 2000));
    // as Globus GridFTP lists what has a name beyond ASCII: the path ends at the first such byte
    let facts = "modify=20261101000000;size=2000";
    let root = format!(
        "type=cdir;unique=U0; .\r\ntype=file;{facts};unique=U1; 1.zip\r\ntype=dir;unique=U2; d\r\ntype=dir;unique=U3; 空\r\n"
    );
    ftp.make_directory("/空");
    ftp.rule(Rule::on("MLSD").about("/").content(&root));
    ftp.rule(Rule::on("MLSD").about("/空").content(&root));
    let service = one(&ftp).started().run();
    recorded(&service, 2);
    error_shown(&service, "/空: the server lists a directory above it in its place");
    rescanned(&ftp, 2);
    assert_eq!(names(&service), ["omc01/1.zip", "omc01/d/2.zip"]);
    assert!(!service.root().join("omc01/空/d").try_exists().unwrap());
}

/// interface 10.18
#[test]
fn directories_that_come_out_empty_below_the_first_are_looked_at_another_way() {
    let ftp = tree();
    ftp.rule(Rule::on("MLSD").about("/MR/d1").content(""));
    let service = with(&ftp, &[("directories", "['/MR']"), ("connections", "1")]).started().run();
    recorded(&service, 4);
    faultless(&service);
    assert_eq!(shown(&service, "listing"), "CWD+LIST");
}

/// interface 10.19
#[test]
fn a_way_that_is_refused_gives_way_to_the_next() {
    let cases = [
        ("MLSD takes no path", "501 Syntax error in parameters.\r\n", Paths::NotTaken, "CWD+MLSD"),
        ("MLSD is refused whatever is asked", "550 Failed.\r\n", Paths::Honoured, "CWD+LIST"),
        ("MLSD is forbidden", "550 Permission denied.\r\n", Paths::Honoured, "CWD+LIST"),
        ("MLSD is not known", "502 no\r\n", Paths::Honoured, "CWD+LIST"),
    ];
    for (what, reply, paths, way) in cases {
        let ftp = tree();
        ftp.manner(|manner| manner.paths = paths);
        if paths == Paths::Honoured {
            ftp.rule(Rule::on("MLSD").reply(reply));
        }
        let service = one(&ftp).started().run();
        recorded(&service, 4);
        faultless(&service);
        assert_eq!(shown(&service, "listing"), way, "{what}");
        assert_eq!(names(&service), FOUR, "{what}");
    }
}

#[test]
fn a_directory_that_one_way_refuses_is_listed_by_another_in_every_scan() {
    let ftp = tree();
    ftp.rule(Rule::on("MLSD").about("/MR/d1/d2").reply("550 no\r\n"));
    let service = one(&ftp).started().run();
    recorded(&service, 4);
    rescanned(&ftp, 4);
    faultless(&service);
    // and the others as before
    assert_eq!((shown(&service, "listing"), shown(&service, "files_seen")), ("MLSD path".into(), 4.into()));
    // where no way shows anything, the refusal holds
    ftp.rule(Rule::on("LIST").about("/MR/d1/d2").content(""));
    error_shown(&service, "/MR/d1/d2: MLSD: 550 no");
}

/// interface 10.20
#[test]
fn what_was_learnt_is_forgotten_where_nothing_can_be_listed_any_more() {
    for reply in ["502 no\r\n", "550 no\r\n"] {
        let ftp = tree();
        ftp.rule(Rule::on("MLSD").reply("502 no\r\n"));
        let service = one(&ftp).started().run();
        recorded(&service, 4);
        assert_eq!(shown(&service, "listing"), "CWD+LIST");
        // after an update of the server it is the other way round
        ftp.behave();
        ftp.rule(Rule::on("LIST").reply(reply));
        put(&ftp, "/MR/5.zip", zip(5, 2000));
        recorded(&service, 5);
        faultless(&service);
        assert_eq!(shown(&service, "listing"), "MLSD path");
    }
}

/// interface 10.19
#[test]
fn listings_that_are_refused_under_type_i_are_asked_for_under_type_a() {
    for mlsd in [false, true] {
        let ftp = tree();
        ftp.manner(|manner| (manner.mlsd_in_feat, manner.mlsd_works) = (mlsd, mlsd));
        ftp.manner(|manner| manner.lists_as_image = AsImage::Refused);
        let service = one(&ftp).started().run();
        recorded(&service, 4);
        faultless(&service);
        rescanned(&ftp, 2);
        let way = if mlsd { "MLSD path, TYPE A" } else { "CWD+LIST, TYPE A" };
        assert_eq!(shown(&service, "listing"), way);
        // under TYPE A it would have come broken
        assert_eq!(content(&service, "omc01/MR/1.zip"), zip(0, 2000));
        let output = service.mrosync(&["check"], &[]);
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(said.contains(&format!("lists by {way}")), "{said}");
    }
}

/// interface 10.19
#[test]
fn a_listing_that_is_empty_under_type_i_is_looked_at_under_type_a() {
    let ftp = tree();
    ftp.manner(|manner| (manner.mlsd_in_feat, manner.mlsd_works) = (false, false));
    ftp.manner(|manner| manner.lists_as_image = AsImage::Empty);
    let service = one(&ftp).started().run();
    recorded(&service, 4);
    faultless(&service);
    assert_eq!(shown(&service, "listing"), "CWD+LIST, TYPE A");
    assert_eq!(content(&service, "omc01/MR/1.zip"), zip(0, 2000));
    assert_eq!(logged(&service, "LIST shows nothing under TYPE I; TYPE A is used from now on").len(), 1);
}

/// interface 10.21
#[test]
fn a_listing_that_is_refused_is_a_fault_and_no_empty_directory() {
    for reply in ["550 Permission denied.\r\n", "550 Failed.\r\n", "450 Not now.\r\n", "501 What?\r\n"] {
        let ftp = tree();
        ftp.manner(|manner| (manner.mlsd_in_feat, manner.mlsd_works) = (false, false));
        ftp.rule(Rule::on("LIST").about("/MR/d1").reply(reply));
        ftp.rule(Rule::on("NLST").about("/MR/d1").reply(reply));
        let service = one(&ftp).started().run();
        recorded(&service, 1);
        error_shown(&service, "/MR/d1: LIST: ");
        assert_eq!(names(&service), ["omc01/MR/1.zip"]);
        ftp.behave();
        recorded(&service, 4);
        faultless(&service);
    }
}

#[test]
fn check_fails_where_a_configured_directory_can_be_entered_and_not_listed() {
    let ftp = tree();
    ftp.manner(|manner| (manner.mlsd_in_feat, manner.mlsd_works) = (false, false));
    ftp.rule(Rule::on("LIST").about("/MR").reply("550 Permission denied.\r\n"));
    let output = with(&ftp, &[("directories", "['/MR']")]).command(&["check"]).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(!output.status.success() && said.contains("listing /MR: LIST: 550 Permission denied."), "{said}");
}

/// interface 10.21
#[test]
fn a_refused_listing_of_an_empty_directory_is_told_by_a_second_question() {
    for (nlst, is_empty) in [("", true), (".\r\n..\r\n", true), ("5.zip\r\n", false)] {
        let ftp = tree();
        ftp.make_directory("/MR/d3");
        ftp.manner(|manner| (manner.mlsd_in_feat, manner.mlsd_works) = (false, false));
        ftp.rule(Rule::on("LIST").about("/MR/d3").reply("550 No such file or directory.\r\n"));
        ftp.rule(Rule::on("NLST").about("/MR/d3").content(nlst));
        let service = one(&ftp).started().run();
        recorded(&service, 4);
        if is_empty {
            faultless(&service);
            assert_eq!(shown(&service, "directories_seen"), 6);
        } else {
            error_shown(&service, "/MR/d3: LIST: 550 No such file or directory.");
        }
        service.wait_for(SOON, "the directory", |service| service.root().join("omc01/MR/d3").is_dir());
    }
}

/// What a server says to CWD that does not let anybody in.
const NOT_ENTERED: &str = "550 Failed to change directory.\r\n";

/// interface 10.16
#[test]
fn a_directory_that_cannot_be_entered_is_listed_by_its_path_where_that_shows_it() {
    // every directory, or one of them
    for (about, way) in [(None, "LIST path"), (Some("/MR/d1"), "CWD+LIST")] {
        let ftp = tree();
        put(&ftp, "/MR/d3/5.zip", zip(5, 2000));
        ftp.manner(|manner| (manner.mlsd_in_feat, manner.mlsd_works) = (false, false));
        let rule = Rule::on("CWD").reply(NOT_ENTERED);
        ftp.rule(about.map_or(rule.clone(), |about| rule.about(about)));
        let service = with(&ftp, &[("connections", "1")]).started().run();
        recorded(&service, 5);
        rescanned(&ftp, 2);
        faultless(&service);
        assert_eq!(shown(&service, "listing"), way);
        assert_eq!(names(&service), [&FOUR[..], &["omc01/MR/d3/5.zip"]].concat());
    }
}

/// interface 10.16
#[test]
fn a_path_that_is_ignored_shows_nothing_of_a_directory_that_cannot_be_entered() {
    for mlsd in [false, true] {
        let ftp = tree();
        ftp.manner(|manner| (manner.mlsd_in_feat, manner.mlsd_works) = (false, mlsd));
        ftp.manner(|manner| manner.paths = Paths::Ignored);
        let keys = [("directories", "['/gone', '/MR']"), ("connections", "1")];
        let service = with(&ftp, &keys).started().run();
        recorded(&service, 4);
        error_shown(&service, "/gone: CWD: 550 Failed to change directory.");
        let before = ftp.journal(|journal| journal.listings_of("/MR"));
        ftp.wait_for(SOON, "more scans", |journal| journal.listings_of("/MR") > before + 2);
        assert_eq!(names(&service), FOUR);
        assert!(!service.root().join("omc01/gone/MR").try_exists().unwrap());
    }
}

#[test]
fn a_path_is_listed_of_nobody_who_lets_in() {
    let ftp = tree();
    ftp.manner(|manner| (manner.mlsd_in_feat, manner.mlsd_works) = (false, false));
    let service = one(&ftp).started().run();
    recorded(&service, 4);
    rescanned(&ftp, 2);
    let lists: Vec<String> = ftp.commands().into_iter().filter(|line| line.starts_with("LIST ")).collect();
    assert!(lists.is_empty() && ftp.count("MDTM") == 0, "{lists:?}");
}
