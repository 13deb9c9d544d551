//! The calls: one GET for each file, after its record, until it is delivered, and never in the way of a download.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::notify::{Answer, NotifyStub};
use crate::support::scripted::{File, ScriptedServer};
use crate::support::service::{Server, Service, Setup, Stream};
use crate::support::steps::{SOON, ready, recorded, run, warnings};
use crate::support::zips::zip;

fn to(ftp: &ScriptedServer, notify: &NotifyStub) -> Setup {
    Setup::new().server(Server::scripted("omc01", ftp)).notify(&notify.url())
}

fn put(ftp: &ScriptedServer, count: u64) {
    ftp.edit(|tree| (0..count).for_each(|n| tree.put(format!("/{n}.zip"), File::new(zip(n, 2000)))));
}

fn delivered(service: &Service) -> usize {
    service.records().iter().filter(|record| !record["notified_at"].is_null()).count()
}

/// Waits until `status` counts so many.
#[track_caller]
fn counted(service: &Service, counter: &str, wanted: u64) {
    let what = format!("{counter} = {wanted}");
    service.wait_for(SOON, &what, |service| service.status()["notify"][counter] == wanted);
}

/// Waits until so many calls have come.
#[track_caller]
fn called(notify: &NotifyStub, count: usize) {
    notify.wait_for(SOON, &format!("{count} calls"), |calls| calls.len() >= count);
}

/// The files that were called for, each once, in the order of their names.
fn files(notify: &NotifyStub) -> Vec<String> {
    let mut files = notify.files();
    files.sort();
    files.dedup();
    files
}

fn names(count: usize) -> Vec<String> {
    let mut names: Vec<String> = (0..count).map(|n| format!("/omc01/{n}.zip")).collect();
    names.sort();
    names
}

/// interface 13.1
#[test]
fn each_file_is_called_for_once_by_get() {
    let (ftp, notify) = (ScriptedServer::start(), NotifyStub::start());
    put(&ftp, 150);
    let service = run(to(&ftp, &notify));
    counted(&service, "delivered", 150);
    counted(&service, "pending", 0);
    assert_eq!(files(&notify), names(150));
    let calls = notify.calls();
    assert_eq!(calls.len(), 150, "none is called for twice");
    assert!(calls.iter().all(|call| call.method == "GET"));
    let status = service.status();
    assert_eq!(
        (&status["notify"]["failed_attempts"], &status["notify"]["cancelled"]),
        (&0.into(), &0.into())
    );
    assert_eq!(delivered(&service), 150);
}

/// interface 13.1
#[test]
fn at_the_time_of_the_call_the_record_and_the_file_are_there() {
    let (ftp, notify) = (ScriptedServer::start(), NotifyStub::start());
    put(&ftp, 3);
    notify.answer(Answer::Hang);
    let service = run(to(&ftp, &notify).toml("[notify]\ntimeout = '60s'"));
    notify.wait_for(SOON, "a call", |calls| !calls.is_empty());
    let file = notify.files().remove(0);
    let path = file.strip_prefix("/omc01").unwrap();
    // while the call hangs, from a process of its own
    let records = service.records();
    let record = records.iter().find(|record| record["path"] == path).expect("its record");
    assert!(record["notified_at"].is_null(), "{record}");
    assert!(service.mirrored().contains_key(file.trim_start_matches('/')));
    notify.answer(Answer::Status(200));
    notify.release();
    counted(&service, "delivered", 3);
}

