//! What scanners are made of: the parts that all of them share, and what each server has for itself.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hasher};
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use tokio::sync::watch;

use crate::actors::Address;
use crate::actors::quota_warden::QuotaWarden;
use crate::actors::record_keeper::RecordKeeper;
use crate::actors::scanner::Plan;
use crate::base::names::ServerName;
use crate::collector::open_files::OpenFiles;
use crate::config::{
    KnownKeys, NotifySettings, Protocol, QuotaSettings, RecordsSettings, ServerSettings, Settings,
    SftpSettings, SyncSettings, TlsMode,
};
use crate::connectors;
use crate::lateness;
use crate::mirror::mounted::MountedMirror;
use crate::net::network::Network;
use crate::quota::DiskCounters;
use crate::status::Progress;

/// More of a file of certificates is not compared.
const MAX_COMPARED_BYTES: u64 = 16 << 20;

/// What all scanners share.
pub(super) struct Fleet {
    pub(super) sync: watch::Receiver<SyncSettings>,
    pub(super) place: Arc<MountedMirror>,
    pub(super) keeper: Address<RecordKeeper>,
    pub(super) warden: Address<QuotaWarden>,
    pub(super) counters: Arc<DiskCounters>,
    pub(super) network: Network,
    pub(super) open_files: OpenFiles,
}

impl Fleet {
    /// Everything that a scanner is made of.
    pub(super) fn plan(&self, server: Checked, progress: &Arc<Progress>) -> Plan {
        progress.fetches(server.settings.selection.files.clone());
        Plan {
            settings: Arc::new(server.settings),
            trusted: server.trusted,
            connect: connectors::connector,
            sync: self.sync.clone(),
            place: Arc::clone(&self.place),
            keeper: self.keeper.clone(),
            warden: self.warden.clone(),
            counters: Arc::clone(&self.counters),
            network: self.network.clone(),
            open_files: self.open_files.clone(),
            progress: Arc::clone(progress),
            pulse: Arc::default(),
        }
    }
}

/// A server's settings, and a number for whom it trusts by a file: a new certificate or host key under the old name
/// is a change too.
pub(super) struct Checked {
    pub(super) settings: ServerSettings,
    trusted: Option<u64>,
}

impl Checked {
    /// Reads the file, where there is one.
    pub(super) fn new(settings: ServerSettings) -> Self {
        let file = settings.tls_ca_file.as_deref().filter(|_| settings.tls != TlsMode::Off);
        let trusted = match &settings.protocol {
            Protocol::Ftp => file.and_then(number_of),
            Protocol::Sftp(sftp) => number_of_keys(sftp, &settings),
        };
        Self { settings, trusted }
    }
}

fn number_of(file: &Path) -> Option<u64> {
    let mut content = Vec::new();
    std::fs::File::open(file).ok()?.take(MAX_COMPARED_BYTES).read_to_end(&mut content).ok()?;
    let mut hasher = DefaultHasher::new();
    hasher.write(&content);
    Some(hasher.finish())
}

/// What the file says of other hosts is none of this server's business.
fn number_of_keys(sftp: &SftpSettings, settings: &ServerSettings) -> Option<u64> {
    let KnownKeys { known, revoked } = sftp.known_keys(&settings.host, settings.port).ok()?;
    let mut hasher = DefaultHasher::new();
    for keys in [known, revoked] {
        hasher.write_usize(keys.len());
        keys.iter().filter_map(|key| key.to_bytes().ok()).for_each(|key| hasher.write(&key));
    }
    Some(hasher.finish())
}

/// The settings that parts of the service follow while they run.
pub(super) struct Live {
    sync: watch::Sender<SyncSettings>,
    quota: watch::Sender<QuotaSettings>,
    notify: watch::Sender<NotifySettings>,
}

impl Live {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            sync: watch::Sender::new(settings.sync.clone()),
            quota: watch::Sender::new(settings.quota),
            notify: watch::Sender::new(settings.notify.clone()),
        }
    }

    pub(super) fn sync(&self) -> watch::Receiver<SyncSettings> {
        self.sync.subscribe()
    }

    pub(super) fn quota(&self) -> watch::Receiver<QuotaSettings> {
        self.quota.subscribe()
    }

    pub(super) fn notify(&self) -> watch::Receiver<NotifySettings> {
        self.notify.subscribe()
    }

    /// Tells those who follow what has changed.
    pub(super) fn follow(&self, settings: &Settings) {
        send_if_changed(&self.sync, settings.sync.clone());
        send_if_changed(&self.quota, settings.quota);
        send_if_changed(&self.notify, settings.notify.clone());
    }
}

fn send_if_changed<T: PartialEq>(sender: &watch::Sender<T>, new: T) {
    sender.send_if_modified(|now| {
        let differs = *now != new;
        *now = new;
        differs
    });
}

/// Those that begin with what is new.
pub(super) fn beginning(servers: &[ServerSettings]) -> Vec<ServerName> {
    let beginning = servers.iter().filter(|server| server.selection.from_now);
    beginning.map(|server| server.name.clone()).collect()
}

/// Has them begin at the moments that the records remember, in the order of [`beginning`].
pub(super) fn begin(servers: &mut [ServerSettings], moments: &[i64]) {
    let beginning = servers.iter_mut().filter(|server| server.selection.from_now);
    for (server, at) in beginning.zip(moments) {
        server.selection.since = Some(*at);
    }
}

/// Tells the servers' lateness what the records know. Without it, it is learnt anew.
pub(super) fn remember_lateness(records: &RecordsSettings, servers: &[Arc<Progress>]) {
    let by_name: HashMap<String, Arc<Progress>> =
        servers.iter().map(|progress| (progress.name().to_owned(), Arc::clone(progress))).collect();
    let begun = lateness::remember(records, move |row| {
        if let Some(progress) = by_name.get(row.server.as_str()) {
            progress.lateness().remembered(&row.path, row.downloaded_at);
        }
    });
    begun.unwrap_or_else(|error| log::warn!("cannot read the records beside the service: {error}"));
}
