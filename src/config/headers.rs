//! Reads `headers` of `[notify]`. A header's value may be a secret: it is never shown, and may come from a file or an
//! environment variable, as passwords do.

use config::{Value, ValueKind};

use super::files::Environment;
use super::reader::{Section, Table, sorted};
use super::secrets::{password_of_file, password_of_variable};
use super::{Password, values};

/// More headers than anybody needs; each goes out with every call.
const MAX_HEADERS: usize = 32;
/// Headers that say how the call is sent, which is not the operator's to say.
const OURS: [&str; 5] = ["connection", "content-length", "host", "te", "transfer-encoding"];

/// The headers with a value that can be sent; none after a fault.
pub(super) fn read_headers(
    section: &mut Section<'_>,
    (environment, warnings): (&Environment, &mut Vec<String>),
) -> Vec<(String, Password)> {
    let headers = section.read("headers", |value| {
        let ValueKind::Table(table) = &value.kind else {
            return Err("must be a table, such as { Authorization = \"Bearer …\" }".to_owned());
        };
        if table.len() > MAX_HEADERS {
            return Err(format!("must not be more than {MAX_HEADERS}"));
        }
        let read = |(name, value): (&String, &Value)| {
            let name = usable_name(name)?;
            let secret = secret(value, environment, warnings).and_then(usable_value);
            let secret = secret.map_err(|fault| format!("{name} {fault}"))?;
            Ok((name.to_owned(), Password::new(secret)))
        };
        sorted(table).into_iter().map(read).collect::<Result<Vec<_>, String>>()
    });
    headers.unwrap_or_default()
}

/// A token of HTTP (RFC 9110 section 5.6.2) that is not ours to send.
fn usable_name(name: &str) -> Result<&str, String> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(is_token) {
        // what stands there may be a secret in the wrong place
        return Err("must have names of HTTP headers".to_owned());
    }
    if OURS.contains(&name.to_ascii_lowercase().as_str()) {
        return Err(format!("must not hold {name}, which the service sends itself"));
    }
    Ok(name)
}

/// Text itself, `{ file = "…" }` or `{ env = "…" }`.
fn secret(value: &Value, environment: &Environment, warnings: &mut Vec<String>) -> Result<String, String> {
    let wrong = || "must be a string, { file = \"…\" } or { env = \"…\" }".to_owned();
    match &value.kind {
        ValueKind::String(text) => Ok(text.clone()),
        ValueKind::Table(table) if table.len() == 1 => {
            from_elsewhere(table, environment, warnings).ok_or_else(wrong)?
        }
        _ => Err(wrong()),
    }
}

fn from_elsewhere(
    table: &Table,
    environment: &Environment,
    warnings: &mut Vec<String>,
) -> Option<Result<String, String>> {
    if let Some(file) = table.get("file") {
        return Some(values::path(file).and_then(|path| password_of_file(&path, warnings)));
    }
    let variable = values::text(table.get("env")?).ok()?;
    Some(password_of_variable(variable, environment))
}

/// What a header's value may hold (RFC 9110 section 5.5), as ASCII.
fn usable_value(value: String) -> Result<String, String> {
    let is_visible = |byte: u8| byte.is_ascii_graphic() || byte == b' ';
    let ends_well = value.trim() == value;
    if value.is_empty() || !ends_well || !value.bytes().all(is_visible) {
        return Err("must be ASCII without control characters, and no blanks around".to_owned());
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use crate::config::{Loaded, NotifyMethod, load_from};
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    /// Loads these keys of `[notify]`, in which `FILE` stands for a file of this content, and `TOKEN` is a variable.
    fn load(keys: &str, content: &str) -> Result<Loaded, Vec<String>> {
        let directory = tempfile::tempdir().unwrap();
        let (path, file) = (directory.path().join("a.toml"), directory.path().join("secret"));
        fs::write(&file, content).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let keys = keys.replace("FILE", &file.display().to_string());
        fs::write(&path, format!("[notify]\n{keys}\n[[servers]]\nname = 'a'\nhost = 'h'\n")).unwrap();
        let origin = format!(" (in {})", path.display());
        let environment = [("TOKEN".into(), "Bearer geheim".into())].into_iter().collect();
        load_from(&[path], &environment)
            .map_err(|faults| faults.faults().iter().map(|fault| fault.replace(&origin, "")).collect())
    }

    #[test]
    fn a_call_is_a_get_without_headers_unless_told_otherwise() {
        let notify = load("", "").unwrap().settings.notify;
        assert_eq!((notify.method, notify.headers.len()), (NotifyMethod::Get, 0));
        let notify = load("method = 'POST'", "").unwrap().settings.notify;
        assert_eq!(notify.method, NotifyMethod::Post);
    }

    /// interface 5.3
    #[test]
    fn a_value_comes_from_the_configuration_a_file_or_a_variable_and_is_never_printed() {
        let keys = "headers = { A = 'Bearer geheim', B = { file = 'FILE' }, X-C = { env = 'TOKEN' } }";
        let settings = load(keys, "Bearer geheim\n").unwrap().settings;
        let headers = &settings.notify.headers;
        let names: Vec<&str> = headers.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["A", "B", "X-C"]);
        assert!(headers.iter().all(|(_, value)| value.reveal() == "Bearer geheim"));
        assert!(!format!("{settings:?}").contains("geheim"));
    }

    #[test]
    fn wrong_methods_and_headers_are_named_and_show_no_secret() {
        for (keys, fault) in [
            ("method = 'get'", "notify.method: unknown variant"),
            ("method = 'DELETE'", "notify.method: unknown variant"),
            ("headers = 'geheim'", "notify.headers: must be a table"),
            ("headers = { A = 5 }", "notify.headers: A must be a string"),
            ("headers = { A = \"geheim\\r\\nX: y\" }", "notify.headers: A must be ASCII"),
            ("headers = { A = 'geheim 中' }", "notify.headers: A must be ASCII"),
            ("headers = { A = '' }", "notify.headers: A must be ASCII"),
            ("headers = { 'A: geheim' = 'x' }", "notify.headers: must have names"),
            ("headers = { content-Length = '0' }", "notify.headers: must not hold content-Length"),
            ("headers = { A = { file = '/geheim' } }", "notify.headers: A cannot read the file"),
            ("headers = { A = { file = 'FILE' } }", "notify.headers: A holds nothing"),
            ("headers = { A = { env = 'geheim' } }", "notify.headers: A no environment variable"),
            ("headers = { A = { file = 'FILE', env = 'TOKEN' } }", "notify.headers: A must be a string"),
        ] {
            let faults = load(keys, "").expect_err(keys);
            assert!(faults.len() == 1 && faults[0].starts_with(fault), "{keys}: {faults:?}");
            assert!(!faults[0].contains("geheim"), "{faults:?}");
        }
    }

    #[test]
    fn a_file_with_headers_in_it_should_be_its_owners_alone() {
        let warnings = load("headers = { A = 'geheim' }", "").unwrap().warnings;
        assert!(warnings.iter().any(|warning| warning.contains("holds a password")), "{warnings:?}");
        let warnings = load("timeout = '1s'", "").unwrap().warnings;
        assert!(warnings.is_empty(), "{warnings:?}");
    }
}
