//! What earlier transfers left: kept for the next try, or removed once it can be of no use.

use std::time::SystemTime;

use crate::base::names::RemotePath;
use crate::collector::server::Server;
use crate::mirror::local::tree::{ServerMirror, size_of_stat};
use crate::mirror::partial::{Leftovers, remove, stat};
use crate::mirror::partial_name::PartialName;
use crate::quota::DiskCounters;

/// Remembers what a broken transfer left, where there is something to resume. A server that shows other names in
/// every scan, and sends nothing of them, must fill neither the memory nor the disk.
pub(in crate::collector) fn keep_for_next_try(server: &Server, name: PartialName) {
    match stat(server.mirror(), name) {
        Some(stat)
            if stat.st_nlink == 1
                && (stat.st_size == 0
                    || !name.resumes(size_of_stat(&stat))
                    || server.partial_files().is_full()) =>
        {
            discard(server.mirror(), server.counters(), name, &stat);
        }
        Some(_) => server.partial_files().add(name),
        None => {}
    }
}

pub(in crate::collector) fn discard(
    mirror: &ServerMirror,
    counters: &DiskCounters,
    name: PartialName,
    stat: &rustix::fs::Stat,
) {
    match remove(mirror, name) {
        Ok(()) if stat.st_nlink == 1 => counters.partial_gone(size_of_stat(stat)),
        Ok(()) => {}
        Err(error) => {
            log::warn!("cannot remove the partial file {name}: {error}; the next start tries again")
        }
    }
}

/// Removes what is left of a file that is recorded: a run before this one was stopped in between.
pub(in crate::collector) fn discard_known(server: &Server, path: &RemotePath) {
    let leftovers = server.partial_files().take(path);
    leftovers.into_iter().for_each(|name| discard_any(server, name));
}

/// Removes a partial file, or what is left of it where it was moved to its final name.
fn discard_any(server: &Server, name: PartialName) {
    match stat(server.mirror(), name) {
        Some(stat) => discard(server.mirror(), server.counters(), name, &stat),
        None if server.mirror().renames() => drop(remove(server.mirror(), name)),
        None => {}
    }
}

/// Removes all partial files, once none of them can be of use any more.
pub(in crate::collector) fn discard_leftovers(server: &Server) {
    server.shared.partial_files.take();
    let names = match Leftovers::read(server.mirror()) {
        Ok(leftovers) => leftovers.into_names(),
        Err(error) => return log::warn!("server={} cannot read .partial: {error}", server.settings.name),
    };
    names.for_each(|name| discard_any(server, name));
}

/// The partial files of long ago, among which those are that no listing claims.
pub(in crate::collector) fn aged_leftovers(server: &Server) -> Leftovers {
    Leftovers::read_aged(server.mirror(), SystemTime::now()).unwrap_or_else(|error| {
        log::warn!("server={} cannot read .partial: {error}", server.settings.name);
        Leftovers::default()
    })
}

/// Removes partial files of long ago whose files no listing of a whole scan showed. Those of a directory that could
/// not be listed are among them, which costs their bytes once more, should the directory come back.
pub(in crate::collector) fn discard_unclaimed(server: &Server, unclaimed: Leftovers) {
    for name in unclaimed.into_names() {
        server.partial_files().forget(name);
        if let Some(stat) = stat(server.mirror(), name) {
            let size = size_of_stat(&stat);
            log::info!(
                "server={} removes the partial file {name} of {size} bytes: its file is gone from the server",
                server.settings.name
            );
            discard(server.mirror(), server.counters(), name, &stat);
        }
    }
}
