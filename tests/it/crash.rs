//! The program is killed again and again, wherever it is at that moment, and nothing is lost, doubled or torn.
//!
//! `MROSYNC_CRASH_SECONDS` makes each of these tests kill for at least so long; `MROSYNC_CRASH_SEED` repeats the
//! moments of an earlier run, as far as the machine plays along.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use rusqlite::{Connection, OpenFlags};
use rustix::process::Signal;

use super::real_servers::Tap;
use crate::support::daemons::{Daemon, Kind, Options, Tls};
use crate::support::notify::{Answer, NotifyStub};
use crate::support::scripted::{File, Rule, ScriptedServer};
use crate::support::service::{Server, Service, Setup};
use crate::support::steps::ready;
use crate::support::wait::try_obtain;
use crate::support::zips::zip;

/// From the last kill until everything is in order again.
const IN_ORDER_WITHIN: Duration = Duration::from_secs(60);

/// How long to wait for a file to be half downloaded.
const HALF_WITHIN: Duration = Duration::from_secs(2);

/// How a test kills.
struct Plan {
    kills: u32,
    /// From a start to the kill, at most.
    longest_ms: u64,
    /// The large ones of the files have up to twice this size.
    large: u64,
    /// Every fourth kill waits until a file is half downloaded.
    halves: bool,
}

/// Against the scripted server, whose large files take their time: many a kill finds one half done.
const SCRIPTED: Plan = Plan { kills: 40, longest_ms: 900, large: 300_000, halves: true };

/// Against a real one.
const REAL: Plan = Plan { kills: 200, longest_ms: 400, large: 100_000, halves: false };

/// A machine that is too busy for so many kills fails here, and does not hang.
const KILLED_WITHIN: Duration = Duration::from_secs(600);

/// Small enough that files are evicted while others come.
const MAX_BYTES: u64 = 1_500_000;

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
    plan: Plan,
    dice: Dice,
    notify: NotifyStub,
    content: BTreeMap<String, Vec<u8>>,
    /// How often the server was asked for a file when its record was first seen after a kill.
    asked_when_recorded: BTreeMap<String, usize>,
    /// Which files were compared byte by byte already, by inode, size and time.
    compared: HashMap<(u64, u64, i64, i64), String>,
    kills: u32,
}

/// A record, as far as these tests look.
struct Record {
    path: String,
    size: u64,
    notified: bool,
    evicted: bool,
}

impl World {
    fn new(plan: Plan) -> Self {
        Self {
            plan,
            dice: Dice::new(),
            notify: NotifyStub::start(),
            content: BTreeMap::new(),
            asked_when_recorded: BTreeMap::new(),
            compared: HashMap::new(),
            kills: 0,
        }
    }

    fn setup(&self, server: Server) -> Setup {
        let quota = format!("[quota]\nmax_bytes = '{MAX_BYTES}B'");
        Setup::new().server(server).notify(&self.notify.url()).interval("100ms").toml(&quota)
    }

    /// A few more files, of which one is large.
    fn more_files(&mut self) -> Vec<(String, Vec<u8>)> {
        let round = self.content.len();
        let large = self.plan.large + self.dice.below(self.plan.large);
        let mut sizes = vec![large as usize];
        sizes.extend((0..2).map(|_| 200 + self.dice.below(40_000) as usize));
        let name = |n: usize| format!("/d{}/{}{}.zip", n % 5, if n == 0 { "large" } else { "f" }, round + n);
        let files = sizes.into_iter().enumerate().map(|(n, size)| (name(n), zip((round + n) as u64, size)));
        let files: Vec<_> = files.collect();
        self.content.extend(files.iter().cloned());
        files
    }

