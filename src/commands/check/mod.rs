//! `mrosync check`: one line for each thing that the service will need. Downloads nothing.

mod places;
mod trial;

use std::fmt::Display;
use std::io::Write;
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context, bail};
use bytesize::ByteSize;
use chrono::Local;
use futures_util::StreamExt;
use futures_util::stream::{FuturesOrdered, FuturesUnordered};
use sysinfo::Disks;

use crate::base::blocking;
use crate::base::humanize;
use crate::base::names::{Printable, RemotePath};
use crate::collector::open_files;
use crate::collector::open_files::Need;
use crate::commands::adopt::View;
use crate::config::{QuotaSettings, RecordsSettings, Selection, ServerSettings, Settings};
use crate::connectors;
use crate::control::client::{self, Reply};
use crate::control::{Command, CommandLine};
use crate::mirror;
use crate::mirror::identity::{self, Reason};
use crate::net::network::Network;
use crate::notify;
use crate::protocol::{Confirmation, Entry, Kind, Session, Summary};
use crate::quota::Measured;
use crate::records::{self, OpenError};
use crate::service::overview::process;
use crate::status::progress_line;
use crate::terminal::status_line::StatusLine;

/// Ways of listing that a directory is tried in, one after the other.
const MAX_WAYS: usize = 5;
/// For logging out.
const QUIT_LIMIT: Duration = Duration::from_secs(1);
/// For one server, and so many of its timeouts where that is more: each step has its limit, and a listing that trickles
/// could go on for ever.
const SERVER_LIMIT: Duration = Duration::from_secs(120);
const SERVER_TIMEOUTS: u32 = 4;
/// For a file system to answer; one of a server that is gone never does.
const DISK_LIMIT: Duration = Duration::from_secs(10);
/// For a running service to say that it is there.
const SERVICE_LIMIT: Duration = Duration::from_secs(3);

/// Probes everything and prints a line for each; true when all is well. The configuration has been validated
/// already. Where there are `names`, of these servers alone.
pub async fn check(settings: &Settings, names: &[String]) -> bool {
    let Settings { sync, quota, records, servers, .. } = settings;
    let mut well = report("configuration", &Ok(humanize::count(servers.len(), "server")));
    let is_meant =
        |server: &&ServerSettings| names.is_empty() || names.iter().any(|name| name == server.name.as_str());
    let meant: Vec<_> = servers.iter().filter(is_meant).cloned().collect();
    well &= probe_all(&with_beginnings(&meant, records)).await;
    let mirror = mirror::at(&sync.root);
    for apart in meant.iter().filter_map(|server| mirror.apart(&server.name)) {
        well &= report::<String>("disk", &Err(apart.into()));
    }
    if !names.is_empty() {
        return well;
    }
    well &= report("records", &probe_records(records));
    let own = settings.clone();
    well &= report("mirror", &in_time(move || probe_mirror(&own)));
    let (root, limits) = (sync.root.clone(), *quota);
    well &= report("disk", &in_time(move || probe_disk(&root, &limits)));
    well &= probe_places(settings);
    well &= report("open files", &probe_open_files(settings));
    well &= report("notify", &notify::open(&settings.notify).probe().await);
    let host = process().host_available_memory_bytes;
    well & report("memory", &Ok(format!("{} available", ByteSize(host).display().iec())))
}

/// Probes all servers at once. At a terminal their lines come as they answer, above the number of those that do not
/// yet; else in the configuration's order.
async fn probe_all(servers: &[ServerSettings]) -> bool {
    let (mut status_line, network) = (StatusLine::new(), &Network::default());
    let probes = servers.iter().map(|server| async move { (server, probe_within(server, network).await) });
    let mut answers = if status_line.is_seen() {
        FuturesUnordered::from_iter(probes).boxed_local()
    } else {
        FuturesOrdered::from_iter(probes).boxed_local()
    };
    let mut left: Vec<&str> = servers.iter().map(|server| server.name.as_str()).collect();
    let mut well = true;
    status_line.show(&progress_line::checking(&left, servers.len()));
    while let Some((server, outcome)) = answers.next().await {
        left.retain(|name| *name != server.name.as_str());
        status_line.clear();
        well &= report(&format!("server {}", server.name), &outcome);
        if !left.is_empty() {
            status_line.show(&progress_line::checking(&left, servers.len()));
        }
    }
    well
}

fn report<T: Display>(what: &str, outcome: &anyhow::Result<T>) -> bool {
    match outcome {
        Ok(found) => line(format_args!("ok      {what}: {}", Printable(&found.to_string()))),
        Err(error) => line(format_args!("failed  {what}: {}", Printable(&crate::base::humanize::why(error)))),
    }
    outcome.is_ok()
}

/// A reader who has seen enough and left (`| head -1`) is no fault.
fn line(text: std::fmt::Arguments<'_>) {
    drop(writeln!(std::io::stdout(), "{text}"));
}

