//! The console, and with it the lines of the control socket: what is typed.

use mrosync::control::{Answer, CommandLine, console};

/// Every line has one answer of one line, in which nothing can write to a terminal; a command is read back as itself.
pub fn run(data: &[u8]) {
    let mut output = Vec::new();
    console::serve(data, &mut output, |command| {
        assert_eq!(command.to_string().parse(), Ok(CommandLine::from(command)));
        Answer::Done("done".to_owned())
    });
    let output = String::from_utf8(output).expect("answers are text");
    let lines = data.split(|byte| *byte == b'\n').count();
    assert!(output.lines().count() <= lines, "{output:?}");
    for line in output.lines() {
        super::assert_harmless(line);
        assert!(line.len() < 2000 && (line == "ok: done" || line.starts_with("failed: ")), "{line:?}");
    }
    let text = String::from_utf8_lossy(data);
    if let Ok(command) = text.parse::<CommandLine>() {
        assert_eq!(command.to_string().parse(), Ok(command));
    }
}
