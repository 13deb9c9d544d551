//! What the tests of this folder share.

use std::fs;

use super::files::Environment;
use super::{Loaded, ServerSettings, Settings, load_from};

/// The smallest list of servers; more keys of the server may follow.
pub(super) const SERVER: &str = "[[servers]]\nname = 'omc01'\nhost = 'h'\n";

/// Loads a file of this content, which only its owner may read. Faults are without the file's name.
pub(super) fn load_with(toml: &str, environment: &Environment) -> Result<Loaded, Vec<String>> {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.toml");
    fs::write(&path, toml).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let origin = format!(" (in {})", path.display());
    load_from(&[path], environment)
        .map_err(|faults| faults.faults().iter().map(|fault| fault.replace(&origin, "")).collect())
}

/// The servers of this file.
pub(super) fn load(toml: &str) -> Result<Vec<ServerSettings>, Vec<String>> {
    load_with(toml, &Environment::new()).map(|loaded| loaded.settings.servers)
}

/// The only server, with these keys beside name and host.
pub(super) fn server(keys: &str) -> ServerSettings {
    load(&format!("{SERVER}{keys}\n")).unwrap().remove(0)
}

/// The settings with this server and no other.
pub(crate) fn settings(keys: &str) -> Settings {
    load_with(&format!("{SERVER}{keys}\n"), &Environment::new()).unwrap().settings
}

/// The faults of a server with these keys beside name and host.
pub(super) fn faults(keys: &str) -> Vec<String> {
    load(&format!("{SERVER}{keys}\n")).expect_err(keys)
}