    /// Kills the program at random moments, with more files now and then. `asked` tells how often each
    /// path was fetched.
    fn kill_again_and_again(
        &mut self,
        service: &mut Service,
        mut put: impl FnMut(&str, &[u8]),
        asked: impl Fn() -> HashMap<String, usize>,
    ) {
        let began = Instant::now();
        let least = Duration::from_secs(number("MROSYNC_CRASH_SECONDS").unwrap_or(0));
        let most = KILLED_WITHIN.max(least + IN_ORDER_WITHIN);
        while (self.kills < self.plan.kills || began.elapsed() < least) && began.elapsed() < most {
            // the first starts find nothing made, and are killed while they make it
            let halves = self.plan.halves && self.kills >= 10 && self.kills % 4 == 3;
            if halves || (self.kills >= 10 && self.dice.below(2) == 0) {
                for (path, bytes) in self.more_files() {
                    put(&path, &bytes);
                }
            }
            if self.dice.below(3) == 0 {
                self.notify.answer_next([Answer::Status(500), Answer::Close]);
            }
            let longest = if self.kills < 10 { 40 } else { self.plan.longest_ms };
            let moment = Duration::from_millis(self.dice.below(longest));
            try_obtain(moment, || None::<()>);
            if halves {
                try_obtain(HALF_WITHIN, || service.partial().values().any(|size| *size > 0).then_some(()));
            }
            if self.dice.below(12) == 0 {
                // in the midst of an orderly end
                service.signal(Signal::TERM);
                let moment = Duration::from_millis(self.dice.below(60));
                try_obtain(moment, || None::<()>);
            }
            service.kill();
            self.kills += 1;
            self.look_at_what_is_left(service, &asked());
            service.restart();
        }
        println!("killed {} times in {:?}, {} files", self.kills, began.elapsed(), self.content.len());
        assert!(self.kills >= self.plan.kills, "killed {} times only", self.kills);
    }

    /// The invariants that hold at every moment.
    fn look_at_what_is_left(&mut self, service: &Service, asked: &HashMap<String, usize>) {
        self.all_files_are_whole(service);
        let records = records(service);
        let mirrored = service.mirrored();
        for Record { path, size, evicted, .. } in &records {
            assert_eq!(self.content.get(path).map(|content| content.len() as u64), Some(*size), "{path}");
            let now = asked.get(path).copied().unwrap_or(0);
            let then = *self.asked_when_recorded.entry(path.clone()).or_insert(now);
            assert_eq!(now, then, "{path} was fetched again after it was on record");
            let present = mirrored.contains_key(&format!("omc01{path}"));
            assert!(!*evicted || !present, "{path} is marked evicted and lies there");
        }
    }

    /// Nothing but whole zips under final names. Each is compared once.
    fn all_files_are_whole(&mut self, service: &Service) {
        for file in service.mirrored().keys() {
            let path = file.strip_prefix("omc01").unwrap();
            let Ok(stat) = fs::metadata(service.root().join(file)) else { continue };
            let key = (stat.ino(), stat.size(), stat.mtime(), stat.mtime_nsec());
            if self.compared.get(&key).is_some_and(|compared| compared == path) {
                continue;
            }
            let content = self.content.get(path).unwrap_or_else(|| panic!("{file} is nobody's"));
            // an evicted one may go in between
            if let Ok(local) = fs::read(service.root().join(file)) {
                assert!(local == *content, "{file} is torn: {} of {} bytes", local.len(), content.len());
                self.compared.insert(key, path.to_owned());
            }
        }
    }

    /// Waits until everything came to its end, and checks that it is the right one.
    fn comes_to_order(&mut self, service: &mut Service, asked: impl Fn() -> HashMap<String, usize>) {
        self.notify.behave();
        ready(service);
        service.wait_for(IN_ORDER_WITHIN, "all is recorded, announced and tidied up", |service| {
            records(service).len() == self.content.len()
                && service.status()["notify"]["pending"] == 0
                && service.partial().is_empty()
        });
        service.wait_for(IN_ORDER_WITHIN, "the limit is kept", |service| {
            service.mirrored().values().sum::<u64>() <= MAX_BYTES
        });
        // evictions that were not marked are found by the audit, which walks once a second
        service.wait_for(IN_ORDER_WITHIN, "what is gone is marked", |service| {
            let present = records(service).iter().filter(|record| !record.evicted).count();
            present == service.mirrored().len()
        });
        assert_eq!(service.terminate(Duration::from_secs(5)).code(), Some(0));
        self.look_at_what_is_left(service, &asked());
        self.all_are_recorded_once_and_present_or_evicted(service);
        let partial = fs::read_dir(service.root().join(".partial/omc01")).unwrap();
        assert_eq!(partial.count(), 0, "nothing is left half done");
    }

