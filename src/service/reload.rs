//! `reload` and SIGHUP: the configuration is read again and takes effect, while everything that it leaves as it is
//! runs on undisturbed.
//!
//! First all that can be wrong is found out: the files are read, and the address of the status page is bound. Where
//! anything is, nothing is changed. After that nothing fails but what is said in the answer. On the main thread; what
//! may block is done beside it.

use std::cell::RefCell;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;

use super::fleet::{Checked, Fleet, Live, begin, beginning, remember_lateness};
use super::limit_guard::LimitGuard;
use crate::actors::Address;
use crate::actors::record_keeper::{RecordKeeper, Request};
use crate::actors::supervisor::{Change, Changed, Supervisor};
use crate::base::blocking::{Threads, run_blocking};
use crate::config::{self, Loaded, PostgresSettings, RecordsSettings, Settings};
use crate::logging::RunLog;
use crate::records::Work;
use crate::service::systemd;
use crate::status::{Progress, Roster};
use crate::web::{BoundListener, Page, Parts};

/// For a step that waits for the disk. Whoever asked waits no longer than 30 s.
const STEP_LIMIT: Duration = Duration::from_secs(10);
/// A step at a time, and those that a disk without an answer holds.
static STEPS: Threads = Threads::new("reload", 4);

/// The service, as far as it can be changed.
pub(super) struct Reloader {
    pub(super) keeper: Address<RecordKeeper>,
    pub(super) files: Vec<PathBuf>,
    pub(super) log: RunLog,
    pub(super) live: Live,
    pub(super) guard: LimitGuard,
    pub(super) fleet: Fleet,
    pub(super) roster: Arc<Roster>,
    pub(super) supervisor: Address<Supervisor>,
    /// Where the records are, for what they know of new servers.
    pub(super) records: RecordsSettings,
    /// The status page while it is on, and what it is made of.
    pub(super) web: RefCell<Option<(Parts, Option<Page>)>>,
    /// The settings in force; held while they are changed.
    pub(super) in_force: Mutex<Settings>,
}

/// A configuration without a fault, and what was opened for it.
struct Read {
    settings: Settings,
    servers: Vec<Checked>,
    warnings: Vec<String>,
    listener: Option<BoundListener>,
}

/// What became of a reload.
#[derive(Default)]
struct Report {
    servers: Changed,
    /// Sections that hold other values now.
    sections: Vec<&'static str>,
    /// Keys whose new values wait for the next start.
    restart: Vec<&'static str>,
    /// Everything else that whoever asked should know.
    notes: Vec<String>,
}

impl Reloader {
    /// Changes the service to what the configuration says now, and answers what that was.
    ///
    /// # Errors
    ///
    /// All faults of the configuration; the one of before stays in force.
    ///
    /// `confirm` is how many files a lowered limit may delete at once.
    pub(super) async fn reload(&self, confirm: Option<u64>) -> Result<String, Vec<String>> {
        let mut in_force = self.in_force.lock().await;
        systemd::reloading();
        let outcome = match self.read(&in_force).await {
            Ok(read) => {
                let sentence = self.change_to(read, &mut in_force, confirm).await.describe();
                log::info!("the configuration is read again: {sentence}");
                Ok(sentence)
            }
            Err(mut faults) => {
                faults.extend(self.reopen_log(&in_force).await);
                for fault in &faults {
                    log::error!("the configuration is refused, the old one stays in force: {fault}");
                }
                Err(faults)
            }
        };
        systemd::ready();
        outcome
    }

    /// Finds all that is wrong, and changes nothing.
    async fn read(&self, in_force: &Settings) -> Result<Read, Vec<String>> {
        let files = self.files.clone();
        let unread = |fault: String| vec![format!("the configuration cannot be read: {fault}")];
        let loaded = within_limit(move || config::load(&files)).await.map_err(unread)?;
        let Loaded { mut settings, warnings } = loaded.map_err(|faults| faults.faults().to_vec())?;
        let listens = in_force.web.as_ref().map(|web| web.listen);
        let elsewhere = settings.web.clone().filter(|web| Some(web.listen) != listens);
        let listener =
            elsewhere.map(BoundListener::open).transpose().map_err(|error| vec![error.to_string()])?;
        self.begin(&mut settings, in_force).await.map_err(|fault| vec![fault])?;
        let of_servers = settings.servers.clone();
        let check = move || of_servers.into_iter().map(Checked::new).collect();
        let servers = within_limit(check).await.map_err(unread)?;
        Ok(Read { settings, servers, warnings, listener })
    }

