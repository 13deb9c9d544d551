//! What is answered beside the page's own files. Each answer is put together when it is asked for.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use actix_web::http::header;
use actix_web::{HttpMessage, HttpRequest, HttpResponse, web};
use chrono::Utc;
use serde_json::json;

use super::Parts;
use super::guard::{Rules, WithToken};
use crate::base::blocking::{Threads, run_blocking};
use crate::control::{Answer, Command, Form};
use crate::lateness::{MAX_MINUTES, Minute};
use crate::records::{self, newest_json};
use crate::status::metrics;

/// A keeper that does not answer in this time hangs.
const ALIVE_LIMIT: Duration = Duration::from_secs(3);
/// The service answers a command within 2 s, and `status` at once.
const COMMAND_LIMIT: Duration = Duration::from_secs(20);
/// Readers of the records at the same time.
pub(super) static READERS: Threads = Threads::new("record reader", 2);
/// Newest files shown.
const NEWEST: u32 = 20;

pub(super) fn routes(app: &mut web::ServiceConfig) {
    app.route("/healthz", web::get().to(healthz))
        .route("/metrics", web::get().to(metrics))
        // monitors ask for the head alone; it is that of GET (RFC 9110 section 9.3.2)
        .route("/healthz", web::head().to(healthz))
        .route("/metrics", web::head().to(metrics))
        .route("/api/status", web::head().to(status))
        .route("/api/access", web::head().to(access))
        .route("/api/history", web::head().to(history))
        .route("/api/newest", web::head().to(newest))
        .route("/api/status", web::get().to(status))
        .route("/api/access", web::get().to(access))
        .route("/api/history", web::get().to(history))
        .route("/api/newest", web::get().to(newest))
        .route("/api/start", web::post().to(start))
        .route("/api/stop", web::post().to(stop));
}

async fn healthz(parts: web::Data<Parts>) -> HttpResponse {
    let alive = tokio::time::timeout(ALIVE_LIMIT, (parts.alive)()).await;
    if alive == Ok(true) {
        text(HttpResponse::Ok(), "ok\n".to_owned())
    } else {
        text(HttpResponse::ServiceUnavailable(), "failed: the record keeper does not answer\n".to_owned())
    }
}

/// The same as `ctl status --json`.
async fn status(parts: web::Data<Parts>) -> HttpResponse {
    match ask(&parts, Command::Status).await {
        Answer::Status(status) => {
            let text = Answer::Status(status).text(Form::Json);
            HttpResponse::Ok().content_type("application/json").body(format!("{text}\n"))
        }
        other => line(&other),
    }
}

async fn metrics(parts: web::Data<Parts>) -> HttpResponse {
    match ask(&parts, Command::Status).await {
        Answer::Status(status) => {
            HttpResponse::Ok().content_type(metrics::CONTENT_TYPE).body(metrics::render(&status))
        }
        other => line(&other),
    }
}

/// What the asking page may do.
async fn access(request: HttpRequest, rules: web::Data<Rules>) -> HttpResponse {
    let with_token = request.extensions().get::<WithToken>().is_some_and(|with| with.0);
    let version = env!("CARGO_PKG_VERSION");
    HttpResponse::Ok().json(json!({
        "may_control": with_token,
        "token_configured": rules.has_token(),
        "version": version,
    }))
}

/// The minutes of the last hours, of one server or of all together.
async fn history(parts: web::Data<Parts>, asked: web::Query<HashMap<String, String>>) -> HttpResponse {
    let server = asked.get("server").map(String::as_str);
    let wanted = |name: &str| server.is_none_or(|server| server == name);
    let servers = parts.servers.all();
    if !servers.iter().any(|progress| wanted(progress.name())) {
        return text(HttpResponse::NotFound(), "failed: no such server\n".to_owned());
    }
    let now = Utc::now().timestamp_millis();
    let mut sums: BTreeMap<i64, Minute> = BTreeMap::new();
    for progress in servers.iter().filter(|progress| wanted(progress.name())) {
        progress.lateness().add_minutes(&mut sums, now);
    }
    let minutes: Vec<_> = sums.into_values().collect();
    HttpResponse::Ok().json(json!({
        "now_minute": now.div_euclid(60_000),
        "reach_minutes": MAX_MINUTES,
        "minutes": minutes,
    }))
}

/// The newest records, each as `mrosync records --format json` prints it.
async fn newest(parts: web::Data<Parts>) -> HttpResponse {
    let read = move || -> anyhow::Result<String> {
        Ok(newest_json(records::read(&parts.records)?.as_mut(), NEWEST)?)
    };
    match run_blocking(&READERS, read).await {
        Ok(Ok(rows)) => HttpResponse::Ok().content_type("application/json").body(rows),
        Ok(Err(error)) => unreadable(&crate::base::humanize::why(&error)),
        Err(error) => unreadable(&error.to_string()),
    }
}

/// The records could not be read.
pub(super) fn unreadable(why: &str) -> HttpResponse {
    text(HttpResponse::ServiceUnavailable(), format!("failed: {why}\n"))
}

async fn start(request: HttpRequest, parts: web::Data<Parts>) -> HttpResponse {
    command(&request, &parts, Command::Start).await
}

async fn stop(request: HttpRequest, parts: web::Data<Parts>) -> HttpResponse {
    command(&request, &parts, Command::Stop).await
}

/// Gives the command and answers with the line that the console would show.
async fn command(request: &HttpRequest, parts: &Parts, command: Command) -> HttpResponse {
    let peer = request.peer_addr().map_or("somebody".to_owned(), |peer| peer.ip().to_string());
    log::info!("{command} is asked for on the status page, from {peer}");
    line(&ask(parts, command).await)
}

/// The line that the console would show.
pub(super) fn line(answer: &Answer) -> HttpResponse {
    let to = if answer.is_failure() { HttpResponse::ServiceUnavailable() } else { HttpResponse::Ok() };
    text(to, format!("{}\n", answer.text(Form::People)))
}

pub(super) async fn ask(parts: &Parts, command: Command) -> Answer {
    let answer = tokio::time::timeout(COMMAND_LIMIT, parts.requests.ask(command)).await;
    answer.unwrap_or_else(|_| Answer::Failed("the service does not answer".to_owned()))
}

pub(super) fn text(mut answer: actix_web::HttpResponseBuilder, text: String) -> HttpResponse {
    answer.insert_header((header::CONTENT_TYPE, "text/plain; charset=utf-8")).body(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::body::MessageBody;

    /// interface 20.6
    #[test]
    fn what_is_done_is_200_and_what_is_not_503_with_the_line_of_the_console() {
        for (answer, status, body) in [
            (Answer::Done("started 2 servers".to_owned()), 200, "ok: started 2 servers\n"),
            (Answer::Failed("no\nway".to_owned()), 503, "failed: no\\nway\n"),
        ] {
            let response = line(&answer);
            assert_eq!(response.status().as_u16(), status);
            assert_eq!(response.into_body().try_into_bytes().unwrap(), body);
        }
    }
}
