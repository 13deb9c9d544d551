//! What the documents say of the tests is so.

mod configuration;
mod interface;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use chrono::Utc;
use mrosync::lateness::{GapStatus, LatenessStatus};
use mrosync::status::attention::{Cause, Watch};
use mrosync::status::metrics;
use mrosync::status::{DiskStatus, HoldStatus, IncompleteFile, MirrorStatus, ServerStatus, ServiceStatus};

/// Where the tests of `module` may stand: `connections` here, `ftp::listing` beside its code.
fn sources(module: &str) -> String {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let beside = top.join("src").join(module.replace("::", "/"));
    let own = top.join(format!("tests/it/{module}.rs"));
    let places = [own, beside.with_extension("rs"), beside.join("mod.rs"), beside.join("tests.rs")];
    places.iter().filter_map(|place| fs::read_to_string(place).ok()).collect()
}

#[test]
fn every_test_that_the_page_about_servers_names_is_there() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/servers.md");
    let text = fs::read_to_string(page).expect("the page");
    let quoted = text.split('`').skip(1).step_by(2);
    // the shortened example of how to read the tables
    let tests = quoted.filter_map(|name| name.rsplit_once("::")).filter(|(_, test)| !test.ends_with('…'));
    let named: Vec<_> = tests.filter(|(_, test)| !test.is_empty()).collect();
    assert!(named.len() > 150, "only {} tests are named", named.len());
    for (module, test) in named {
        assert!(sources(module).contains(&format!("fn {test}(")), "no test {module}::{test}");
    }
}

#[test]
fn every_metric_that_the_dashboard_and_the_alerts_use_is_there() {
    let server = ServerStatus {
        lateness: LatenessStatus { period_seconds: Some(900), ..LatenessStatus::default() },
        ..ServerStatus::default()
    };
    let status = ServiceStatus {
        disk: DiskStatus { used_percent: Some(1.0), max_bytes: Some(1), ..DiskStatus::default() },
        servers: vec![server],
        ..ServiceStatus::default()
    };
    let shown = metrics::render(&status);
    for (file, fewest) in [("grafana-dashboard.json", 12), ("mrosync.rules.yml", 2)] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(file);
        let text = fs::read_to_string(path).expect("the file");
        let names: BTreeSet<_> = text
            .split(|c: char| !c.is_ascii_lowercase() && c != '_')
            .filter(|name| name.starts_with("mrosync_"))
            .collect();
        assert!(names.len() >= fewest, "{file}: {names:?}");
        for name in names {
            assert!(shown.contains(&format!("# TYPE {name} ")), "{file} uses {name}");
        }
    }
}

/// interface 22.6
#[test]
fn the_alerts_are_about_the_list_of_what_needs_an_operator_and_all_of_it() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/mrosync.rules.yml");
    let rules = fs::read_to_string(path).expect("the rules");
    let asked: Vec<_> = rules.lines().filter_map(|line| line.trim().strip_prefix("expr: ")).collect();
    assert!(asked.len() > 10, "{asked:?}");
    let list = |rule: &&&str| {
        rule.starts_with("mrosync_attention{") || rule.starts_with("mrosync_server_attention{")
    };
    let others: Vec<_> = asked.iter().filter(|rule| !list(rule)).collect();
    assert_eq!(others, [&"up{job=\"mrosync\"} == 0"], "nothing else decides");
    let named: BTreeSet<_> = asked.iter().flat_map(|rule| rule.split(['"', '|'])).collect();
    for cause in Cause::ALL {
        assert!(named.contains(cause.word()), "no alert for {}", cause.word());
    }
}

/// The documents that people read, each with its text without blocks of code.
fn pages() -> Vec<(std::path::PathBuf, String)> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = [top.to_owned(), top.join("docs")];
    let files = folders.iter().flat_map(|folder| fs::read_dir(folder).expect("a folder"));
    let files = files.map(|entry| entry.expect("an entry").path());
    let pages = files.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    let prose = |text: String| text.split("```").step_by(2).collect::<String>();
    pages.map(|path| (path.clone(), prose(fs::read_to_string(&path).expect("a page")))).collect()
}

