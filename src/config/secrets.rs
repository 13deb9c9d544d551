//! Finds the password of a server: in the configuration itself, in a file, or in an environment variable.
//!
//! Nothing here ever shows one. Runs on the main thread; reads the password files that the keys name.

use std::ffi::OsStr;
use std::path::Path;

use super::Password;
use super::files::{Environment, open_to_others, read_text};
use super::reader::Section;
use super::values;

/// The user of public servers (RFC 1635).
const ANONYMOUS: &str = "anonymous";
/// What a server without a password is sent: public servers ask for something like an address (RFC 1635).
const ANONYMOUS_PASSWORD: &str = "mrosync@";

/// Largest password file in bytes.
const MAX_PASSWORD_BYTES: u64 = 64 << 10;

/// The three ways to give a password, of which a server may use one.
pub(super) const PASSWORD_KEYS: [&str; 3] = ["password", "password_file", "password_env"];

/// What became of looking for a secret.
pub(super) enum Secret {
    Given(Password),
    Missing,
    /// There is one, and it cannot be used; the fault is recorded.
    Faulty,
}

/// The password, from whichever key gives it; after a fault, or where there is none, a stand-in.
pub(super) fn read_password(
    section: &mut Section<'_>,
    user: Option<&str>,
    environment: &Environment,
    warnings: &mut Vec<String>,
) -> Password {
    match read_secret(section, PASSWORD_KEYS, environment, warnings) {
        Secret::Given(password) => password,
        Secret::Faulty => Password::new(""),
        Secret::Missing => {
            if user.is_some_and(|user| user != ANONYMOUS) {
                let place = section.label();
                warnings
                    .push(format!("{place}.password: missing for its user; {ANONYMOUS_PASSWORD} is sent"));
            }
            Password::new(ANONYMOUS_PASSWORD)
        }
    }
}

