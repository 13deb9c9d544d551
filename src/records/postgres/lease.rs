//! Who writes the records: one row, renewed while its holder lives, whose random number each write has to show.
//!
//! No lock of a session: it would be lost without a word, and a pooler would give it to others. A holder that died is
//! known by its process where it ran here, and by its silence where it ran elsewhere.

use std::fs;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::time::timeout;
use tokio_postgres::Client;
use tokio_postgres::types::{ToSql, Type};

use super::error::Failure;
use super::link::{Link, Shared};
use crate::records::error::OpenError;

/// From one sign of life to the next.
const BEAT: Duration = Duration::from_secs(5);
/// Nobody's, after so many seconds without one, by the database's clock. It is in the statements too.
const SILENT_SECONDS: u64 = 15;
/// Between two looks at a holder of which only signs of life tell.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
const ASK_LIMIT: Duration = Duration::from_secs(10);

const TAKE: &str = "INSERT INTO mrosync.nodes AS n (node, life, seen_at, began_at, holder)
    VALUES ('*', gen_random_uuid(), now(), now(), $1)
    ON CONFLICT (node) DO UPDATE SET life = excluded.life, seen_at = now(), began_at = now(), holder = excluded.holder
    WHERE n.life IS NULL OR n.seen_at < now() - interval '15 s' OR n.holder = excluded.holder OR n.life = $2::uuid
    RETURNING life::text";
const LOOK: &str =
    "SELECT life::text, holder, seen_at::text FROM mrosync.nodes WHERE node = '*' AND life IS NOT NULL";
const RENEW: &str =
    "UPDATE mrosync.nodes SET seen_at = now() WHERE node = '*' AND life = $1::uuid RETURNING true";
const RELEASE: &str =
    "UPDATE mrosync.nodes SET life = NULL WHERE node = '*' AND life = $1::uuid RETURNING true";

/// The right to write, until it is released or somebody else takes it.
pub(super) struct Lease {
    life: String,
    is_lost: Arc<AtomicBool>,
}

struct Holder {
    life: String,
    who: String,
    seen_at: String,
}

impl Lease {
    /// Takes it, and goes on renewing it for as long as `link` lives. Waits for a sign of life of a holder that may have
    /// died elsewhere.
    ///
    /// # Errors
    ///
    /// [`OpenError::InUse`] where the holder lives.
    pub(super) fn take(link: &Link) -> Result<Self, OpenError> {
        let me = Process::own().describe();
        let in_use = || OpenError::InUse { file: link.place().to_owned() };
        let mut dead = None;
        let mut first: Option<Holder> = None;
        let deadline = Instant::now() + Duration::from_secs(SILENT_SECONDS) + BEAT;
        loop {
            if let Some(life) =
                link.opening(ASK_LIMIT, async |client| take(client, &me, dead.as_deref()).await)?
            {
                let is_lost = Arc::new(AtomicBool::new(false));
                let (shared, own, flag) = (Arc::clone(link.shared()), life.clone(), Arc::clone(&is_lost));
                link.spawn(move || renew(shared, own, flag));
                return Ok(Self { life, is_lost });
            }
            // none: it was released in between
            let Some(holder) = link.opening(ASK_LIMIT, look)? else { continue };
            match Process::parse(&holder.who).and_then(|process| process.lives()) {
                Some(true) => return Err(in_use()),
                Some(false) => dead = Some(holder.life),
                None => {
                    let is_alive = first
                        .as_ref()
                        .is_some_and(|first| first.life != holder.life || first.seen_at != holder.seen_at);
                    if is_alive || Instant::now() > deadline {
                        return Err(in_use());
                    }
                    if first.is_none() {
                        log::info!(
                            "the records in {} belong to another service ({}): waiting for {SILENT_SECONDS} s whether \
                             it lives",
                            link.place().display(),
                            holder.who
                        );
                    }
                    first.get_or_insert(holder);
                    link.pause(LOOK_AGAIN);
                }
            }
        }
    }

    /// What each write shows.
    ///
    /// # Errors
    ///
    /// Where somebody else has taken the records.
    pub(super) fn life(&self) -> Result<&str, Failure> {
        match self.is_lost.load(Ordering::Acquire) {
            false => Ok(&self.life),
            true => Err(Failure::taken()),
        }
    }

