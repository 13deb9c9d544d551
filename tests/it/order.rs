//! The order of the steps that make a file safe, as the kernel sees it: the program runs below strace, and every
//! file's system calls are looked up in the trace, whatever was done together.
//!
//! Where strace is missing or may not trace, the tests are left out and say so; `scripts/test` installs it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;

use crate::support::notify::NotifyStub;
use crate::support::processes;
use crate::support::scripted::{File, ScriptedServer};
use crate::support::service::{Server, Setup};
use crate::support::steps::SOON;
use crate::support::wait::{eventually, try_obtain};
use crate::support::zips::zip;

/// What is traced: whatever changes files or is sent.
const CALLS: &str = "trace=write,pwrite64,writev,pwritev,sendto,sendmsg,fsync,fdatasync,syncfs,linkat,unlinkat,unlink,\
                     mkdir,mkdirat,renameat,renameat2,rename";

/// A disk so slow that files gather while others are synced, and are made durable together.
const SLOW_DISK: &str = "inject=fdatasync:delay_exit=40000";

/// One system call, from the line where it began to the line where it ended.
#[derive(Debug)]
struct Call {
    name: String,
    /// What stood between the brackets, descriptors with their paths.
    arguments: String,
    began: usize,
    ended: usize,
}

/// The program below strace.
struct Traced {
    setup: Setup,
    output: PathBuf,
    child: Child,
}

impl Traced {
    /// Starts it; `None` where nothing can be traced, which is said.
    fn start(setup: Setup) -> Option<Self> {
        let works = Command::new("strace").args(["-f", "-o", "/dev/null", "true"]).output();
        match works {
            Ok(output) if output.status.success() => {}
            Ok(output) => {
                println!("left out: strace: {}", String::from_utf8_lossy(&output.stderr).trim());
                return None;
            }
            Err(error) => {
                println!("left out: strace: {error} (run scripts/test)");
                return None;
            }
        }
        let output = setup.directory().join("trace");
        let program = setup.command(&["run"]);
        let child = Command::new("strace")
            .args([
                "-f",
                "--seccomp-bpf",
                "-y",
                "-s",
                "200",
                "-e",
                CALLS,
                "-e",
                "signal=none",
                "-e",
                SLOW_DISK,
                "-o",
            ])
            .arg(&output)
            .arg(program.get_program())
            .args(program.get_args())
            .arg("--start")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Some(Self { setup, output, child })
    }

    /// Ends the program in order, and gives what it did.
    fn end(mut self) -> Vec<Call> {
        for program in processes::descendants(self.child.id()) {
            processes::end(&[program], Signal::TERM);
        }
        let status = try_obtain(SOON, || self.child.try_wait().unwrap()).expect("the end of the program");
        assert!(status.success(), "{status}");
        parse(&std::fs::read_to_string(&self.output).unwrap())
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        let family = processes::descendants(self.child.id());
        processes::end(&family, Signal::KILL);
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Lines such as `12 fsync(5</a>) = 0`, or in two parts where other threads came between.
fn parse(trace: &str) -> Vec<Call> {
    let mut calls: Vec<Call> = Vec::new();
    let mut open: Vec<(String, usize)> = Vec::new();
    for (number, line) in trace.lines().enumerate() {
        let Some((thread, rest)) = line.split_once(' ') else { continue };
        let rest = rest.trim_start();
        if rest.starts_with("<... ") {
            let Some(place) = open.iter().position(|(of, _)| of == thread) else { continue };
            calls[open.remove(place).1].ended = number;
            continue;
        }
        let Some((name, arguments)) = rest.split_once('(') else { continue };
        if rest.ends_with("<unfinished ...>") {
            open.push((thread.to_owned(), calls.len()));
        } else if rest.contains(") = -1 ") || rest.ends_with("= ?") {
            continue;
        }
        let ended = if rest.ends_with("<unfinished ...>") { usize::MAX } else { number };
        calls.push(Call { name: name.to_owned(), arguments: arguments.to_owned(), began: number, ended });
    }
    calls
}

impl Call {
    /// Whether it is `name` on the open file `path`.
    fn is(&self, name: &str, path: &Path) -> bool {
        self.name == name && self.descriptor() == path.to_str()
    }

    /// The path of the first argument's descriptor.
    fn descriptor(&self) -> Option<&str> {
        Some(self.arguments.split_once('<')?.1.split_once('>')?.0)
    }

    fn is_sync_of(&self, path: &Path) -> bool {
        self.is("fsync", path) || self.is("fdatasync", path)
    }

    /// Whether it syncs the whole file system, on which all of this lies.
    fn is_whole_sync(&self) -> bool {
        self.name == "syncfs"
    }

    /// The names in quotation marks.
    fn quoted(&self) -> Vec<&str> {
        self.arguments.split('"').skip(1).step_by(2).collect()
    }
}

/// The calls of one file's way, one after the other: each begins after the one before has ended.
struct Way<'c> {
    calls: &'c [Call],
    /// Where the last step ended.
    at: usize,
    /// For the message.
    what: String,
}

impl<'c> Way<'c> {
    #[track_caller]
    fn then(&mut self, step: &str, wanted: impl Fn(&Call) -> bool) -> &'c Call {
        let found =
            self.calls.iter().find(|call| call.began > self.at && call.ended != usize::MAX && wanted(call));
        let Some(call) = found else { panic!("{}: no {step} after line {}", self.what, self.at) };
        self.at = call.ended;
        call
    }
}

