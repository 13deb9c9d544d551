//! Everything that is written to the terminal while a line is being edited there: log lines, answers, progress.
//!
//! The editor has the terminal in its hands and alone knows where the cursor is. So all others put what they have to
//! say into one queue, and one thread hands it to the editor's printer, which takes the edited line away, prints, and
//! draws the line again. Nobody waits for the terminal: a log line that finds the queue full counts as one that
//! cannot be written ([`crate::logging`] tells how many are lost).
//!
//! Kept beside indicatif (0.18), which brings the same for lines of progress: it prints above its own bars, and knows
//! nothing of a line that rustyline edits, for which rustyline's own printer is the one way; and its log lines wait for
//! the terminal. What is left to it would be the line of `check` and `ctl stop`, 59 lines in `status_line`.

use std::io::{self, ErrorKind, IsTerminal, Write};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};
use std::time::Duration;

use parking_lot::Mutex;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};

use crate::base::blocking;

/// Texts that wait for the terminal: a burst of a first sync, and not the memory of a machine.
const QUEUE: usize = 4096;
/// Handed to the terminal in one go.
const BATCH: usize = 32 * 1024;
/// For the queue to be empty before a prompt or the end.
const SETTLE_LIMIT: Duration = Duration::from_millis(300);
/// Goes back to the line of progress and takes it away.
const BACK: &str = "\x1b[A\r\x1b[2K";
/// Ends what the editor may have left: bracketed paste, and half a line.
const LEAVE: &str = "\x1b[?2004l\r\x1b[2K";

/// The terminal, for all who write there. Before it is opened, and where it never is, what they say goes to standard
/// output and standard error as it is.
#[derive(Debug, Clone, Default)]
pub struct Screen(Arc<Mutex<Option<Opened>>>);

#[derive(Debug)]
struct Opened {
    queue: SyncSender<Message>,
    /// Whether the log goes to the same terminal.
    log: bool,
    /// The terminal as it was found.
    before: Termios,
}

#[derive(Debug)]
enum Message {
    /// Whole lines.
    Text(String),
    /// A line that takes the place of the one before it, or takes it away.
    Progress(Option<String>),
    /// Something else was written below the line of progress: it stays where it is.
    Pass,
    /// Answered once all before it was printed.
    Settle(SyncSender<()>),
}

impl Screen {
    /// From here on the terminal is written to by `print` alone, on a thread of its own.
    ///
    /// # Errors
    ///
    /// Standard input is no terminal, or there is no thread to be had.
    pub fn open(&self, print: impl FnMut(String) + Send + 'static) -> io::Result<()> {
        let before = tcgetattr(io::stdin())?;
        let (queue, waiting) = mpsc::sync_channel(QUEUE);
        blocking::spawn("screen", move || serve(&waiting, print))?;
        let log = io::stderr().is_terminal();
        *self.0.lock() = Some(Opened { queue, log, before });
        Ok(())
    }

    /// Gives the terminal back as it was found, with everything printed. Nothing happens where it was never opened.
    pub fn leave(&self) {
        self.settle();
        let Some(opened) = self.0.lock().take() else { return };
        // a terminal that is gone needs neither
        drop(io::stdout().write_all(LEAVE.as_bytes()).and_then(|()| io::stdout().flush()));
        tcsetattr(io::stdin(), OptionalActions::Drain, &opened.before).ok();
    }

    /// [`Self::leave`] on every way out: once what is given back is dropped.
    #[must_use]
    pub fn leave_on_drop(&self) -> LeaveOnDrop {
        LeaveOnDrop(self.clone())
    }

    /// One line or several to standard output, whether or not anybody reads it, and without running into an edited
    /// line.
    pub fn say(&self, text: &str) {
        let left = match self.queue() {
            Some((queue, _)) => queue.send(Message::Text(format!("{text}\n"))).is_err(),
            None => true,
        };
        if left {
            drop(writeln!(io::stdout().lock(), "{text}"));
        }
    }

    /// Shows a line of progress in place of the one before it, or takes it away. Left out where the terminal is busy.
    pub fn progress(&self, line: Option<String>) {
        if let Some((queue, _)) = self.queue() {
            drop(queue.try_send(Message::Progress(line)));
        }
    }

    /// What was shown as progress stays where it is, because the user wrote something below it.
    pub fn pass(&self) {
        if let Some((queue, _)) = self.queue() {
            drop(queue.send(Message::Pass));
        }
    }

    /// Waits until all was printed, for a moment at most.
    pub fn settle(&self) {
        let Some((queue, _)) = self.queue() else { return };
        let (settled, waiting) = mpsc::sync_channel(1);
        if queue.try_send(Message::Settle(settled)).is_ok() {
            waiting.recv_timeout(SETTLE_LIMIT).ok();
        }
    }

