//! What a lower limit would delete at once, before it is taken over.

use super::disk_counters::DiskCounters;
use super::plan::{Load, shortages};
use super::sweep::{Evictions, Present};
use super::usage::Usage;
use crate::base::humanize::count;
use crate::config::QuotaSettings;

/// Files asked of the records at a time.
const TOGETHER: usize = 2000;
/// What most file systems store a file in, in bytes.
const BLOCK: u64 = 4096;
/// A limit that deletes more than this part of the files at once is confirmed first.
const PART: u64 = 10;

/// What would be deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cost {
    /// Files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Those of them that are not announced.
    pub unannounced: u64,
    /// All files that are there.
    pub present: u64,
}

impl Cost {
    /// Returns whether an operator has to say that this is meant.
    #[must_use]
    pub fn is_dear(&self) -> bool {
        self.unannounced > 0 || self.files.saturating_mul(PART) > self.present
    }

    /// `14 of 14 files (5.0 KiB), 12 of them not announced`.
    #[must_use]
    pub fn describe(&self) -> String {
        let Self { files, bytes, unannounced, present } = self;
        let bytes = bytesize::ByteSize(*bytes).display().iec();
        let unannounced = match unannounced {
            0 => String::new(),
            some => format!(", {some} of them not announced"),
        };
        format!("{files} of {} ({bytes}){unannounced}", count(*present, "file"))
    }
}

/// What is there, as the records count it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stock {
    /// Files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Those of them that are not announced.
    pub unannounced: u64,
}

/// Says what `limits` would delete now. Deletes nothing.
///
/// # Errors
///
/// When the file system cannot be measured or the records do not answer.
pub async fn weigh(
    limits: &QuotaSettings,
    counters: &DiskCounters,
    work: &dyn Evictions,
    stock: Stock,
) -> anyhow::Result<Cost> {
    let Usage { used, available } = work.usage()?;
    let mirror = stock.bytes.saturating_add(counters.partial());
    let load = Load { usage: Usage { used, available }, mirror, reserved: 0 };
    // partial files that nobody works on go first
    let [mut of_disk, mut of_mirror] =
        shortages(limits, &load, 0).map(|missing| missing.saturating_sub(counters.idle()));
    let mut cost = Cost { present: stock.files, ..Cost::default() };
    if of_disk >= stock.bytes.saturating_add(stock.files.saturating_mul(BLOCK)) {
        return Ok(Cost { files: stock.files, bytes: stock.bytes, unannounced: stock.unannounced, ..cost });
    }
    for announced in [true, false] {
        let mut after = 0;
        while of_disk > 0 || of_mirror > 0 {
            let files = work.oldest(announced, after, TOGETHER).await?;
            let Some(last) = files.last() else { break };
            after = last.id;
            for Present { size, .. } in &files {
                if of_disk == 0 && of_mirror == 0 {
                    break;
                }
                of_disk = of_disk.saturating_sub(size.next_multiple_of(BLOCK));
                of_mirror = of_mirror.saturating_sub(*size);
                cost.files += 1;
                cost.bytes = cost.bytes.saturating_add(*size);
                cost.unannounced += u64::from(!announced);
            }
        }
    }
    Ok(cost)
}
