//! What every store of records is held to: `record_store_suite!` makes a test of each of these for one store.

pub(super) mod amend;
pub(super) mod downloads;
pub(super) mod look_up;
pub(super) mod outbox;
pub(super) mod present;
pub(super) mod reader;
pub(crate) mod store;

/// Runs the suite on new places that `$place` makes.
macro_rules! record_store_suite {
    ($place:expr) => {
        $crate::records::conformance::record_store_suite!(
            @tests $place;
            downloads::a_download_is_recorded_once_and_answers_its_first_record_ever_after,
            downloads::what_was_no_archive_gives_way_once_to_what_the_server_has_later,
            downloads::the_same_content_with_another_time_is_not_announced_again,
            downloads::the_key_is_the_server_and_the_bytes_on_the_wire,
            downloads::names_come_back_as_they_were_in_any_encoding,
            downloads::files_keep_their_local_paths_when_the_encoding_of_a_server_changes,
            look_up::what_was_downloaded_is_known_and_the_rest_is_new_in_the_order_asked,
            look_up::an_evicted_file_is_known,
            look_up::each_change_on_the_server_is_told_once_even_over_restarts,
            look_up::what_the_listing_leaves_out_is_no_change,
            look_up::a_file_listed_without_facts_is_known_by_the_bytes_stored,
            look_up::a_file_that_had_grown_since_its_listing_has_not_changed_when_the_listing_catches_up,
            look_up::a_size_that_no_file_can_have_is_one_change_and_not_one_a_scan,
            look_up::a_shift_is_answered_until_it_is_settled_and_counts_as_a_change_only_where_it_is_one,
            look_up::another_size_is_a_change_whatever_the_time,
            outbox::a_notice_is_due_from_its_download_until_it_is_delivered,
            outbox::a_failed_notice_waits_for_its_time_and_those_due_longest_come_first,
            outbox::notices_in_flight_are_left_out_and_do_not_use_up_the_limit,
            outbox::the_next_notice_is_the_earliest_of_those_that_wait,
            outbox::the_notice_of_an_evicted_file_stays_cancelled,
            outbox::a_delivered_notice_is_not_postponed,
            outbox::notices_are_due_when_the_clock_was_set_back_by_a_year,
            outbox::notices_of_servers_that_are_held_are_left_out_and_those_behind_them_are_not,
            present::the_oldest_present_files_come_first_announced_or_not_as_asked,
            present::an_audit_meets_every_present_file_once_whatever_the_step,
            present::evicting_again_or_what_was_never_there_changes_nothing,
            present::the_mirror_is_remembered_and_the_first_and_the_last_files_are_known,
            present::a_missing_file_that_is_found_again_is_present_and_its_notice_is_due,
            present::what_is_forgotten_is_not_missing_and_what_was_never_here_is_not_found,
            amend::what_was_forgotten_is_new_again_and_counts_nowhere,
            amend::only_announced_files_of_the_mirror_are_announced_once_more,
            amend::a_marked_file_is_known_and_waits_for_no_notice_and_a_listed_one_is_not_present,
            amend::a_download_that_was_under_way_when_its_file_was_marked_counts,
            amend::a_server_begins_once_and_anew_after_it_was_not_asked_for,
            reader::every_record_is_shown_once_and_the_oldest_first,
            reader::one_server_can_be_asked_for_and_an_unknown_one_has_no_records,
            reader::an_empty_record_has_nothing_to_show,
            store::one_writer_at_a_time_and_any_number_of_readers,
            store::what_was_written_is_there_after_the_writer_is_gone_however_it_went,
            store::the_totals_are_the_sums_over_all_records_whatever_happens,
            store::a_commit_may_be_repeated,
            store::what_is_remembered_is_read_again_by_its_key_and_the_last_value_counts
        );
    };
    (@tests $place:expr; $($module:ident::$name:ident),+) => {
        #[cfg(test)]
        mod conformance {
            use super::*;
            $(
                #[test]
                fn $name() {
                    $crate::records::conformance::$module::$name(&$place);
                }
            )+
        }
    };
}
pub(super) use record_store_suite;
