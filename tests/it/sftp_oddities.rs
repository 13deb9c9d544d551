//! SFTP servers that leave things out, or do them in another way than the draft says.

use std::sync::{Arc, Mutex};

use crate::support::service::{Service, Setup};
use crate::support::sftp::{
    Asked, Bend, Bent, CLOSE, DIRECTORY, EOF, FAILURE, FILE, FSTAT, LINK, LSTAT, Manner, NO_SUCH_FILE, OPEN,
    OPEN_DIRECTORY, PERMISSION_DENIED, READ, READ_DIRECTORY, REAL_PATH, STAT, SftpServer, UNSUPPORTED,
    attributes, listing, no_attributes,
};
use crate::support::steps::{SOON, content, error_shown, logged, recorded, run};
use crate::support::zips::zip;

/// It goes in the middle of a file of a megabyte, when what was asked for together first has come.
const LATE: Option<(u64, &str)> = Some((800_000, "going down"));

/// The service with one server that has these files and bends its answers.
fn bent(
    files: &[(&str, usize)],
    bend: impl Fn(&Asked) -> Option<Bent> + Send + Sync + 'static,
) -> (SftpServer, Service) {
    bent_with(files, &[], bend)
}

/// The same with some of the server's keys set to TOML values.
fn bent_with(
    files: &[(&str, usize)],
    keys: &[(&str, &str)],
    bend: impl Fn(&Asked) -> Option<Bent> + Send + Sync + 'static,
) -> (SftpServer, Service) {
    let sftp = SftpServer::start();
    for (n, (path, size)) in files.iter().enumerate() {
        sftp.put(path, zip(n as u64, *size));
    }
    sftp.manner(|manner| manner.bend = Bend::new(bend));
    let server = keys.iter().fold(sftp.server("omc01"), |server, (key, value)| server.key(key, value));
    let service = run(Setup::new().server(server));
    (sftp, service)
}

/// The service with one server of which it cannot list anything.
fn without_way_in(change: impl FnOnce(&mut Manner)) -> (SftpServer, Service) {
    let sftp = SftpServer::start();
    sftp.put("/1.zip", zip(1, 1000));
    sftp.manner(change);
    let service = run(Setup::new().interval("1h").server(sftp.server("omc01")));
    (sftp, service)
}

#[track_caller]
fn faultless(service: &Service) {
    service.wait_for(SOON, "scans without a fault", |service| {
        let status = service.server_status("omc01");
        status["last_error"].is_null() && status["scans"].as_u64() > Some(2)
    });
}

/// Waits for two scans more.
#[track_caller]
fn rescanned(service: &Service) {
    let scans = |service: &Service| service.server_status("omc01")["scans"].as_u64();
    let before = scans(service).unwrap();
    service.wait_for(SOON, "two scans more", |service| scans(service) >= Some(before + 2));
}

/// Lines of level WARN and above of the server; nobody takes the calls for its files.
fn warnings(service: &Service) -> Vec<String> {
    let lines = logged(service, "server=omc01").into_iter();
    let lines = lines.filter(|line| line.contains(" WARN ") || line.contains(" ERROR "));
    lines.filter(|line| !line.contains("announcing failed")).collect()
}

/// How often a file was read from its start.
fn begun(sftp: &SftpServer) -> usize {
    sftp.journal().reads.iter().filter(|(_, offset)| *offset == 0).count()
}

/// An answer to READDIR, and the end after it.
fn once(asked: &Asked, entries: &[(&str, &str, Vec<u8>)]) -> Option<Bent> {
    (asked.kind == READ_DIRECTORY)
        .then(|| if asked.turn == 0 { listing(entries) } else { Bent::Status(EOF, "") })
}