    /// Has servers begin with what is new, from the moment that the records remember. Nothing is asked where nobody does.
    async fn begin(&self, settings: &mut Settings, in_force: &Settings) -> Result<(), String> {
        let names = beginning(&settings.servers);
        if names.is_empty() && beginning(&in_force.servers).is_empty() {
            return Ok(());
        }
        let ask = Request::new(Work::Begin, move |records| {
            records.begin_servers(&names, chrono::Utc::now().timestamp())
        });
        let moments = self.keeper.send(ask).timeout(STEP_LIMIT).await;
        let moments = moments.map_err(|error| format!("the records do not answer: {error}"))?;
        let moments = moments.map_err(|error| {
            format!("since = \"now\" cannot be remembered: {}", crate::base::humanize::why(&error))
        })?;
        begin(&mut settings.servers, &moments);
        Ok(())
    }

    /// Opens the log again although the configuration is not taken: its file may have been moved away.
    async fn reopen_log(&self, in_force: &Settings) -> Option<String> {
        let (log, file) = (self.log.clone(), in_force.log.file.clone());
        let reopened = within_limit(move || {
            log.reopen(file.as_deref()).map_err(|error| crate::base::humanize::why(&error))
        })
        .await;
        reopened.and_then(|reopened| reopened).err()
    }

    /// A limit that was lowered before this process began takes effect now, or waits until it is confirmed.
    pub(super) async fn weigh_lowered_limit(&self) {
        let mut in_force = self.in_force.lock().await;
        let Some(wanted) = self.guard.lowered_before() else { return };
        match self.guard.decide(in_force.quota, wanted, None).await {
            Ok(()) => {
                in_force.quota = wanted;
                self.live.follow(&in_force);
            }
            Err(waits) => log::warn!("the lowered limit waits: {waits}"),
        }
    }

    async fn change_to(&self, read: Read, in_force: &mut Settings, confirm: Option<u64>) -> Report {
        let Read { mut settings, servers, warnings, listener } = read;
        let mut report = Report { restart: keep_until_restart(in_force, &mut settings), ..Report::default() };
        if let Err(waits) = self.guard.decide(in_force.quota, settings.quota, confirm).await {
            log::warn!("the lowered limit waits: {waits}");
            settings.quota = in_force.quota;
            report.notes.push(waits);
        }
        report.sections = changed_sections(in_force, &settings);
        report.notes.extend(self.change_log(&settings).await);
        for warning in warnings {
            log::warn!("{warning}");
        }
        self.live.follow(&settings);
        self.fleet.open_files.follow(&settings);
        if report.sections.contains(&"web") {
            report.notes.extend(self.change_page(&settings, listener).await);
        }
        match self.change_servers(servers).await {
            Ok(changed) => report.servers = changed,
            Err(fault) => report.notes.push(fault),
        }
        *in_force = settings;
        report
    }

    async fn change_log(&self, settings: &Settings) -> Option<String> {
        let (log, settings) = (self.log.clone(), settings.log.clone());
        let changed =
            within_limit(move || log.change(&settings).map_err(|error| crate::base::humanize::why(&error)))
                .await;
        let fault = changed.and_then(|changed| changed).err()?;
        let said = format!("{fault}; the old one is kept");
        log::error!("{said}");
        Some(said)
    }