/// interface 5.3
#[test]
fn the_path_is_encoded_byte_for_byte() {
    let (ftp, notify) = (ScriptedServer::start(), NotifyStub::start());
    let expected = [
        ("/xxx/omc_456456_mro.zip", "%2Fomc01%2Fxxx%2Fomc_456456_mro.zip"),
        ("/a b+c.zip", "%2Fomc01%2Fa%20b%2Bc.zip"),
        ("/a&b=c?d#e%41.ZIP", "%2Fomc01%2Fa%26b%3Dc%3Fd%23e%2541.ZIP"),
        ("/上海/中.zip", "%2Fomc01%2F%E4%B8%8A%E6%B5%B7%2F%E4%B8%AD.zip"),
        ("/-_.~'()!*;:@$,[].zip", "%2Fomc01%2F-_.~%27%28%29%21%2A%3B%3A%40%24%2C%5B%5D.zip"),
    ];
    for (n, (path, _)) in expected.iter().enumerate() {
        ftp.put(path, File::new(zip(n as u64, 2000)));
    }
    let service = run(to(&ftp, &notify));
    counted(&service, "delivered", expected.len() as u64);
    let mut targets: Vec<String> = notify.calls().into_iter().map(|call| call.target).collect();
    let mut wanted: Vec<String> = expected.iter().map(|(_, file)| format!("/dls.php?file={file}")).collect();
    targets.sort();
    wanted.sort();
    assert_eq!(targets, wanted);
}

/// interface 5.3
#[test]
fn a_url_with_a_query_of_its_own_keeps_it() {
    let (ftp, notify) = (ScriptedServer::start(), NotifyStub::start());
    put(&ftp, 1);
    let url = format!("{}?token=a%2Fb&x=", notify.url());
    let service = run(to(&ftp, &notify).notify(&url));
    counted(&service, "delivered", 1);
    assert_eq!(notify.calls()[0].target, "/dls.php?token=a%2Fb&x=&file=%2Fomc01%2F0.zip");
}

