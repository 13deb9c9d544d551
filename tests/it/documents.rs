//! What the documents say of the tests is so.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use mrosync::lateness::LatenessStatus;
use mrosync::status::{DiskStatus, ServerStatus, ServiceStatus};
use mrosync::web::metrics;

/// Where the tests of `module` may stand: `connections` here, `ftp::listing` beside its code.
fn sources(module: &str) -> String {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let beside = top.join("src").join(module.replace("::", "/"));
    let places =
        [top.join(format!("tests/it/{module}.rs")), beside.with_extension("rs"), beside.join("mod.rs")];
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
        assert!(sources(module).contains(&format!("fn {test}()")), "no test {module}::{test}");
    }
}

#[test]
fn every_metric_that_the_dashboard_and_the_alerts_use_is_there() {
    let server = ServerStatus {
        lateness: LatenessStatus { period_seconds: Some(900), ..LatenessStatus::default() },
        ..ServerStatus::default()
    };
    let status = ServiceStatus {
        running: true,
        uptime_seconds: 1.0,
        disk: DiskStatus { used_percent: Some(1.0), max_bytes: Some(1), ..DiskStatus::default() },
        notify: Default::default(),
        servers: vec![server],
        process: Default::default(),
    };
    let shown = metrics::render(&status);
    for (file, fewest) in [("grafana-dashboard.json", 12), ("mrosync.rules.yml", 10)] {
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

#[test]
fn every_row_of_the_page_about_servers_names_a_test_or_says_why_there_is_none() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/servers.md");
    let text = fs::read_to_string(page).expect("the page");
    let rows: Vec<_> = text.lines().filter(|line| line.starts_with("| ")).collect();
    let heads = rows.iter().filter(|row| row.ends_with("| test |") || row.starts_with("| server |")).count();
    let untested = |row: &&&str| !row.contains("::") && !row.contains("nothing to test");
    assert_eq!(rows.iter().filter(untested).count(), heads, "{:#?}", rows.iter().filter(untested));
    let complaints = (1..=27).filter(|n| rows.iter().any(|row| row.starts_with(&format!("| {n}. "))));
    assert_eq!(complaints.count(), 27);
    assert!(!text.contains("| — |"));
}