    /// Standard error for the log, whose lines go through the screen where both are one terminal.
    #[must_use]
    pub fn stderr(&self) -> Stderr {
        Stderr(self.clone())
    }

    fn queue(&self) -> Option<(SyncSender<Message>, bool)> {
        self.0.lock().as_ref().map(|opened| (opened.queue.clone(), opened.log))
    }
}

/// See [`Screen::leave_on_drop`].
#[derive(Debug)]
pub struct LeaveOnDrop(Screen);

impl Drop for LeaveOnDrop {
    fn drop(&mut self) {
        self.0.leave();
    }
}

/// See [`Screen::stderr`].
#[derive(Debug)]
pub struct Stderr(Screen);

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some((queue, true)) = self.0.queue() else { return io::stderr().write(bytes) };
        match queue.try_send(Message::Text(String::from_utf8_lossy(bytes).into_owned())) {
            Ok(()) => Ok(bytes.len()),
            Err(TrySendError::Full(_)) => Err(ErrorKind::WouldBlock.into()),
            Err(TrySendError::Disconnected(_)) => io::stderr().write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn serve(waiting: &Receiver<Message>, mut print: impl FnMut(String)) {
    let mut shown = Shown::default();
    while let Ok(first) = waiting.recv() {
        let (mut out, mut settled) = (String::new(), Vec::new());
        let mut next = Some(first);
        while let Some(message) = next {
            match message {
                Message::Settle(asker) => settled.push(asker),
                message => shown.add(message, &mut out),
            }
            next = if out.len() < BATCH { waiting.try_recv().ok() } else { None };
        }
        if !out.is_empty() {
            print(out);
        }
        for asker in settled {
            // who no longer waits
            asker.try_send(()).ok();
        }
    }
}

/// The line of progress that stands right above the cursor.
#[derive(Debug, Default)]
struct Shown {
    line: Option<String>,
    /// It is over, and goes with the next text: the editor's printer ends whatever it prints with a line end, so that
    /// a line taken away by itself would leave an empty one.
    over: bool,
}

impl Shown {
    /// What is to be written for `message`.
    fn add(&mut self, message: Message, out: &mut String) {
        match message {
            Message::Text(text) => {
                self.wipe(out);
                if self.over {
                    *self = Self::default();
                }
                out.push_str(&text);
                self.draw(out);
            }
            Message::Progress(None) => self.over = self.line.is_some(),
            Message::Progress(line) if line != self.line => {
                self.wipe(out);
                *self = Self { line, over: false };
                self.draw(out);
            }
            Message::Progress(_) => self.over = false,
            Message::Settle(_) => {}
            Message::Pass => *self = Self::default(),
        }
    }

    fn wipe(&self, out: &mut String) {
        if self.line.is_some() {
            out.push_str(BACK);
        }
    }

    fn draw(&self, out: &mut String) {
        if let Some(line) = &self.line {
            out.push_str(line);
            out.push('\n');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(messages: impl IntoIterator<Item = Message>) -> String {
        let (mut shown, mut out) = (Shown::default(), String::new());
        messages.into_iter().for_each(|message| shown.add(message, &mut out));
        out
    }

    fn screen(messages: impl IntoIterator<Item = Message>) -> String {
        let mut terminal = vt100::Parser::new(10, 40, 0);
        terminal.process(written(messages).replace('\n', "\r\n").as_bytes());
        terminal.screen().contents()
    }

    fn text(text: &str) -> Message {
        Message::Text(format!("{text}\n"))
    }

    fn progress(line: &str) -> Message {
        Message::Progress(Some(line.to_owned()))
    }

    #[test]
    fn log_lines_stand_whole_above_the_progress_which_is_one_line() {
        let messages = [text("a"), progress("1 of 2"), text("b"), text("c"), progress("2 of 2")];
        assert_eq!(screen(messages), "a\nb\nc\n2 of 2");
    }

    #[test]
    fn progress_that_is_over_leaves_nothing_behind() {
        assert_eq!(screen([text("a"), progress("1 of 2"), Message::Progress(None), text("b")]), "a\nb");
        // the editor would end it with a line end
        assert_eq!(written([progress("1 of 2"), Message::Progress(None)]), "1 of 2\n");
    }

    #[test]
    fn what_stands_above_something_typed_is_left_alone() {
        assert_eq!(screen([progress("1 of 2"), Message::Pass, text("stop"), text("ok")]), "1 of 2\nstop\nok");
    }

    #[test]
    fn the_same_progress_is_not_drawn_again() {
        assert_eq!(written([progress("1 of 2"), progress("1 of 2")]), "1 of 2\n");
    }
}
