//! One soak from its beginning to its verdict.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::chart::{self, fresh};
use crate::dice::Dice;
use crate::disk::{Disk, FILLER};
use crate::samples::Samples;
use crate::source::{Source, digest};
use crate::support::daemons::Kind;
use crate::support::notify::{Answer, NotifyStub};
use crate::support::service::{Service, Setup, Stream};
use crate::support::wait::try_obtain;

/// As many as the requirement names.
const SERVERS: u64 = 14;
const TICK: Duration = Duration::from_millis(250);
/// From one line about how things stand to the next.
const SAY_EVERY: Duration = Duration::from_secs(15);
/// A call that failed again and again is repeated after 5 minutes at the latest.
const SETTLED_WITHIN: Duration = Duration::from_secs(7 * 60);
const READY_WITHIN: Duration = Duration::from_secs(60);
/// 5 s are promised; the machine is busy with fourteen servers as well.
const END_WITHIN: Duration = Duration::from_secs(8);
/// What the log must never say: no server can do that to the program.
const NEVER: [&str; 5] =
    ["panicked at", "the scan hung", "thread is blocked", "announcing broke", "the records are lost"];
/// The service's log, of all its lives.
const LOG: &str = "mrosync.log";
/// Kinds of errors that are shown in the end.
const SHOWN_ERRORS: usize = 12;

pub enum Ended {
    AllHolds,
    Interrupted,
}

pub struct Run {
    duration: Duration,
    seed: u64,
    dice: Dice,
    /// Of each zip, for its content.
    next_zip: u64,
    // ended before what it talks to
    service: Service,
    disk: Option<Disk>,
    sources: Vec<Source>,
    notify: NotifyStub,
    samples: Samples,
    interrupted: Arc<AtomicBool>,
    counts: BTreeMap<&'static str, u64>,
    errors: HashMap<String, u64>,
}

impl Run {
    pub fn begin(duration: Duration, seed: u64) -> Self {
        let interrupted = listen_for_interrupt();
        let sources: Vec<Source> = (1..=SERVERS).map(source).collect();
        let notify = NotifyStub::start();
        let toml = "[sync]\ninterval = '1s'\n[quota]\nmax_used_percent = 60\n[notify]\ntimeout = '2s'\n\
                    [log]\nlevel = 'info'\n";
        let log = format!("[log]\nfile = '{}'\n", fresh(LOG).display());
        let setup = Setup::new().toml(toml).toml(&log).notify(&notify.url());
        let disk = Disk::mount(&setup.directory().join("sync"));
        let setup = if disk.is_some() {
            setup
        } else {
            setup.toml("[quota]\nmax_used_percent = 100\nmax_bytes = '30MB'\n")
        };
        let setup = sources.iter().fold(setup, |setup, source| setup.server(source.entry()));
        let service = setup.started().run();
        let (samples, counts, errors) = (Samples::new(), BTreeMap::new(), HashMap::new());
        let dice = Dice::new(seed);
        Self {
            duration,
            seed,
            dice,
            next_zip: 1,
            service,
            disk,
            sources,
            notify,
            samples,
            interrupted,
            counts,
            errors,
        }
    }

    /// All of it. A broken promise panics.
    pub fn to_its_end(&mut self) -> Ended {
        let begun = Instant::now();
        let (mut say, mut restart) = (begun + SAY_EVERY, self.next_restart());
        while begun.elapsed() < self.duration {
            if self.interrupted.load(Ordering::Relaxed) {
                return Ended::Interrupted;
            }
            self.tick();
            if Instant::now() >= restart {
                self.disturb_the_service();
                restart = self.next_restart();
            }
            if Instant::now() >= say {
                self.say(begun.elapsed());
                say += SAY_EVERY;
            }
        }
        self.everybody_behaves();
        if !self.settles() {
            return Ended::Interrupted;
        }
        assert_eq!(self.service.terminate(END_WITHIN).code(), Some(0), "ended in order");
        self.read_the_log();
        self.look_at_what_is_left();
        self.all_is_as_promised();
        Ended::AllHolds
    }

    /// The figures, the chart and the drawing.
    pub fn show(&self) {
        println!();
        for (what, count) in &self.counts {
            println!("{what:<28} {count}");
        }
        let mut errors: Vec<_> = self.errors.iter().collect();
        errors.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        for (error, count) in errors.iter().take(SHOWN_ERRORS) {
            println!("{count:>6} × {error}");
        }
        print!("\n{}", chart::lines(&self.samples));
        match chart::draw(&self.samples, self.seed) {
            Ok(path) => println!("drawn in {}", path.display()),
            Err(error) => println!("the chart cannot be drawn: {error}"),
        }
    }

    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    fn say(&self, after: Duration) {
        let zips: usize = self.sources.iter().map(|source| source.zips.len()).sum();
        let last = self.samples.taken.last().copied();
        let memory = last.map_or(0.0, |sample| sample.memory);
        let counts: Vec<String> = self.counts.iter().map(|(what, count)| format!("{count} {what}")).collect();
        println!("{:>5} s  {zips} zips, {memory:.0} MiB; {}", after.as_secs(), counts.join(", "));
    }