/// interface 13.2
#[test]
fn whatever_is_not_2xx_is_tried_again_until_it_is() {
    let faults = [
        Answer::Status(500),
        Answer::Status(404),
        Answer::Raw(b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n".to_vec()),
        Answer::Status(304),
        Answer::Close,
        Answer::Hang,
        Answer::Raw(b"what?\r\n\r\n".to_vec()),
        Answer::Raw(b"HTTP/1.1 200 OK\r\nX: ".to_vec()),
    ];
    // each fault has a program of its own: in one, the intervals would add up
    let trials: Vec<_> = faults
        .into_iter()
        .map(|fault| {
            let (ftp, notify) = (ScriptedServer::start(), NotifyStub::start());
            put(&ftp, 1);
            notify.answer_next([fault.clone()]);
            let service = to(&ftp, &notify).toml("[notify]\ntimeout = '500ms'").started().run();
            (fault, ftp, notify, service)
        })
        .collect();
    for (fault, _ftp, notify, service) in &trials {
        ready(service);
        notify.wait_for(SOON, &format!("another try after {fault:?}"), |calls| calls.len() == 2);
        counted(service, "delivered", 1);
        counted(service, "failed_attempts", 1);
        assert_eq!(files(notify), ["/omc01/0.zip"], "{fault:?}: a redirect is not followed");
        assert_eq!(notify.calls().len(), 2, "{fault:?}");
    }
}

/// interface 13.2
#[test]
fn any_2xx_is_delivered_whatever_else_the_answer_says() {
    for answer in [Answer::Status(204), Answer::Status(299), Answer::EndlessBody] {
        let (ftp, notify) = (ScriptedServer::start(), NotifyStub::start());
        put(&ftp, 6);
        notify.answer(answer.clone());
        let service = run(to(&ftp, &notify).toml("[notify]\ntimeout = '60s'"));
        counted(&service, "delivered", 6);
        assert_eq!(notify.calls().len(), 6, "{answer:?}");
        assert!(service.peak_memory() < 200 << 20, "{answer:?}: an answer is not collected");
    }
}

/// interface 13.5
#[test]
fn a_2xx_is_delivered_once_its_head_is_there_and_its_script_may_go_on() {
    let (ftp, notify) = (ScriptedServer::start(), NotifyStub::start());
    notify.answer(Answer::HangingBody);
    put(&ftp, 6);
    let service = run(to(&ftp, &notify).toml("[notify]\ntimeout = '60s'\nconcurrency = 2"));
    counted(&service, "delivered", 6);
    assert_eq!(
        (notify.calls().len(), notify.max_under_way()),
        (6, 6),
        "none was cut off, and none waited for"
    );
    assert_eq!(warnings(&service), Vec::<String>::new());
}

/// interface 13.5
#[test]
fn what_only_announces_an_answer_is_not_the_answer() {
    let (ftp, notify) = (ScriptedServer::start(), NotifyStub::start());
    let early = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n";
    let answer = |status: &str| {
        Answer::Bytes(format!("{early}HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\nok").into_bytes())
    };
    notify.answer(answer("200 OK"));
    notify.answer_next([answer("500 No")]);
    put(&ftp, 5);
    let service = run(to(&ftp, &notify).toml("[notify]\nconcurrency = 1"));
    counted(&service, "delivered", 5);
    counted(&service, "failed_attempts", 1);
    let calls = notify.calls();
    assert!(calls.len() == 6 && calls.iter().all(|call| call.connection == 1), "one connection for all");
}

/// interface 13.6
#[test]
fn a_host_that_closes_after_each_answer_costs_no_failure_and_no_warning() {
    let ends: [&[u8]; 4] = [
        b"HTTP/1.0 200 OK\r\nServer: old\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok",
        // and does not say so
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    ];
    for end in ends {
        let (ftp, notify) = (ScriptedServer::start(), NotifyStub::start());
        notify.answer(Answer::Raw(end.to_vec()));
        put(&ftp, 40);
        let service = run(to(&ftp, &notify));
        counted(&service, "delivered", 40);
        assert_eq!(service.status()["notify"]["failed_attempts"], 0);
        assert_eq!(warnings(&service), Vec::<String>::new());
        assert_eq!(files(&notify), names(40));
    }
}

/// interface 13.6
#[test]
fn an_idle_connection_that_died_is_replaced_at_once_and_a_new_one_is_not() {
    for method in ["GET", "POST"] {
        let (ftp, notify) = (ScriptedServer::start(), NotifyStub::start());
        let service = run(to(&ftp, &notify).toml(&format!("[notify]\nmethod = '{method}'\nconcurrency = 1")));
        notify.answer_next([Answer::Close]);
        ftp.put("/first.zip", File::new(zip(1, 2000)));
        counted(&service, "delivered", 1);
        let failed = |service: &Service| service.status()["notify"]["failed_attempts"].as_u64();
        assert_eq!((failed(&service), warnings(&service).len()), (Some(1), 1), "the new one");
        notify.answer_next([Answer::Close]);
        ftp.put("/second.zip", File::new(zip(2, 2000)));
        counted(&service, "delivered", 2);
        let connections: Vec<u64> = notify.calls().iter().map(|call| call.connection).collect();
        // a slow machine lets the second connection pass its time
        if connections[2] == 2 {
            assert_eq!((connections, failed(&service)), (vec![1, 2, 2, 3], Some(1)));
            assert_eq!(warnings(&service).len(), 1, "{:?}", warnings(&service));
        }
    }
}

#[test]
fn a_failure_says_what_was_called_and_what_came_back_and_no_secret() {
    let moved = b"HTTP/1.1 302 Found\r\nLocation: /login?to=geheim\r\nContent-Length: 0\r\n\r\n";
    let broken = b"HTTP/1.1 502 -\r\nContent-Length: 33\r\n\r\n<title>no \x1b[2J php</title> geheim\n";
    for (answer, wanted) in [
        (&moved[..], "the answer is 302 Found to http://HOST/login; redirects are not followed"),
        (&broken[..], "the answer is 502 Bad Gateway (no \\u{1b}[2J php"),
        (&b"220 ftp\r\n"[..], "the host does not speak HTTP: its answer begins \"220 ftp\""),
        (&b"HTTP/1.1 200 O"[..], "the host closed the connection amid the head of its answer"),
        (&b""[..], "the host closed the connection without an answer"),
    ] {
        let (ftp, notify) = (ScriptedServer::start(), NotifyStub::start());
        notify.answer_next([Answer::Raw(answer.to_vec())]);
        put(&ftp, 1);
        let service = run(to(&ftp, &notify).notify(&format!("{}?token=geheim", notify.url())));
        counted(&service, "delivered", 1);
        let wanted = wanted.replace("HOST", &notify.addr().to_string());
        let called = format!("announcing failed: GET {}: {wanted}", notify.url());
        service.wait_line(Stream::Stderr, SOON, &called, |line| {
            line.contains(&called) && line.contains("next try in 1s")
        });
        let told = answer != &broken[..] && warnings(&service).iter().any(|line| line.contains("geheim"));
        assert!(!told, "{:?}", warnings(&service));
    }
}

/// interface 13.10
#[test]
fn refused_files_of_one_server_hold_up_no_file_of_another() {
    let (ftp, notify) = (ScriptedServer::start(), NotifyStub::start());
    let good = ScriptedServer::start();
    notify.answer_server("omc01", Answer::Status(500));
    put(&ftp, 60);
    good.put("/first.zip", File::new(zip(1, 2000)));
    let service = run(to(&ftp, &notify).server(Server::scripted("good", &good)));
    counted(&service, "delivered", 1);
    service.wait_for(SOON, "failures", |service| {
        service.status()["notify"]["failed_attempts"].as_u64() >= Some(12)
    });
    for n in 0..3 {
        let file = format!("/new{n}.zip");
        good.put(&file, File::new(zip(n, 2000)));
        service.wait_for(SOON, "its record", |service| {
            service.records().iter().any(|record| record["path"] == file.as_str())
        });
        let began = Instant::now();
        counted(&service, "delivered", n + 2);
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    }
    let refused = "server=omc01: all calls for its files fail";
    assert_eq!(warnings(&service).iter().filter(|line| line.contains(refused)).count(), 1);
    assert!(!warnings(&service).iter().any(|line| line.contains("the notify host fails")));
}

/// The files that were not evicted.
fn left(service: &Service) -> Vec<String> {
    let records = service.records().into_iter().filter(|record| record["evicted_at"].is_null());
    records.map(|record| format!("/omc01{}", record["path"].as_str().unwrap_or_default())).collect()
}

/// interface 13.7
#[test]
fn files_that_go_while_the_host_is_down_are_never_called_for() {
    let (ftp, notify) = (ScriptedServer::start(), NotifyStub::start());
    notify.go_down();
    put(&ftp, 12);
    let service = run(to(&ftp, &notify).toml("[quota]\nmax_bytes = '30kB'"));
    recorded(&service, 12);
    service.wait_for(SOON, "calls that failed", |service| {
        service.status()["notify"]["failed_attempts"].as_u64() >= Some(8)
    });
    // evicted, and deleted by hand
    ftp.put("/new.zip", File::new(zip(99, 20_000)));
    recorded(&service, 13);
    let deleted = left(&service).into_iter().find(|file| !file.contains("new")).expect("a file that is left");
    std::fs::remove_file(service.root().join(deleted.trim_start_matches('/'))).unwrap();
    service.wait_for(SOON, "it counts as evicted", |service| !left(service).contains(&deleted));
    let wanted = left(&service);
    counted(&service, "cancelled", 13 - wanted.len() as u64);
    notify.come_back();
    counted(&service, "delivered", wanted.len() as u64);
    let called = files(&notify);
    assert!(called.iter().all(|file| wanted.contains(file)), "{called:?}, but {wanted:?} are left");
    assert!(warnings(&service).iter().any(|line| line.contains("evicted before they could be announced")));
}

/// interface 13.7
#[test]
fn files_that_go_while_they_wait_for_their_turn_are_never_called_for() {
    let (ftp, notify) = (ScriptedServer::start(), NotifyStub::start());
    notify.answer(Answer::Hang);
    put(&ftp, 12);
    let settings = "[notify]\ntimeout = '300s'\nconcurrency = 1\n[quota]\nmax_bytes = '30kB'";
    let service = run(to(&ftp, &notify).toml(settings));
    recorded(&service, 12);
    called(&notify, 1);
    // all others are at hand, and some of their files make room for another
    ftp.put("/new.zip", File::new(zip(99, 20_000)));
    recorded(&service, 13);
    let evicted = |service: &Service| -> usize {
        service.records().iter().filter(|record| !record["evicted_at"].is_null()).count()
    };
    service.wait_for(SOON, "evictions", |service| {
        evicted(service) > 3 && service.status()["notify"]["cancelled"].as_u64() >= Some(3)
    });
    let left = left(&service);
    notify.answer(Answer::Status(200));
    notify.release();
    called(&notify, left.len());
    service.wait_for(SOON, "nothing waits", |service| service.status()["notify"]["pending"] == 0);
    // the first one was under way
    let called: Vec<String> = notify.files().split_off(1);
    assert!(called.iter().all(|file| left.contains(file)), "{called:?}, but {left:?} are left");
}

/// interface 13.2
#[test]
fn the_intervals_between_the_tries_grow() {
    let (ftp, notify) = (ScriptedServer::start(), NotifyStub::start());
    put(&ftp, 1);
    notify.answer(Answer::Status(503));
    let service = run(to(&ftp, &notify));
    called(&notify, 4);
    let at: Vec<Instant> = notify.calls().iter().map(|call| call.at).collect();
    let waits: Vec<f64> = at.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64()).collect();
    // 1, 2 and 4 s: a loaded machine makes them longer, never shorter
    for (wait, promised) in waits.iter().zip([1.0, 2.0, 4.0]) {
        assert!(*wait > promised * 0.9, "{waits:?}");
    }
    assert_eq!(service.status()["notify"]["pending"], 1);
    counted(&service, "failed_attempts", 4);
}