    fn all_are_recorded_once_and_present_or_evicted(&self, service: &Service) {
        let records = records(service);
        let paths: BTreeSet<&String> = records.iter().map(|record| &record.path).collect();
        assert_eq!(paths.len(), records.len(), "a path is recorded twice");
        assert_eq!(paths, self.content.keys().collect());
        let present = records.iter().filter(|record| !record.evicted);
        let expected =
            present.map(|Record { path, .. }| (format!("omc01{path}"), self.content[path].len() as u64));
        assert_eq!(service.mirrored(), expected.collect());
        assert!(records.iter().any(|record| record.evicted), "the quota has had nothing to do");
        let called: BTreeSet<String> = self.notify.files().into_iter().collect();
        for Record { path, notified, evicted, .. } in &records {
            assert!(*notified || *evicted, "present and not announced: {path}");
            assert!(!*notified || called.contains(&format!("/omc01{path}")), "announced to nobody: {path}");
        }
    }
}

/// The records, read by plain SQLite; none where a start was killed before it had made its tables.
fn records(service: &Service) -> Vec<Record> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE;
    let Ok(connection) = Connection::open_with_flags(service.database(), flags) else { return Vec::new() };
    connection.busy_timeout(IN_ORDER_WITHIN).unwrap();
    // else the last one to close would tidy up what the kill left for the next start
    connection.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).unwrap();
    let made: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).unwrap();
    if made == 0 {
        return Vec::new();
    }
    let sql = "SELECT p.wire, d.name, d.size, d.notified_at IS NOT NULL, d.evicted_at IS NOT NULL
        FROM downloads d JOIN directories p ON p.id = d.directory ORDER BY d.id";
    let mut statement = connection.prepare(sql).unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let rows = statement.query_map([], |row| {
        let (directory, name): (Vec<u8>, Vec<u8>) = (row.get(0)?, row.get(1)?);
        let path = format!("{}/{}", text(directory).trim_end_matches('/'), text(name));
        let size: i64 = row.get(2)?;
        Ok(Record { path, size: size.cast_unsigned(), notified: row.get(3)?, evicted: row.get(4)? })
    });
    rows.unwrap().map(Result::unwrap).collect()
}

/// How often each path was fetched.
fn counted(paths: impl IntoIterator<Item = String>) -> HashMap<String, usize> {
    let mut counts = HashMap::new();
    paths.into_iter().for_each(|path| *counts.entry(path).or_default() += 1);
    counts
}

#[test]
fn killed_at_random_moments_it_loses_nothing_and_fetches_nothing_twice() {
    let ftp = ScriptedServer::start();
    let mut world = World::new(SCRIPTED);
    // half a second for a large one
    let is_large = |path: &str| path.contains("large");
    let mut service = world.setup(Server::scripted("omc01", &ftp)).started().run();
    let path = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let asked = || ftp.journal(|journal| counted(journal.retrs.iter().map(|retr| path(&retr.path))));
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
fn killed_two_hundred_times_beside_vsftpd_it_ends_with_all_of_it() {
    let Some(daemon) = Daemon::start(Kind::Vsftpd, &Options::default()) else { return };
    let (mut world, tap) = (World::new(REAL), Tap::before(daemon.addr));
    let server = Server::daemon("omc01", &daemon, Tls::Off).key("port", &tap.addr().port().to_string());
    let mut service = world.setup(server).started().run();
    let retrieved = |line: String| line.strip_prefix("RETR ").map(str::to_owned);
    let asked = || counted(tap.commands().into_iter().filter_map(retrieved));
    world.kill_again_and_again(&mut service, |path, bytes| upload(&daemon.root, path, bytes), asked);
    world.comes_to_order(&mut service, asked);
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
