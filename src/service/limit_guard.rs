//! A limit that is lower than the one before deletes at once. Where that is much, or not announced yet, it waits until an
//! operator confirms it, and the limit of before stays in force: one wrong digit would empty the mirror within a second.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::actors::Address;
use crate::actors::quota_warden::{QuotaWarden, Weigh};
use crate::actors::record_keeper::{RecordKeeper, Request};
use crate::base::humanize::why;
use crate::base::json;
use crate::config::QuotaSettings;
use crate::quota::weigh::Cost;
use crate::records::{RecordStore, Work};

/// Under which the limits in force are remembered.
const LIMITS: &str = "limits";
/// For measuring, and for the records to be asked which files would go.
const WEIGH_LIMIT: Duration = Duration::from_secs(10);
/// A number that was told holds while what it stands for has grown by no more than this part.
const GROWTH_PART: u64 = 10;

/// Limits as they are remembered.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Remembered {
    max_used_percent: f64,
    max_bytes: Option<u64>,
}

impl Remembered {
    fn text(limits: QuotaSettings) -> String {
        let QuotaSettings { max_used_percent, max_bytes } = limits;
        json::to_string(&Self { max_used_percent, max_bytes }).unwrap_or_default()
    }

    fn read(text: &str) -> Option<QuotaSettings> {
        let Self { max_used_percent, max_bytes } = serde_json::from_str(text).ok()?;
        Some(QuotaSettings { max_used_percent, max_bytes })
    }
}

/// The limits that were in force last, where `wanted` is lower than they are. Else those that are wanted are remembered.
///
/// # Errors
///
/// When the records cannot be read. What they cannot remember is compared with later.
pub(super) fn lowered(
    records: &mut dyn RecordStore,
    wanted: QuotaSettings,
) -> anyhow::Result<Option<QuotaSettings>> {
    let before = records.remembered(LIMITS)?.and_then(|text| Remembered::read(&text));
    if let Some(before) = before.filter(|before| is_lower(*before, wanted)) {
        return Ok(Some(before));
    }
    // a start without a change writes nothing: the disk may be full
    if before != Some(wanted)
        && let Err(error) = records.remember(LIMITS, &Remembered::text(wanted))
    {
        log::info!("the limit in force cannot be remembered: {error}");
    }
    Ok(None)
}

/// One of the two limits leaves less than before.
fn is_lower(before: QuotaSettings, wanted: QuotaSettings) -> bool {
    let bytes = |limits: QuotaSettings| limits.max_bytes.unwrap_or(u64::MAX);
    wanted.max_used_percent < before.max_used_percent || bytes(wanted) < bytes(before)
}

/// See the module.
pub(super) struct LimitGuard {
    keeper: Address<RecordKeeper>,
    warden: Address<QuotaWarden>,
    /// Of the configuration that the process began with.
    lowered_before: Mutex<Option<QuotaSettings>>,
    /// How many files were told last, and of which limit.
    told: Mutex<Option<(QuotaSettings, u64)>>,
    waiting: Arc<Mutex<Option<String>>>,
}

impl LimitGuard {
    pub(super) fn new(
        keeper: Address<RecordKeeper>,
        warden: Address<QuotaWarden>,
        lowered_before: Option<QuotaSettings>,
    ) -> Self {
        let (told, waiting) = Default::default();
        Self { keeper, warden, lowered_before: Mutex::new(lowered_before), told, waiting }
    }

    /// What waits, for the status.
    pub(super) fn waiting(&self) -> Arc<Mutex<Option<String>>> {
        Arc::clone(&self.waiting)
    }

    /// The limit that the process began with and that is lower than the one in force; told once.
    pub(super) fn lowered_before(&self) -> Option<QuotaSettings> {
        self.lowered_before.lock().take()
    }

    /// Decides whether `wanted` takes the place of `before`, and has that remembered.
    ///
    /// # Errors
    ///
    /// What it would cost, and how it is confirmed. `before` stays in force.
    pub(super) async fn decide(
        &self,
        before: QuotaSettings,
        wanted: QuotaSettings,
        confirm: Option<u64>,
    ) -> Result<(), String> {
        if is_lower(before, wanted)
            && let Err(waits) = self.weigh(before, wanted, confirm).await
        {
            *self.waiting.lock() = Some(waits.clone());
            return Err(waits);
        }
        *self.waiting.lock() = None;
        *self.told.lock() = None;
        if before != wanted {
            self.remember(wanted).await;
        }
        Ok(())
    }