/// interface 13.3
#[test]
fn a_dead_host_never_delays_a_download() {
    for answer in [Some(Answer::Hang), Some(Answer::Status(500)), None] {
        let (ftp, notify) = (ScriptedServer::start(), NotifyStub::start());
        match answer.clone() {
            Some(answer) => notify.answer(answer),
            None => notify.go_down(),
        }
        put(&ftp, 100);
        let service = run(to(&ftp, &notify).toml("[notify]\ntimeout = '300s'"));
        recorded(&service, 100);
        ftp.put("/later.zip", File::new(zip(1, 2000)));
        recorded(&service, 101);
        assert_eq!(service.status()["notify"]["pending"], 101, "{answer:?}");
        assert_eq!(delivered(&service), 0, "{answer:?}");
    }
}

#[test]
fn what_waits_survives_a_kill_and_an_orderly_end_and_is_delivered_after_it() {
    let (ftp, notify) = (ScriptedServer::start(), NotifyStub::start());
    put(&ftp, 30);
    notify.go_down();
    let mut service = run(to(&ftp, &notify));
    recorded(&service, 30);
    service.kill();
    service.restart();
    ready(&service);
    counted(&service, "pending", 30);
    assert_eq!(service.terminate(Duration::from_secs(5)).code(), Some(0));
    service.restart();
    ready(&service);
    counted(&service, "pending", 30);
    notify.come_back();
    counted(&service, "delivered", 30);
    counted(&service, "pending", 0);
    assert_eq!(files(&notify), names(30));
    assert_eq!((notify.calls().len(), delivered(&service)), (30, 30), "nothing was delivered before");
}

