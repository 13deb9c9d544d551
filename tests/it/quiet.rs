//! Directories in which nothing happens: cheap to look at, and never overlooked when something does happen.

use crate::support::scripted::{Ending, Rule, ScriptedServer};
use crate::support::service::{Server, Setup};
use crate::support::steps::{SOON, content, faultless, logged, names, one, put, recorded, rescanned, shown};
use crate::support::zips::zip;

/// Three zips in each of three directories.
fn nine() -> ScriptedServer {
    let ftp = ScriptedServer::start();
    (0..9).for_each(|n| put(&ftp, format!("/{}/{n}.zip", n % 3), zip(n, 1000)));
    ftp
}

#[test]
fn quiet_directories_are_counted_in_every_scan() {
    for mlsd in [true, false] {
        let ftp = nine();
        ftp.manner(|manner| manner.mlsd_in_feat = mlsd);
        let service = one(&ftp).started().run();
        recorded(&service, 9);
        for _ in 0..3 {
            rescanned(&ftp, 2);
            faultless(&service);
            assert_eq!(
                (shown(&service, "files_seen"), shown(&service, "directories_seen")),
                (9.into(), 4.into())
            );
        }
        assert_eq!(ftp.count("RETR"), 9);
    }
}

#[test]
fn whatever_happens_in_a_quiet_directory_is_noticed_by_the_next_scan() {
    let ftp = nine();
    let service = one(&ftp).started().run();
    recorded(&service, 9);
    rescanned(&ftp, 4);
    // the listing stays as long as it was: the same digits at other places
    ftp.edit(|tree| tree.remove("/0/3.zip"));
    put(&ftp, "/0/X.zip", zip(3, 1000));
    recorded(&service, 10);
    rescanned(&ftp, 4);
    // longer, with a directory
    put(&ftp, "/1/new/11.zip", zip(11, 1000));
    recorded(&service, 11);
    rescanned(&ftp, 4);
    // empty, and filled again
    ftp.edit(|tree| (0..3).for_each(|n| tree.remove(format!("/2/{}.zip", n * 3 + 2))));
    rescanned(&ftp, 4);
    put(&ftp, "/2/12.zip", zip(12, 1000));
    recorded(&service, 12);
    assert_eq!(content(&service, "omc01/1/new/11.zip"), zip(11, 1000));
}

#[test]
fn a_quiet_directory_that_is_deleted_by_hand_comes_back() {
    let ftp = nine();
    let server = Server::scripted("omc01", &ftp).key("directories", "['/0', '/1']");
    let service = Setup::new().server(server).started().run();
    recorded(&service, 6);
    let listed = ftp.listings("/0");
    ftp.wait_for(SOON, "further scans", |journal| journal.listings_of("/0") > listed + 4);
    std::fs::remove_dir_all(service.root().join("omc01/0")).unwrap();
    service.wait_for(SOON, "the directory is back", |service| service.root().join("omc01/0").is_dir());
    assert_eq!(ftp.count("RETR"), 6);
}

#[test]
fn a_listing_that_breaks_off_where_it_was_the_same_so_far_fails_its_scan_alone() {
    let ftp = nine();
    let service = one(&ftp).started().run();
    recorded(&service, 9);
    rescanned(&ftp, 4);
    ftp.rule(Rule::on("MLSD").about("/1").cut(40, Ending::Aborted).times(3));
    let listed = ftp.listings("/1");
    ftp.wait_for(SOON, "further scans", |journal| journal.listings_of("/1") > listed + 4);
    assert!(!logged(&service, "path=/1: MLSD: 426").is_empty(), "it was taken for the same as before");
    put(&ftp, "/1/10.zip", zip(10, 1000));
    recorded(&service, 10);
    faultless(&service);
    assert_eq!(names(&service).len(), 10);
}

/// interface 5.1
#[test]
fn directories_in_which_nothing_happens_are_visited_less_often_where_that_is_allowed() {
    let ftp = nine();
    let toml = "sync.quiet_directories = '1h'";
    let service = one(&ftp).toml(toml).started().run();
    recorded(&service, 9);
    put(&ftp, "/2/9.zip", zip(9, 1000));
    recorded(&service, 10);
    rescanned(&ftp, 16);
    let before: Vec<usize> = (0..3).map(|n| ftp.listings(format!("/{n}"))).collect();
    // a directory that comes later is none of them
    put(&ftp, "/3/10.zip", zip(10, 1000));
    recorded(&service, 11);
    put(&ftp, "/0/late.zip", zip(11, 1000));
    rescanned(&ftp, 5);
    let after: Vec<usize> = (0..3).map(|n| ftp.listings(format!("/{n}"))).collect();
    assert_eq!(before, after);
    faultless(&service);
    assert_eq!((shown(&service, "files_seen"), shown(&service, "directories_seen")), (11.into(), 5.into()));
    assert_eq!(service.records().len(), 11);
}

#[test]
fn a_zip_in_a_directory_that_is_visited_less_often_is_found_in_the_end() {
    let ftp = nine();
    let service = one(&ftp).toml("sync.quiet_directories = '1s'").started().run();
    recorded(&service, 9);
    rescanned(&ftp, 16);
    put(&ftp, "/0/late.zip", zip(11, 1000));
    recorded(&service, 10);
}