struct Places {
    root: PathBuf,
    partial: PathBuf,
    log: PathBuf,
}

/// A setup whose mirror and database lie in directories that the program has to make.
fn setup(ftp: &ScriptedServer, notify: &NotifyStub) -> (Setup, Places) {
    let setup = Setup::new().server(Server::scripted("omc01", ftp)).notify(&notify.url());
    let directory = setup.directory().canonicalize().unwrap();
    let (root, database) = (directory.join("made/sync"), directory.join("made/var/records.db"));
    let toml = format!("[sync]\nroot = '{}'\n[records]\npath = '{}'", root.display(), database.display());
    let places = Places {
        partial: root.join(".partial/omc01"),
        log: PathBuf::from(format!("{}-wal", database.display())),
        root: root.join("omc01"),
    };
    (setup.toml(&toml), places)
}

/// Follows one file from its bytes to the removal of its partial name.
#[track_caller]
fn follow(calls: &[Call], places: &Places, path: &str) {
    let (directory, name) = path.rsplit_once('/').unwrap();
    // put together anew from its components: joining nothing would leave a slash at the end
    let home: PathBuf = places.root.join(directory.trim_start_matches('/')).components().collect();
    let is_link = |call: &Call| call.name == "linkat" && call.quoted().get(1) == Some(&name);
    let link = calls.iter().find(|call| is_link(call)).unwrap_or_else(|| panic!("{path} has no link"));
    let partial_name = link.quoted()[0];
    let partial = places.partial.join(partial_name);
    let writes = calls.iter().filter(|call| call.is("pwrite64", &partial));
    let written = writes.map(|call| call.ended).max().unwrap_or_else(|| panic!("{path} has no bytes"));
    let mut way = Way { calls, at: written, what: path.to_owned() };
    let synced = way.then("sync of its data", |call| call.is("fdatasync", &partial) || call.is_whole_sync());
    if !synced.is_whole_sync() {
        way.then("sync of .partial", |call| call.is("fsync", &places.partial) || call.is_whole_sync());
    }
    way.then("link", is_link);
    way.then("sync of its directory", |call| call.is("fsync", &home) || call.is_whole_sync());
    way.then("write to the log of the database", |call| call.is("pwrite64", &places.log));
    way.then("sync of that", |call| call.is_sync_of(&places.log));
    let recorded = way.at;
    let encoded = format!("file=%2Fomc01{} ", urlencoding::encode(path));
    way.then("call", |call| call.quoted().first().is_some_and(|sent| sent.contains(&encoded)));
    let mut tidied = Way { calls, at: recorded, what: path.to_owned() };
    let is_tidied = |call: &Call| call.name == "unlinkat" && call.quoted().first() == Some(&partial_name);
    tidied.then("removal of the partial name", is_tidied);
    // whatever has its name is followed once only, and not a moment sooner
    let early = |call: &&Call| {
        let called = call.quoted().first().is_some_and(|sent| sent.contains(&encoded));
        (is_tidied(call) || called) && call.began < recorded
    };
    assert!(calls.iter().find(early).is_none(), "{path} was called for or tidied before it was on record");
    // the directories on the way to it are durable before it is recorded
    for made in home.ancestors().take_while(|made| made.starts_with(&places.root)) {
        let is_made = |call: &&Call| {
            call.name == "mkdirat"
                && call.quoted().first() == made.file_name().and_then(|name| name.to_str()).as_ref()
        };
        let made_at =
            calls.iter().find(is_made).unwrap_or_else(|| panic!("nobody made {}", made.display())).ended;
        let above = made.parent().unwrap();
        let is_sync = |call: &Call| call.is("fsync", above) || call.is_whole_sync();
        let durable = |call: &Call| is_sync(call) && call.began > made_at && call.ended < recorded;
        assert!(calls.iter().any(durable), "{path}: the name of {} is not durable", made.display());
    }
}