/// The names by which the headings of a page are linked to, as forges make them.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter_map(|line| line.strip_prefix('#'));
    let name = |heading: &str| {
        let kept = |c: &char| c.is_alphanumeric() || " -_".contains(*c);
        let kept: String = heading.trim_start_matches('#').trim().chars().filter(kept).collect();
        kept.to_lowercase().replace(' ', "-")
    };
    headings.map(name).collect()
}

#[test]
fn every_link_and_picture_of_the_documents_leads_somewhere() {
    let pages = pages();
    let mut followed = 0;
    for (page, text) in &pages {
        let folder = page.parent().expect("a folder");
        let links = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        let pictures = text.split("src=\"").skip(1).filter_map(|rest| rest.split('"').next());
        for link in links.chain(pictures).filter(|link| !link.starts_with("http")) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { page.clone() } else { folder.join(file) };
            let target = target.canonicalize().unwrap_or_else(|error| panic!("{page:?}: {link}: {error}"));
            let there = pages.iter().find(|(page, _)| page.canonicalize().is_ok_and(|page| page == target));
            if let Some((_, text)) = there.filter(|_| !anchor.is_empty()) {
                assert!(anchors(text).contains(anchor), "{page:?}: no heading for {link}");
            }
            followed += 1;
        }
    }
    assert!(followed > 100, "only {followed} links were found");
}

#[test]
fn every_guide_is_there_in_both_languages_with_the_same_commands() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let commands = |text: &str| {
        let blocks = text.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
        let lines = blocks.flat_map(str::lines).map(|line| line.split('#').next().unwrap_or("").trim());
        lines.filter(|line| !line.is_empty()).map(str::to_owned).collect::<Vec<_>>()
    };
    for guide in
        ["configuration", "first-hour", "moving", "monitoring", "when-things-go-wrong", "install", "how-to"]
    {
        let read = |suffix: &str| fs::read_to_string(docs.join(format!("{guide}{suffix}"))).expect("a guide");
        let (english, chinese) = (commands(&read(".md")), commands(&read(".zh-CN.md")));
        assert!(!english.is_empty(), "{guide} has no commands");
        assert_eq!(english, chinese, "{guide}");
    }
}

#[test]
fn every_row_of_the_page_about_servers_names_a_test_or_says_why_there_is_none() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/servers.md");
    let text = fs::read_to_string(page).expect("the page");
    // what was measured against real servers is no promise
    let (promises, _) =
        text.split_once("\n## Servers it was run against\n").expect("the table of real servers");
    let rows: Vec<_> = promises.lines().filter(|line| line.starts_with("| ")).collect();
    let heads = rows.iter().filter(|row| row.ends_with("| test |") || row.starts_with("| server |")).count();
    let untested = |row: &&&str| !row.contains("::") && !row.contains("nothing to test");
    assert_eq!(rows.iter().filter(untested).count(), heads, "{:#?}", rows.iter().filter(untested));
    let warn_once = (1..=27).filter(|n| rows.iter().any(|row| row.starts_with(&format!("| {n}. "))));
    assert_eq!(warn_once.count(), 27);
    assert!(!text.contains("| — |"));
}

/// The sources of the program, without their tests.
fn program(folder: &Path) -> String {
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let text = |path: std::path::PathBuf| match path.is_dir() {
        true => program(&path),
        false => fs::read_to_string(path)
            .unwrap_or_default()
            .split("#[cfg(test)]\nmod ")
            .next()
            .unwrap_or_default()
            .to_owned(),
    };
    entries.map(text).collect()
}

/// The longest part without a value of each text that is logged by `call`.
fn logged(program: &str, call: &str) -> BTreeSet<String> {
    let calls =
        program.split(call).skip(1).filter_map(|rest| rest.split(';').next().filter(|_| rest.contains('"')));
    let texts = calls.filter_map(|arguments| arguments.split('"').nth(1).map(str::to_owned));
    let joined = texts.map(|text| text.split("\\\n").map(str::trim_start).collect::<String>());
    let parts = joined.filter_map(|text| {
        let parts = text.split('{').map(|part| part.rsplit('}').next().unwrap_or_default().trim().to_owned());
        parts.max_by_key(String::len)
    });
    parts.filter(|part| part.contains(' ')).collect()
}

