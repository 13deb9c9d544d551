//! Whose a file is, and what to do where it is another user's.

use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::process::geteuid;

/// Where names of users stand (passwd(5)). Users of a directory service are shown by their numbers.
const PASSWD: &str = "/etc/passwd";

/// A user of this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct User(u32);

impl User {
    /// As whom this process runs.
    #[must_use]
    pub fn own() -> Self {
        Self(geteuid().as_raw())
    }

    /// Whom `path`, or what it links to, belongs to; none where it is not there or cannot be looked at.
    #[must_use]
    pub fn of(path: &Path) -> Option<Self> {
        path.metadata().ok().map(|found| Self(found.uid()))
    }

    /// Returns whether nothing is forbidden to them.
    #[must_use]
    pub fn is_root(self) -> bool {
        self.0 == 0
    }

    /// As `sudo -u` takes them: `mrosync`, or `'#980'` where there is no name.
    #[must_use]
    pub fn for_sudo(self) -> String {
        self.name().unwrap_or_else(|| format!("'#{}'", self.0))
    }

    /// As `chown` takes them.
    #[must_use]
    pub fn for_chown(self) -> String {
        self.name().unwrap_or_else(|| self.0.to_string())
    }

    fn name(self) -> Option<String> {
        name_in(&std::fs::read_to_string(PASSWD).ok()?, self.0)
    }
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(&name),
            None => write!(f, "uid {}", self.0),
        }
    }
}

fn name_in(passwd: &str, uid: u32) -> Option<String> {
    let mut lines = passwd.lines().map(|line| line.split(':'));
    lines.find_map(|mut fields| {
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    })
}

/// What to do where the system refuses `path` with "permission denied" because it, or the directory that hides it,
/// belongs to another user: words that go behind the error. Empty where that is not why.
#[must_use]
pub fn remedy(path: &Path) -> String {
    let owner = path.ancestors().find_map(User::of);
    match owner {
        Some(owner) if owner != User::own() && !User::own().is_root() => format!(
            " (it belongs to {owner}, and this runs as {}: put sudo -u {} before the command)",
            User::own(),
            owner.for_sudo()
        ),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_named_where_the_machine_has_a_name_for_them() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nbroken\nmrosync:x:980:980::/:/bin/false\n";
        assert_eq!(name_in(passwd, 980).as_deref(), Some("mrosync"));
        assert_eq!(name_in(passwd, 98), None);
        let nobody = User(4_000_000_000);
        assert_eq!(nobody.to_string(), "uid 4000000000");
        assert_eq!(
            (nobody.for_sudo().as_str(), nobody.for_chown().as_str()),
            ("'#4000000000'", "4000000000")
        );
    }

    #[test]
    fn what_is_ones_own_or_root_may_needs_no_remedy() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(remedy(&folder.path().join("not/there")), "");
    }
}
