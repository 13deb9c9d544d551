//! Reads `[web]`: the status page is off unless `listen` is given, and outside of loopback it takes a token.

use std::net::SocketAddr;

use config::{Value, ValueKind};

use super::reader::{ConfigFaults, Section};
use super::secrets::password_of_file;
use super::{Password, WebSettings, values};

/// A token of fewer characters could be guessed.
const FEWEST_CHARACTERS: usize = 16;

/// `None` where the page is off, or after a fault.
pub(super) fn read_web(
    mut section: Section<'_>,
    faults: &mut ConfigFaults,
    warnings: &mut Vec<String>,
) -> Option<WebSettings> {
    let listen = section.read("listen", address);
    let token_given = section.holds("token_file");
    let token = section.read("token_file", |value| {
        usable_token(password_of_file(&values::path(value)?, warnings)?).map(Password::new)
    });
    let hosts = section.read("hosts", hosts).unwrap_or_default();
    if !token_given && listen.is_some_and(|listen| !listen.ip().is_loopback()) {
        section.fault(
            "listen",
            "must be an address of this host alone, such as \"127.0.0.1:8321\", unless web.token_file is given",
        );
    }
    section.finish(faults);
    Some(WebSettings { listen: listen?, token, hosts })
}

fn address(value: &Value) -> Result<SocketAddr, String> {
    let address = values::text(value)?.parse();
    address
        .map_err(|_| "must be an address and a port, such as \"127.0.0.1:8321\" or \"[::1]:8321\"".to_owned())
}

/// It travels in a header, and nobody should type it.
fn usable_token(token: String) -> Result<String, String> {
    if token.len() < FEWEST_CHARACTERS || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(format!("must hold one word of {FEWEST_CHARACTERS} ASCII characters or more"));
    }
    Ok(token)
}

fn hosts(value: &Value) -> Result<Vec<String>, String> {
    let names = match &value.kind {
        ValueKind::Array(list) if list.is_empty() => Vec::new(),
        _ => values::texts(value)?,
    };
    let host = |name: &str| values::host(&Value::new(None, name)).map(|name| name.to_lowercase());
    names.into_iter().map(host).collect()
}

#[cfg(test)]
mod tests {
    use crate::config::{Loaded, load_from};
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    const TOKEN: &str = "0123456789abcdef";

    /// Loads these keys of `[web]`, in which `TOKEN_FILE` stands for a file of this content.
    fn load(keys: &str, token: &str) -> Result<Loaded, Vec<String>> {
        let directory = tempfile::tempdir().unwrap();
        let (path, token_file) = (directory.path().join("a.toml"), directory.path().join("token"));
        fs::write(&token_file, token).unwrap();
        fs::set_permissions(&token_file, fs::Permissions::from_mode(0o600)).unwrap();
        let keys = keys.replace("TOKEN_FILE", &format!("token_file = '{}'", token_file.display()));
        fs::write(&path, format!("[web]\n{keys}\n[[servers]]\nname = 'a'\nhost = 'h'\n")).unwrap();
        let origin = format!(" (in {})", path.display());
        load_from(&[path], &Default::default())
            .map_err(|faults| faults.faults().iter().map(|fault| fault.replace(&origin, "")).collect())
    }

    #[test]
    fn the_page_is_off_unless_it_is_told_where_to_listen() {
        assert!(load("", "").unwrap().settings.web.is_none());
        assert!(load("TOKEN_FILE", TOKEN).unwrap().settings.web.is_none());
    }

    /// interface 5.6
    #[test]
    fn loopback_needs_no_token_and_other_addresses_do() {
        for listen in ["127.0.0.1:8321", "[::1]:0", "127.9.9.9:1"] {
            let web = load(&format!("listen = '{listen}'"), "").unwrap().settings.web.unwrap();
            assert_eq!((web.listen.to_string().as_str(), web.token.is_none()), (listen, true));
        }
        for listen in ["0.0.0.0:8321", "10.0.0.1:8321", "[::]:8321"] {
            let faults = load(&format!("listen = '{listen}'"), "").unwrap_err();
            assert!(
                faults.len() == 1 && faults[0].starts_with("web.listen: must be an address of this host")
            );
            let web = load(&format!("listen = '{listen}'\nTOKEN_FILE"), &format!("{TOKEN}\n")).unwrap();
            assert_eq!(web.settings.web.unwrap().token.unwrap().reveal(), TOKEN);
        }
    }

    #[test]
    fn faults_are_named_with_their_keys_and_show_no_token() {
        for (keys, token, fault) in [
            ("listen = 'localhost'", "", "web.listen: must be an address and a port"),
            ("listen = 8321", "", "web.listen: must be a string"),
            ("listen = '127.0.0.1:1'\ntoken_file = '/nowhere'", "", "web.token_file: cannot read the file"),
            ("listen = '0.0.0.0:1'\nTOKEN_FILE", "geheim", "web.token_file: must hold one word of 16"),
            (
                "listen = '0.0.0.0:1'\nTOKEN_FILE",
                "geheim geheim geheim",
                "web.token_file: must hold one word of 16",
            ),
            ("hosts = 'x'", "", "web.hosts: must be a list of strings"),
            ("hosts = ['http://x']", "", "web.hosts: must be a host name"),
            ("token = 'geheim'", "", "web.token: unknown key"),
        ] {
            let faults = load(keys, token).unwrap_err();
            assert!(faults.len() == 1 && faults[0].starts_with(fault), "{keys}: {faults:?}");
            assert!(!faults[0].contains("geheim"), "{faults:?}");
        }
    }

    #[test]
    fn host_names_do_not_mind_their_case_and_may_be_none() {
        let web = load("listen = '127.0.0.1:1'\nhosts = []", "").unwrap().settings.web;
        assert!(web.unwrap().hosts.is_empty());
        let web =
            load("listen = '127.0.0.1:1'\nhosts = ['Omc.Example', '10.0.0.1']", "").unwrap().settings.web;
        assert_eq!(web.unwrap().hosts, ["omc.example", "10.0.0.1"]);
    }
}
