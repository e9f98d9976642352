//! Floors that schedules ask for: ordered one start-up time before they begin, so that the replicas are Ready when they do.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::startup::seconds_between;

/// At least so many replicas are to be Ready for a while. Which moments a schedule means is for the caller to find out: a
/// calendar has time zones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScheduledFloor {
    /// When the replicas are to be Ready.
    pub from: Timestamp,
    /// From when on they may go.
    pub until: Timestamp,
    /// Fewest replicas between the two.
    pub min_replicas: u32,
}

/// The floor that binds now: the highest of those that have begun, or that an order made now would just be in time for.
/// `startup_seconds` is what 95 % of starts take at most.
pub(crate) fn binding(floors: &[ScheduledFloor], startup_seconds: f64, now: Timestamp) -> Option<&ScheduledFloor> {
    let binds = |floor: &&ScheduledFloor| now < floor.until && seconds_between(now, floor.from) <= startup_seconds;
    floors.iter().filter(binds).max_by_key(|floor| floor.min_replicas)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_000_000_000 + seconds).expect("in range")
    }

    #[test]
    fn a_floor_binds_from_one_start_up_time_before_it_begins_until_it_ends() {
        let floors = [ScheduledFloor { from: at(1000), until: at(2000), min_replicas: 4 }];
        for (now, binds) in [(0, false), (759, false), (760, true), (1000, true), (1999, true), (2000, false)] {
            assert_eq!(binding(&floors, 240.0, at(now)).is_some(), binds, "at {now}");
        }
    }

    #[test]
    fn of_several_floors_the_highest_binds() {
        let floor = |from, until, min_replicas| ScheduledFloor { from: at(from), until: at(until), min_replicas };
        let floors = [floor(0, 100, 2), floor(50, 70, 9), floor(60, 200, 3)];
        let most = |now| binding(&floors, 0.0, at(now)).map(|floor| floor.min_replicas);
        assert_eq!([10, 55, 80, 150, 200].map(most), [Some(2), Some(9), Some(3), Some(3), None]);
    }
}
