//! One logged-in connection to a server: lists and downloads, one at a time, on the same data connections.

use std::time::Duration;

use async_trait::async_trait;

use super::address::FileNames;
use super::control::transport::Tls;
use super::data::open::DataOpener;
use super::download::Downloader;
use super::list::lister::{Lister, Lists};
use crate::base::names::RemotePath;
use crate::protocol::{Confirmation, FileReceiver, FileRequest, Listing, ProtocolError, Received, Summary};

/// A logged-in connection. One operation at a time.
pub struct Session {
    pub(super) opener: DataOpener,
    pub(super) lists: Lists,
    pub(super) names: FileNames,
}

impl Session {
    fn lister(&mut self) -> Lister<'_> {
        Lister { opener: &mut self.opener, lists: &mut self.lists }
    }

    fn downloader(&mut self) -> Downloader<'_> {
        Downloader { opener: &mut self.opener, names: &self.names }
    }
}

#[async_trait(?Send)]
impl crate::protocol::Session for Session {
    fn is_reusable(&self) -> bool {
        self.opener.control.is_reusable()
    }

    /// That of the control connection.
    fn tls_version(&self) -> Option<&'static str> {
        self.opener.control.tls().and_then(Tls::version)
    }

    async fn size(&mut self, path: &RemotePath) -> Result<Option<u64>, ProtocolError> {
        Ok(self.downloader().size(path.wire()).await?)
    }

    async fn list<'s>(&'s mut self, path: &RemotePath) -> Result<Box<dyn Listing + 's>, ProtocolError> {
        Ok(Box::new(self.lister().list(path).await?))
    }

    async fn confirm_listing(
        &mut self,
        path: &RemotePath,
        summary: &Summary,
        expected: bool,
    ) -> Result<Confirmation, ProtocolError> {
        Ok(self.lister().confirm(path, summary, expected).await?)
    }

    async fn fetch(
        &mut self,
        request: FileRequest<'_>,
        receiver: &mut dyn FileReceiver,
    ) -> Result<Received, ProtocolError> {
        Ok(self.downloader().download(request, receiver).await?)
    }

    async fn quit(self: Box<Self>, limit: Duration) {
        self.opener.control.quit(limit).await;
    }
}