    // -- while everybody misbehaves --------------------------------------------------------------------------

    fn tick(&mut self) {
        let Self { dice, sources, next_zip, .. } = self;
        for source in sources {
            if dice.percent(8) {
                source.add(*next_zip, dice);
                *next_zip += 1;
            }
            source.go_on(dice);
            if dice.percent(8) {
                source.misbehave(dice);
            }
        }
        self.disturb_the_notify_host();
        if self.dice.percent(5)
            && let Some(disk) = &self.disk
        {
            disk.change(&mut self.dice);
        }
        self.pass(TICK);
    }

    fn disturb_the_notify_host(&mut self) {
        match self.dice.below(60) {
            0 => self.notify.go_down(),
            1..4 => self.notify.answer(Answer::Status(500)),
            4 => self.notify.answer_next([Answer::Close, Answer::Late(Duration::from_millis(700), 200)]),
            5 => self.notify.answer_next([Answer::Hang, Answer::HangingBody, Answer::EndlessBody]),
            6..18 => self.notify_host_behaves(),
            _ => {}
        }
    }

    fn notify_host_behaves(&self) {
        self.notify.answer(Answer::Status(200));
        self.notify.come_back();
        self.notify.release();
    }

    /// Lets time pass and looks at the process meanwhile.
    fn pass(&mut self, time: Duration) {
        self.samples.take(self.service.pid());
        try_obtain(time, || None::<()>);
    }

    fn next_restart(&mut self) -> Instant {
        // mostly soon, at times during the start itself, and at times late enough to see whether memory grows
        let most = match self.dice.below(10) {
            0..3 => 3_000,
            3..9 => 20_000,
            _ => 90_000,
        };
        Instant::now() + Duration::from_millis(self.dice.between(200, most))
    }

    fn disturb_the_service(&mut self) {
        match self.dice.below(10) {
            0..6 => {
                self.service.kill();
                self.count("kills");
            }
            6 | 7 => {
                self.ready();
                assert_eq!(self.service.terminate(END_WITHIN).code(), Some(0), "ended in order");
                self.count("ends in order");
            }
            _ => return self.stop_and_start(),
        }
        self.samples.restarted();
        self.read_the_log();
        self.look_at_what_is_left();
        self.service.restart();
    }

    fn stop_and_start(&mut self) {
        self.ready();
        let answer = self.service.command("stop");
        assert!(answer.starts_with("ok"), "stop: {answer}");
        for _ in 0..self.dice.below(6) {
            self.tick();
        }
        let answer = self.service.command("start");
        assert!(answer.starts_with("ok"), "start: {answer}");
        self.count("stops and starts");
    }

    fn ready(&self) {
        self.service.wait_line(Stream::Stderr, READY_WITHIN, "ready", |line| line.contains("is ready"));
    }

    // -- what must always be true ----------------------------------------------------------------------------

    fn read_the_log(&mut self) {
        for line in self.service.lines(Stream::Stderr) {
            assert!(!NEVER.iter().any(|never| line.contains(never)), "in the log: {line}");
            if let Some((_, error)) = line.split_once(" ERROR ") {
                *self.errors.entry(kind(error)).or_default() += 1;
            }
        }
    }

    /// Nothing but whole zips under final names; nothing on record that nobody has; nothing fetched again.
    fn look_at_what_is_left(&mut self) {
        for file in self.mirrored() {
            let (server, path) = file.split_once('/').unwrap();
            let zip = self
                .source(server)
                .zips
                .get(&format!("/{path}"))
                .unwrap_or_else(|| panic!("{file} is nobody's"));
            let local = fs::read(self.service.root().join(&file)).unwrap();
            assert!(digest(&local) == zip.digest, "{file} is torn: {} of {} bytes", local.len(), zip.length);
        }
        let records = self.records();
        for source in &mut self.sources {
            let fetched = source.fetched();
            for (server, path) in records.keys().filter(|(server, _)| *server == source.name) {
                let zip = source
                    .zips
                    .get_mut(path)
                    .unwrap_or_else(|| panic!("a record of nothing: {server}{path}"));
                let now = fetched.get(path).copied().unwrap_or_default();
                let then = *zip.fetched_when_recorded.get_or_insert(now);
                assert_eq!(now, then, "{server}{path} was fetched again after it was on record");
            }
        }
    }

    fn source(&self, name: &str) -> &Source {
        self.sources.iter().find(|source| source.name == name).unwrap_or_else(|| panic!("no server {name}"))
    }

    fn mirrored(&self) -> BTreeSet<String> {
        self.service.mirrored().into_keys().filter(|file| file != FILLER).collect()
    }

