//! The clauses of docs/interface.md and the tests that hold them know each other.
//!
//! A test names its clauses in a line of its documentation: `interface 10.4, 10.5` after the slashes.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The clauses that no test holds, and why.
const UNTESTED: [(&str, &str); 1] = [("16.4", "what the operator has to see to")];

/// A number such as 10.4.
fn is_clause(word: &str) -> bool {
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    word.split_once('.').is_some_and(|(section, number)| is_number(section) && is_number(number))
}

/// The clause that a line of the page begins: in a list, in a table, or in the listing of keys.
fn begun(line: &str) -> Option<&str> {
    let word = if let Some(item) = line.strip_prefix("- **") {
        item.split("**").next()?
    } else if let Some(row) = line.strip_prefix("| ") {
        row.split(" | ").next()?
    } else {
        let (_, comment) = line.split_once("] ")?;
        comment.trim_start().strip_prefix("# ")?.split(' ').next()?
    };
    is_clause(word).then_some(word)
}

/// The clauses of the page, in its order, each in the section of its number.
fn clauses() -> Vec<String> {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/interface.md");
    let text = fs::read_to_string(page).expect("the page");
    let (mut section, mut clauses) = ("", Vec::new());
    for line in text.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            section = heading.split_once(". ").expect("a section has a number").0;
        } else if let Some(clause) = begun(line) {
            assert_eq!(clause.split('.').next(), Some(section), "{line}");
            clauses.push(clause.to_owned());
        }
    }
    clauses
}

/// The clauses that the tests below `folder` name.
fn named(folder: &Path) -> BTreeSet<String> {
    let mut named = BTreeSet::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            named.append(&mut self::named(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("a source");
            let lists = text.lines().filter_map(|line| line.trim_start().strip_prefix("/// interface "));
            named.extend(lists.flat_map(|list| list.split(", ")).map(str::to_owned));
        }
    }
    named
}

/// The clauses that any test of the program names.
fn named_by_tests() -> BTreeSet<String> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    ["src", "tests"].iter().flat_map(|folder| named(&top.join(folder))).collect()
}

#[test]
fn every_clause_of_the_interface_has_a_number_of_its_own() {
    let clauses = clauses();
    assert!(clauses.len() > 150, "only {} clauses were found", clauses.len());
    let mut seen = BTreeSet::new();
    let twice: Vec<_> = clauses.iter().filter(|clause| !seen.insert(*clause)).collect();
    assert!(twice.is_empty(), "two clauses are numbered {twice:?}");
}

#[test]
fn every_clause_that_a_test_names_is_there() {
    let clauses: BTreeSet<_> = clauses().into_iter().collect();
    let missing: Vec<_> = named_by_tests().into_iter().filter(|clause| !clauses.contains(clause)).collect();
    assert!(missing.is_empty(), "tests name the clauses {missing:?}, which docs/interface.md has not");
}

#[test]
fn every_clause_is_named_by_a_test_or_it_is_said_why_not() {
    let named = named_by_tests();
    let untested: BTreeSet<_> = UNTESTED.iter().map(|(clause, _)| (*clause).to_owned()).collect();
    let silent: BTreeSet<_> = clauses().into_iter().filter(|clause| !named.contains(clause)).collect();
    assert_eq!(silent, untested, "the clauses that no test names, and those that are said to have none");
}

/// interface 4.1
#[test]
fn the_container_file_makes_the_image_that_is_promised() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/Containerfile");
    let text = fs::read_to_string(file).expect("the file");
    for line in [
        "USER mrosync",
        r#"VOLUME ["/sync", "/var/lib/mrosync", "/var/log/mrosync"]"#,
        r#"ENTRYPOINT ["mrosync"]"#,
        r#"CMD ["run", "--start"]"#,
    ] {
        assert!(text.lines().any(|found| found == line), "{line}");
    }
    for words in [
        "groupadd --system --gid 980 mrosync",
        "useradd --system --uid 980 --gid mrosync",
        r#"CMD ["mrosync", "ctl", "status"]"#,
    ] {
        assert!(text.contains(words), "{words}");
    }
}