    async fn weigh(
        &self,
        before: QuotaSettings,
        wanted: QuotaSettings,
        confirm: Option<u64>,
    ) -> Result<(), String> {
        let change = describe(before, wanted);
        let weighed = self.warden.send(Weigh(wanted)).timeout(WEIGH_LIMIT).await;
        let cost = weighed.context("it takes too long").and_then(|cost| cost).map_err(|error| {
            format!(
                "quota waits: what {change} would delete cannot be told ({}); the limit of before stays in force: reload \
                 again",
                why(&error)
            )
        })?;
        if !cost.is_dear() || self.is_confirmed(wanted, cost, confirm) {
            return Ok(());
        }
        *self.told.lock() = Some((wanted, cost.files));
        let wrong = confirm.map_or(String::new(), |number| format!("{number} is not the number; "));
        Err(format!(
            "quota waits: {wrong}{change} would delete {} at once; the limit of before stays in force until it is \
             confirmed: reload --confirm {}",
            cost.describe(),
            cost.files
        ))
    }

    fn is_confirmed(&self, wanted: QuotaSettings, cost: Cost, confirm: Option<u64>) -> bool {
        let told = self.told.lock().filter(|(limit, _)| *limit == wanted).map(|(_, files)| files);
        // files come and go while the number is typed
        let holds =
            |number: u64| told == Some(number) && cost.files <= number.saturating_add(number / GROWTH_PART);
        confirm.is_some_and(|number| number == cost.files || holds(number))
    }

    async fn remember(&self, limits: QuotaSettings) {
        let text = Remembered::text(limits);
        let ask = Request::new(Work::Begin, move |records| records.remember(LIMITS, &text));
        if let Err(error) =
            self.keeper.send(ask).timeout(WEIGH_LIMIT).await.unwrap_or_else(|error| Err(error.into()))
        {
            log::info!("the limit in force cannot be remembered: {error:#}");
        }
    }
}

/// `max_used_percent 6 (now 90)`.
fn describe(before: QuotaSettings, wanted: QuotaSettings) -> String {
    let bytes = |limit: Option<u64>| {
        limit.map_or_else(|| "none".to_owned(), |bytes| bytesize::ByteSize(bytes).display().iec().to_string())
    };
    let mut parts = Vec::new();
    if wanted.max_used_percent.total_cmp(&before.max_used_percent).is_ne() {
        parts.push(format!("max_used_percent {} (now {})", wanted.max_used_percent, before.max_used_percent));
    }
    if wanted.max_bytes != before.max_bytes {
        parts.push(format!("max_bytes {} (now {})", bytes(wanted.max_bytes), bytes(before.max_bytes)));
    }
    parts.join(" and ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(max_used_percent: f64, max_bytes: Option<u64>) -> QuotaSettings {
        QuotaSettings { max_used_percent, max_bytes }
    }

    #[test]
    fn a_limit_is_lower_where_either_leaves_less() {
        let before = limits(60.0, Some(100));
        for (wanted, lower) in [
            (limits(60.0, Some(100)), false),
            (limits(90.0, None), false),
            (limits(59.9, None), true),
            (limits(90.0, Some(99)), true),
        ] {
            assert_eq!(is_lower(before, wanted), lower, "{wanted:?}");
        }
        assert!(is_lower(limits(60.0, None), before));
        assert_eq!(
            describe(limits(90.0, None), limits(6.0, Some(1 << 30))),
            "max_used_percent 6 (now 90) and max_bytes 1.0 GiB (now none)"
        );
    }

    #[test]
    fn limits_come_back_from_the_records_as_they_were() {
        for limits in [limits(60.5, None), limits(0.1 + 0.2, Some(u64::MAX))] {
            assert_eq!(Remembered::read(&Remembered::text(limits)), Some(limits));
        }
        assert_eq!(Remembered::read("x"), None);
    }
}
