//! Where lines go, and what becomes of those that cannot be written.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::Context;
use log::Level;
use parking_lot::Mutex;

use super::OWN_TARGET;
use super::line::line;
use crate::base::io_error::is_no_space;
use crate::config::LogFormat;

/// Mode of a new log file: its owner writes, a group of operators may read.
const FILE_MODE: u32 = 0o640;
/// Mode of the directories made for it.
const DIRECTORY_MODE: u32 = 0o750;

/// A file that lines are appended to; it is made by a later line where there was no room for it.
pub(super) struct LogFile {
    path: PathBuf,
    file: Option<File>,
}

impl LogFile {
    /// Opens the file, which may come later where there is no room for it now.
    pub(super) fn at_the_start(path: &Path) -> anyhow::Result<Self> {
        match open(path) {
            Err(error) if is_no_space(error.kind()) => Ok(Self { path: path.to_owned(), file: None }),
            opened => Self::of(path, opened),
        }
    }

    /// Opens the file.
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        Self::of(path, open(path))
    }

    fn of(path: &Path, opened: io::Result<File>) -> anyhow::Result<Self> {
        let file = opened.with_context(|| format!("cannot open the log file {}", path.display()))?;
        Ok(Self { path: path.to_owned(), file: Some(file) })
    }

    /// What lines are written to.
    pub(super) fn into_output(self) -> Output {
        Output { name: format!("the log file {}", self.path.display()), to: Box::new(self) }
    }
}

impl Write for LogFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.file {
            Some(file) => file.write(bytes),
            missing => missing.insert(open(&self.path)?).write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.as_mut().map_or(Ok(()), Write::flush)
    }
}

fn open(path: &Path) -> io::Result<File> {
    if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(directory)?;
    }
    OpenOptions::new().append(true).create(true).mode(FILE_MODE).open(path)
}

/// Something that lines are written to, and what people call it.
pub(super) struct Output {
    pub(super) name: String,
    pub(super) to: Box<dyn Write + Send>,
}

/// Something that lines are written to, which may fail at any time and recover, or become another. Nothing fails where
/// there is nothing.
pub(super) struct Sink(Mutex<SinkState>);

struct SinkState {
    output: Option<Output>,
    /// Lines that could not be written since the last that could.
    lost: u64,
    /// Whether the last failure left a line without its end.
    torn: bool,
}

impl Sink {
    pub(super) fn new(output: Option<Output>) -> Self {
        Self(Mutex::new(SinkState { output, lost: 0, torn: false }))
    }

    /// Writes to `output` from now on. What the one before has lost is told there.
    pub(super) fn redirect(&self, output: Option<Output>) {
        let mut state = self.0.lock();
        *state = SinkState { output, lost: state.lost, torn: false };
    }

    /// Writes one line; a failure is counted, and told before the next line that can be written.
    ///
    /// Fails with what is to be told elsewhere where this line is the first that is lost.
    pub(super) fn write(&self, content: &str, format: LogFormat) -> Result<(), String> {
        let mut state = self.0.lock();
        let mut text = String::with_capacity(content.len() + 1);
        if state.torn {
            text.push('\n');
        }
        if state.lost > 0 {
            let told = format!("{} line(s) of the log could not be written and are lost", state.lost);
            text.push_str(&line(format, Level::Warn, OWN_TARGET, &told));
            text.push('\n');
        }
        text.push_str(content);
        text.push('\n');
        let written = state.write(text.as_bytes());
        state.lost = if written.is_ok() { 0 } else { state.lost.saturating_add(1) };
        match written {
            Err(error) if state.lost == 1 => {
                let name = state.output.as_ref().map_or("the log", |output| &output.name);
                Err(format!("{name} cannot be written ({error}): its lines are lost until it can"))
            }
            _ => Ok(()),
        }
    }
}

impl SinkState {
    fn write(&mut self, mut rest: &[u8]) -> io::Result<()> {
        let Some(Output { to, .. }) = &mut self.output else { return Ok(()) };
        while !rest.is_empty() {
            match to.write(rest) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => {
                    self.torn = rest.get(written.wrapping_sub(1)) != Some(&b'\n');
                    rest = rest.get(written..).unwrap_or_default();
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_file_without_room_to_be_made_is_made_by_a_later_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let mut file = LogFile { path: path.clone(), file: None };
        file.write_all(b"later\n").unwrap();
        assert_eq!(std::fs::read_to_string(path).unwrap(), "later\n");
    }

    #[test]
    fn the_file_is_appended_to_and_made_with_its_directory() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a/b/mrosync.log");
        open(&path).unwrap().write_all(b"one\n").unwrap();
        open(&path).unwrap().write_all(b"two\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one\ntwo\n");
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path) & !0o640, 0);
        assert_eq!(mode(path.parent().unwrap()) & !0o750, 0);
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_an_error_that_names_it() {
        let directory = tempfile::tempdir().unwrap();
        let open = |path: &Path| LogFile::open(path).err().unwrap();
        let error = open(directory.path());
        assert!(format!("{error:#}").contains(&directory.path().display().to_string()), "{error:#}");
        std::fs::write(directory.path().join("file"), "").unwrap();
        let error = open(&directory.path().join("file/x/log"));
        assert!(format!("{error:#}").contains("file/x"), "{error:#}");
    }
}
