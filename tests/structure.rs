//! The structure of `src`: which file knows which. `scripts/test` holds the order of the folders.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test that panics has failed, which is what it is for"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Module paths, without `crate::`, with what each imports.
type Imports = BTreeMap<String, BTreeSet<String>>;

#[test]
fn no_file_imports_itself_by_way_of_others() {
    let imports = imports_of(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    assert!(imports.len() > 150, "{} files", imports.len());
    let circles = circles(&imports);
    assert!(circles.is_empty(), "files that import each other in a circle:\n{}", circles.join("\n"));
}

#[test]
fn a_circle_of_three_files_is_found_and_named() {
    let mut imports = Imports::new();
    for (from, text) in [
        ("a::x", "use super::y::Thing;\nuse crate::b::{self, c::{D, E}};"),
        ("a::y", "//! Knows [`super::x`].\nfn f() { crate::b::c::g(\"crate::a::x\") }"),
        ("b", "pub use c::D;"),
        ("b::c", "use super::super::a::x;"),
    ] {
        imports.insert(from.to_owned(), paths_in(text, from).into_iter().collect());
    }
    let known: BTreeSet<String> = imports.keys().cloned().collect();
    imports.iter_mut().for_each(|(from, paths)| *paths = files_of(paths, &known, from));
    assert_eq!(circles(&imports), ["a::x a::y b::c"]);
}

fn imports_of(root: &Path) -> Imports {
    let mut texts = BTreeMap::new();
    read_below(root, &mut Vec::new(), &mut texts);
    let known: BTreeSet<String> = texts.keys().cloned().collect();
    let imports_of = |(module, text): (&String, &String)| {
        let paths = paths_in(without_tests(text), module).into_iter().collect();
        (module.clone(), files_of(&paths, &known, module))
    };
    texts.iter().map(imports_of).collect()
}

fn read_below(directory: &Path, module: &mut Vec<String>, texts: &mut BTreeMap<String, String>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path: PathBuf = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if path.is_dir() {
            module.push(name);
            read_below(&path, module, texts);
            module.pop();
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let own = (name != "mod").then_some(name);
            let module: Vec<String> = module.iter().cloned().chain(own).collect();
            texts.insert(module.join("::"), std::fs::read_to_string(&path).unwrap());
        }
    }
}

fn without_tests(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod tests").next().unwrap_or(text)
}

/// Every path of `text`, the file of `module`, that begins with `crate`, `self` or `super`; seen from the root.
fn paths_in(text: &str, module: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with("//")) {
        let mut rest = line;
        while let Some(first) = rest.chars().next() {
            let word = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            let length = if word > 0 {
                word
            } else if rest.starts_with("::") {
                2
            } else {
                first.len_utf8()
            };
            tokens.push(&rest[..length]);
            rest = &rest[length..];
        }
    }
    tokens.retain(|token| !token.trim().is_empty());
    let mut paths = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let begins = matches!(tokens[at], "crate" | "self" | "super") && tokens.get(at + 1) == Some(&"::");
        if begins && (at == 0 || tokens[at - 1] != "::") {
            at = read_tree(&tokens, at, &[], &mut paths);
        } else {
            at += 1;
        }
    }
    paths.into_iter().map(|path| from_root(&path, module)).collect()
}

/// Reads the tree of paths that begins at `at`; returns where it ends.
fn read_tree(tokens: &[&str], mut at: usize, above: &[&str], paths: &mut Vec<Vec<String>>) -> usize {
    let mut path = above.to_vec();
    loop {
        match tokens.get(at) {
            Some(&"{") => {
                at += 1;
                while tokens.get(at).is_some_and(|token| *token != "}") {
                    at = read_tree(tokens, at, &path, paths);
                    while tokens.get(at).is_some_and(|token| !matches!(*token, "," | "}")) {
                        at += 1;
                    }
                    at += usize::from(tokens.get(at) == Some(&","));
                }
                return at + 1;
            }
            Some(word) => path.push(word),
            None => return at,
        }
        if tokens.get(at + 1) != Some(&"::") {
            paths.push(path.iter().map(|&word| word.to_owned()).collect());
            return at + 1;
        }
        at += 2;
    }
}

fn from_root(path: &[String], module: &str) -> String {
    let mut base: Vec<&str> = module.split("::").filter(|part| !part.is_empty()).collect();
    let mut rest = path;
    while let Some((first, others)) = rest.split_first() {
        match first.as_str() {
            "crate" => base.clear(),
            "super" => drop(base.pop()),
            "self" => {}
            _ => break,
        }
        rest = others;
    }
    base.into_iter().chain(rest.iter().map(String::as_str)).collect::<Vec<_>>().join("::")
}

/// The files that hold what `paths` name.
fn files_of(paths: &BTreeSet<String>, known: &BTreeSet<String>, own: &str) -> BTreeSet<String> {
    let file_of = |path: &String| {
        let parts: Vec<&str> = path.split("::").collect();
        (1..=parts.len()).rev().map(|count| parts[..count].join("::")).find(|path| known.contains(path))
    };
    paths.iter().filter_map(file_of).filter(|path| path != own).collect()
}

/// The files of each circle, one line for all that can be reached from each other.
fn circles(imports: &Imports) -> Vec<String> {
    let reached: BTreeMap<&str, BTreeSet<&str>> =
        imports.keys().map(|from| (from.as_str(), reachable(imports, from))).collect();
    let circle_of = |from: &str| -> Vec<&str> {
        reached[from]
            .iter()
            .copied()
            .filter(|to| reached.get(to).is_some_and(|back| back.contains(from)))
            .collect()
    };
    let circles: BTreeSet<String> =
        reached.keys().map(|from| circle_of(from).join(" ")).filter(|circle| !circle.is_empty()).collect();
    circles.into_iter().collect()
}

fn reachable<'i>(imports: &'i Imports, from: &str) -> BTreeSet<&'i str> {
    let mut found = BTreeSet::new();
    let mut waiting: Vec<&str> = imports[from].iter().map(String::as_str).collect();
    while let Some(next) = waiting.pop() {
        if found.insert(next) {
            waiting.extend(imports.get(next).into_iter().flatten().map(String::as_str));
        }
    }
    found
}