/// interface 13.4
#[test]
fn a_kill_in_the_midst_of_calls_loses_none_and_repeats_at_most_those_under_way() {
    let (ftp, notify) = (ScriptedServer::start(), NotifyStub::start());
    put(&ftp, 60);
    notify.answer(Answer::Late(Duration::from_millis(20), 200));
    let mut service = run(to(&ftp, &notify).toml("[notify]\nconcurrency = 3"));
    for calls in [10, 25, 40] {
        called(&notify, calls);
        service.kill();
        service.restart();
        ready(&service);
    }
    service.wait_for(SOON, "all are delivered", |service| delivered(service) == 60);
    assert_eq!(files(&notify), names(60));
    // those under way, and those answered in the moments before whose record was not on disk yet: 200 ms on a slow machine
    assert!(notify.calls().len() <= 60 + 3 * (3 + 30), "{}", notify.calls().len());
}

#[test]
fn an_orderly_end_does_not_wait_for_a_host_that_hangs() {
    let (ftp, notify) = (ScriptedServer::start(), NotifyStub::start());
    put(&ftp, 5);
    notify.answer(Answer::Hang);
    let mut service = run(to(&ftp, &notify).toml("[notify]\ntimeout = '300s'"));
    called(&notify, 4);
    recorded(&service, 5);
    let asked = Instant::now();
    service.signal(Signal::TERM);
    assert_eq!(service.wait_exit(SOON).code(), Some(0));
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    notify.answer(Answer::Status(200));
    service.restart();
    ready(&service);
    service.wait_for(SOON, "all are delivered", |service| delivered(service) == 5);
    assert_eq!(files(&notify), names(5));
}

