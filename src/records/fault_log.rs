//! Says once that the records fail, and once that they work again.

use super::error::{FailureKind, RecordsError};

/// What the records are asked for: one kind may go on while another fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// What is known of listed files.
    LookUp,
    /// Downloads.
    Record,
    /// The outcome of calls.
    Deliver,
    /// Which files are there.
    Evict,
    /// What an operator changes.
    Amend,
    /// Which files are to be looked at, announced or deleted next.
    Find,
    /// What a server, or the mirror, begins with.
    Begin,
    /// The sums.
    Sum,
}

/// What was said last of why the records fail, and which work it was.
#[derive(Debug, Default)]
pub struct FaultLog {
    said: Option<(FailureKind, Work)>,
}

/// What is to be said of an outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Report {
    Nothing,
    WorksAgain,
    FailsStill,
    Fails,
}

impl FaultLog {
    /// Logs what is new about an outcome, and returns whether the records began or ceased to fail with it.
    pub fn note(&mut self, work: Work, error: Option<&RecordsError>) -> bool {
        let report = self.report(work, error.map(RecordsError::kind));
        match (report, error) {
            (Report::WorksAgain, _) => log::info!("the records work again"),
            (Report::FailsStill, Some(error)) => log::debug!("{error}"),
            (Report::Fails, Some(error)) => log::error!("{error}; {}", error.kind().advice()),
            _ => {}
        }
        matches!(report, Report::WorksAgain | Report::Fails)
    }

    /// Damage does not go away by itself, though other rows can be read.
    fn report(&mut self, work: Work, failure: Option<FailureKind>) -> Report {
        match (failure, self.said) {
            (None, Some((said, failed))) if failed == work && said != FailureKind::Damaged => {
                self.said = None;
                Report::WorksAgain
            }
            (None, _) => Report::Nothing,
            (Some(failure), Some((said, _))) if said == failure => Report::FailsStill,
            (Some(failure), _) => {
                self.said = Some((failure, work));
                Report::Fails
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_said_once_and_its_end_once_what_failed_works() {
        let mut log = FaultLog::default();
        let full = Some(FailureKind::DiskFull);
        assert_eq!(log.report(Work::Find, None), Report::Nothing);
        assert_eq!(log.report(Work::Record, full), Report::Fails);
        assert_eq!(log.report(Work::Evict, full), Report::FailsStill);
        assert_eq!(log.report(Work::Find, None), Report::Nothing, "reading worked all the time");
        assert_eq!(log.report(Work::Record, Some(FailureKind::ReadOnly)), Report::Fails);
        assert_eq!(log.report(Work::Record, None), Report::WorksAgain);
        assert_eq!(log.report(Work::Record, None), Report::Nothing);
    }

    #[test]
    fn damage_is_not_taken_for_mended_because_other_rows_can_be_read() {
        let mut log = FaultLog::default();
        assert_eq!(log.report(Work::Find, Some(FailureKind::Damaged)), Report::Fails);
        assert_eq!(log.report(Work::Find, None), Report::Nothing);
        assert_eq!(log.report(Work::Find, Some(FailureKind::Damaged)), Report::FailsStill);
    }
}
