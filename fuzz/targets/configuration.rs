//! The configuration: the text of one file.

use std::cell::RefCell;
use std::io::{Seek, Write};

use tempfile::NamedTempFile;

thread_local! {
    static FILE: RefCell<Option<NamedTempFile>> = const { RefCell::new(None) };
}

/// Whatever the file holds, it gives settings within their bounds, or faults of one line each; and no password is in
/// any of them. The real way is taken, from the file on, but for the variables of the environment.
pub fn run(data: &[u8]) {
    // a file that the text names is read; one that never ends is not worth waiting for
    if data.windows(4).any(|window| matches!(window, b"/dev" | b"/pro" | b"/sys")) {
        return;
    }
    let path = FILE.with_borrow_mut(|file| write(file, data)).expect("a temporary file");
    match mrosync::config::load(&[path]) {
        Ok(loaded) => {
            let settings = loaded.settings;
            let shown = format!("{settings:?}");
            for server in &settings.servers {
                assert!((1..=64).contains(&server.connections) && server.port > 0);
                assert!(!server.name.as_str().starts_with('.') && !server.name.as_str().contains('/'));
                assert!(!server.directories.is_empty());
                assert!(server.encoding.is_ascii_compatible());
                let secret = server.password.reveal();
                // short ones may stand elsewhere by chance
                let elsewhere = text_without(data, secret);
                assert!(secret.len() < 6 || elsewhere || !shown.contains(secret), "{shown}");
            }
            assert!(settings.quota.max_used_percent > 0.0 && settings.quota.max_used_percent <= 100.0);
            loaded.warnings.iter().for_each(|warning| super::assert_harmless(warning));
        }
        Err(faults) => {
            assert!(!faults.faults().is_empty());
            faults.faults().iter().for_each(|fault| super::assert_harmless(fault));
        }
    }
}

/// Whether `secret` stands in the text more than once, or not as it is: then it may be shown as something else.
fn text_without(data: &[u8], secret: &str) -> bool {
    let text = String::from_utf8_lossy(data);
    text.matches(secret).count() != 1
}

fn write(file: &mut Option<NamedTempFile>, data: &[u8]) -> std::io::Result<std::path::PathBuf> {
    let file = match file {
        Some(file) => file,
        None => file.insert(NamedTempFile::new()?),
    };
    file.as_file().set_len(0)?;
    file.rewind()?;
    file.write_all(data)?;
    Ok(file.path().to_owned())
}
