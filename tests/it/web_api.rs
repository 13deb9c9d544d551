//! What programs can ask the status page for, held to its description (`/openapi.json`).

use std::net::SocketAddr;

use serde_json::Value;

use crate::support::http::{Answer, ask};
use crate::support::notify::NotifyStub;
use crate::support::scripted::{File, Rule, ScriptedServer};
use crate::support::service::{Server, Service, Setup};
use crate::support::steps::{SOON, recorded, run};
use crate::support::zips::zip;
use crate::web::page;

fn get(address: SocketAddr, path: &str) -> Answer {
    ask(address, &format!("GET {path}"), &[])
}

/// One server with seven zips, and one that refuses everybody.
fn scene() -> (Service, SocketAddr, [ScriptedServer; 2], NotifyStub) {
    let (good, bad, stub) = (ScriptedServer::start(), ScriptedServer::start(), NotifyStub::start());
    (1..=7).for_each(|n| good.put(format!("/{n}.zip"), File::new(zip(n, 3000))));
    bad.rule(Rule::on("PASS").reply("530 no\r\n"));
    let setup = Setup::new().server(Server::scripted("omc01", &good)).server(Server::scripted("omc02", &bad));
    let service = run(setup.toml("[web]\nlisten = '127.0.0.1:0'\n").notify(&stub.url()));
    let at = page(&service);
    recorded(&service, 7);
    service.wait_for(SOON, "the refusal", |service| {
        let needs = service.status()["attention"].clone();
        needs.as_array().is_some_and(|needs| needs.iter().any(|need| need["cause"] == "unreachable"))
    });
    (service, at, [good, bad], stub)
}

/// Follows references.
fn schema<'d>(description: &'d Value, schema: &'d Value) -> &'d Value {
    match schema["$ref"].as_str() {
        Some(at) => description.pointer(at.trim_start_matches('#')).unwrap_or_else(|| panic!("{at}")),
        None => schema,
    }
}

/// Fails where the value is not what the schema says, or holds more than it tells of.
fn assert_fits(description: &Value, wanted: &Value, value: &Value, place: &str) {
    let wanted = schema(description, wanted);
    let kinds: Vec<&str> = match &wanted["type"] {
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        kind => kind.as_str().into_iter().collect(),
    };
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) if kinds.contains(&"number") => "number",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    assert!(kinds.contains(&kind), "{place}: {value} is none of {kinds:?}");
    if let Some(words) = wanted["enum"].as_array() {
        assert!(words.contains(value), "{place}: {value}");
    }
    for (number, item) in value.as_array().into_iter().flatten().enumerate() {
        assert_fits(description, &wanted["items"], item, &format!("{place}/{number}"));
    }
    let Some(entries) = value.as_object() else { return };
    for key in wanted["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        assert!(entries.contains_key(key), "{place}: no {key} in {value}");
    }
    for (key, value) in entries {
        let own = &wanted["properties"][key];
        assert!(!own.is_null(), "{place}: {key} is not described");
        assert_fits(description, own, value, &format!("{place}/{key}"));
    }
}

/// interface 20.20
#[test]
fn every_answer_is_what_its_description_says() {
    let (_service, at, _servers, _stub) = scene();
    let description = get(at, "/openapi.json").json();
    let mut read = 0;
    for (path, methods) in description["paths"].as_object().unwrap() {
        let Some(get_it) = methods.get("get") else {
            assert_eq!(ask(at, &format!("POST {path}"), &[]).status, 403, "{path}");
            continue;
        };
        let needed = get_it["parameters"].as_array().unwrap().iter().any(|one| one["required"] == true);
        let asked = if needed { format!("{path}?name=omc01") } else { path.clone() };
        let answer = get(at, &asked);
        assert_eq!(answer.status, 200, "{asked}");
        let wanted = &get_it["responses"]["200"]["content"]["application/json"]["schema"];
        assert_fits(&description, wanted, &answer.json(), path);
        read += 1;
    }
    assert!(read >= 7, "only {read} answers are described");
}

/// interface 20.22
#[test]
fn records_are_found_newest_first_by_what_is_asked_for() {
    let (_service, at, _servers, _stub) = scene();
    let paths = |query: &str| {
        let found = get(at, &format!("/api/records?{query}")).json();
        let rows = found["records"].as_array().unwrap().iter();
        (rows.map(|row| row["path"].as_str().unwrap().to_owned()).collect::<Vec<_>>(), found["next"].clone())
    };
    let (first, next) = paths("limit=4&server=omc01");
    let (rest, end) = paths(&format!("limit=4&before={next}"));
    assert_eq!((first.len(), rest.len(), end), (4, 3, Value::Null));
    assert!(rest.iter().all(|path| !first.contains(path)), "{first:?} {rest:?}");
    assert_eq!(paths("path=3.zip").0, ["/3.zip"]);
    assert_eq!(paths("server=omc02").0.len(), 0);
    assert_eq!(paths("evicted=true").0.len(), 0);
    assert_eq!(paths("until=2000-01-01T00:00:00Z").0.len(), 0);
    for (wrong, named) in
        [("since=x", "since"), ("path=[", "path"), ("limit=x", "limit"), ("evicted=1", "evicted")]
    {
        let refused = get(at, &format!("/api/records?{wrong}"));
        assert_eq!((refused.status, refused.body.contains(named)), (400, true), "{refused:?}");
    }
}

/// interface 20.18, 20.19
#[test]
fn one_server_is_told_of_with_its_needs_its_scans_and_its_lines_of_the_log() {
    let (service, at, _servers, _stub) = scene();
    let bad = get(at, "/api/server?name=omc02").json();
    assert_eq!(
        (&bad["server"]["name"], &bad["attention"][0]["cause"]),
        (&"omc02".into(), &"unreachable".into())
    );
    assert_eq!(bad["attention"].as_array().unwrap().len(), 1, "{bad}");
    service.wait_for(SOON, "a scan", |_| {
        let bad = get(at, "/api/server?name=omc02").json();
        bad["scans"][0]["fault"].as_str().is_some_and(|fault| fault.contains("530"))
    });
    assert_eq!(get(at, "/api/server?name=x").status, 404);
    let log = get(at, "/api/log?server=omc02&level=warn").json();
    let lines = log["lines"].as_array().unwrap();
    assert!(lines.iter().any(|line| line["message"].as_str().unwrap().contains("530")), "{log}");
    assert!(lines.iter().all(|line| line["server"] == "omc02" && line["level"] != "INFO"), "{log}");
    let newer = get(at, &format!("/api/log?after={}", log["last"])).json();
    let numbers = newer["lines"].as_array().unwrap().iter().map(|line| line["number"].as_u64());
    assert!(numbers.into_iter().all(|number| number > log["last"].as_u64()), "{newer}");
    assert_eq!(get(at, "/api/log?level=loud").status, 400);
}
