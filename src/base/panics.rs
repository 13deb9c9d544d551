//! Whose thread it is that panics, and where: for the log, for `status`, and for whoever begins again.
//!
//! Each thread may be told for whom it works. The panic hook ([`crate::logging::log_panics`]) asks for that, and
//! leaves what it logged behind, for the code on the same thread that outlives the panic.

use std::cell::RefCell;

thread_local! {
    static OWNER: RefCell<String> = const { RefCell::new(String::new()) };
    static LAST: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// From now on this thread works for `owner`, such as `server=omc01`.
pub fn own_thread(owner: &str) {
    OWNER.with(|own| own.replace(owner.to_owned()));
}

/// For whom this thread works; empty where nobody has said.
#[must_use]
pub fn owner() -> String {
    // no panic from within the hook, whatever the thread is doing
    OWNER.try_with(|own| own.try_borrow().map(|own| own.clone()).unwrap_or_default()).unwrap_or_default()
}

/// Keeps the words for a panic of this thread.
pub fn note(words: &str) {
    let keep = |last: &RefCell<Option<String>>| {
        if let Ok(mut last) = last.try_borrow_mut() {
            *last = Some(words.to_owned());
        }
    };
    // a thread that is ending has nobody to read them
    LAST.try_with(keep).unwrap_or_default();
}

/// Takes the words for the last panic of this thread.
#[must_use]
pub fn take_last() -> Option<String> {
    LAST.with(|last| last.take())
}
