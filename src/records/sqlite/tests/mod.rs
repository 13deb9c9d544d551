//! What SQLite alone is held to, and the suite of all stores.

mod cost;
pub(super) mod fixtures;
mod open;
mod reader;
mod tables;

use crate::records::conformance::store::{Dice, anything};
use crate::records::memory::MemoryRecords;
use fixtures::Place;

crate::records::conformance::record_store_suite!(Place::new());

#[test]
fn the_records_in_memory_answer_as_these_do_whatever_happens() {
    for seed in [1, 0x9E37_79B9_7F4A_7C15] {
        let place = Place::new();
        let (mut records, mut memory) = (place.open(), MemoryRecords::default().open().unwrap());
        let (mut dice, mut same_dice) = (Dice(seed), Dice(seed));
        for at in 1..500 {
            let answer = anything(&mut *records, &mut dice, at);
            assert_eq!(answer, anything(&mut *memory, &mut same_dice, at), "{seed}, step {at}");
        }
    }
}