    /// The page at a new address takes the place of the one before; at the same address it takes over what is asked of
    /// visitors.
    async fn change_page(&self, settings: &Settings, listener: Option<BoundListener>) -> Option<String> {
        let parts = self.web.borrow().as_ref().map(|(parts, _)| parts.clone())?;
        let opened = match (listener, &settings.web) {
            (Some(listener), _) => {
                within_limit(move || {
                    listener.serve(parts).map_err(|error| crate::base::humanize::why(&error))
                })
                .await
            }
            (None, Some(web)) => {
                if let Some((_, Some(page))) = &*self.web.borrow() {
                    page.change(web.clone());
                }
                return None;
            }
            (None, None) => {
                if let Some((_, page)) = &mut *self.web.borrow_mut() {
                    *page = None;
                }
                return None;
            }
        };
        match opened.and_then(|opened| opened) {
            Ok(new) => {
                if let Some((_, page)) = &mut *self.web.borrow_mut() {
                    *page = Some(new);
                }
                None
            }
            Err(fault) => Some(fault),
        }
    }

    async fn change_servers(&self, servers: Vec<Checked>) -> Result<Changed, String> {
        let mut added = Vec::new();
        let known = |server: &Checked| {
            let name = &server.settings.name;
            self.roster.find(name.as_str()).unwrap_or_else(|| {
                let progress = Arc::new(Progress::new(name));
                added.push(Arc::clone(&progress));
                progress
            })
        };
        let progress: Vec<_> = servers.iter().map(known).collect();
        let plan = |(server, progress)| self.fleet.plan(server, progress);
        let plans: Vec<_> = servers.into_iter().zip(&progress).map(plan).collect();
        self.roster.replace(progress);
        if !added.is_empty() {
            remember_lateness(&self.records, &added);
        }
        let changed = self.supervisor.send(Change(plans)).await.map_err(|error| error.to_string())?;
        let kinds = [(&changed.added, "added"), (&changed.removed, "removed"), (&changed.changed, "changed")];
        for (names, what) in kinds {
            names.iter().for_each(|name| log::info!("server={name} {what}"));
        }
        Ok(changed)
    }
}

/// Runs what may block on a thread of its own, within [`STEP_LIMIT`].
async fn within_limit<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, String> {
    match tokio::time::timeout(STEP_LIMIT, run_blocking(&STEPS, work)).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => {
            Err(format!("no answer of the disk within {}", crate::base::humanize::duration(STEP_LIMIT)))
        }
    }
}

/// Puts the values of before back where others cannot take effect while the service runs, and names the keys.
fn keep_until_restart(before: &Settings, now: &mut Settings) -> Vec<&'static str> {
    let mut keys = Vec::new();
    let keep = |before: &PathBuf, now: &mut PathBuf| {
        let is_other = before != now;
        now.clone_from(before);
        is_other
    };
    if keep(&before.sync.root, &mut now.sync.root) {
        keys.push("sync.root");
    }
    keys.extend(changed_keys(&before.records, &now.records));
    now.records.clone_from(&before.records);
    if keep(&before.control.socket, &mut now.control.socket) {
        keys.push("control.socket");
    }
    keys
}

/// The keys of `[records]` that say something else now.
fn changed_keys(before: &RecordsSettings, now: &RecordsSettings) -> Vec<&'static str> {
    let (RecordsSettings::Postgres(was), RecordsSettings::Postgres(is)) = (before, now) else {
        let [was, is] = [before.key(), now.key()];
        return match before == now {
            true => Vec::new(),
            false if was == is => vec![is],
            false => vec![was, is],
        };
    };
    let place = |settings: &PostgresSettings| {
        let PostgresSettings { hosts, user, database, tls, .. } = settings.clone();
        (hosts, user, database, tls)
    };
    let changed = [
        ("records.url", place(was) != place(is)),
        ("records.password_file", was.password != is.password),
        ("records.tls_ca_file", was.ca_file != is.ca_file),
    ];
    changed.into_iter().filter(|(_, is_other)| *is_other).map(|(key, _)| key).collect()
}

fn changed_sections(before: &Settings, now: &Settings) -> Vec<&'static str> {
    let sections = [
        ("sync", before.sync != now.sync),
        ("quota", before.quota != now.quota),
        ("notify", before.notify != now.notify),
        ("web", before.web != now.web),
        ("log", before.log != now.log),
    ];
    sections.into_iter().filter(|(_, changed)| *changed).map(|(name, _)| name).collect()
}