#[test]
fn stop_ends_the_scanners_and_not_the_calls() {
    let (ftp, notify) = (ScriptedServer::start(), NotifyStub::start());
    put(&ftp, 3);
    notify.go_down();
    let mut service = run(to(&ftp, &notify));
    recorded(&service, 3);
    assert!(service.command("stop").starts_with("ok"));
    notify.come_back();
    counted(&service, "delivered", 3);
    assert_eq!(service.status()["running"], false);
}

/// interface 13.8
#[test]
fn no_more_calls_are_under_way_than_allowed_and_so_many_are() {
    for allowed in [1, 3] {
        let (ftp, notify) = (ScriptedServer::start(), NotifyStub::start());
        put(&ftp, 40);
        notify.answer(Answer::Late(Duration::from_millis(30), 200));
        let service = run(to(&ftp, &notify).toml(&format!("[notify]\nconcurrency = {allowed}")));
        counted(&service, "delivered", 40);
        assert_eq!(notify.max_under_way(), allowed);
    }
}

/// interface 13.8
#[test]
fn there_are_more_calls_at_a_time_while_files_wait_and_the_host_answers_no_slower() {
    let (ftp, notify) = (ScriptedServer::start(), NotifyStub::start());
    put(&ftp, 300);
    notify.answer(Answer::Late(Duration::from_millis(100), 200));
    let service = run(to(&ftp, &notify));
    let allowed = |service: &Service| service.status()["notify"]["concurrency"].as_u64();
    service.wait_for(SOON, "more at a time", |service| allowed(service) > Some(4));
    counted(&service, "delivered", 300);
    let most = notify.max_under_way();
    assert!((5..=32).contains(&most), "{most}");
    // a slow machine is a slow host, and has had fewer calls by now
    let before = allowed(&service);
    notify.answer(Answer::Status(503));
    ftp.put("/another.zip", File::new(zip(1000, 2000)));
    service.wait_for(SOON, "fewer, because the host says that it is too much", |service| {
        allowed(service) < before || before == Some(4)
    });
}

#[test]
fn one_call_that_hangs_holds_up_no_other() {
    let (ftp, notify) = (ScriptedServer::start(), NotifyStub::start());
    let service = run(to(&ftp, &notify).toml("[notify]\ntimeout = '300s'\nconcurrency = 2"));
    notify.answer_next([Answer::Hang]);
    put(&ftp, 50);
    counted(&service, "delivered", 49);
    counted(&service, "pending", 1);
    notify.release();
    counted(&service, "delivered", 50);
}

/// interface 13.13, 18.3
#[test]
fn the_counters_tell_what_waits_what_failed_and_what_was_cancelled() {
    let (ftp, notify) = (ScriptedServer::start(), NotifyStub::start());
    notify.answer(Answer::Status(500));
    let setup = to(&ftp, &notify).toml("[quota]\nmax_bytes = '7kB'");
    let mut service = run(setup);
    put(&ftp, 3);
    recorded(&service, 3);
    called(&notify, 3);
    service.wait_for(SOON, "each has failed once", |service| {
        service.status()["notify"]["failed_attempts"].as_u64() >= Some(3)
    });
    counted(&service, "pending", 3);
    ftp.put("/new.zip", File::new(zip(9, 4000)));
    // 7 kB hold the new one and one of the old ones: two go unannounced, and nobody is called for them any more
    recorded(&service, 4);
    counted(&service, "cancelled", 2);
    counted(&service, "pending", 2);
    notify.answer(Answer::Status(200));
    counted(&service, "delivered", 2);
    let evicted: Vec<_> =
        service.records().into_iter().filter(|record| !record["evicted_at"].is_null()).collect();
    assert!(
        evicted.len() == 2 && evicted.iter().all(|record| record["notified_at"].is_null()),
        "{evicted:?}"
    );
    let before = notify.calls().len();
    service.restart();
    ready(&service);
    counted(&service, "pending", 0);
    service.wait_for(SOON, "scans", |service| service.server_status("omc01")["scans"].as_u64() > Some(2));
    assert_eq!(notify.calls().len(), before, "and not after a restart either");
}

