//! What earlier transfers left: kept for the next try, or removed once it can be of no use.

use std::time::SystemTime;

use crate::base::names::RemotePath;
use crate::collector::server::Server;
use crate::mirror::partial_files::PartialFiles;
use crate::mirror::partial_name::PartialName;
use crate::mirror::server::PartialState;

/// Remembers what a broken transfer left, where there is something to resume. A server that shows other names in
/// every scan, and sends nothing of them, must fill neither the memory nor the disk.
pub(in crate::collector) fn keep_for_next_try(server: &Server, name: PartialName) {
    match server.mirror().partial(name) {
        PartialState::Unfinished { size }
            if size == 0 || !name.resumes(size) || server.partial_files().is_full() =>
        {
            discard(server, name, PartialState::Unfinished { size });
        }
        PartialState::Missing => {}
        _ => server.partial_files().add(name),
    }
}

/// Removes a partial file of which there is this.
pub(in crate::collector) fn discard(server: &Server, name: PartialName, state: PartialState) {
    match (server.mirror().remove_partial(name), state) {
        (Ok(()), PartialState::Unfinished { size }) => server.counters().partial_gone(size),
        (Ok(()), _) => {}
        (Err(error), _) => {
            log::warn!("cannot remove the partial file {name}: {error}; the next start tries again")
        }
    }
}

/// Removes what is left of a file that is recorded: a run before this one was stopped in between.
pub(in crate::collector) fn discard_known(server: &Server, path: &RemotePath) {
    let left = server.partial_files().take(path);
    left.into_iter().for_each(|name| discard_any(server, name));
}

/// Removes a partial file, or what proves a finished file to be ours without one.
fn discard_any(server: &Server, name: PartialName) {
    match server.mirror().partial(name) {
        PartialState::Missing => drop(server.mirror().remove_partial(name)),
        state => discard(server, name, state),
    }
}

/// Removes all partial files, once none of them can be of use any more.
pub(in crate::collector) fn discard_partial_files(server: &Server) {
    server.shared.partial_files.take();
    let names = match PartialFiles::read(server.mirror()) {
        Ok(left) => left.into_names(),
        Err(error) => return log::warn!("server={} cannot read .partial: {error}", server.settings.name),
    };
    names.for_each(|name| discard_any(server, name));
}

/// The partial files of long ago, among which those are that no listing has a file for.
pub(in crate::collector) fn aged_partial_files(server: &Server) -> PartialFiles {
    PartialFiles::read_aged(server.mirror(), SystemTime::now()).unwrap_or_else(|error| {
        log::warn!("server={} cannot read .partial: {error}", server.settings.name);
        PartialFiles::default()
    })
}

/// Removes partial files of long ago whose files no listing of a whole scan showed. Those of a directory that could
/// not be listed are among them, which costs their bytes once more, should the directory come back.
pub(in crate::collector) fn discard_orphans(server: &Server, orphans: PartialFiles) {
    for name in orphans.into_names() {
        server.partial_files().forget(name);
        let state = server.mirror().partial(name);
        if state != PartialState::Missing {
            log::info!(
                "server={} removes the partial file {name} of {} bytes: its file is gone from the server",
                server.settings.name,
                state.size()
            );
            discard(server, name, state);
        }
    }
}
