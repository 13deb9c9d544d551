//! Files that are larger than their servers show cost themselves alone: no finished zip goes for them, nothing is held.

use std::fs;
use std::time::Duration;

use crate::support::notify::NotifyStub;
use crate::support::scripted::{File, Rule, ScriptedServer};
use crate::support::service::{Server, Service, Setup, Stream};
use crate::support::sftp::{Bend, Bent, READ, SftpServer};
use crate::support::steps::{SOON, recorded, run};
use crate::support::wait::try_obtain;
use crate::support::zips::zip;

const MIB: u64 = 1 << 20;

fn evicted(service: &Service) -> usize {
    service.records().iter().filter(|record| !record["evicted_at"].is_null()).count()
}

fn two(good: &ScriptedServer, liar: Server, notify: &NotifyStub, limit: &str) -> Setup {
    let servers = [Server::scripted("good", good), liar];
    let setup = servers.into_iter().fold(Setup::new(), Setup::server);
    setup.notify(&notify.url()).toml(&format!("[quota]\nmax_bytes = '{limit}'"))
}

/// interface 12.5
#[test]
fn a_file_that_outgrows_its_listing_displaces_no_finished_zip_and_holds_nobody() {
    let (good, liar, notify) = (ScriptedServer::start(), ScriptedServer::start(), NotifyStub::start());
    (0..10).for_each(|n| good.put(format!("/{n}.zip"), File::new(zip(n, MIB as usize))));
    // each has less, when nothing is left, than the quarter that a file without a size could have
    let service = run(two(&good, Server::scripted("liar", &liar), &notify, "14MiB"));
    recorded(&service, 10);
    (0..3).for_each(|n| {
        liar.put(format!("/{n}.zip"), File::repeating(&b"more and more "[..], 60 * MIB).showing(5000))
    });
    let reason = |service: &Service| {
        let files = service.server_status("liar")["incomplete"].as_array().cloned().unwrap_or_default();
        files.len() == 3
            && files.iter().all(|file| {
                file["reason"].as_str().is_some_and(|why| why.contains("5000 bytes that it shows"))
            })
    };
    service.wait_for(SOON, "each of them waits, with its reason", reason);
    // others go on all the while, and the disk is not filled again and again
    (10..12).for_each(|n| good.put(format!("/{n}.zip"), File::new(zip(n, MIB as usize))));
    recorded(&service, 12);
    try_obtain(Duration::from_secs(2), || {
        let mirror = service.status()["disk"]["mirror_bytes"].as_u64().unwrap_or(0);
        assert!(mirror <= 14 * MIB + MIB / 2, "{mirror}");
        None::<()>
    });
    assert_eq!((evicted(&service), service.status()["disk"]["held"].as_bool()), (0, Some(false)));
    (0..3).for_each(|n| liar.remove(format!("/{n}.zip")));
    service.wait_for(SOON, "nothing is left of them", |service| {
        service.partial().is_empty() && service.server_status("liar")["last_error"].is_null()
    });
}

/// interface 12.5
#[test]
fn a_transfer_that_outgrew_its_listing_is_cut_for_the_files_of_others() {
    let (good, liar, notify) = (ScriptedServer::start(), ScriptedServer::start(), NotifyStub::start());
    (0..2).for_each(|n| good.put(format!("/{n}.zip"), File::new(zip(n, MIB as usize))));
    let service = run(two(&good, Server::scripted("liar", &liar), &notify, "8MiB"));
    recorded(&service, 2);
    // it is far from its end, and sends nothing for now
    liar.rule(Rule::on("RETR").stall(5 * MIB));
    liar.put("/0.zip", File::repeating(&b"more and more "[..], 60 * MIB).showing(5000));
    let received = |service: &Service| service.partial().values().sum::<u64>();
    service.wait_for(SOON, "it takes much of the room", |service| received(service) == 5 * MIB);
    (2..5).for_each(|n| good.put(format!("/{n}.zip"), File::new(zip(n, MIB as usize))));
    recorded(&service, 5);
    assert_eq!((evicted(&service), service.status()["disk"]["held"].as_bool()), (0, Some(false)));
    service.wait_line(Stream::Stderr, SOON, "it says why", |line| {
        line.contains("/0.zip: cut to make room for other files: the server sends more than the 5000 bytes")
    });
}

/// Waits until `count` files of the server wait with these words.
#[track_caller]
fn wait_with(service: &Service, words: &str, count: usize) {
    let waiting = |service: &Service| {
        let files = service.server_status("liar")["incomplete"].as_array().cloned().unwrap_or_default();
        files.iter().filter(|file| file["reason"].as_str().is_some_and(|why| why.contains(words))).count()
    };
    service.wait_for(SOON, "each of them waits, with its reason", |service| waiting(service) == count);
}

/// The good server's files go on, none of them was displaced, and nothing is held.
#[track_caller]
fn others_go_on(service: &Service, good: &ScriptedServer) {
    (5..7).for_each(|n| good.put(format!("/{n}.zip"), File::new(zip(n, MIB as usize))));
    recorded(service, 7);
    assert_eq!((evicted(service), service.status()["disk"]["held"].as_bool()), (0, Some(false)));
}