/// interface 5.24
#[test]
fn entries_whose_type_is_left_out_are_asked_for_and_links_stay_links() {
    let (sftp, service) = bent(&[("/data.zip", 5000), ("/dir/1.zip", 5000)], |asked| {
        let bare = |name: &'static str| (name, name, no_attributes());
        match (asked.kind, &*asked.path) {
            (READ_DIRECTORY, "/") => once(asked, &[bare("."), bare("data.zip"), bare("dir"), bare("link")]),
            (READ_DIRECTORY, "/dir") => once(asked, &[bare("1.zip"), bare("notes.txt")]),
            (LSTAT, "/link") => Some(Bent::Packet(105, attributes(LINK, 5))),
            (LSTAT | STAT, "/dir/notes.txt") => Some(Bent::Packet(105, attributes(FILE, 5))),
            _ => None,
        }
    });
    recorded(&service, 2);
    faultless(&service);
    assert_eq!(service.mirrored().into_keys().collect::<Vec<_>>(), ["omc01/data.zip", "omc01/dir/1.zip"]);
    assert_eq!(service.server_status("omc01")["lines_not_understood"], 0);
    assert!(!service.root().join("omc01/link").try_exists().unwrap());
    drop(sftp);
}

/// interface 5.24
#[test]
fn what_nobody_says_the_type_of_is_tried_and_what_opens_as_nothing_is_named() {
    let (_sftp, service) = bent(&[("/1.zip", 5000), ("/sub/2.zip", 5000), ("/notes.txt", 500)], |asked| {
        let bare = |name: &'static str| (name, "", no_attributes());
        match (asked.kind, &*asked.path) {
            (READ_DIRECTORY, "/") => {
                once(asked, &[bare("1.zip"), bare("sub"), bare("notes.txt"), bare("odd"), bare("shut")])
            }
            (READ_DIRECTORY, "/sub") => once(asked, &[bare("2.zip")]),
            (LSTAT, _) => Some(Bent::Status(UNSUPPORTED, "")),
            (STAT, _) => Some(Bent::Packet(105, no_attributes())),
            (FSTAT, _) => Some(Bent::Packet(105, no_attributes())),
            (OPEN_DIRECTORY, "/shut") => Some(Bent::Status(PERMISSION_DENIED, "")),
            (OPEN_DIRECTORY, path) if !["/", "/sub"].contains(&path) => {
                Some(Bent::Status(FAILURE, "not a directory"))
            }
            _ => None,
        }
    });
    recorded(&service, 2);
    assert!(content(&service, "omc01/sub/2.zip") == zip(1, 5000));
    service.wait_for(SOON, "the two are counted", |service| {
        service.server_status("omc01")["lines_not_understood"].as_u64() >= Some(2)
    });
    rescanned(&service);
    let lines =
        logged(&service, "2 lines of the listing are not usable, the first: odd: its type is not told");
    let warnings = lines.iter().filter(|line| line.contains(" WARN ")).count();
    assert_eq!(warnings, 1, "{:?}", logged(&service, "WARN"));
}

#[test]
fn a_directory_or_file_that_ends_with_a_failure_has_ended() {
    let (_sftp, service) = bent(&[("/1.zip", 100_000), ("/a/2.zip", 5000), ("/b/3.zip", 5000)], |asked| {
        match (asked.kind, &*asked.path) {
            // a server that calls everything a failure shows an empty directory so
            (READ_DIRECTORY, "/b") => Some(Bent::Status(FAILURE, "Failure")),
            (READ_DIRECTORY, _) if asked.turn > 0 => Some(Bent::Status(FAILURE, "Failure")),
            (READ, "/1.zip") if asked.offset >= zip(0, 100_000).len() as u64 => {
                Some(Bent::Status(FAILURE, "Failure"))
            }
            (READ, "/a/2.zip") if asked.offset >= zip(1, 5000).len() as u64 => {
                Some(Bent::Status(FAILURE, "Failure"))
            }
            _ => None,
        }
    });
    recorded(&service, 2);
    faultless(&service);
}

/// interface 5.25
#[test]
fn a_first_readdir_that_is_refused_is_a_fault_and_no_empty_directory() {
    for code in [PERMISSION_DENIED, FAILURE] {
        let (_sftp, service) = bent(&[("/1.zip", 5000), ("/a/2.zip", 5000)], move |asked| {
            (asked.kind == READ_DIRECTORY && asked.path == "/a").then_some(Bent::Status(code, "not for you"))
        });
        assert!(error_shown(&service, "not for you").contains("/a: READDIR"));
        recorded(&service, 1);
    }
}

