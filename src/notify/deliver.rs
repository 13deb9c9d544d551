//! One call of the notify URL.

use std::time::Duration;

use awc::Client;

use super::announce::Caller;

/// More of an answer than this is not read; its connection is closed then.
const MAX_ANSWER: usize = 64 * 1024;

/// Calls by HTTP. Lives on the notifier's thread, which awc needs to be one of actix-rt.
pub struct HttpCaller {
    client: Client,
    timeout: Duration,
}

impl HttpCaller {
    /// A client that gives each call `timeout`, from connecting to the end of the answer. Redirects are not
    /// followed: a 3xx is not delivered.
    #[must_use]
    pub fn new(timeout: Duration) -> Self {
        let connector = awc::Connector::new().timeout(timeout);
        let client = Client::builder()
            .connector(connector)
            .timeout(timeout)
            .disable_redirects()
            .add_default_header(("User-Agent", concat!("mrosync/", env!("CARGO_PKG_VERSION"))))
            .finish();
        Self { client, timeout }
    }
}

#[async_trait::async_trait(?Send)]
impl Caller for HttpCaller {
    async fn call(&self, url: &str) -> Result<(), String> {
        let call = async {
            let mut answer = self.client.get(url).send().await.map_err(|error| error.to_string())?;
            let status = answer.status();
            // read to its end, so that the connection serves the next call too; an answer that is too long or
            // breaks off changes nothing of its status
            drop(answer.body().limit(MAX_ANSWER).await);
            if status.is_success() { Ok(()) } else { Err(format!("the answer is {status}")) }
        };
        let late = |_| format!("no answer within {}", humantime::format_duration(self.timeout));
        tokio::time::timeout(self.timeout, call).await.map_err(late)?
    }
}
