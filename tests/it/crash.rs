//! The program is killed again and again, wherever it is at that moment, and nothing is lost, doubled or torn.
//!
//! `MROSYNC_CRASH_SECONDS` makes each of these tests kill for so long; `MROSYNC_CRASH_SEED` repeats the moments of
//! an earlier run, as far as the machine plays along.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;

use super::real_servers::Tap;
use crate::support::daemons::{Daemon, Kind, Options, Tls};
use crate::support::notify::{Answer, NotifyStub};
use crate::support::scripted::{File, Rule, ScriptedServer};
use crate::support::service::{Server, Service, Setup, Stream};
use crate::support::wait::try_obtain;
use crate::support::zips::zip;

/// From the last kill until everything is in order again.
const IN_ORDER_WITHIN: Duration = Duration::from_secs(60);

/// How long a test kills.
const KILL_FOR: u64 = 12;

/// Small enough that files are evicted while others come.
const MAX_BYTES: u64 = 3_000_000;

/// Numbers for the moments and the sizes (xorshift64*).
struct Dice(u64);

impl Dice {
    fn new() -> Self {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos() as u64;
        let seed = number("MROSYNC_CRASH_SEED").unwrap_or(now) | 1;
        println!("MROSYNC_CRASH_SEED={seed}");
        Self(seed)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % limit
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// Everything that was put on the server, and what must stay true of it.
struct World {
    dice: Dice,
    notify: NotifyStub,
    content: BTreeMap<String, Vec<u8>>,
    /// How often the server was asked for a file when its record was first seen after a kill.
    asked_when_recorded: BTreeMap<String, usize>,
}

impl World {
    fn new() -> Self {
        Self {
            dice: Dice::new(),
            notify: NotifyStub::start(),
            content: BTreeMap::new(),
            asked_when_recorded: BTreeMap::new(),
        }
    }

    fn setup(&self, server: Server) -> Setup {
        let quota = format!("[quota]\nmax_bytes = '{MAX_BYTES}B'");
        Setup::new().server(server).notify(&self.notify.url()).toml(&quota)
    }

    /// A few more files, of which one is large.
    fn more_files(&mut self) -> Vec<(String, Vec<u8>)> {
        let round = self.content.len();
        let large = 300_000 + self.dice.below(300_000);
        let mut sizes = vec![large as usize];
        sizes.extend((0..6).map(|_| 200 + self.dice.below(40_000) as usize));
        let name = |n: usize| format!("/d{}/{}{}.zip", n % 5, if n == 0 { "large" } else { "f" }, round + n);
        let files = sizes.into_iter().enumerate().map(|(n, size)| (name(n), zip((round + n) as u64, size)));
        let files: Vec<_> = files.collect();
        self.content.extend(files.iter().cloned());
        files
    }

    /// Kills the program at random moments, with more files each time. `asked` tells how often a path was fetched.
    fn kill_again_and_again(
        &mut self,
        service: &mut Service,
        mut put: impl FnMut(&str, &[u8]),
        asked: impl Fn(&str) -> usize,
    ) {
        let end = Instant::now() + Duration::from_secs(number("MROSYNC_CRASH_SECONDS").unwrap_or(KILL_FOR));
        let mut kills = 0;
        while Instant::now() < end {
            for (path, bytes) in self.more_files() {
                put(&path, &bytes);
            }
            if self.dice.below(3) == 0 {
                self.notify.answer_next([Answer::Status(500), Answer::Close]);
            }
            let moment = Duration::from_millis(self.dice.below(900));
            try_obtain(moment, || None::<()>);
            if self.dice.below(8) == 0 {
                // in order, in between: what that leaves is what the next kill finds
                ready(service);
                assert_eq!(service.terminate(Duration::from_secs(5)).code(), Some(0));
            } else {
                service.kill();
                kills += 1;
            }
            self.look_at_what_is_left(service, &asked);
            service.restart();
        }
        println!("killed {kills} times, {} files", self.content.len());
        assert!(kills > 5, "killed {kills} times only");
    }

    /// The invariants that hold at every moment.
    fn look_at_what_is_left(&mut self, service: &Service, asked: impl Fn(&str) -> usize) {
        self.all_files_are_whole(service);
        for path in records(service).iter().map(path_of) {
            assert!(self.content.contains_key(&path), "a record of nothing: {path}");
            let now = asked(&path);
            let then = *self.asked_when_recorded.entry(path.clone()).or_insert(now);
            assert_eq!(now, then, "{path} was fetched again after it was on record");
        }
    }

    /// Nothing but whole zips under final names.
    fn all_files_are_whole(&self, service: &Service) {
        for file in service.mirrored().keys() {
            let path = file.strip_prefix("omc01").unwrap();
            let content = self.content.get(path).unwrap_or_else(|| panic!("{file} is nobody's"));
            // an evicted one may go in between
            if let Ok(local) = fs::read(service.root().join(file)) {
                assert!(local == *content, "{file} is torn: {} of {} bytes", local.len(), content.len());
            }
        }
    }

    /// Waits until everything came to its end, and checks that it is the right one.
    fn comes_to_order(&mut self, service: &mut Service, asked: impl Fn(&str) -> usize) {
        ready(service);
        service.wait_for(IN_ORDER_WITHIN, "all is recorded, announced and tidied up", |service| {
            records(service).len() == self.content.len()
                && service.status()["notify"]["pending"] == 0
                && service.partial().is_empty()
        });
        service.wait_for(IN_ORDER_WITHIN, "the limit is kept", |service| {
            service.mirrored().values().sum::<u64>() <= MAX_BYTES
        });
        assert_eq!(service.terminate(Duration::from_secs(5)).code(), Some(0));
        self.look_at_what_is_left(service, asked);
        self.all_are_recorded_once_and_present_or_evicted(service);
        let partial = fs::read_dir(service.root().join(".partial/omc01")).unwrap();
        assert_eq!(partial.count(), 0, "nothing is left half done");
    }

    fn all_are_recorded_once_and_present_or_evicted(&self, service: &Service) {
        let records = records(service);
        let paths: BTreeSet<String> = records.iter().map(path_of).collect();
        assert_eq!(paths.len(), records.len(), "a path is recorded twice");
        assert_eq!(paths, self.content.keys().cloned().collect());
        let present = |record: &&Value| record["evicted_at"].is_null();
        let expected = records.iter().filter(present).map(|record| {
            let path = path_of(record);
            (format!("omc01{path}"), self.content[&path].len() as u64)
        });
        assert_eq!(service.mirrored(), expected.collect());
        assert!(records.iter().any(|record| !present(&record)), "the quota has had nothing to do");
        let called: BTreeSet<String> = self.notify.files().into_iter().collect();
        for record in &records {
            let is_announced = !record["notified_at"].is_null();
            assert!(is_announced || !present(&record), "present and not announced: {record}");
            let file = format!("/omc01{}", path_of(record));
            assert!(!is_announced || called.contains(&file), "announced to nobody: {record}");
        }
    }
}

fn path_of(record: &Value) -> String {
    record["path"].as_str().unwrap().to_owned()
}

/// The records; none where the very first start was killed before it had made its database.
#[track_caller]
fn records(service: &Service) -> Vec<Value> {
    let output = service.mrosync(&["records"], &["--format", "json"]);
    let error = String::from_utf8_lossy(&output.stderr);
    let none_yet = error.contains("version 0") || error.contains("does not exist");
    assert!(output.status.success() || none_yet, "no records: {error}");
    String::from_utf8_lossy(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn killed_at_random_moments_it_loses_nothing_and_fetches_nothing_twice() {
    let ftp = ScriptedServer::start();
    let mut world = World::new();
    // large ones take half a second, so that many a kill finds them half done
    let is_large = |path: &str| path.contains("large");
    let mut service = world.setup(Server::scripted("omc01", &ftp)).started().run();
    let asked = |path: &str| ftp.retrs(path);
    let put = |path: &str, bytes: &[u8]| {
        if is_large(path) {
            ftp.rule(Rule::on("RETR").about(path).trickle(20_000, Duration::from_millis(20)));
        }
        ftp.put(path, File::new(bytes.to_vec()));
    };
    world.kill_again_and_again(&mut service, put, asked);
    ftp.behave();
    world.comes_to_order(&mut service, asked);
    let resumed = ftp.journal(|journal| journal.retrs.iter().filter(|retr| retr.offset > 0).count());
    assert!(resumed > 0, "no kill has found a transfer half done");
}

#[test]
fn killed_at_random_moments_beside_vsftpd_it_ends_with_all_of_it() {
    let Some(daemon) = Daemon::start(Kind::Vsftpd, &Options::default()) else { return };
    let (mut world, tap) = (World::new(), Tap::before(daemon.addr));
    let server = Server::daemon("omc01", &daemon, Tls::Off).key("port", &tap.addr().port().to_string());
    let mut service = world.setup(server).started().run();
    let asked = |path: &str| tap.count(&format!("RETR {path}"));
    world.kill_again_and_again(&mut service, |path, bytes| upload(&daemon.root, path, bytes), asked);
    world.comes_to_order(&mut service, asked);
}

fn ready(service: &Service) {
    service.wait_line(Stream::Stderr, IN_ORDER_WITHIN, "ready", |line| line.contains("is ready"));
}

/// Keeps the program from writing its records, as a slow disk would, until it is dropped.
fn records_locked(service: &Service) -> rusqlite::Connection {
    let connection = rusqlite::Connection::open(service.database()).unwrap();
    connection.busy_timeout(IN_ORDER_WITHIN).unwrap();
    connection.execute_batch("BEGIN IMMEDIATE").unwrap();
    connection
}

#[test]
fn a_file_stored_but_not_recorded_is_recorded_by_the_next_run_and_not_fetched_again() {
    let (ftp, notify) = (ScriptedServer::start(), NotifyStub::start());
    let setup = Setup::new().server(Server::scripted("omc01", &ftp)).notify(&notify.url());
    let mut service = setup.started().run();
    ready(&service);
    let locked = records_locked(&service);
    ftp.put("/d/a.zip", File::new(zip(1, 30_000)));
    service.wait_for(IN_ORDER_WITHIN, "it is stored", |service| {
        service.mirrored().contains_key("omc01/d/a.zip")
    });
    service.kill();
    drop(locked);
    assert!(service.records().is_empty());
    service.restart();
    ready(&service);
    service.wait_for(IN_ORDER_WITHIN, "it is recorded and announced", |service| {
        service.records().first().is_some_and(|record| !record["notified_at"].is_null())
    });
    assert_eq!(ftp.retrs("/d/a.zip"), 1);
    assert_eq!(fs::read(service.root().join("omc01/d/a.zip")).unwrap(), zip(1, 30_000));
    service.wait_for(IN_ORDER_WITHIN, "nothing is left over", |service| service.partial().is_empty());
}

#[test]
fn a_file_evicted_but_not_marked_is_marked_by_the_next_run_and_not_fetched_again() {
    let (ftp, notify) = (ScriptedServer::start(), NotifyStub::start());
    let setup = Setup::new().server(Server::scripted("omc01", &ftp)).notify(&notify.url());
    let mut service = setup.toml("[quota]\nmax_bytes = '50kB'").started().run();
    ready(&service);
    ftp.put("/a.zip", File::new(zip(1, 30_000)));
    service.wait_for(IN_ORDER_WITHIN, "it is announced", |service| {
        service.records().first().is_some_and(|record| !record["notified_at"].is_null())
    });
    let locked = records_locked(&service);
    ftp.put("/b.zip", File::new(zip(2, 30_000)));
    service.wait_for(IN_ORDER_WITHIN, "it had to go", |service| service.mirrored().is_empty());
    service.kill();
    drop(locked);
    assert!(service.records()[0]["evicted_at"].is_null());
    service.restart();
    ready(&service);
    service.wait_for(IN_ORDER_WITHIN, "it is marked, and the other one is here", |service| {
        let records = service.records();
        records.len() == 2 && !records[0]["evicted_at"].is_null() && records[1]["evicted_at"].is_null()
    });
    assert_eq!((ftp.retrs("/a.zip"), ftp.retrs("/b.zip")), (1, 1));
    assert_eq!(service.mirrored().len(), 1);
}

/// Writes a file as an uploader does: it grows in place and is visible from the first byte.
fn upload(root: &Path, path: &str, bytes: &[u8]) {
    let path = root.join(path.trim_start_matches('/'));
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::set_permissions(path.parent().unwrap(), fs::Permissions::from_mode(0o755)).unwrap();
    let mut file = fs::File::create(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    for part in bytes.chunks(10_000) {
        std::io::Write::write_all(&mut file, part).unwrap();
    }
}