#[test]
fn an_answer_without_names_in_the_middle_of_a_directory_is_not_its_end() {
    let (_sftp, service) = bent(&[("/1.zip", 5000), ("/2.zip", 5000), ("/3.zip", 5000)], |asked| {
        let file = |name: &'static str| (name, "", attributes(FILE, zip(0, 5000).len() as u64));
        (asked.kind == READ_DIRECTORY).then(|| match asked.turn {
            0 => listing(&[file("1.zip")]),
            2 => listing(&[file("2.zip")]),
            // so far on that it was not asked for when the first empty one came
            5 => listing(&[file("3.zip")]),
            _ => listing(&[]),
        })
    });
    recorded(&service, 3);
    faultless(&service);
}

/// A server in front of a stream: a READ is served where the one before it ended, and nowhere else.
fn stream(refusal: u32, most: usize) -> impl Fn(&Asked) -> Option<Bent> + Send + Sync {
    let place = Arc::new(Mutex::new(0_u64));
    move |asked| {
        let mut place = place.lock().unwrap();
        let file = zip(0, 1_000_000);
        match asked.kind {
            OPEN => *place = 0,
            READ if asked.offset != *place => return Some(Bent::Status(refusal, "only in order")),
            READ => {
                let begin = (asked.offset as usize).min(file.len());
                let data = &file[begin..file.len().min(begin + asked.length.min(most))];
                *place += data.len() as u64;
                let length = (data.len() as u32).to_be_bytes();
                return Some(match data {
                    [] => Bent::Status(EOF, ""),
                    data => Bent::Packet(103, [&length[..], data].concat()),
                });
            }
            _ => {}
        }
        None
    }
}

/// interface 5.27
#[test]
fn a_server_that_reads_only_in_order_is_read_in_order() {
    for (refusal, most) in [(FAILURE, 10_000), (EOF, 10_000), (FAILURE, usize::MAX)] {
        let (sftp, service) = bent(&[("/1.zip", 1_000_000)], stream(refusal, most));
        recorded(&service, 1);
        assert!(content(&service, "omc01/1.zip") == zip(0, 1_000_000));
        assert_eq!((warnings(&service), begun(&sftp)), (vec![], 1), "it was right at once");
    }
}

/// interface 5.27
#[test]
fn a_resume_that_is_refused_begins_anew_at_once() {
    for refusal in [FAILURE, EOF] {
        let sftp = SftpServer::start();
        sftp.put("/1.zip", zip(0, 1_000_000));
        sftp.manner(|manner| manner.leaves_after = LATE);
        let in_order = stream(refusal, usize::MAX);
        let opened = Arc::new(Mutex::new(0));
        let counted = Arc::clone(&opened);
        sftp.manner(|manner| {
            manner.bend = Bend::new(move |asked| {
                let mut opened = counted.lock().unwrap();
                *opened += usize::from(asked.kind == OPEN);
                if *opened <= 1 { None } else { in_order(asked) }
            });
        });
        let service = run(Setup::new().interval("1h").server(sftp.server("omc01")));
        recorded(&service, 1);
        assert!(content(&service, "omc01/1.zip") == zip(0, 1_000_000));
        assert_eq!(*opened.lock().unwrap(), 3, "where it broke off, and once more");
        assert_eq!(begun(&sftp), 2, "once more from the start, in the same scan");
    }
}

#[test]
fn a_server_that_refuses_large_reads_is_asked_for_less() {
    let (_sftp, service) = bent(&[("/1.zip", 300_000)], |asked| {
        (asked.kind == READ && asked.length > 10_000).then_some(Bent::Status(FAILURE, "too large"))
    });
    recorded(&service, 1);
    assert!(content(&service, "omc01/1.zip") == zip(0, 300_000));
    assert_eq!(logged(&service, "too large"), [""; 0]);
}