#[test]
fn a_file_without_an_end_on_an_sftp_server_costs_itself_alone() {
    let (good, liar, notify) = (ScriptedServer::start(), SftpServer::start(), NotifyStub::start());
    (0..5).for_each(|n| good.put(format!("/{n}.zip"), File::new(zip(n, MIB as usize))));
    liar.manner(|manner| {
        manner.bend = Bend::new(|asked| {
            let data = || [&(asked.length as u32).to_be_bytes()[..], &vec![b'm'; asked.length]].concat();
            (asked.kind == READ).then(|| Bent::Packet(103, data()))
        });
    });
    let service = run(two(&good, liar.server("liar"), &notify, "9MiB"));
    recorded(&service, 5);
    (0..3).for_each(|n| liar.put(&format!("/{n}.zip"), vec![b'm'; 5000]));
    wait_with(&service, "5000 bytes that it shows", 3);
    others_go_on(&service, &good);
}

/// Has the server show no sizes: neither of these files in a listing, nor when it is asked.
fn shows_no_sizes(ftp: &ScriptedServer, names: impl Iterator<Item = u64>) {
    ftp.rule(Rule::on("SIZE").reply("502 no\r\n"));
    let listing: String = names.map(|n| format!("type=file; {n}.zip\r\n")).collect();
    ftp.rule(Rule::on("MLSD").content(&listing));
}

/// interface 12.6
#[test]
fn files_of_which_no_size_is_shown_displace_little_however_many_have_no_end() {
    let (good, liar, notify) = (ScriptedServer::start(), ScriptedServer::start(), NotifyStub::start());
    (0..10).for_each(|n| good.put(format!("/{n}.zip"), File::new(zip(n, MIB as usize))));
    let of_four = Server::scripted("liar", &liar).key("connections", "4");
    let service = run(two(&good, of_four, &notify, "16MiB"));
    recorded(&service, 10);
    // side by side, and slow enough that each of them asks for room while another one gets some
    liar.rule(Rule::on("RETR").stall(MIB));
    liar.rule(Rule::on("RETR").trickle(64 << 10, Duration::from_millis(20)));
    (0..4).for_each(|n| {
        liar.put(format!("/{n}.zip"), File::repeating(&b"more and more "[..], 60 * MIB).showing(0));
    });
    shows_no_sizes(&liar, 0..4);
    let received = |service: &Service| service.partial().values().sum::<u64>();
    service.wait_for(SOON, "they come side by side", |service| received(service) == 4 * MIB);
    liar.release();
    wait_with(&service, "the server shows no size", 4);
    // one of them may, up to a quarter of the mirror
    let displaced = evicted(&service);
    assert!((1..=4).contains(&displaced), "{displaced} of 10");
    assert_eq!(service.status()["disk"]["held"], false);
}

/// interface 12.6
#[test]
fn files_of_which_no_size_is_shown_come_all_though_the_mirror_is_full_and_they_come_side_by_side() {
    let (good, sparing, notify) = (ScriptedServer::start(), ScriptedServer::start(), NotifyStub::start());
    (0..12).for_each(|n| good.put(format!("/{n}.zip"), File::new(zip(n, MIB as usize))));
    let of_four = Server::scripted("liar", &sparing).key("connections", "4");
    let service = run(two(&good, of_four, &notify, "12500KiB"));
    recorded(&service, 12);
    sparing.rule(Rule::on("RETR").trickle(64 << 10, Duration::from_millis(10)));
    // made beforehand: a scan between them and the rules would see their sizes
    let files: Vec<_> = (0..8).map(|n| File::new(zip(n + 20, MIB as usize)).showing(0)).collect();
    sparing.edit(|tree| (0..8).zip(files).for_each(|(n, file)| tree.put(format!("/{n}.zip"), file)));
    shows_no_sizes(&sparing, 0..8);
    recorded(&service, 20);
    assert!(evicted(&service) <= 9, "{}", evicted(&service));
}

/// interface 12.4
#[test]
fn partial_files_that_nobody_works_on_go_before_finished_zips_and_before_anything_is_held() {
    let (ftp, notify) = (ScriptedServer::start(), NotifyStub::start());
    (0..2).for_each(|n| ftp.put(format!("/{n}.zip"), File::new(zip(n, MIB as usize))));
    let setup = Setup::new().server(Server::scripted("omc01", &ftp)).notify(&notify.url());
    let mut service = run(setup.toml("[quota]\nmax_bytes = '4MiB'"));
    recorded(&service, 2);
    service.kill();
    // of a server that is configured no more, and larger than the whole limit
    let gone = service.root().join(".partial/gone");
    fs::create_dir_all(&gone).unwrap();
    (0..9)
        .for_each(|n| fs::write(gone.join(format!("{n:032x}_9000000_5.1")), vec![1; MIB as usize]).unwrap());
    ftp.put("/2.zip", File::new(zip(2, MIB as usize)));
    service.restart();
    recorded(&service, 3);
    assert_eq!(evicted(&service), 0);
    assert!(fs::read_dir(&gone).unwrap().count() <= 1);
    assert_eq!(service.status()["disk"]["held"], false);
}
