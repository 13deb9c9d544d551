//! What a server says beside the protocol: its banner at the login, what its programs print, why it disconnects.

use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use super::error::shown;

/// Longest text that is kept of what is said aside.
const MAX_ASIDE: usize = 512;

/// What one connection was told, shared with the task that speaks on it.
#[derive(Debug, Clone, Default)]
pub(super) struct ServerMessages(Arc<Mutex<Messages>>);

#[derive(Debug, Default)]
struct Messages {
    banner: Option<String>,
    banners: u32,
    aside: Vec<u8>,
    disconnect_reason: Option<String>,
}

impl ServerMessages {
    fn said(&self) -> MutexGuard<'_, Messages> {
        self.0.lock()
    }

    /// The message before or in the middle of a login (RFC 4252 section 5.4).
    pub(super) fn banner(&self, text: &str) {
        let mut said = self.said();
        said.banner = Some(shown(text.as_bytes())).filter(|text| !text.is_empty());
        said.banners = said.banners.saturating_add(1);
    }

    /// Returns how many of them came.
    pub(super) fn banners(&self) -> u32 {
        self.said().banners
    }

    /// What is written to standard error, as it comes.
    pub(super) fn aside(&self, bytes: &[u8]) {
        let mut said = self.said();
        let room = MAX_ASIDE.saturating_sub(said.aside.len());
        said.aside.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
    }

    /// The reason with which the server leaves.
    pub(super) fn leaves(&self, reason: String) {
        self.said().disconnect_reason = Some(reason);
    }

    /// Returns why the server left, in its own words.
    pub(super) fn disconnect_reason(&self) -> Option<String> {
        self.said().disconnect_reason.clone()
    }

    /// The same, or what its programs said before they ended.
    pub(super) fn last(&self) -> Option<String> {
        let said = self.said();
        said.disconnect_reason.clone().or_else(|| Some(shown(&said.aside)).filter(|text| !text.is_empty()))
    }

    /// A reason why nobody is let in, with what the server says to everybody who comes.
    pub(super) fn explain(&self, reason: String) -> String {
        match &self.said().banner {
            Some(banner) if !reason.contains(banner.as_str()) => {
                format!("{reason}; its banner says: {banner}")
            }
            _ => reason,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_words_are_the_reason_or_else_what_was_said_aside_in_bounds() {
        let messages = ServerMessages::default();
        assert_eq!(messages.last(), None);
        messages.aside(&[b'x'; 400]);
        messages.aside(&[b'y'; 400]);
        assert_eq!(messages.said().aside.len(), MAX_ASIDE);
        assert!(messages.last().is_some_and(|said| said.starts_with("xxx") && said.len() <= 200));
        messages.leaves("going down".to_owned());
        assert_eq!(
            (messages.last(), messages.disconnect_reason()),
            (Some("going down".to_owned()), Some("going down".to_owned()))
        );
    }

    #[test]
    fn a_refusal_is_shown_with_the_banner_once() {
        let messages = ServerMessages::default();
        assert_eq!(messages.explain("no".to_owned()), "no");
        messages.banner("Maintenance\nuntil 6 o'clock\n");
        let explained = messages.explain("no".to_owned());
        assert!(explained.starts_with("no; its banner says: Maintenance"), "{explained}");
        assert_eq!(messages.explain(explained.clone()), explained);
    }
}