#[test]
fn a_size_of_nothing_is_doubted_where_bytes_come_and_a_close_that_fails_costs_nothing() {
    let sftp = SftpServer::start();
    sftp.put("/1.zip", zip(0, 1_000_000));
    sftp.manner(|manner| {
        // what has no bytes could not be resumed
        manner.leaves_after = LATE;
        manner.bend = Bend::new(|asked| match asked.kind {
            STAT | FSTAT => Some(Bent::Packet(105, attributes(FILE, 0))),
            CLOSE => Some(Bent::Status(FAILURE, "cannot close")),
            _ => None,
        });
    });
    let server = sftp.server("omc01").key("connections", "1").key("verify", "'size'");
    let service = run(Setup::new().server(server));
    recorded(&service, 1);
    faultless(&service);
    assert!(content(&service, "omc01/1.zip") == zip(0, 1_000_000));
    assert_eq!((begun(&sftp), sftp.journal().logins), (1, 2), "{:?}", warnings(&service));
}

#[test]
fn a_server_without_stat_is_collected_from() {
    let (_sftp, service) = bent(&[("/1.zip", 100_000)], |asked| match asked.kind {
        READ_DIRECTORY if asked.turn == 0 => {
            Some(listing(&[("1.zip", "-rw-r--r-- 1 u g 0 Nov 1 00:00 1.zip", no_attributes())]))
        }
        STAT | LSTAT | FSTAT => Some(Bent::Status(UNSUPPORTED, "unsupported")),
        _ => None,
    });
    recorded(&service, 1);
    faultless(&service);
}

#[test]
fn names_that_are_given_as_paths_are_read() {
    let (_sftp, service) = bent(&[("/a/1.zip", 5000), ("/a/2.zip", 5000), ("/a/b/3.zip", 5000)], |asked| {
        let file = |name: &'static str| (name, "", attributes(FILE, zip(0, 5000).len() as u64));
        let directory = |name: &'static str| (name, "", attributes(DIRECTORY, 0));
        match &*asked.path {
            "/" => once(asked, &[directory("./"), directory("a/")]),
            "/a" => once(asked, &[file("/a/1.zip"), file("\\a\\2.zip"), directory("a/b/")]),
            _ => None,
        }
    });
    recorded(&service, 3);
    faultless(&service);
}

/// interface 5.26
#[test]
fn a_server_that_opens_relative_paths_alone_is_asked_for_those() {
    for home in ["/", "/home/mro", ""] {
        let (sftp, service) = bent(&[("/a/1.zip", 5000)], move |asked| {
            let name = ("a", "", attributes(DIRECTORY, 0));
            let handle =
                |word: &str| Some(Bent::Packet(102, [&4_u32.to_be_bytes()[..], word.as_bytes()].concat()));
            let file = ("1.zip", "", attributes(FILE, zip(0, 5000).len() as u64));
            match (asked.kind, &*asked.path) {
                (REAL_PATH, _) if home.is_empty() => Some(Bent::Status(UNSUPPORTED, "")),
                (REAL_PATH, _) => Some(listing(&[(home, home, no_attributes())])),
                (OPEN | OPEN_DIRECTORY | STAT | LSTAT, path) if path.starts_with('/') => {
                    Some(Bent::Status(NO_SUCH_FILE, "no such place"))
                }
                (OPEN, "a/1.zip") => handle("\0\0\0\0"),
                (READ_DIRECTORY, ".") => once(asked, &[name]),
                (READ_DIRECTORY, "a") => once(asked, &[file]),
                (READ, _) if asked.offset == 0 => {
                    let data = zip(0, 5000);
                    Some(Bent::Packet(103, [&(data.len() as u32).to_be_bytes()[..], &data].concat()))
                }
                (READ, _) => Some(Bent::Status(EOF, "")),
                (FSTAT, _) => Some(Bent::Status(UNSUPPORTED, "")),
                _ => None,
            }
        });
        recorded(&service, 1);
        faultless(&service);
        drop(sftp);
    }
}

