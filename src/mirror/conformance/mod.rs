//! What every store of mirrored files is held to: `mirror_store_suite!` makes a test of each of these for one store.

pub(crate) mod bench;
pub(super) mod files;
pub(super) mod partials;
pub(super) mod publish;
pub(super) mod whole;

/// Runs the suite on new mirrors that `$bench` makes.
macro_rules! mirror_store_suite {
    ($bench:expr) => {
        $crate::mirror::conformance::mirror_store_suite!(
            @tests $bench;
            whole::looking_makes_nothing,
            whole::one_service_works_in_a_mirror_until_it_lets_go_and_parts_of_servers_go_on,
            whole::a_marker_is_read_as_it_was_given_and_gives_way_to_the_next,
            whole::a_mirror_that_lies_no_more_at_its_place_is_noticed,
            files::a_file_is_deleted_once_and_one_that_is_gone_is_no_failure,
            files::many_files_are_looked_for_each_at_its_own_place,
            files::no_path_leads_out_of_its_server_whoever_put_it_together,
            files::nothing_is_done_through_a_symbolic_link,
            files::directories_are_made_and_what_stands_in_their_way_is_left_alone,
            files::zips_are_found_and_counted_up_to_a_limit_and_nothing_else_is,
            files::an_operator_deletes_many_files_and_the_same_call_goes_on_with_the_rest,
            files::how_full_it_is_can_be_told_before_and_after_it_is_opened,
            partials::what_was_written_is_there_for_the_next_run,
            partials::a_partial_file_is_removed_once_and_one_that_is_gone_is_no_failure,
            partials::only_those_that_nobody_wrote_to_are_old,
            partials::unfinished_bytes_are_counted_and_can_be_removed_one_by_one,
            publish::a_file_gets_its_name_whole_and_its_partial_name_is_the_proof_until_it_is_removed,
            publish::what_was_published_may_be_published_again,
            publish::a_foreign_file_of_that_name_is_left_alone_and_ours_stays_partial,
            publish::an_earlier_content_gives_way_where_that_is_wanted_and_nothing_but_a_file_does,
            publish::what_a_run_before_stored_is_found_with_its_content_and_other_contents_with_it,
            publish::a_foreign_file_is_never_taken_for_ours,
            publish::a_proof_of_a_file_that_is_gone_proves_nothing,
            publish::a_publishing_that_is_cancelled_goes_on,
            publish::many_files_are_published_at_a_time_and_each_hears_its_own_outcome,
            publish::the_same_content_under_the_name_is_told_from_another_and_from_itself,
            publish::a_finished_file_is_no_zip_of_the_mirror_until_it_is_on_record
        );
    };
    (@tests $bench:expr; $($module:ident::$name:ident),+) => {
        $(
            #[test]
            fn $name() {
                $crate::mirror::conformance::$module::$name(&$bench);
            }
        )+
    };
}
pub(super) use mirror_store_suite;
