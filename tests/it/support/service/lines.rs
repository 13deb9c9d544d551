//! The lines that a process writes, collected as they come.

use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use crate::support::net::calm;

/// The lines of one output. A thread reads them until the output is closed.
pub struct Lines {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    lines: Vec<String>,
    closed: bool,
}

impl Lines {
    /// Begins to read; the thread ends with the output.
    pub fn of(output: impl Read + Send + 'static) -> Self {
        let shared = Arc::new(Shared::default());
        std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || shared.read(BufReader::new(output))
        });
        Self { shared }
    }

    /// All lines so far.
    pub fn all(&self) -> Vec<String> {
        calm(self.shared.state.lock()).lines.clone()
    }

    /// How many lines there are.
    pub fn len(&self) -> usize {
        calm(self.shared.state.lock()).lines.len()
    }

    /// Waits for a line among those after the first `from`; `None` at the limit, or when no more can come.
    pub fn wait(&self, from: usize, limit: Duration, wanted: impl Fn(&str) -> bool) -> Option<String> {
        let find = |state: &State| state.lines.iter().skip(from).find(|line| wanted(line)).cloned();
        let waiting = |state: &mut State| !state.closed && find(state).is_none();
        let state = calm(self.shared.state.lock());
        let (state, _) = calm(self.shared.changed.wait_timeout_while(state, limit, waiting));
        find(&state)
    }
}

impl Shared {
    fn read(&self, mut output: impl BufRead) {
        let mut line = Vec::new();
        while output.read_until(b'\n', &mut line).is_ok_and(|bytes| bytes > 0) {
            let text = String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned();
            calm(self.state.lock()).lines.push(text);
            self.changed.notify_all();
            line.clear();
        }
        calm(self.state.lock()).closed = true;
        self.changed.notify_all();
    }
}