#[test]
fn a_session_that_opens_nothing_any_more_is_left_for_a_new_one() {
    let files: Vec<String> = (0..30).map(|n| format!("/{n:02}.zip")).collect();
    let files: Vec<(&str, usize)> = files.iter().map(|path| (path.as_str(), 5000)).collect();
    for words in ["Failure", "too many open handles"] {
        let (sftp, service) = bent_with(&files, &[("connections", "1")], move |asked| {
            (asked.kind == OPEN && asked.before >= 10).then_some(Bent::Status(FAILURE, words))
        });
        recorded(&service, 30);
        assert!(sftp.journal().logins >= 3);
        // other words say so only when they have come again and again
        let refused = logged(&service, &format!("OPEN: {words}; next try")).len();
        assert!(refused == 0 || words == "Failure", "{:?}", warnings(&service));
    }
}

#[test]
fn a_session_whose_answers_are_out_of_step_is_left_at_once() {
    for kind in [OPEN_DIRECTORY, OPEN, READ, FSTAT, READ_DIRECTORY] {
        let sftp = SftpServer::start();
        sftp.put("/1.zip", zip(0, 5000));
        let strayed = Mutex::new(false);
        sftp.manner(|manner| {
            manner.bend = Bend::new(move |asked| {
                let mut strayed = strayed.lock().unwrap();
                let strays = asked.kind == kind && !*strayed;
                *strayed |= strays;
                strays.then_some(Bent::Stray)
            });
        });
        let service = run(Setup::new().server(sftp.server("omc01").key("timeout", "'1h'")));
        recorded(&service, 1);
    }
}

/// interface 5.28
#[test]
fn an_expired_password_is_told_in_the_servers_words_and_never_sent_as_the_new_one() {
    let (sftp, service) = without_way_in(|manner| {
        manner.asks = true;
        manner.banner = Some("Ask the help desk on 4711\n".to_owned());
        manner.questions = Some(&[
            ("", &[("Password: ", false)]),
            ("Your password has expired.", &[("New password: ", false), ("Retype new password: ", false)]),
        ]);
    });
    let shown = error_shown(&service, "login refused: the server asks for a new password");
    assert!(shown.contains("Your password has expired. / New password: / Retype new password:"), "{shown}");
    assert!(shown.contains("its banner says: Ask the help desk on 4711"), "{shown}");
    assert_eq!(sftp.journal().answers, ["mro-pass"]);
    assert_eq!(sftp.journal().logins, 0);
}

/// interface 5.28
#[test]
fn a_question_for_something_else_than_the_password_is_not_answered() {
    let (sftp, service) = without_way_in(|manner| {
        manner.asks = true;
        manner.questions = Some(&[("Two steps", &[("Verification code: ", false)])]);
    });
    error_shown(
        &service,
        "login refused: the server asks for what is not configured: \"Two steps / Verification code:\"",
    );
    assert_eq!(sftp.journal().answers, [""; 0]);
}

#[test]
fn what_a_server_says_instead_of_sftp_is_shown() {
    let (_sftp, service) = without_way_in(|manner| manner.prints = "Welcome to omc01!\n");
    let shown = error_shown(&service, "the account's shell prints text before SFTP begins");
    assert!(shown.contains("Welcome to omc01!"), "{shown}");
    let (_sftp, service) = without_way_in(|manner| manner.version = 6);
    error_shown(&service, "the server speaks version 6 of SFTP where 3 is asked for");
    let (_sftp, service) =
        without_way_in(|manner| manner.complains = "This account is locked until Monday.\n");
    error_shown(&service, "This account is locked until Monday.");
    let (_sftp, service) = without_way_in(|manner| {
        manner.complains =
            "WARNING: Your password has expired.\nPassword change required but no TTY available.\n";
    });
    error_shown(&service, "login refused: WARNING: Your password has expired.");
}

#[test]
fn versions_1_and_2_are_understood() {
    for version in [1, 2] {
        let sftp = SftpServer::start();
        sftp.put("/1.zip", zip(1, 5000));
        sftp.manner(|manner| manner.version = version);
        let service = run(Setup::new().server(sftp.server("omc01")));
        recorded(&service, 1);
    }
}