    /// Lets the next service begin at once.
    pub(super) fn release(&self, link: &Link, limit: Duration) {
        let released = link
            .ask(limit, async |client| Ok(client.query_typed(RELEASE, &[(&self.life, Type::TEXT)]).await?));
        if let Err(failure) = released {
            log::debug!("the records were not released: {}", failure.detail);
        }
    }
}

async fn take(client: &Client, me: &str, dead: Option<&str>) -> Result<Option<String>, Failure> {
    let parameters: [(&(dyn ToSql + Sync), Type); 2] = [(&me, Type::TEXT), (&dead, Type::TEXT)];
    let row = client.query_typed_opt(TAKE, &parameters).await?;
    Ok(row.map(|row| row.try_get(0)).transpose()?)
}

async fn look(client: &Client) -> Result<Option<Holder>, Failure> {
    let Some(row) = client.query_typed_opt(LOOK, &[]).await? else { return Ok(None) };
    Ok(Some(Holder { life: row.try_get(0)?, who: row.try_get(1)?, seen_at: row.try_get(2)? }))
}

/// Renews it until somebody else has it.
async fn renew(shared: Arc<Shared>, life: String, is_lost: Arc<AtomicBool>) {
    loop {
        tokio::time::sleep(BEAT).await;
        // whoever asks for something says what is wrong with the way
        let Ok(session) = shared.session().await else { continue };
        let beat = async {
            let _turn = shared.turn().await;
            session.client.query_typed(RENEW, &[(&life, Type::TEXT)]).await
        };
        match timeout(BEAT, beat).await {
            Ok(Ok(rows)) if rows.is_empty() => {
                is_lost.store(true, Ordering::Release);
                return;
            }
            Ok(Ok(_)) => {}
            Ok(Err(error)) => log::debug!("no sign of life to the database: {}", super::error::words(&error)),
            Err(_) => shared.leave(&session),
        }
    }
}

/// A process, told from every other of its machine, the earlier ones of the same number included.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Process {
    host: String,
    /// Of the running system and the process' view of its processes.
    system: String,
    number: u32,
    started: String,
}

impl Process {
    fn own() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        let namespace = fs::read_link("/proc/self/ns/pid").unwrap_or_default();
        let system = format!("{}/{}", read("/proc/sys/kernel/random/boot_id"), namespace.display());
        let number = std::process::id();
        let (host, started) = (read("/proc/sys/kernel/hostname"), started(number).unwrap_or_default());
        Self { host, system, number, started }
    }

    /// As others read it, with a number that no other opening has.
    fn describe(&self) -> String {
        let Self { host, system, number, started } = self;
        let nonce = RandomState::new().build_hasher().finish();
        format!("host {host} process {number} started {started} system {system} opening {nonce:016x}")
    }

    fn parse(text: &str) -> Option<Self> {
        let words: Vec<&str> = text.split(' ').collect();
        let [_, host, _, number, _, started, _, system, ..] = words.as_slice() else { return None };
        let (host, system, started) = ((*host).to_owned(), (*system).to_owned(), (*started).to_owned());
        Some(Self { host, system, number: number.parse().ok()?, started })
    }

    /// None where it cannot be told from here.
    fn lives(&self) -> Option<bool> {
        let is_seen = self.system == Self::own().system && !self.started.is_empty();
        is_seen.then(|| started(self.number).is_some_and(|started| started == self.started))
    }
}

/// When a process of this machine began, in ticks since the machine did (proc(5), field 22 of `stat`).
fn started(number: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{number}/stat")).ok()?;
    // its name may hold anything, and ends with the last bracket
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace();
    let is_dead = matches!(fields.next(), Some("Z" | "X"));
    fields.nth(18).filter(|_| !is_dead).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_of_this_machine_is_known_to_live_and_one_of_another_is_not() {
        let own = Process::own();
        assert_eq!(Process::parse(&own.describe()).as_ref(), Some(&own));
        assert_ne!(own.describe(), own.describe());
        assert_eq!(own.lives(), Some(true));
        assert_eq!(Process { started: "1".to_owned(), ..own.clone() }.lives(), Some(false));
        assert_eq!(Process { number: 4_000_000, ..own.clone() }.lives(), Some(false));
        assert_eq!(Process { system: "another".to_owned(), ..own }.lives(), None);
    }
}
