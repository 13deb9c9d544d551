//! Which zips a server is asked for: since when, which paths, in which order.

use crate::support::scripted::{File, ScriptedServer};
use crate::support::service::{Server, Service, Setup};
use crate::support::steps::{SOON, ready};
use crate::support::zips::zip;

/// 2026-11-01T00:00:00Z
const NOVEMBER: i64 = 1_793_491_200;

fn paths(service: &Service) -> Vec<String> {
    service.records().iter().map(|record| record["path"].as_str().expect("a path").to_owned()).collect()
}

/// interface 5.8, 5.16, 5.20
#[test]
fn a_server_begins_at_its_time_with_the_paths_that_are_included_and_not_excluded() {
    let ftp = ScriptedServer::start();
    let put = |path: &str, time| ftp.put(path, File::new(zip(1, 3000)).modified(time));
    put("/in/LTE_before.zip", NOVEMBER - 1);
    put("/in/NR_after.zip", NOVEMBER);
    put("/old/LTE_after.zip", NOVEMBER);
    put("/in/LTE_after.zip", NOVEMBER);
    let server = "[defaults]\nsince = '2026-11-01T00:00'\ninclude = ['LTE_*']\nexclude = ['/old/**']\n";
    let service = Setup::new().server(Server::scripted("omc01", &ftp)).toml(server).started().run();
    ready(&service);
    service.wait_for(SOON, "a whole scan went by after the download", |service| {
        let status = service.status();
        let scans = status["servers"][0]["scans"].as_u64();
        scans.is_some_and(|scans| scans >= 3) && status["servers"][0]["files_downloaded"] == 1
    });
    assert_eq!(paths(&service), ["/in/LTE_after.zip"]);
    let home = service.root().join("omc01");
    assert!(home.join("in").is_dir() && !home.join("old").is_dir(), "an excluded directory is not made");
}

/// interface 5.19
#[test]
fn the_newest_zips_come_first_on_request() {
    let ftp = ScriptedServer::start();
    for day in [3, 1, 4, 2, 5] {
        ftp.put(format!("/{day}.zip"), File::new(zip(day, 3000)).modified(NOVEMBER + 86_400 * day as i64));
    }
    let setup = Setup::new().server(Server::scripted("omc01", &ftp).key("connections", "1"));
    let service = setup.toml("[defaults]\norder = 'newest-first'\n").started().run();
    ready(&service);
    service.wait_for(SOON, "all are recorded", |service| service.records().len() == 5);
    assert_eq!(paths(&service), ["/5.zip", "/4.zip", "/3.zip", "/2.zip", "/1.zip"]);
}

/// interface 5.18
#[test]
fn a_server_that_begins_now_keeps_to_its_first_start() {
    let ftp = ScriptedServer::start();
    let now = chrono::Utc::now().timestamp();
    let put = |path: &str, time| ftp.put(path, File::new(zip(1, 3000)).modified(time));
    put("/in/before.zip", now - 3600);
    // the clocks of servers differ a little, and this one is of the start at the latest
    put("/in/after.zip", now + 60);
    let setup = Setup::new().server(Server::scripted("omc01", &ftp)).toml("[defaults]\nsince = 'now'\n");
    let mut service = setup.started().run();
    ready(&service);
    service.wait_for(SOON, "the new one is recorded", |service| paths(service) == ["/in/after.zip"]);
    let begun = || {
        let database = rusqlite::Connection::open(service.database()).expect("the database");
        database.query_row("SELECT at FROM beginnings", [], |row| row.get::<_, i64>(0)).expect("a beginning")
    };
    let at = begun();
    assert!((now..now + 60).contains(&at), "{at}");
    // as if it had been an hour and a half ago: the next start must not begin anew
    rusqlite::Connection::open(service.database())
        .and_then(|database| database.execute("UPDATE beginnings SET at = at - 5400", []))
        .expect("an older beginning");
    service.restart();
    ready(&service);
    service.wait_for(SOON, "what came since then is recorded", |service| {
        paths(service) == ["/in/after.zip", "/in/before.zip"]
    });
}