#[test]
fn every_warning_and_error_that_the_program_logs_is_explained_in_both_languages() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let program = program(&top.join("src"));
    let lines: BTreeSet<_> =
        ["log::warn!(", "log::error!("].iter().flat_map(|call| logged(&program, call)).collect();
    assert!(lines.len() > 30, "{lines:?}");
    for page in ["docs/when-things-go-wrong.md", "docs/when-things-go-wrong.zh-CN.md"] {
        let text = fs::read_to_string(top.join(page)).expect("the page");
        let explained = |line: &&String| {
            let words: Vec<_> = line.trim_matches([':', ' ']).split(' ').collect();
            words.windows(words.len().min(3)).any(|words| text.contains(&words.join(" ")))
        };
        let missing: Vec<_> = lines.iter().filter(|line| !explained(line)).collect();
        assert!(missing.is_empty(), "{page} has no row for {missing:#?}");
    }
}

#[test]
fn no_table_of_the_documents_has_two_rows_of_the_same_name() {
    for (page, text) in pages() {
        let mut seen = BTreeSet::new();
        for line in text.lines() {
            // a clause goes by what it is about, and a command by its name, whatever its options
            let mut cells = line.strip_prefix("| ").into_iter().flat_map(|row| row.split(" | "));
            match cells.find(|cell| cell.parse::<f64>().is_err()) {
                Some(name) => {
                    let name = name.split(" [").next().unwrap_or_default();
                    assert!(seen.insert(name), "{page:?}: {name}");
                }
                None => seen.clear(),
            }
        }
    }
}

/// The keys of `value`, those inside of it as paths.
fn keys(value: &serde_json::Value, before: &str) -> BTreeSet<String> {
    match value {
        serde_json::Value::Object(entries) => {
            let path = |key: &str| format!("{before}{key}");
            let inside = entries.iter().flat_map(|(key, value)| keys(value, &format!("{before}{key}.")));
            inside.chain(entries.keys().map(|key| path(key))).collect()
        }
        serde_json::Value::Array(values) => values.iter().flat_map(|value| keys(value, before)).collect(),
        _ => BTreeSet::new(),
    }
}

/// interface 18.1
#[test]
fn the_documents_show_every_field_of_the_status() {
    let text = String::new;
    let incomplete =
        IncompleteFile { path: text(), reason: text(), tries: 1, since: Utc::now(), next_try: Utc::now() };
    let gap = GapStatus { series: text(), from: text(), to: text() };
    let lateness = LatenessStatus { gaps: vec![gap], ..LatenessStatus::default() };
    let server = ServerStatus { incomplete: vec![incomplete], lateness, ..ServerStatus::default() };
    let hold = HoldStatus { server: None, kind: text(), reason: text() };
    let mut status = ServiceStatus {
        mirror: MirrorStatus { held: true, holds: vec![hold] },
        servers: vec![server],
        ..ServiceStatus::default()
    };
    status.attention = Watch::default().look(&status, Utc::now());
    // where all is well there are none of these, and words tell what they hold
    let is_in_words = |key: &&String, text: &str| match key.rsplit_once('.') {
        Some(("mirror.holds" | "servers.incomplete" | "attention" | "attention.items", name)) => {
            text.contains(&format!("`{name}`")) || text.contains(&format!("\"{name}\":"))
        }
        _ => false,
    };
    let printed = keys(&serde_json::to_value(&status).expect("the status"), "");
    for page in ["interface.md", "monitoring.md", "monitoring.zh-CN.md"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(page);
        let text = fs::read_to_string(path).expect("the page");
        let shown =
            text.split("```json\n").find(|block| block.starts_with("{\"running\"")).expect("the status");
        let shown = shown.split("```").next().unwrap_or_default();
        let shown = keys(&serde_json::from_str(shown).expect("JSON"), "");
        let missing: Vec<_> = printed.difference(&shown).filter(|key| !is_in_words(key, &text)).collect();
        assert!(missing.is_empty(), "{page} does not show {missing:?}");
    }
}
