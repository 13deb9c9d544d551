//! What holds for any bytes: names from listings, by way of the mirror, on a real file system.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use encoding_rs::{BIG5, Encoding, GB18030, GBK, SHIFT_JIS, UTF_8, WINDOWS_1252};
use mrosync::base::names::{RemoteName, RemotePath, ServerName};
use mrosync::ftp::listing::ListingParser;
use mrosync::mirror::at;
use mrosync::mirror::partial::Partial;
use mrosync::mirror::partial_name::PartialName;
use mrosync::mirror::server::{PartialFile, ServerMirror, Target};
use mrosync::mirror::store::{Deleted, MirrorStore};
use mrosync::protocol::{Entry, Kind};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use rustix::fs::{Mode, OFlags};
use tempfile::TempDir;

const ENCODINGS: [&Encoding; 6] = [UTF_8, GBK, GB18030, WINDOWS_1252, SHIFT_JIS, BIG5];

/// Cases of a run; the same ones in every run. `PROPTEST_CASES=10000` looks further.
const CASES: u32 = 96;

/// One line of a listing: a directory or a file, and a name of any bytes.
type Line = (bool, Vec<u8>);

/// Pieces that names are made of: any bytes, and those that lead somewhere.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let telling: Vec<&'static [u8]> = vec![
        b"..",
        b".",
        b"/",
        b"\0",
        b"\r",
        b"\n",
        b"\\",
        b"%2F",
        b"%2e%2e",
        b"%FF",
        b"\xff",
        b"%",
        b"\xe4\xb8\xad",
        b"\xd6\xd0",
        b"\xa3\xaf",
        b"\xef\xbc\x8f",
        b"\xc0\xaf",
        b"\xc0\xae",
        b"\x81\x30\x81\x30",
        b"\x8e\x5c",
        b" ",
        b"; ",
        b" -> ",
        b"link",
        b"up",
        b"omc02",
        b".partial",
        b"a",
        b"A",
        b"\x1b[2J",
        b"\xe2\x80\xae",
        b"~",
        b"-",
    ];
    prop_oneof![
        3 => prop::sample::select(telling).prop_map(<[u8]>::to_vec),
        1 => vec(any::<u8>(), 0..6),
        1 => (any::<u8>(), 80..260_usize).prop_map(|(byte, times)| vec![byte; times]),
    ]
}

fn line() -> impl Strategy<Value = Line> {
    let ending = prop_oneof![3 => Just(&b".zip"[..]), 1 => Just(&b".ZIP"[..]), 1 => Just(&b""[..])];
    (any::<bool>(), vec(piece(), 0..4), ending).prop_map(|(directory, pieces, ending)| {
        let mut name = pieces.concat();
        if !directory {
            name.extend_from_slice(ending);
        }
        (directory, name)
    })
}

/// The world around a mirror, in which nothing may change.
struct World {
    directory: TempDir,
    mirror: Arc<dyn MirrorStore>,
    server: Arc<dyn ServerMirror>,
    before: BTreeMap<PathBuf, String>,
}

impl World {
    /// A mirror with a neighbour, something precious outside, and links to it planted in the mirror.
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let base = directory.path();
        let (root, outside) = (base.join("sync"), base.join("outside"));
        for made in ["outside/a", "sync/omc02/a", "sync/omc01/a"] {
            fs::create_dir_all(base.join(made)).unwrap();
        }
        for precious in ["outside/precious.zip", "outside/a/a.zip", "sync/omc02/a.zip", "sync/precious.zip"] {
            fs::write(base.join(precious), precious).unwrap();
        }
        let own = root.join("omc01");
        fs::write(own.join("theirs.zip"), "theirs").unwrap();
        symlink(&outside, own.join("link")).unwrap();
        symlink("../omc02", own.join("up")).unwrap();
        symlink("..", own.join("a/up")).unwrap();
        symlink(outside.join("precious.zip"), own.join("link.zip")).unwrap();
        symlink(outside.join("new.zip"), own.join("a.zip")).unwrap();
        let mirror = at(&root).open().unwrap();
        let server = mirror.server(&ServerName::new("omc01").unwrap()).unwrap();
        let mut world = Self { directory, mirror, server, before: BTreeMap::new() };
        world.before = world.around();
        world
    }

    /// Everything but what the server's own two directories hold, and the links and files planted there.
    fn around(&self) -> BTreeMap<PathBuf, String> {
        let base = self.directory.path();
        let mut seen = BTreeMap::new();
        look(base, &[base.join("sync/omc01"), base.join("sync/.partial/omc01")], &mut seen);
        for planted in ["theirs.zip", "link", "up", "a/up", "link.zip", "a.zip"] {
            let path = base.join("sync/omc01").join(planted);
            seen.insert(path.clone(), describe(&path));
        }
        seen
    }
}

/// Every path below `directory`, but nothing in the directories `apart`.
fn look(directory: &Path, apart: &[PathBuf], seen: &mut BTreeMap<PathBuf, String>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        seen.insert(path.clone(), describe(&path));
        if path.symlink_metadata().unwrap().is_dir() && !apart.contains(&path) {
            look(&path, apart, seen);
        }
    }
}

/// What lies at a path, links not followed.
fn describe(path: &Path) -> String {
    let Ok(metadata) = path.symlink_metadata() else { return "nothing".to_owned() };
    if metadata.is_dir() {
        "a directory".to_owned()
    } else if metadata.is_symlink() {
        format!("a link to {}", fs::read_link(path).unwrap().display())
    } else {
        format!("a file: {}", String::from_utf8_lossy(&fs::read(path).unwrap()))
    }
}