#[test]
fn a_system_without_root_certificates_announces_by_http_and_says_why_it_cannot_by_https() {
    let (ftp, notify) = (ScriptedServer::start(), NotifyStub::start());
    put(&ftp, 2);
    let bare =
        |setup: Setup| setup.env("SSL_CERT_FILE", "/nowhere/roots.pem").env("SSL_CERT_DIR", "/nowhere");
    let service = run(bare(to(&ftp, &notify)));
    counted(&service, "delivered", 2);
    let service = run(bare(to(&ftp, &notify)).notify(&notify.url().replace("http:", "https:")));
    service.wait_line(Stream::Stderr, SOON, "the reason", |line| line.contains("no root certificates"));
    service.wait_for(SOON, "a failed call", |service| {
        service.status()["notify"]["failed_attempts"].as_u64() > Some(0)
    });
    assert!(!service.lines(Stream::Stderr).iter().any(|line| line.contains("panicked")));
}

// -- how it is called ----------------------------------------------------------------------------------------

/// interface 5.3, 13.1
#[test]
fn a_call_is_a_get_without_further_headers_unless_the_operator_wants_others() {
    let names = |notify: &NotifyStub| -> Vec<String> {
        let headers = notify.calls()[0].headers.clone();
        let mut names: Vec<_> =
            headers.iter().map(|line| line.split(':').next().unwrap().to_ascii_lowercase()).collect();
        names.sort();
        names
    };
    let (ftp, notify) = (ScriptedServer::start(), NotifyStub::start());
    put(&ftp, 1);
    let service = run(to(&ftp, &notify));
    called(&notify, 1);
    assert_eq!(notify.calls()[0].method, "GET");
    let usual = names(&notify);
    drop(service);

    let notify = NotifyStub::start();
    let headers = "headers = { Authorization = 'Bearer geheim', X-Site = { env = 'SITE' } }";
    let level = "[log]\nlevel = 'trace'\n";
    let setup = to(&ftp, &notify).toml(&format!("[notify]\nmethod = 'POST'\n{headers}\n{level}"));
    let service = run(setup.env("SITE", "geheim-7"));
    called(&notify, 1);
    let call = notify.calls().remove(0);
    assert_eq!((call.method.as_str(), call.target.as_str()), ("POST", "/dls.php?file=%2Fomc01%2F0.zip"));
    let value = |name: &str| {
        let line = call.headers.iter().find(|line| line.to_ascii_lowercase().starts_with(name));
        line.map(|line| line.split_once(": ").unwrap().1.to_owned()).unwrap_or_default()
    };
    assert_eq!((value("authorization:"), value("x-site:")), ("Bearer geheim".into(), "geheim-7".into()));
    // some hosts want the length of a POST, if it is none
    assert_eq!(value("content-length:"), "0");
    let more: Vec<String> = names(&notify).into_iter().filter(|name| !usual.contains(name)).collect();
    assert_eq!(more, ["authorization", "x-site"]);
    notify.answer(Answer::Status(500));
    put(&ftp, 2);
    called(&notify, 2);
    counted(&service, "failed_attempts", 1);
    let shown = service.lines(Stream::Stderr).into_iter().chain([service.status().to_string()]);
    assert_eq!(shown.filter(|line| line.contains("geheim")).count(), 0);
}