#[test]
fn every_file_is_synced_linked_synced_recorded_and_only_then_announced() {
    let (ftp, notify) = (ScriptedServer::start(), NotifyStub::start());
    let paths: Vec<String> =
        (0..40).map(|n| format!("/outer{}/inner{n3}/{n}.zip", n % 2, n3 = n % 3)).collect();
    ftp.edit(|tree| {
        paths
            .iter()
            .enumerate()
            .for_each(|(n, path)| tree.put(path, File::new(zip(n as u64, 3000 + 500 * n))))
    });
    let (setup, places) = setup(&ftp, &notify);
    let Some(traced) = Traced::start(setup) else { return };
    notify.wait_for(SOON, "all calls", |calls| calls.len() >= paths.len());
    eventually(SOON, "all is tidied up", || {
        std::fs::read_dir(&places.partial).is_ok_and(|entries| entries.count() == 0)
    });
    // one that comes alone goes the same way
    ftp.put("/alone.zip", File::new(zip(77, 90_000)));
    notify.wait_for(SOON, "its call", |calls| calls.len() > paths.len());
    let calls = traced.end();
    for path in paths.iter().map(String::as_str).chain(["/alone.zip"]) {
        follow(&calls, &places, path);
    }
    // many together share one sync of the file system, where that is known to do
    let kind = rustix::fs::statfs(std::env::temp_dir()).unwrap().f_type;
    if kind == 0xEF53 {
        assert!(calls.iter().any(Call::is_whole_sync), "no files were made durable together");
    }
    // the database itself, its log and the directories made for it are durable before anything is announced
    let first = calls.iter().find(|call| call.quoted().first().is_some_and(|sent| sent.starts_with("GET ")));
    let first = first.unwrap().began;
    let database = places.log.parent().unwrap();
    for directory in database.ancestors().take(3) {
        let durable = |call: &Call| call.is_sync_of(directory) && call.ended < first;
        assert!(calls.iter().any(durable), "{} was never synced", directory.display());
    }
}

#[test]
fn an_evicted_file_is_gone_for_good_before_it_is_marked() {
    let (ftp, notify) = (ScriptedServer::start(), NotifyStub::start());
    ftp.put("/d/old.zip", File::new(zip(1, 30_000)));
    let (setup, places) = setup(&ftp, &notify);
    let Some(traced) = Traced::start(setup.toml("[quota]\nmax_bytes = '50kB'")) else { return };
    let output = |arguments: &[&str]| traced.setup.command(arguments).output().unwrap().stdout;
    let records = || String::from_utf8(output(&["records", "--format", "json"])).unwrap();
    eventually(SOON, "it is announced", || records().contains("\"notified_at\":\"2"));
    ftp.put("/new.zip", File::new(zip(2, 30_000)));
    eventually(SOON, "it had to go", || records().contains("\"evicted_at\":\"2"));
    let calls = traced.end();
    let mut way = Way { calls: &calls, at: 0, what: "/d/old.zip".to_owned() };
    way.then("deletion", |call| call.name == "unlinkat" && call.quoted().first() == Some(&"old.zip"));
    let gone = way.at;
    way.then("write to the log of the database", |call| call.is("pwrite64", &places.log));
    let marked = way.at;
    let durable =
        |call: &Call| call.is("fsync", &places.root.join("d")) && call.began > gone && call.ended < marked;
    assert!(calls.iter().any(durable), "its deletion is not durable when it is marked");
}
