//! Faults on purpose: the tests of the supervision let the real program panic or hang at a named place.
//!
//! `MROSYNC_FAULT=place=kind,place:who=kind*2` names places (the calls of [`here`] and [`hang_here`]), what happens
//! there, and how often, if not each time: `panic` panics, `block` never lets the thread go on, `hang` lets the one
//! future wait for ever, `refuse` makes a call of the system fail (see [`refuses`]), `pass` lets it pass. Of several for
//! one place each has its turn once the one before is used up. Builds without debug assertions, released ones among
//! them, have none of this.

use std::future::Future;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// The faults, as above.
const FAULTS: &str = "MROSYNC_FAULT";
/// After how many milliseconds of silence a scan is stuck; the limit of the settings is too long for a test.
const STUCK_AFTER: &str = "MROSYNC_STUCK_AFTER_MS";
/// After how many milliseconds a file that is no zip archive is taken.
const STAYS: &str = "MROSYNC_STAYS_MS";
/// After how many milliseconds a file stands still.
const STANDS: &str = "MROSYNC_STANDS_MS";

/// Nothing, or the fault that is wanted at `place`, for the part of the program that is called `who`.
///
/// # Panics
///
/// Where that is the fault.
#[track_caller]
pub fn here(place: &str, who: &str) {
    match wanted(place, who) {
        None | Some(Kind::Pass | Kind::Refuse) => {}
        Some(Kind::Panic) => panic!("a fault on purpose at {place}"),
        Some(Kind::Block | Kind::Hang) => block(),
    }
}

/// The same where a future can wait.
///
/// # Panics
///
/// Where that is the fault.
#[track_caller]
pub fn hang_here(place: &str, who: &str) -> impl Future<Output = ()> + use<> {
    let hangs = match wanted(place, who) {
        None | Some(Kind::Pass | Kind::Refuse) => false,
        Some(Kind::Panic) => panic!("a fault on purpose at {place}"),
        Some(Kind::Block) => block(),
        Some(Kind::Hang) => true,
    };
    async move {
        if hangs {
            std::future::pending().await
        }
    }
}

/// Returns whether a call of the system at `place` is to fail, as on a machine that lacks what it asks for.
#[must_use]
pub fn refuses(place: &str, who: &str) -> bool {
    wanted(place, who) == Some(Kind::Refuse)
}

/// The limit of silence that a test wants.
#[must_use]
pub fn stuck_after() -> Option<Duration> {
    if !cfg!(debug_assertions) {
        return None;
    }
    std::env::var(STUCK_AFTER).ok()?.parse().ok().map(Duration::from_millis)
}

/// Returns how long what is no archive must stay the same, where a test does not want to wait.
#[must_use]
pub fn stays() -> Option<Duration> {
    if !cfg!(debug_assertions) {
        return None;
    }
    std::env::var(STAYS).ok()?.parse().ok().map(Duration::from_millis)
}

/// Returns how long what stands still must do so at least, where a test does not want to wait.
#[must_use]
pub fn stands() -> Option<Duration> {
    if !cfg!(debug_assertions) {
        return None;
    }
    std::env::var(STANDS).ok()?.parse().ok().map(Duration::from_millis)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Panic,
    Block,
    Hang,
    Refuse,
    Pass,
}

#[derive(Debug)]
struct Fault {
    /// `place` or `place:who`.
    place: String,
    kind: Kind,
    left: AtomicU32,
}

fn wanted(place: &str, who: &str) -> Option<Kind> {
    static WANTED: OnceLock<Vec<Fault>> = OnceLock::new();
    if !cfg!(debug_assertions) {
        return None;
    }
    let faults = WANTED.get_or_init(|| parse(&std::env::var(FAULTS).unwrap_or_default()));
    let is_meant = |fault: &&Fault| match fault.place.split_once(':') {
        Some((at, of)) => at == place && of == who,
        None => fault.place == place,
    };
    let count_down = |left: u32| left.checked_sub(1);
    let is_left =
        |fault: &&Fault| fault.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, count_down).is_ok();
    faults.iter().filter(is_meant).find(is_left).map(|fault| fault.kind)
}

fn parse(faults: &str) -> Vec<Fault> {
    let fault = |text: &str| {
        let (place, kind) = text.rsplit_once('=')?;
        let (kind, left) = match kind.split_once('*') {
            Some((kind, times)) => (kind, times.parse().ok()?),
            None => (kind, u32::MAX),
        };
        let kind = match kind {
            "panic" => Kind::Panic,
            "block" => Kind::Block,
            "hang" => Kind::Hang,
            "refuse" => Kind::Refuse,
            "pass" => Kind::Pass,
            _ => return None,
        };
        Some(Fault { place: place.to_owned(), kind, left: AtomicU32::new(left) })
    };
    faults.split(',').filter_map(fault).collect()
}

fn block() -> ! {
    loop {
        std::thread::park();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_read_with_their_place_kind_and_number() {
        let faults = parse("scan:omc01=panic*2,keeper=block,nonsense,x=y");
        let read: Vec<_> = faults
            .iter()
            .map(|fault| (fault.place.as_str(), fault.kind, fault.left.load(Ordering::Relaxed)))
            .collect();
        assert_eq!(read, [("scan:omc01", Kind::Panic, 2), ("keeper", Kind::Block, u32::MAX)]);
    }
}