impl Report {
    /// Such as `2 servers added, 1 removed, 1 changed, 11 untouched; quota changed; needs a restart: sync.root`.
    fn describe(&self) -> String {
        let Changed { added, removed, changed, untouched, late } = &self.servers;
        let counts = [
            (added.len(), "added"),
            (removed.len(), "removed"),
            (changed.len(), "changed"),
            (*untouched, "untouched"),
        ];
        let counts = counts.into_iter().filter(|(count, _)| *count > 0).enumerate();
        let counts = counts.map(|(place, (count, what))| match (place, count) {
            (0, _) => format!("{} {what}", crate::base::humanize::count(count, "server")),
            _ => format!("{count} {what}"),
        });
        let mut parts = vec![counts.collect::<Vec<_>>().join(", ")];
        if !self.sections.is_empty() {
            parts.push(format!("{} changed", self.sections.join(", ")));
        }
        if !self.restart.is_empty() {
            parts.push(format!("needs a restart: {}", self.restart.join(", ")));
        }
        if !late.is_empty() {
            parts.push(format!("still stopping: {}", late.join(", ")));
        }
        parts.extend(self.notes.iter().cloned());
        parts.retain(|part| !part.is_empty());
        parts.join("; ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Password, PostgresHost};

    /// interface 7.8
    #[test]
    fn the_answer_counts_servers_and_names_what_else_has_changed() {
        let names = |count: usize| vec!["omc".to_owned(); count];
        let servers = Changed {
            added: names(2),
            removed: names(1),
            changed: names(1),
            untouched: 11,
            ..Changed::default()
        };
        let report = Report { servers, sections: vec!["quota"], ..Report::default() };
        assert_eq!(report.describe(), "2 servers added, 1 removed, 1 changed, 11 untouched; quota changed");
        let servers = Changed { untouched: 1, late: names(1), ..Changed::default() };
        let report = Report {
            servers,
            sections: vec!["sync", "log"],
            restart: vec!["sync.root", "records.path"],
            notes: vec!["a note".to_owned()],
        };
        assert_eq!(
            report.describe(),
            "1 server untouched; sync, log changed; needs a restart: sync.root, records.path; still stopping: omc; \
             a note"
        );
    }

    fn database(name: &str) -> RecordsSettings {
        RecordsSettings::Postgres(PostgresSettings {
            hosts: vec![(PostgresHost::Network("h".to_owned()), 1)],
            user: "u".to_owned(),
            database: name.to_owned(),
            password: Some(Password::new(name)),
            tls: None,
            ca_file: Some(name.into()),
        })
    }

    /// interface 7.5
    #[test]
    fn the_keys_that_wait_for_a_restart_are_those_of_the_table() {
        let loaded = |directory: &str| {
            let file = tempfile::NamedTempFile::new().unwrap();
            let paths = ["sync]\nroot", "records]\npath", "control]\nsocket"]
                .map(|key| format!("[{key} = '/nonexistent/{directory}'\n"));
            std::fs::write(&file, paths.concat() + "[[servers]]\nname = 'a'\nhost = 'h'\n").unwrap();
            config::load(&[file.path().to_owned()]).unwrap().settings
        };
        let keys = config::keys::all().filter(|key| key.needs_restart);
        let keys: Vec<_> = keys.map(|key| format!("{}.{}", key.place.name(), key.name)).collect();
        let of_files = keep_until_restart(&loaded("a"), &mut loaded("b"));
        let is_of_database = |key: &&str| key.starts_with("records.") && *key != "records.path";
        let of_database = changed_keys(&database("a"), &database("b"));
        // a password has two keys, and counts as one
        let expected = keys.iter().map(String::as_str).filter(|key| *key != "records.password_env");
        let (in_database, in_files): (Vec<_>, Vec<_>) = expected.partition(is_of_database);
        assert_eq!((in_files, in_database), (of_files, of_database));
        let file = RecordsSettings::Sqlite("r.db".into());
        assert_eq!(changed_keys(&file, &database("a")), ["records.path", "records.url"]);
    }
}