/// What a server lists, as the scanner gets it.
fn listed(lines: &[Line], mlsd: bool, encoding: &'static Encoding) -> Vec<Entry> {
    let mut bytes = Vec::new();
    for (directory, name) in lines {
        let facts: &[u8] = match (mlsd, directory) {
            (true, true) => b"type=dir; ",
            (true, false) => b"type=file;size=4;modify=20261123030000; ",
            (false, true) => b"drwxr-xr-x 1 u g 4 Nov 23 03:00 ",
            (false, false) => b"-rw-r--r-- 1 u g 4 Nov 23 03:00 ",
        };
        bytes.extend_from_slice(&[facts, name, b"\r\n"].concat());
    }
    let mut parser = match mlsd {
        true => ListingParser::mlsd(encoding),
        false => ListingParser::list(encoding, chrono::DateTime::UNIX_EPOCH),
    };
    let mut entries = Vec::new();
    parser.feed(&bytes, &mut entries);
    parser.finish(&mut entries);
    entries
}

/// A file as the scanner hands it on: whole, in `.partial`, with a content of its own.
fn whole(world: &World, directory: &RemotePath, entry: &Entry, content: &[u8]) -> Arc<dyn PartialFile> {
    let partial = PartialName::new(&directory.join(&entry.name), entry.facts);
    let mut file = Partial::open(&*world.server, partial, 1 << 20).unwrap();
    file.append(content).unwrap();
    file.into_file()
}

/// The bytes of a mirrored file, reached without following a link.
fn mirrored(world: &World, directory: &RemotePath, name: &RemoteName) -> Vec<u8> {
    let mut home = fs::File::open(world.directory.path().join("sync/omc01")).unwrap();
    for component in directory.components() {
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW;
        let below = rustix::fs::openat(&home, component, flags, Mode::empty());
        home = below.expect("the directory of a stored file").into();
    }
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW;
    let file = rustix::fs::openat(home.as_fd(), name.text(), flags, Mode::empty()).expect("a stored file");
    let mut content = Vec::new();
    fs::File::from(file).read_to_end(&mut content).unwrap();
    content
}

/// interface 10.28
#[test]
fn whatever_a_server_lists_nothing_is_touched_outside_its_directory_and_nothing_is_overwritten() {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(CASES);
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 2000, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let strategy = (vec(line(), 1..6), vec(line(), 1..6), any::<bool>(), 0..ENCODINGS.len());
    let outcome = runner.run(&strategy, |(top, below, mlsd, encoding)| {
        mirror(&top, &below, mlsd, ENCODINGS[encoding]);
        Ok(())
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
}

/// Mirrors a server whose root holds `top`, and every directory in it `below`.
fn mirror(top: &[Line], below: &[Line], mlsd: bool, encoding: &'static Encoding) {
    let world = World::new();
    let (mut directories, mut files) = (vec![RemotePath::root()], Vec::new());
    for entry in listed(top, mlsd, encoding) {
        match entry.kind {
            Kind::Directory => directories.push(RemotePath::root().join(&entry.name)),
            _ => files.push((RemotePath::root(), entry)),
        }
    }
    for directory in directories.iter().skip(1) {
        files.extend(listed(below, mlsd, encoding).into_iter().map(|entry| (directory.clone(), entry)));
    }
    for directory in &directories {
        // a link or a file in the way costs this one alone
        drop(world.server.directory(directory));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut stored: BTreeMap<Vec<u8>, (RemotePath, RemoteName, Vec<u8>)> = BTreeMap::new();
    for (number, (directory, entry)) in files.iter().enumerate() {
        assert!(top.iter().chain(below).any(|(_, name)| passes_for(name, entry.name.wire())), "{entry:?}");
        let path = directory.join(&entry.name);
        if entry.kind != Kind::File || stored.contains_key(path.wire()) {
            continue;
        }
        let content = format!("content {number}").into_bytes();
        let (home, name) = (Arc::new(directory.clone()), entry.name.clone());
        let target = Target { directory: home, name, replaces: false, pulse: None };
        let file = whole(&world, directory, entry, &content);
        if runtime.block_on(file.publish(target)).is_ok() {
            stored.insert(path.wire().to_vec(), (directory.clone(), entry.name.clone(), content));
        }
    }
    for (directory, name, content) in stored.values() {
        assert_eq!(&mirrored(&world, directory, name), content, "{name:?} was overwritten");
    }
    assert_eq!(world.around(), world.before, "something was touched outside");
    // what the quota deletes is what was stored, and nothing else
    let server = ServerName::new("omc01").unwrap();
    for (directory, name, _) in stored.values() {
        let path = directory.join(name);
        assert!(world.mirror.is_present(&server, &path).unwrap());
        assert!(matches!(world.mirror.delete(&server, &path), Ok(Deleted::Removed { .. })));
    }
    for (directory, entry) in &files {
        // one that was never stored may stand for a link or for somebody's file, which only stored paths reach
        drop(world.mirror.is_present(&server, &directory.join(&entry.name)));
    }
    assert_eq!(world.around(), world.before, "something was deleted outside");
}

/// Whether an entry of this name can come from a line that was written with `written`: the line may have ended
/// earlier, or lost what `ls` marks directories and links with.
fn passes_for(written: &[u8], wire: &[u8]) -> bool {
    written.windows(wire.len()).any(|window| window == wire)
}