/// The places of the service, in one line where all is well, else in one for each that is not.
fn probe_places(settings: &Settings) -> bool {
    let is_running = client::ask_within(&settings.control.socket, Command::Help, SERVICE_LIMIT).is_ok();
    let settings = settings.clone();
    match in_time(move || Ok(places::findings(&settings, is_running))) {
        Ok(found) if found.is_empty() => {
            let said =
                if is_running { "a service is running, and can go on" } else { "the service can begin" };
            report("places", &Ok(said))
        }
        Ok(found) => {
            for (key, error) in found {
                report(key, &Err::<&str, _>(error));
            }
            false
        }
        Err(error) => report("places", &Err::<&str, _>(error)),
    }
}

/// Of this process; the service may be given another limit.
fn probe_open_files(settings: &Settings) -> anyhow::Result<String> {
    let need = Need::of(settings, open_files::raise());
    if need.is_met() { Ok(need.to_string()) } else { bail!("{need}") }
}

/// Looks at file systems, on a thread that is left behind where one does not answer.
fn in_time<T: Send + 'static>(
    look: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
) -> anyhow::Result<T> {
    let (found, looking) = mpsc::channel();
    // whoever waited may have gone
    let look = move || drop(found.send(look()));
    blocking::spawn("look", look)?;
    let silent = || format!("the file system does not answer within {} s", DISK_LIMIT.as_secs());
    looking.recv_timeout(DISK_LIMIT).with_context(silent)?
}

async fn probe_within(settings: &ServerSettings, network: &Network) -> anyhow::Result<String> {
    let limit = SERVER_LIMIT.max(settings.timeout.saturating_mul(SERVER_TIMEOUTS));
    let silent = || format!("it takes longer than {} s", limit.as_secs());
    tokio::time::timeout(limit, probe(settings, network)).await.with_context(silent)?
}

/// Logs in and lists each configured directory, not what lies below it.
async fn probe(settings: &ServerSettings, network: &Network) -> anyhow::Result<String> {
    let ServerSettings { host, port, user, .. } = settings;
    let connector = connectors::connector(settings.clone(), network)?;
    let windows = &settings.network.windows;
    let now = Local::now();
    if !windows.are_open(&now) {
        let opens = windows.next_change(&now).map(|opens| opens.format(", which open at %F %R").to_string());
        let opens = opens.unwrap_or_default();
        return Ok(format!("{host}:{port}, not tried: outside of its windows ({windows}){opens}"));
    }
    let logging_in = || format!("logging in to {host}:{port} as {user}");
    let mut session = connector.connect().await.with_context(logging_in)?;
    let mut found = Vec::new();
    for path in &settings.directories {
        let listed = list(session.as_mut(), path, &settings.selection)
            .await
            .with_context(|| format!("listing {path}"))?;
        found.push(listed);
    }
    let tls = session.tls_version();
    session.quit(QUIT_LIMIT).await;
    let mut way = settings.network.describe(settings.tls);
    way.splice(0..0, tls.map(str::to_owned));
    way.extend(connector.describe_listing().map(|listing| format!("lists by {listing}")));
    let way: String = way.iter().map(|words| format!(", {words}")).collect();
    let selected = selected(&settings.selection);
    Ok(format!("{host}:{port}, logged in as {user}{way}; {}{selected}", found.join("; ")))
}

/// Those that begin with what is new have begun where the records say so, and else would begin now.
fn with_beginnings(servers: &[ServerSettings], records: &RecordsSettings) -> Vec<ServerSettings> {
    let (mut servers, mut reader) = (servers.to_vec(), records::read(records).ok());
    for server in servers.iter_mut().filter(|server| server.selection.from_now) {
        let begun = reader.as_mut().and_then(|reader| reader.beginning(&server.name).ok().flatten());
        server.selection.since = Some(begun.unwrap_or_else(|| chrono::Utc::now().timestamp()));
    }
    servers
}

/// What is set to choose among the files, in words.
fn selected(selection: &Selection) -> String {
    let files = &selection.files;
    let fetched = if files.are_usual() { String::new() } else { format!("; fetches {files}") };
    let time = selection.since.and_then(|since| chrono::DateTime::from_timestamp(since, 0));
    let since = time.map(|time| format!("since {}", time.format("%Y-%m-%dT%H:%M:%SZ")));
    let include = (!selection.include.is_empty()).then(|| "include".to_owned());
    let exclude = (!selection.exclude.is_empty()).then(|| "exclude".to_owned());
    let set: Vec<_> = [since, include, exclude].into_iter().flatten().collect();
    if set.is_empty() { fetched } else { format!("{fetched}; left out by {}", set.join(", ")) }
}

/// What a directory holds.
#[derive(Default)]
struct Count {
    directories: u64,
    files: u64,
    /// Of both, those that the settings leave out.
    left_out: u64,
}

