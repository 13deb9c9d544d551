//! Verification: the bytes of a received file.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::os::unix::fs::FileExt;

use mrosync::archive::{Content, Flaw, Formats, Interrupted, prove, prove_small};

/// The reading is ended after so many MiB, whatever an archive promises to hold.
const MOST_LOOKS: u32 = 24;

thread_local! {
    static FILE: RefCell<Option<File>> = const { RefCell::new(None) };
}

/// Whatever the bytes are, the answer comes after bounded reading, and is the same in memory as from the disk.
pub fn run(data: &[u8]) {
    FILE.with_borrow_mut(|file| {
        let file = match file {
            Some(file) => file,
            None => file.insert(tempfile::tempfile().expect("a temporary file")),
        };
        file.set_len(0).and_then(|()| file.write_all_at(data, 0)).expect("a written file");
        [Formats::Zip, Formats::Any].into_iter().for_each(|formats| look(file, data, formats));
    });
}

fn look(file: &File, data: &[u8], formats: Formats) {
    let size = data.len() as u64;
    let small = prove_small(file, size, formats).expect("a file that can be read");
    let looks = Cell::new(0);
    let stop = || {
        looks.set(looks.get() + 1);
        looks.get() > MOST_LOOKS
    };
    let content = match prove(file, size, formats, &stop) {
        Ok(content) => content,
        Err(Interrupted::Stopped) => return,
        Err(Interrupted::Disk(error)) => panic!("the disk is not at fault: {error}"),
    };
    assert!(small.is_none_or(|small| small == content), "{content:?} on the disk and not in memory");
    assert_eq!(content == Content::Empty, data.is_empty());
    match content {
        Content::Archive(archive) => assert!(archive.before + archive.behind < size),
        Content::Unfinished(Flaw::Damaged(text)) | Content::UnfinishedGzip(Flaw::Damaged(text)) => {
            super::assert_harmless(&text)
        }
        Content::Gzip | Content::UnfinishedGzip(_) => assert_eq!(formats, Formats::Any),
        _ => {}
    }
}
