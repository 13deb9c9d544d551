//! How long a server may be silent.

use std::future::Future;
use std::time::Duration;

use super::error::NetError;

/// Gives `work`, which is called `step` in errors, as long as the server may be silent.
///
/// # Errors
///
/// [`NetError::Timeout`] where it takes longer.
pub(crate) async fn within<T>(
    step: &'static str,
    after: Duration,
    work: impl Future<Output = T>,
) -> Result<T, NetError> {
    let done = tokio::time::timeout(after, work).await.map_err(|_| NetError::Timeout { step, after })?;
    crate::base::watchdog::beat();
    Ok(done)
}
