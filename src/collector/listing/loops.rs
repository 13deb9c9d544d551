//! Directories that contain themselves: links and junctions which a server shows as directories.
//!
//! Where MLSD has the `unique` fact, that tells. Elsewhere a directory whose whole listing equals that of one above it
//! is suspected, names, sizes and times, one file with size and time at least. An honest tree may hold a copy of
//! itself, and must be mirrored completely; so the suspicion is tried: the way that leads from the one to the
//! other is gone several times more, and only where it leads to the same listing again it is a loop.

use encoding_rs::Encoding;

use crate::base::names::{RemoteName, RemotePath};
use crate::collector::job::{DirectoryJob, Lineage};
use crate::protocol::{ErrorScope, ProtocolError, Session};

/// How many times more the way is gone. Systems follow 40 links in a path and no more.
const ROUNDS: usize = 4;
/// Longest path that is asked for; systems take up to 4096 bytes.
const MAX_PATH_BYTES: usize = 4000;

/// Returns whether the directory of `job`, whose listing has this `fingerprint`, is one of those above it by
/// another name.
///
/// # Errors
///
/// When the connection breaks. A refusal is an answer: no loop.
pub(super) async fn is_loop(
    session: &mut dyn Session,
    encoding: &'static Encoding,
    job: &DirectoryJob,
    fingerprint: u64,
) -> Result<bool, ProtocolError> {
    let mut above = Lineage::upwards(job.above.as_ref());
    let Some(levels) = above.position(|directory| directory.listing == Some(fingerprint)) else {
        return Ok(false);
    };
    let Some(further) = further(&job.path, levels + 1, encoding) else { return Ok(false) };
    let outcome = async {
        let mut listing = session.list(&further).await?;
        let mut entries = Vec::new();
        while listing.next(&mut entries).await? {
            entries.clear();
        }
        listing.finish(&mut entries).await
    };
    match outcome.await {
        Ok(summary) => Ok(summary.fingerprint == fingerprint),
        Err(error) if error.scope() == ErrorScope::Entry => Ok(false),
        Err(error) => Err(error),
    }
}

/// The path with its last `levels` components repeated; `None` where that would be too long.
fn further(path: &RemotePath, levels: usize, encoding: &'static Encoding) -> Option<RemotePath> {
    let components: Vec<&[u8]> = path.wire().split(|byte| *byte == b'/').collect();
    let way = components.get(components.len().checked_sub(levels)?..)?;
    let mut further = path.clone();
    for component in way.iter().cycle().take(levels * ROUNDS) {
        further = further.join(&RemoteName::from_wire(component, encoding).ok()?);
    }
    (further.wire().len() <= MAX_PATH_BYTES).then_some(further)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::fixtures::path;

    #[test]
    fn the_way_is_gone_again_and_again_as_far_as_a_path_may_be_long() {
        let expected = path(&("/x/a/b".to_owned() + &"/a/b".repeat(ROUNDS)));
        assert_eq!(further(&path("/x/a/b"), 2, encoding_rs::UTF_8), Some(expected));
        assert_eq!(further(&path(&format!("/{}", "a".repeat(250)).repeat(10)), 5, encoding_rs::UTF_8), None);
        assert_eq!(further(&path("/a"), 3, encoding_rs::UTF_8), None);
    }
}
