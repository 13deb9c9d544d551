//! The sink of the settings of the moment.

use std::rc::Rc;

use tokio::sync::watch;

use crate::config::NotifySettings;
use crate::notify::sink::Sink;

/// Opens the sink that the settings ask for.
pub type Open<'a> = dyn Fn(&NotifySettings) -> Rc<dyn Sink> + 'a;

/// See the module. One that calls are under way by lives until they have ended.
pub(super) struct CurrentSink<'a> {
    settings: &'a watch::Receiver<NotifySettings>,
    open: &'a Open<'a>,
    opened_by: NotifySettings,
    opened: Rc<dyn Sink>,
}

impl<'a> CurrentSink<'a> {
    pub(super) fn new(settings: &'a watch::Receiver<NotifySettings>, open: &'a Open<'a>) -> Self {
        let opened_by = settings.borrow().clone();
        let opened = open(&opened_by);
        Self { settings, open, opened_by, opened }
    }

    /// Returns the sink for the next call, opened anew where the settings have changed.
    pub(super) fn current(&mut self) -> Rc<dyn Sink> {
        let settings = self.settings.borrow();
        if self.opened_by != *settings {
            self.opened_by = settings.clone();
            self.opened = (self.open)(&settings);
        }
        Rc::clone(&self.opened)
    }
}
