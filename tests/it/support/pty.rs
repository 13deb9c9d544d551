//! A terminal to run the program at: keys in, and what a person would see.

use std::io::{Read, Write};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};

use rustix::process::Signal;

use super::processes;
use super::wait::try_obtain;

/// Enough for all that a test says, so that a line above the screen is not lost.
const SCROLLBACK: usize = 10_000;

/// A program at a terminal of its own. It is killed with this value.
pub struct Pty {
    child: Box<dyn Child + Send + Sync>,
    master: Box<dyn MasterPty + Send>,
    keys: Box<dyn Write + Send>,
    seen: Arc<Mutex<Seen>>,
    /// The modes of the line before the program ran.
    found: String,
}

struct Seen {
    terminal: vt100::Parser,
    /// Everything that was ever written, escapes included.
    raw: String,
}

impl Pty {
    /// Runs `command` at a terminal of so many columns and rows. Of this test's environment, what a terminal means is
    /// replaced.
    pub fn run(command: &Command, columns: u16, rows: u16, environment: &[(&str, &str)]) -> Self {
        let size = PtySize { rows, cols: columns, pixel_width: 0, pixel_height: 0 };
        let pair = native_pty_system().openpty(size).expect("a terminal");
        let mut builder = CommandBuilder::new(command.get_program());
        builder.args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => builder.env(name, value),
                None => builder.env_remove(name),
            }
        }
        builder.env("TERM", "xterm-256color");
        builder.env_remove("NO_COLOR");
        for (name, value) in environment {
            builder.env(name, value);
        }
        builder.cwd(std::env::temp_dir());
        let found = modes(&*pair.master);
        let child = pair.slave.spawn_command(builder).expect("the program");
        let terminal = vt100::Parser::new(rows, columns, SCROLLBACK);
        let seen = Arc::new(Mutex::new(Seen { terminal, raw: String::new() }));
        let reader = pair.master.try_clone_reader().expect("what it writes");
        let keys = pair.master.take_writer().expect("its keyboard");
        std::thread::spawn({
            let seen = Arc::clone(&seen);
            move || read(reader, &seen)
        });
        Self { child, master: pair.master, keys, seen, found }
    }

    /// Types.
    pub fn keys(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).expect("the keyboard");
        self.keys.flush().expect("the keyboard");
    }

    /// The screen as lines.
    pub fn screen(&self) -> String {
        self.seen().terminal.screen().contents()
    }

    /// Everything that was written, escapes included.
    pub fn raw(&self) -> String {
        self.seen().raw.clone()
    }

    /// Whether the program is on the other page.
    pub fn is_on_other_page(&self) -> bool {
        self.seen().terminal.screen().alternate_screen()
    }

    /// Whether the cursor is seen.
    pub fn has_cursor(&self) -> bool {
        !self.seen().terminal.screen().hide_cursor()
    }

    /// The modes of the line, for comparing.
    pub fn modes(&self) -> String {
        modes(&*self.master)
    }

    /// The modes of the line as the program found them.
    pub fn modes_found(&self) -> String {
        self.found.clone()
    }

    /// Another window size, which the program is told of.
    pub fn resize(&self, columns: u16, rows: u16) {
        self.seen().terminal.screen_mut().set_size(rows, columns);
        let size = PtySize { rows, cols: columns, pixel_width: 0, pixel_height: 0 };
        self.master.resize(size).expect("another size");
    }

    /// Waits until the screen is as wanted.
    #[track_caller]
    pub fn wait(&self, limit: Duration, what: &str, wanted: impl Fn(&str) -> bool) {
        if try_obtain(limit, || wanted(&self.screen()).then_some(())).is_none() {
            panic!(
                "still not so after {limit:?}: {what}\n--- screen\n{}\n--- raw\n{:?}",
                self.screen(),
                self.raw()
            );
        }
    }

    /// SIGTERM.
    pub fn terminate(&self) {
        processes::end(&[self.child.process_id().expect("it runs")], Signal::TERM);
    }

    /// Waits for the end; its exit status.
    #[track_caller]
    pub fn wait_exit(&mut self, limit: Duration) -> u32 {
        match try_obtain(limit, || self.child.try_wait().expect("its state")) {
            Some(status) => status.exit_code(),
            None => panic!("it still runs after {limit:?}\n--- screen\n{}", self.screen()),
        }
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Pty {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn modes(master: &dyn MasterPty) -> String {
    format!("{:?}", master.get_termios().expect("the modes"))
}

fn read(mut reader: impl Read, seen: &Mutex<Seen>) {
    let mut bytes = [0; 4096];
    while let Ok(read @ 1..) = reader.read(&mut bytes) {
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.terminal.process(&bytes[..read]);
        seen.raw.push_str(&String::from_utf8_lossy(&bytes[..read]));
    }
}
