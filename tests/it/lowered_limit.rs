//! A limit that is lower than before and would delete much at once waits until it is confirmed.

use std::process::Output;

use crate::support::notify::{Answer, NotifyStub};
use crate::support::scripted::{File, ScriptedServer};
use crate::support::service::{Service, Setup, Stream};
use crate::support::steps::{SOON, count_logged, logged, one, ready, recorded, rescanned, run};
use crate::support::zips::zip;

/// Files of so many bytes, each a little less.
const SIZE: usize = 10_000;

fn filled(files: u64, ftp: &ScriptedServer, notify: &NotifyStub) -> Setup {
    for n in 0..files {
        ftp.put(format!("/{n}.zip"), File::new(zip(n, SIZE)));
    }
    // its second configuration is changed by the tests
    one(ftp).toml("").notify(&notify.url())
}

fn announced(service: &Service, files: usize) {
    recorded(service, files);
    service.wait_for(SOON, "all are announced", |service| {
        service.records().iter().all(|record| !record["notified_at"].is_null())
    });
}

fn limit(service: &Service, bytes: u64) {
    service.configure(1, &format!("[quota]\nmax_bytes = {bytes}\n"));
}

fn reload(service: &Service, arguments: &[&str]) -> Output {
    service.mrosync(&["ctl", "reload"], arguments)
}

fn bytes_of(service: &Service) -> u64 {
    service.mirrored().values().sum()
}

/// interface 12.8, 12.9, 18.7
#[test]
fn a_wrong_digit_deletes_nothing_before_it_is_confirmed() {
    let (ftp, notify) = (ScriptedServer::start(), NotifyStub::start());
    let mut service = run(filled(10, &ftp, &notify));
    announced(&service, 10);
    let mirror = bytes_of(&service);
    limit(&service, mirror / 10);
    let answer = service.command("reload");
    assert!(answer.starts_with("ok: 1 server untouched; quota waits: max_bytes "), "{answer}");
    assert!(
        answer.contains("would delete 10 of 10 files") || answer.contains("would delete 9 of 10 files"),
        "{answer}"
    );
    let number = answer.rsplit("--confirm ").next().unwrap().to_owned();
    rescanned(&ftp, 2);
    assert_eq!(service.mirrored().len(), 10, "the limit of before is in force");
    let disk = service.status()["disk"].clone();
    assert!(disk["max_bytes"].is_null(), "{disk}");
    assert!(disk["waiting_limit"].as_str().unwrap().contains("--confirm"), "{disk}");
    // everything else goes on
    ftp.put("/new.zip", File::new(zip(99, 100)));
    announced(&service, 11);
    let wrong = service.command("reload --confirm 3");
    assert!(wrong.contains("3 is not the number"), "{wrong}");
    rescanned(&ftp, 2);
    assert_eq!(service.mirrored().len(), 11);
    let number = wrong.rsplit("--confirm ").next().unwrap_or(&number).to_owned();
    let done = reload(&service, &["--confirm", &number]);
    assert!(
        done.status.success() && String::from_utf8_lossy(&done.stdout).contains("quota changed"),
        "{done:?}"
    );
    service.wait_for(SOON, "they are gone", |service| bytes_of(service) <= mirror / 10);
    assert!(service.status()["disk"]["waiting_limit"].is_null());
    assert!(count_logged(&service, "the lowered limit waits") > 0);
}

/// interface 12.8
#[test]
fn a_few_announced_files_go_at_once_and_one_that_is_not_announced_waits() {
    let (ftp, notify) = (ScriptedServer::start(), NotifyStub::start());
    let mut service = run(filled(20, &ftp, &notify));
    announced(&service, 20);
    let mirror = bytes_of(&service);
    limit(&service, mirror - 5000);
    assert_eq!(service.command("reload"), "ok: 1 server untouched; quota changed");
    service.wait_for(SOON, "the oldest is gone", |service| service.mirrored().len() == 19);
    notify.answer(Answer::Status(500));
    service.configure(1, "");
    service.command("reload");
    for n in 0..2 {
        let path = format!("/unannounced-{n}.zip");
        ftp.put(path, File::new(zip(50 + n, 40 * SIZE)));
    }
    recorded(&service, 22);
    // the 19 go first, and one of the large ones after them
    limit(&service, bytes_of(&service) / 2 - 20_000);
    let answer = service.command("reload");
    assert!(answer.contains("of them not announced"), "{answer}");
    rescanned(&ftp, 2);
    assert_eq!(service.mirrored().len(), 21);
}

/// interface 12.8, 12.9
#[test]
fn a_limit_that_was_lowered_before_a_start_waits_as_well_and_the_one_of_before_is_remembered() {
    let (ftp, notify) = (ScriptedServer::start(), NotifyStub::start());
    let mut service = run(filled(10, &ftp, &notify));
    announced(&service, 10);
    let mirror = bytes_of(&service);
    limit(&service, mirror / 2);
    for _ in 0..2 {
        service.restart();
        ready(&service);
        service.wait_line(Stream::Stderr, SOON, "it waits", |line| line.contains("the lowered limit waits"));
        rescanned(&ftp, 2);
        assert_eq!(service.mirrored().len(), 10);
    }
    let said = logged(&service, "the lowered limit waits").remove(0);
    let number = said.rsplit("--confirm ").next().unwrap().to_owned();
    assert!(reload(&service, &["--confirm", &number]).status.success());
    service.wait_for(SOON, "half of them are gone", |service| bytes_of(service) <= mirror / 2);
    service.restart();
    ready(&service);
    rescanned(&ftp, 1);
    assert_eq!(count_logged(&service, "the lowered limit waits"), 0, "it is in force");
}
