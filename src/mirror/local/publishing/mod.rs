//! Whole files get their final names, many at a time.
//!
//! [`batch`] stores some durably; [`publisher`] gathers them on a thread of its own, [`syncfs`] syncs the file system once
//! for many; [`staged`] is a file that waits for it.

pub(in crate::mirror::local) mod batch;
pub(in crate::mirror::local) mod publisher;
pub(in crate::mirror::local) mod staged;
pub(in crate::mirror::local) mod syncfs;