    /// The records by server and path; none where the very first start was killed before it had made its database.
    fn records(&self) -> BTreeMap<(String, String), Value> {
        let output = self.service.mrosync(&["records"], &["--format", "json"]);
        let error = String::from_utf8_lossy(&output.stderr);
        let none_yet = error.contains("version 0") || error.contains("does not exist");
        assert!(output.status.success() || none_yet, "no records: {error}");
        let mut records = BTreeMap::new();
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            let record: Value = serde_json::from_str(line).unwrap();
            let text = |key: &str| record[key].as_str().unwrap().to_owned();
            let twice = records.insert((text("server"), text("path")), record.clone());
            assert!(twice.is_none(), "recorded twice: {line}");
        }
        records
    }

    // -- the end ---------------------------------------------------------------------------------------------

    fn everybody_behaves(&mut self) {
        println!("soak: everybody behaves from now on");
        for source in &mut self.sources {
            source.behave();
            source.complete();
        }
        self.notify_host_behaves();
        if let Some(disk) = &self.disk {
            disk.fill(0);
        }
        self.service.kill();
        self.samples.restarted();
        self.read_the_log();
        self.look_at_what_is_left();
        self.service.restart();
        self.ready();
    }

    /// Waits until all is recorded, announced and tidied up; false when interrupted.
    fn settles(&mut self) -> bool {
        let zips: usize = self.sources.iter().map(|source| source.zips.len()).sum();
        let end = Instant::now() + SETTLED_WITHIN;
        while Instant::now() < end {
            if self.interrupted.load(Ordering::Relaxed) {
                return false;
            }
            // what a call found hanging just before
            self.notify_host_behaves();
            self.pass(Duration::from_secs(1));
            let pending = self.service.status()["notify"]["pending"] == 0;
            if pending && self.service.partial().is_empty() && self.records().len() == zips {
                return true;
            }
        }
        self.service.kill();
        self.read_the_log();
        panic!("not settled after {SETTLED_WITHIN:?}: {}", self.what_is_missing());
    }

    fn what_is_missing(&self) -> String {
        let records = self.records();
        let all = self
            .sources
            .iter()
            .flat_map(|source| source.zips.keys().map(|path| (source.name.clone(), path.clone())));
        let missing: Vec<String> = all
            .filter(|zip| !records.contains_key(zip))
            .map(|(server, path)| format!("{server}{path}"))
            .collect();
        let open = records
            .values()
            .filter(|record| record["notified_at"].is_null() && record["evicted_at"].is_null());
        format!(
            "{} not on record: {:?}; {} not announced; left in .partial: {:?}",
            missing.len(),
            missing.iter().take(5).collect::<Vec<_>>(),
            open.count(),
            self.service.partial().keys().take(5).collect::<Vec<_>>()
        )
    }

    fn all_is_as_promised(&mut self) {
        let records = self.records();
        let called: BTreeSet<String> = self.notify.files().into_iter().collect();
        let mut expected = BTreeSet::new();
        let (mut evicted, mut announced) = (0, 0);
        for ((server, path), record) in &records {
            let (is_present, is_announced) =
                (record["evicted_at"].is_null(), !record["notified_at"].is_null());
            let file = format!("{server}{path}");
            assert!(is_announced || !is_present, "present and not announced: {record}");
            assert!(!is_announced || called.contains(&format!("/{file}")), "announced to nobody: {record}");
            evicted += u64::from(!is_present);
            announced += u64::from(is_announced);
            if is_present {
                expected.insert(file);
            }
        }
        let zips = self
            .sources
            .iter()
            .flat_map(|source| source.zips.keys().map(|path| (source.name.clone(), path.clone())));
        assert_eq!(
            zips.collect::<BTreeSet<_>>(),
            records.keys().cloned().collect(),
            "every zip is on record once"
        );
        assert_eq!(
            self.mirrored(),
            expected,
            "every record has its file, or is evicted, and nothing else is there"
        );
        assert!(self.service.partial().is_empty(), "nothing is left half done");
        self.counts.extend([("zips", records.len() as u64), ("evicted", evicted), ("announced", announced)]);
        self.counts.insert("calls", self.notify.files().len() as u64);
        let fetches: usize = self.sources.iter().map(|source| source.fetched().values().sum::<usize>()).sum();
        self.counts.insert("transfers", fetches as u64);
    }
}

/// The first four are real daemons, where the machine has them.
fn source(number: u64) -> Source {
    let name = format!("omc{number:02}");
    let kind = match number {
        1 | 2 => Some(Kind::Vsftpd),
        3 => Some(Kind::Proftpd),
        4 => Some(Kind::PureFtpd),
        _ => None,
    };
    kind.and_then(|kind| Source::real(&name, kind)).unwrap_or_else(|| Source::scripted(&name, number))
}

/// An error without what differs from one to the next: what follows `server=… path=…`, digits left out.
fn kind(error: &str) -> String {
    let words = error.split(' ').filter(|word| !word.starts_with("server=") && !word.starts_with("path="));
    let text: String =
        words.collect::<Vec<_>>().join(" ").chars().filter(|c| !c.is_ascii_digit()).take(120).collect();
    text
}

/// Ctrl-C ends the soak in order: the service, the servers and the directories go.
fn listen_for_interrupt() -> Arc<AtomicBool> {
    let interrupted = Arc::new(AtomicBool::new(false));
    std::thread::spawn({
        let interrupted = Arc::clone(&interrupted);
        move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(tokio::signal::ctrl_c()).unwrap();
            interrupted.store(true, Ordering::Relaxed);
        }
    });
    interrupted
}