/// A secret, from whichever of the three keys gives it: itself, a file, or a variable.
///
/// Faults show neither the file nor the variable: a password written under the wrong key would be in them.
pub(super) fn read_secret(
    section: &mut Section<'_>,
    keys: [&'static str; 3],
    environment: &Environment,
    warnings: &mut Vec<String>,
) -> Secret {
    let [in_itself, in_file, in_variable] = keys;
    let given = keys.iter().filter(|key| section.holds(key)).count();
    let literal = section.read(in_itself, values::command_text);
    let file = section.read(in_file, values::path);
    let variable = section.read(in_variable, |value| values::text(value).map(str::to_owned));
    if given > 1 {
        section.fault(in_itself, &format!("give only one of {in_itself}, {in_file} and {in_variable}"));
        return Secret::Faulty;
    }
    let (key, secret) = match (literal, file, variable) {
        (Some(literal), ..) => (in_itself, Ok(literal)),
        (_, Some(file), _) => (in_file, password_of_file(&file, warnings)),
        (.., Some(variable)) => (in_variable, password_of_variable(&variable, environment)),
        _ if given > 0 => return Secret::Faulty,
        _ => return Secret::Missing,
    };
    match secret {
        Ok(secret) => Secret::Given(Password::new(secret)),
        Err(fault) => {
            section.fault(key, &fault);
            Secret::Faulty
        }
    }
}

/// The secret that a file holds, without its line end.
pub(super) fn password_of_file(path: &Path, warnings: &mut Vec<String>) -> Result<String, String> {
    let (text, metadata) =
        read_text(path, MAX_PASSWORD_BYTES).map_err(|error| format!("cannot read the file: {error}"))?;
    for warning in open_to_others(path, &metadata) {
        if !warnings.contains(&warning) {
            warnings.push(warning);
        }
    }
    let secret = text.strip_suffix("\r\n").or_else(|| text.strip_suffix('\n')).unwrap_or(&text);
    usable_secret(secret)
}

pub(super) fn password_of_variable(variable: &str, environment: &Environment) -> Result<String, String> {
    let Some(secret) = environment.get(OsStr::new(variable)) else {
        return Err("no environment variable of that name is set".to_owned());
    };
    usable_secret(secret.to_str().ok_or("the variable is not UTF-8")?)
}

/// A secret from outside the configuration, where an empty one is a mishap; `password = ""` says it on purpose.
fn usable_secret(secret: &str) -> Result<String, String> {
    if secret.is_empty() {
        return Err("holds nothing".to_owned());
    }
    values::refuse_line_breaks(secret)?;
    Ok(secret.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::fixtures::{SERVER, faults, load_with, server};
    use std::ffi::OsString;
    use std::fs;
    use std::os::unix::ffi::OsStringExt;
    use std::os::unix::fs::PermissionsExt;
    use tempfile::TempDir;

    /// The password of the only server, with these keys beside name and host.
    fn secret(keys: &str) -> String {
        server(keys).password.reveal().to_owned()
    }

    fn secret_file(content: &[u8]) -> (TempDir, String) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let key = format!("password_file = '{}'", path.display());
        (directory, key)
    }

    #[test]
    fn a_password_comes_from_the_file_itself_a_file_or_a_variable() {
        assert_eq!(secret("password = ' ge heim '"), " ge heim ");
        assert_eq!(secret("password = ''"), "");
        let environment = Environment::from([("PW".into(), "007".into())]);
        let loaded = load_with(&format!("{SERVER}password_env = 'PW'\n"), &environment).unwrap();
        assert_eq!(loaded.settings.servers[0].password.reveal(), "007");
    }

    /// interface 5.9, 5.15
    #[test]
    fn a_password_file_loses_one_line_end_and_one_byte_order_mark() {
        for (content, expected) in [
            ("geheim", "geheim"),
            ("geheim\n", "geheim"),
            ("geheim\r\n", "geheim"),
            (" ge heim \n", " ge heim "),
            // as Notepad of Windows saves it
            ("\u{feff}geheim\r\n", "geheim"),
            ("\u{feff}\u{feff}geheim", "\u{feff}geheim"),
        ] {
            let (_directory, key) = secret_file(content.as_bytes());
            assert_eq!(secret(&key), expected, "{content:?}");
        }
    }

    #[test]
    fn a_password_that_would_end_a_command_is_refused_and_not_shown() {
        for content in ["geheim\n\n", "ge\nheim", "geheim\r", "ge\0heim"] {
            let (_directory, key) = secret_file(content.as_bytes());
            let faults = faults(&key);
            assert_eq!(faults, ["servers[0] (omc01).password_file: must not hold a line break or NUL"]);
            let environment = Environment::from([("PW".into(), content.into())]);
            let faults = load_with(&format!("{SERVER}password_env = 'PW'\n"), &environment).unwrap_err();
            assert_eq!(faults, ["servers[0] (omc01).password_env: must not hold a line break or NUL"]);
        }
        let faults = faults("password = \"geheim\\r\\nDELE x\"");
        assert_eq!(faults, ["servers[0] (omc01).password: must not hold a line break or NUL"]);
    }

    /// interface 5.15
    #[test]
    fn a_password_that_cannot_be_had_is_a_fault_that_shows_nothing_of_it() {
        for nothing in ["\n", "\u{feff}", "\u{feff}\r\n"] {
            let (_directory, empty) = secret_file(nothing.as_bytes());
            assert_eq!(faults(&empty), ["servers[0] (omc01).password_file: holds nothing"]);
        }
        for wide in [&b"\xff\xfeg\0e\0h\0"[..], b"\xfe\xff\0g\0e\0h"] {
            let (_directory, key) = secret_file(wide);
            let fault =
                "servers[0] (omc01).password_file: cannot read the file: it is UTF-16; save it as UTF-8";
            assert_eq!(faults(&key), [fault]);
        }
        let (_directory, latin) = secret_file(b"geheim\xe9\n");
        let (_directory, long) = secret_file("geheim".repeat(20_000).as_bytes());
        let environment = Environment::from([
            ("EMPTY".into(), OsString::new()),
            ("LATIN".into(), OsString::from_vec(b"geheim\xe9".to_vec())),
        ]);
        for (key, fault) in [
            (latin.as_str(), "password_file: cannot read the file: it is not UTF-8"),
            (long.as_str(), "password_file: cannot read the file: it is longer than 65536 bytes"),
            ("password_file = 'geheim'", "password_file: cannot read the file: No such file or directory"),
            ("password_env = 'geheim'", "password_env: no environment variable of that name is set"),
            ("password_env = 'EMPTY'", "password_env: holds nothing"),
            ("password_env = 'LATIN'", "password_env: the variable is not UTF-8"),
        ] {
            let faults = load_with(&format!("{SERVER}{key}\n"), &environment).unwrap_err();
            assert_eq!(faults.len(), 1, "{faults:?}");
            assert!(faults[0].starts_with(&format!("servers[0] (omc01).{fault}")), "{faults:?}");
            assert!(!faults[0].contains("geheim"), "{faults:?}");
        }
    }

    #[test]
    fn only_one_way_to_give_a_password_is_allowed() {
        for keys in [
            "password = 'geheim'\npassword_env = 'X'",
            "password = 'geheim'\npassword_file = 'x'",
            "password_env = 'X'\npassword_file = 'x'",
            "password = 5\npassword_env = 'X'\npassword_file = 'x'",
        ] {
            let faults = faults(keys);
            let fault =
                "servers[0] (omc01).password: give only one of password, password_file and password_env";
            assert!(faults.iter().any(|found| found == fault), "{faults:?}");
            assert!(!faults.join("").contains("geheim"));
        }
    }

    #[test]
    fn a_user_without_a_password_is_warned_of() {
        let warnings =
            |keys: &str| load_with(&format!("{SERVER}{keys}\n"), &Environment::new()).unwrap().warnings;
        let warned = warnings("user = 'mro'");
        assert!(warned.len() == 1 && warned[0].starts_with("servers[0] (omc01).password: "), "{warned:?}");
        for silent in ["", "user = 'anonymous'", "user = 'mro'\npassword = ''"] {
            assert_eq!(warnings(silent), [""; 0], "{silent}");
        }
    }

    #[test]
    fn a_password_file_that_others_can_read_is_warned_of_once() {
        let (directory, key) = secret_file(b"geheim\n");
        let path = directory.path().join("secret");
        let toml = format!("{SERVER}{key}\n[[servers]]\nname = 'b'\nhost = 'h'\n{key}\n");
        assert_eq!(load_with(&toml, &Environment::new()).unwrap().warnings, [""; 0]);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o604)).unwrap();
        let warnings = load_with(&toml, &Environment::new()).unwrap().warnings;
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(
            warnings[0].starts_with(&path.display().to_string()) && warnings[0].contains("0604"),
            "{warnings:?}"
        );
    }
}