async fn list(session: &mut dyn Session, path: &RemotePath, selection: &Selection) -> anyhow::Result<String> {
    for _ in 0..MAX_WAYS {
        let mut counted = Count::default();
        let mut take = |entries: &mut Vec<Entry>| count(entries, path, selection, &mut counted);
        let mut entries = Vec::new();
        let mut listing = session.list(path).await?;
        loop {
            let more = listing.next(&mut entries).await?;
            take(&mut entries);
            if !more {
                break;
            }
        }
        let summary = listing.finish(&mut entries).await?;
        take(&mut entries);
        if let Confirmation::ListAgain(_) = session.confirm_listing(path, &summary, true).await? {
            continue;
        }
        let Count { directories, files, left_out } = counted;
        let noun = if selection.files.are_usual() { "zip" } else { "file" };
        // the files mostly lie deeper, and nobody should take that for nothing found
        let below = if files == 0 && directories > 0 { " (what lies below is not listed here)" } else { "" };
        let left_out = if left_out > 0 { format!(", {left_out} of them left out") } else { String::new() };
        let (directories, files) = (humanize::count(directories, "directory"), humanize::count(files, noun));
        return Ok(format!("{path}: {directories}, {files}{below}{left_out}{}", complaint(&summary)));
    }
    bail!("each way of listing it contradicts the others")
}

fn count(entries: &mut Vec<Entry>, path: &RemotePath, selection: &Selection, counted: &mut Count) {
    for Entry { name, kind, facts, .. } in entries.drain(..) {
        let path = || path.join(&name);
        let (kinds, is_wanted) = match kind {
            Kind::Directory => (&mut counted.directories, selection.wants_directory(path)),
            Kind::File | Kind::Link if selection.files.fit_name(&name) => {
                (&mut counted.files, selection.allows(&facts, path))
            }
            _ => continue,
        };
        *kinds += 1;
        counted.left_out += u64::from(!is_wanted);
    }
}

fn complaint(summary: &Summary) -> String {
    let lost = summary.unused();
    match summary.unused_sample() {
        Some(sample) if lost > 0 => {
            format!(", {} not usable, the first: {sample}", humanize::count(lost, "line"))
        }
        _ if lost > 0 => format!(", {} too long", humanize::count(lost, "line")),
        _ => String::new(),
    }
}

/// Opens the database beside a service that may be running. One that does not exist yet is made by the service.
fn probe_records(settings: &RecordsSettings) -> anyhow::Result<String> {
    match records::examine(settings) {
        Ok(found) => Ok(format!("{settings} {found}")),
        Err(OpenError::Missing { .. }) => Ok(format!("{settings} does not exist yet; the service makes it")),
        Err(error) => Err(error.into()),
    }
}

/// Returns whether the mirror is the one of the records. A service that runs knows most of it.
fn probe_mirror(settings: &Settings) -> anyhow::Result<String> {
    let (root, socket) = (&settings.sync.root, &settings.control.socket);
    let status = client::ask_within(socket, CommandLine::STATUS, SERVICE_LIMIT);
    let holds = status.ok().and_then(Reply::status).map(|status| status.mirror.holds);
    if let Some(hold) = holds.as_deref().and_then(<[_]>::first) {
        let whose = hold.server.as_ref().map_or_else(String::new, |name| format!("server {name}: "));
        bail!("{whose}{}", hold.reason);
    }
    let shown = root.display();
    let marker = mirror::at(root).marker().with_context(|| format!("reading the marker of {shown}"))?;
    // what is wrong with the records is said by their own line
    let Ok(view) = View::of(settings) else { return Ok(format!("{shown}, not looked at")) };
    match view.verdict {
        identity::Verdict::Held(reason) => bail!("{}", reason.describe(root)),
        _ if view.found.is_sudden() => bail!("{}", Reason::Gone(view.found).describe(root)),
        identity::Verdict::Ours => Ok(format!("{shown} is the right one")),
        identity::Verdict::Take if marker.is_some() => Ok(format!("{shown} will be taken as it is")),
        identity::Verdict::Take => Ok(format!("{shown} has no marker yet; the service makes it")),
    }
}

fn probe_disk(root: &Path, limits: &QuotaSettings) -> anyhow::Result<String> {
    let Measured { usage, fault, .. } = mirror::at(root).measure()?;
    if let Some(fault) = fault {
        bail!("{}: {fault}", root.display());
    }
    let (percent, limit) = (usage.percent(), limits.max_used_percent);
    let available = ByteSize(usage.available).display().iec();
    let mount = mount_point(root).map_or(String::new(), |mount| format!(", mounted on {mount}"));
    let shown = root.display();
    if percent > limit {
        bail!(
            "{shown}: {percent:.1} % used{mount}, above the limit of {limit} %: files would be evicted at once"
        );
    }
    Ok(format!("{shown}: {percent:.1} % used, at most {limit} %, {available} available{mount}"))
}

fn mount_point(root: &Path) -> Option<String> {
    // the nearest directory that exists: the service makes the others
    let existing = root.ancestors().find(|path| path.is_dir()).unwrap_or(Path::new("."));
    let path = existing.canonicalize().ok()?;
    let disks = Disks::new_with_refreshed_list().ok()?;
    let mounts = disks.iter().map(sysinfo::Disk::mount_point).filter(|mount| path.starts_with(mount));
    mounts.max_by_key(|mount| mount.as_os_str().len()).map(|mount| mount.display().to_string())
}
