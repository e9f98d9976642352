use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

fn at(arrived_ms: u64, sequence: u64) -> Place {
    Place { arrived_ms, sequence }
}

fn line(places: &[Place]) -> Line<()> {
    let mut line = Line::default();
    for place in places {
        assert!(line.join(*place, (), usize::MAX));
    }
    line
}

fn next(line: &Line<()>, late: Option<u64>) -> Option<Place> {
    line.next(late).map(|(place, ())| place)
}

#[test]
fn requests_past_the_objective_wait_behind_those_that_can_still_make_it() {
    let line = line(&[at(100, 1), at(200, 2), at(900, 3), at(950, 4)]);
    let late = late_until(Discipline::Deadline, Some(1_000), 0, 1_300);
    assert_eq!(late, Some(300));
    assert_eq!(next(&line, late), Some(at(900, 3)));
    assert_eq!(line.late(late), 2);
    assert!(line.is_next(at(900, 3), late) && !line.is_next(at(100, 1), late) && !line.is_next(at(950, 4), late));
    assert!(!line.is_next(at(1_300, 5), late), "somebody in time came before");
}

#[test]
fn the_oldest_late_request_is_next_when_nobody_is_in_time() {
    let line = line(&[at(200, 2), at(100, 1)]);
    let late = late_until(Discipline::Deadline, Some(1_000), 0, 5_000);
    assert_eq!(next(&line, late), Some(at(100, 1)));
    assert!(line.is_next(at(5_000, 9), late), "a new request overtakes them");
    assert!(line.has_older(at(5_000, 9)) && !line.has_older(at(100, 1)));
}

#[test]
fn a_request_that_would_be_late_at_its_first_token_is_late_now() {
    assert_eq!(late_until(Discipline::Deadline, Some(1_000), 300, 5_000), Some(4_300));
    assert_eq!(late_until(Discipline::Deadline, Some(1_000), 9_000, 5_000), Some(4_500), "bounded by half");
    assert_eq!(late_until(Discipline::Deadline, Some(1_000), 0, 999), None, "nobody has waited for so long");
}

#[test]
fn without_an_objective_or_under_fifo_nobody_is_late() {
    assert_eq!(late_until(Discipline::Deadline, None, 300, 5_000), None);
    assert_eq!(late_until(Discipline::Fifo, Some(1), 300, 5_000), None);
    assert_eq!(line(&[at(1, 1)]).late(None), 0);
}

#[test]
fn the_line_is_bounded_and_a_place_is_held_once() {
    let mut line = Line::default();
    assert!(line.join(at(1, 1), (), 2) && line.join(at(1, 2), (), 2));
    assert!(!line.join(at(1, 3), (), 2));
    assert_eq!(line.leave(at(1, 1)), Some(()));
    assert_eq!(line.leave(at(1, 1)), None);
    assert!(!line.join(at(1, 2), (), 2), "taken");
    assert_eq!(line.len(), 1);
}

/// What one engine with one place makes of requests: who starts when, and who expires.
struct Run {
    served: Vec<(Place, u64)>,
    expired: BTreeSet<Place>,
    longest: usize,
}

/// Serves requests one at a time, `service_ms` each; they expire when they have waited `deadline_ms`.
fn run(
    discipline: Discipline,
    arrivals: &[u64],
    objective_ms: u64,
    service_ms: u64,
    deadline_ms: u64,
    max: usize,
) -> Run {
    let mut line = Line::default();
    let mut run = Run { served: Vec::new(), expired: BTreeSet::new(), longest: 0 };
    let end = arrivals.last().copied().unwrap_or(0) + deadline_ms + service_ms + 1;
    let (mut free_at, mut coming) = (0, arrivals.iter().zip(0_u64..).peekable());
    for now in 0..=end {
        while let Some((_, sequence)) = coming.next_if(|(arrived, _)| **arrived == now) {
            if !line.join(at(now, sequence), (), max) {
                run.expired.insert(at(now, sequence));
            }
        }
        run.longest = run.longest.max(line.len());
        while let Some((oldest, ())) = line.next(None).filter(|(oldest, ())| oldest.arrived_ms + deadline_ms <= now) {
            line.leave(oldest);
            assert!(run.expired.insert(oldest), "expired twice");
        }
        let late = late_until(discipline, Some(objective_ms), 0, now);
        if now >= free_at
            && let Some((place, ())) = line.next(late)
        {
            assert!(line.is_next(place, late));
            line.leave(place);
            run.served.push((place, now));
            free_at = now + service_ms;
        }
    }
    assert!(line.is_empty(), "everybody is served or has expired in the end");
    run
}

fn arrivals() -> impl Strategy<Value = Vec<u64>> {
    proptest::collection::vec(0_u64..400, 0..120).prop_map(|mut times| {
        times.sort_unstable();
        times
    })
}

proptest! {
    #[test]
    fn the_next_one_is_the_oldest_in_time_else_the_oldest(
        places in proptest::collection::btree_set((0_u64..50, 0_u64..1000), 0..60),
        late in proptest::option::of(0_u64..60),
        probe in (0_u64..50, 0_u64..1000),
    ) {
        let places: Vec<Place> = places.into_iter().map(|(arrived, sequence)| at(arrived, sequence)).collect();
        let line = line(&places);
        let class = |place: Place| (late.is_some_and(|late| place.arrived_ms <= late), place);
        let expected = places.iter().copied().min_by_key(|place| class(*place));
        prop_assert_eq!(next(&line, late), expected);
        let late_count = places.iter().filter(|place| class(**place).0).count();
        prop_assert_eq!(line.late(late), late_count);
        let probe = at(probe.0, probe.1);
        let behind = places.iter().any(|place| class(*place) < class(probe));
        prop_assert_eq!(line.is_next(probe, late), !behind);
    }

    #[test]
    fn every_request_is_served_or_expires_exactly_once(
        arrivals in arrivals(),
        objective in 1_u64..100,
        service in 1_u64..20,
        deadline in 100_u64..300,
        max in 1_usize..60,
    ) {
        for discipline in [Discipline::Deadline, Discipline::Fifo] {
            let run = run(discipline, &arrivals, objective, service, deadline, max);
            let served: BTreeSet<Place> = run.served.iter().map(|(place, _)| *place).collect();
            prop_assert_eq!(served.len(), run.served.len(), "nobody is served twice");
            prop_assert!(served.is_disjoint(&run.expired));
            prop_assert_eq!(served.len() + run.expired.len(), arrivals.len());
            prop_assert!(run.longest <= max);
            prop_assert!(run.served.iter().all(|(place, start)| start - place.arrived_ms < deadline));
        }
    }

    #[test]
    fn fifo_serves_in_the_order_of_arrival(arrivals in arrivals(), service in 1_u64..20) {
        let run = run(Discipline::Fifo, &arrivals, 10, service, 200, usize::MAX);
        prop_assert!(run.served.is_sorted_by_key(|(place, _)| *place));
    }

    #[test]
    fn deadline_never_starts_fewer_requests_in_time_than_fifo(
        arrivals in arrivals(),
        objective in 1_u64..100,
        service in 1_u64..20,
    ) {
        // One place and equal service times: serving the earliest due among those that can make it is optimal
        // (Moore 1968 for the number of late jobs). Equal times make every start interchangeable.
        let in_time = |discipline| {
            let run = run(discipline, &arrivals, objective, service, 1_000, usize::MAX);
            run.served.iter().filter(|(place, start)| start - place.arrived_ms < objective).count()
        };
        prop_assert!(in_time(Discipline::Deadline) >= in_time(Discipline::Fifo));
    }
}
