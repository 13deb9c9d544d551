//! One directory of a scan: listed as often as it takes, and what is found queued.

use tokio::time::Instant;

use super::directory::{Directory, home};
use super::loops::is_loop;
use crate::base::humanize;
use crate::base::names::{Printable, RemotePath};
use crate::collector::job::DirectoryJob;
use crate::collector::scan_state::ScanState;
use crate::protocol::{Confirmation, Fingerprint, ProtocolError, Session, Summary};

/// Ways of listing that a directory is tried in, one after the other.
pub(in crate::collector) const MAX_WAYS: usize = 5;

/// Numbers of entries at which servers are known to cut a listing without a word: 10,000 lines, with or without those
/// for the directory itself and its parent.
const SUSPICIOUS: [u64; 2] = [9_998, 10_000];

/// Lists the directory of `job`, and queues what is found. Entries are used as they come, a thousand together:
/// fetching begins while a long listing is still going on.
///
/// # Errors
///
/// When the listing is incomplete; what came of it is queued all the same.
pub(in crate::collector) async fn list_directory(
    scan: &ScanState<'_>,
    session: &mut dyn Session,
    job: &DirectoryJob,
) -> Result<(), ProtocolError> {
    let server = scan.server;
    let key = server.memory().key(&job.path);
    if let Some(every) = server.quiet_directories()
        && let Some(files) = server.listing_cache.borrow().rests(key, every, Instant::now())
    {
        scan.count_directory(files);
        return Ok(());
    }
    let walked = match list_until_settled(scan, session, job, key).await? {
        Walk::Done(walked) => walked,
        Walk::SameAgain | Walk::Again => {
            let files = server.listing_cache.borrow_mut().same_again(key, Instant::now());
            scan.count_directory(files);
            return Ok(());
        }
    };
    server.memory().filled(&job.path, !walked.is_empty());
    if walked.asks_for_nothing(job) {
        server.listing_cache.borrow_mut().remember(key, walked.listing, walked.files, Instant::now());
    }
    scan.count_directory(0);
    report(scan, &job.path, &walked.summary);
    Ok(())
}

/// What the listing of a directory amounted to.
struct Walked {
    summary: Summary,
    /// Wanted files in it.
    files: u64,
    /// All of it.
    listing: Fingerprint,
    /// No directory was found in it and every file is on record.
    is_quiet: bool,
}

impl Walked {
    fn is_empty(&self) -> bool {
        self.summary.is_empty()
    }

    /// Returns whether the same listing again would be nothing to look into: nothing to fetch, to descend
    /// into or to tell.
    fn asks_for_nothing(&self, job: &DirectoryJob) -> bool {
        let tells = self.summary.unused() > 0 || SUSPICIOUS.contains(&self.summary.entries);
        self.is_quiet && !tells && !(job.depth == 0 && self.is_empty())
    }
}

/// What became of listing a directory.
enum Walk {
    /// Its listing is what it was when it asked for nothing.
    SameAgain,
    /// Another way of listing is used from now on.
    Again,
    Done(Box<Walked>),
}

/// Lists the directory, and again as long as the way in which it is listed changes.
async fn list_until_settled(
    scan: &ScanState<'_>,
    session: &mut dyn Session,
    job: &DirectoryJob,
    key: u64,
) -> Result<Walk, ProtocolError> {
    for _ in 0..MAX_WAYS {
        match walk(scan, session, job, key).await? {
            Walk::Again => {}
            settled => return Ok(settled),
        }
    }
    let text = "each way of listing it contradicts the others";
    Err(ProtocolError::listing_cut(text))
}

/// Lists the directory once.
async fn walk(
    scan: &ScanState<'_>,
    session: &mut dyn Session,
    job: &DirectoryJob,
    key: u64,
) -> Result<Walk, ProtocolError> {
    let mut listing = session.list(&job.path).await?;
    let before = scan.server.listing_cache.borrow().listing(key);
    if let Some(before) = before
        && listing.is_unchanged(before).await
    {
        if job.depth == 0 {
            // any other is made when the one above it is listed
            home(scan, job)?;
        }
        listing.finish(&mut Vec::new()).await?;
        return Ok(Walk::SameAgain);
    }
    scan.server.listing_cache.borrow_mut().forget(key);
    let mut directory = Directory::of(scan, job)?;
    directory.on_trial = listing.is_tentative().then(Vec::new);
    let mut entries = Vec::new();
    loop {
        let more = listing.next(&mut entries).await;
        directory.own = listing.own_unique();
        directory.take(&mut entries).await?;
        match more {
            Ok(true) => {}
            Ok(false) => break,
            Err(error) => {
                directory.use_what_came().await?;
                return Err(error);
            }
        }
    }
    let fingerprint = listing.fingerprint();
    let verdict = listing.finish(&mut entries).await;
    directory.take(&mut entries).await?;
    let Ok(summary) = &verdict else {
        directory.use_what_came().await?;
        return verdict.map(|_| Walk::Again);
    };
    if directory.is_another() {
        return Err(ProtocolError::listing_of_another());
    }
    let expected = job.depth == 0 || scan.server.memory().was_filled(&job.path);
    if let Confirmation::ListAgain(told) = session.confirm_listing(&job.path, summary, expected).await? {
        if let Some(told) = told {
            log::warn!("server={} path={}: {told}", scan.server.settings.name, job.path);
        }
        scan.tally.borrow_mut().files -= directory.files;
        return Ok(Walk::Again);
    }
    directory.confirm().await?;
    let known = (summary.is_telling && directory.is_untouched()).then_some(summary.fingerprint);
    if let Some(fingerprint) = known
        && is_loop(session, scan.server.settings.encoding, job, fingerprint).await?
    {
        let above = "the same as a directory above it, and leads to itself again and again";
        scan.leave_out(&job.path, &above, "not followed");
    } else {
        directory.use_all(known).await?;
    }
    let Directory { files, is_quiet, .. } = directory;
    Ok(Walk::Done(Box::new(Walked { summary: verdict?, files, listing: fingerprint, is_quiet })))
}

/// Lines and names that are not used are counted, and shown by one sample; so is a listing that may have been cut.
fn report(scan: &ScanState<'_>, path: &RemotePath, summary: &Summary) {
    if SUSPICIOUS.contains(&summary.entries) {
        scan.tally.borrow_mut().cut_listings += 1;
        let text = format!("exactly {} entries, where some servers cut a listing unsaid", summary.entries);
        scan.warn_once(path, &text, "what it shows is used");
    }
    let lost = summary.unused();
    if lost == 0 {
        return;
    }
    scan.tally.borrow_mut().not_understood += lost;
    let sample = summary.unused_sample().unwrap_or("(too long)");
    let text = format!(
        "{} not usable, the first: {}",
        humanize::count_is(lost, "line of the listing"),
        Printable(sample)
    );
    scan.warn_once(path, &text, "the rest of the directory is used");
}
