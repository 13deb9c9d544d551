//! Verification: the bytes of a received file.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::os::unix::fs::FileExt;

use mrosync::mirror::verify::{Unreadable, ZipShape, inspect, readable};

/// The reading is ended after so many MiB, whatever an archive promises to hold.
const MOST_LOOKS: u32 = 24;

thread_local! {
    static FILE: RefCell<Option<File>> = const { RefCell::new(None) };
}

/// Whatever the bytes are, the answer comes after bounded reading, and a readable archive that begins as one is whole.
pub fn run(data: &[u8]) {
    FILE.with_borrow_mut(|file| {
        let file = match file {
            Some(file) => file,
            None => file.insert(tempfile::tempfile().expect("a temporary file")),
        };
        file.set_len(0).and_then(|()| file.write_all_at(data, 0)).expect("a written file");
        look(file, data);
    });
}

fn look(file: &File, data: &[u8]) {
    let shape = inspect(file, data.len() as u64).expect("a file that can be read");
    assert_eq!(shape == ZipShape::Empty, data.is_empty());
    let looks = Cell::new(0);
    let stop = || {
        looks.set(looks.get() + 1);
        looks.get() > MOST_LOOKS
    };
    match readable(file, &stop) {
        Ok(()) => assert_ne!(shape, ZipShape::Cut, "readable, and yet cut"),
        Err(Unreadable::Damaged(text)) => super::assert_harmless(&text),
        Err(Unreadable::Stopped) => {}
        Err(Unreadable::Disk(error)) => panic!("the disk is not at fault: {error}"),
    }
}
