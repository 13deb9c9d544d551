//! Patterns over remote paths, as the configuration and `mrosync records` take them.
//!
//! `*` stays within one name as `?` does, which is one byte; `**` goes through directories, `[ab]` and `{a,b}` choose. A pattern that does not
//! begin with a slash fits at any depth: `*.zip` is every zip, `/in/*.zip` are those of one directory.

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

/// Most patterns in one list: each costs a look at every file of a listing.
const MAX_PATTERNS: usize = 1000;
/// Ends a pattern that means everything below a directory.
const ALL_BELOW: &str = "/**";

/// See the module.
#[derive(Debug, Clone, Default)]
pub struct Globs {
    patterns: Vec<String>,
    files: GlobSet,
    directories: GlobSet,
}

impl Globs {
    /// Reads patterns.
    ///
    /// # Errors
    ///
    /// What is wrong with the first that cannot be used, in words that follow the name of the list.
    pub fn new<P: AsRef<str>>(patterns: &[P]) -> Result<Self, String> {
        if patterns.len() > MAX_PATTERNS {
            return Err(format!("must not hold more than {MAX_PATTERNS} patterns"));
        }
        let (mut files, mut directories) = (GlobSetBuilder::new(), GlobSetBuilder::new());
        for pattern in patterns.iter().map(AsRef::as_ref) {
            let glob = glob(pattern)?;
            directories.add(glob.clone());
            files.add(glob);
            if let Some(directory) = pattern.strip_suffix(ALL_BELOW).filter(|directory| !directory.is_empty())
            {
                directories.add(self::glob(directory)?);
            }
        }
        let build = |set: GlobSetBuilder| set.build().map_err(|error| format!("cannot be used: {error}"));
        let patterns = patterns.iter().map(|pattern| pattern.as_ref().to_owned()).collect();
        Ok(Self { patterns, files: build(files)?, directories: build(directories)? })
    }

    /// Returns whether there is no pattern at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// Returns whether any pattern fits the whole path.
    #[must_use]
    pub fn is_match(&self, path: &str) -> bool {
        self.files.is_match(path)
    }

    /// Returns whether any pattern means the directory with all that is below it.
    #[must_use]
    pub fn is_match_directory(&self, path: &str) -> bool {
        self.directories.is_match(path)
    }
}

impl PartialEq for Globs {
    fn eq(&self, other: &Self) -> bool {
        self.patterns == other.patterns
    }
}

impl Eq for Globs {}

fn glob(pattern: &str) -> Result<globset::Glob, String> {
    if pattern.is_empty() {
        return Err("must not hold an empty pattern".to_owned());
    }
    let anywhere = if pattern.starts_with('/') { "" } else { "**/" };
    let built = GlobBuilder::new(&format!("{anywhere}{pattern}")).literal_separator(true).build();
    built.map_err(|error| format!("\"{pattern}\" is not a usable pattern: {}", error.kind()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn globs(pattern: &str) -> Globs {
        Globs::new(&[pattern]).unwrap()
    }

    /// interface 14.6
    #[test]
    fn a_star_stays_within_a_name_and_a_pattern_without_a_slash_in_front_fits_at_any_depth() {
        for (pattern, path, fits) in [
            ("*.zip", "/a.zip", true),
            ("*.zip", "/x/y/a.zip", true),
            ("/*.zip", "/a.zip", true),
            ("/*.zip", "/x/a.zip", false),
            ("/x/**", "/x/y/a.zip", true),
            ("/x/**/a.zip", "/x/a.zip", true),
            ("x/a.zip", "/y/x/a.zip", true),
            ("x/a.zip", "/yx/a.zip", false),
            ("LTE_*_{1,2}.zip", "/in/LTE_MRO_2.zip", true),
            ("*.zip", "/a.ZIP", false),
            ("中*.zip", "/in/中文.zip", true),
            ("中?.zip", "/in/中文.zip", false),
        ] {
            assert_eq!(globs(pattern).is_match(path), fits, "{pattern} {path}");
        }
    }

    #[test]
    fn a_directory_is_meant_by_its_own_path_and_by_everything_below_it_but_not_by_its_files() {
        for (pattern, fits) in
            [("/old", true), ("/old/**", true), ("old", true), ("/old/*", false), ("/old/*.zip", false)]
        {
            assert_eq!(globs(pattern).is_match_directory("/old"), fits, "{pattern}");
        }
        assert!(!globs("/**").is_match("x") && globs("/**").is_match_directory("/old"));
    }

    #[test]
    fn what_is_no_pattern_is_refused_by_its_text() {
        assert!(Globs::new(&["*.zip", "[a"]).unwrap_err().starts_with("\"[a\" is not a usable pattern: "));
        assert_eq!(Globs::new(&[""]).unwrap_err(), "must not hold an empty pattern");
        assert!(Globs::new(&vec!["a"; MAX_PATTERNS + 1]).is_err());
    }
}
