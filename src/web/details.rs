//! Answers about one server, its log lines and single records: what the page shows beside the status.

use std::collections::HashMap;

use actix_web::{HttpResponse, web};
use chrono::DateTime;
use log::Level;
use serde_json::json;

use super::Parts;
use super::answers::{READERS, ask, line, text, unreadable};
use crate::base::blocking::run_blocking;
use crate::base::globs::Globs;
use crate::control::{Answer, Command};
use crate::records::{self, Filter, found_json, search};

/// Records of one answer, where the request does not say; and at most.
const RECORDS: usize = 50;
const MOST_RECORDS: usize = 500;

type Query = web::Query<HashMap<String, String>>;

pub(super) fn routes(app: &mut web::ServiceConfig) {
    app.route("/api/server", web::get().to(server))
        .route("/api/server", web::head().to(server))
        .route("/api/log", web::get().to(log_tail))
        .route("/api/log", web::head().to(log_tail))
        .route("/api/records", web::get().to(found))
        .route("/api/records", web::head().to(found));
}

/// All that is known of one server.
async fn server(parts: web::Data<Parts>, asked: Query) -> HttpResponse {
    let name = asked.get("name").map_or("", String::as_str);
    let Some(progress) = parts.servers.find(name) else {
        return text(HttpResponse::NotFound(), "failed: no such server\n".to_owned());
    };
    let status = match ask(&parts, Command::Status).await {
        Answer::Status(status) => status,
        other => return line(&other),
    };
    let about = |server: &Option<String>| server.as_deref() == Some(name);
    let needs = status.attention.into_iter().filter_map(|mut need| {
        need.items.retain(|item| about(&item.server));
        (!need.items.is_empty()).then_some(need)
    });
    let own = status.servers.into_iter().find(|server| server.name == name);
    HttpResponse::Ok().json(json!({
        "server": own,
        "attention": needs.collect::<Vec<_>>(),
        "scans": progress.ended_scans(),
    }))
}

/// The last lines of the log.
async fn log_tail(parts: web::Data<Parts>, asked: Query) -> HttpResponse {
    let level = match asked.get("level").map(|level| level.parse::<Level>()) {
        None => Level::Trace,
        Some(Ok(level)) => level,
        Some(Err(_)) => return refused("level must be error, warn, info, debug or trace"),
    };
    let after = match number(&asked, "after") {
        Ok(after) => after.unwrap_or(0),
        Err(fault) => return refused(&fault),
    };
    let lines = (parts.log)(after, asked.get("server").map(String::as_str), level);
    HttpResponse::Ok().content_type("application/json").body(lines)
}

/// Records, newest first.
async fn found(parts: web::Data<Parts>, asked: Query) -> HttpResponse {
    let wanted = filter(&asked).and_then(|filter| {
        let limit = number::<usize>(&asked, "limit")?.map_or(RECORDS, |limit| limit.clamp(1, MOST_RECORDS));
        Ok((filter, number(&asked, "before")?, limit))
    });
    let (filter, before, limit) = match wanted {
        Ok(wanted) => wanted,
        Err(fault) => return refused(&fault),
    };
    let read = move || -> anyhow::Result<String> {
        let mut reader = records::read(&parts.records)?;
        Ok(found_json(&search(reader.as_mut(), &filter, before, limit)?)?)
    };
    match run_blocking(&READERS, read).await {
        Ok(Ok(rows)) => HttpResponse::Ok().content_type("application/json").body(rows),
        Ok(Err(error)) => unreadable(&crate::base::humanize::why(&error)),
        Err(error) => unreadable(&error.to_string()),
    }
}

fn filter(asked: &HashMap<String, String>) -> Result<Filter, String> {
    let given = |key: &str| asked.get(key).map(String::as_str).filter(|value| !value.is_empty());
    let time = |key: &str| {
        let time = given(key).map(DateTime::parse_from_rfc3339).transpose();
        time.map(|time| time.map(|time| time.timestamp_millis()))
            .map_err(|_| format!("{key} must be RFC 3339"))
    };
    let state = |key: &str| {
        given(key).map(str::parse::<bool>).transpose().map_err(|_| format!("{key} must be true or false"))
    };
    let paths: Vec<&str> = given("path").into_iter().collect();
    Ok(Filter {
        servers: given("server").map(str::to_owned).into_iter().collect(),
        paths: Globs::new(&paths).map_err(|fault| format!("path {fault}"))?,
        since: time("since")?,
        until: time("until")?,
        evicted: state("evicted")?,
        announced: state("announced")?,
    })
}

fn number<N: std::str::FromStr>(asked: &HashMap<String, String>, key: &str) -> Result<Option<N>, String> {
    asked.get(key).map(|value| value.parse()).transpose().map_err(|_| format!("{key} must be a number"))
}

fn refused(fault: &str) -> HttpResponse {
    text(HttpResponse::BadRequest(), format!("failed: {fault}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(pairs: &[(&str, &str)]) -> HashMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    /// interface 20.22
    #[test]
    fn every_part_of_a_search_is_read_or_named_as_wrong() {
        let good = asked(&[
            ("server", "a"),
            ("path", "*.zip"),
            ("since", "2026-11-23T03:00:00+08:00"),
            ("evicted", "true"),
            ("until", ""),
        ]);
        let read = filter(&good).unwrap();
        assert_eq!((read.servers, read.evicted, read.until), (vec!["a".to_owned()], Some(true), None));
        assert_eq!(read.since, Some(1_795_374_000_000));
        for (key, value) in [("since", "yesterday"), ("evicted", "yes"), ("path", "[")] {
            assert!(filter(&asked(&[(key, value)])).unwrap_err().contains(key));
        }
        assert!(number::<i64>(&asked(&[("before", "x")]), "before").unwrap_err().contains("before"));
    }
}
