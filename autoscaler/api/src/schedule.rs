//! From a calendar to moments: when a schedule's floor begins and ends.
//!
//! The expression is read on the clock on the wall, and the time that it shows is then looked up in the time zone. So a
//! time that the clock skips in spring counts right after the gap, and one that it shows twice in autumn counts once.

use std::time::Duration;

use autoscaler_plan::{ScheduledFloor, Settings};
use cronexpr::{Crontab, MakeTimestamp};
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// Longest floor: a week.
const LONGEST: Duration = Duration::from_secs(7 * 86_400);

/// How far clocks are set: the search begins so much earlier, so that no time next to a change is missed.
const LARGEST_CHANGE: SignedDuration = SignedDuration::from_hours(3);

/// A floor that comes again and again.
#[derive(Debug, Clone)]
pub struct Schedule {
    written: (String, String),
    crontab: Crontab,
    zone: TimeZone,
    duration: SignedDuration,
    min_replicas: u32,
}

impl PartialEq for Schedule {
    fn eq(&self, other: &Self) -> bool {
        (&self.written, self.duration, self.min_replicas) == (&other.written, other.duration, other.min_replicas)
    }
}

/// The settings with the floors that the schedules have at this moment.
#[must_use]
pub fn settings_at(settings: &Settings, schedules: &[Schedule], now: Timestamp) -> Settings {
    let floors = schedules.iter().flat_map(|schedule| schedule.floors(now)).collect();
    Settings { floors, ..settings.clone() }
}

/// Why a schedule cannot be kept: the key below it, the problem and the fix.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {problem}; {fix}")]
pub struct ScheduleError {
    /// `cron`, `duration`, `timeZone` or `minReplicas`.
    pub key: &'static str,
    /// What is wrong.
    pub problem: String,
    /// What would be right.
    pub fix: &'static str,
}

impl Schedule {
    /// Checks what was written.
    ///
    /// # Errors
    /// The first key that cannot be used, and the fix.
    pub fn new(cron: &str, duration: Duration, time_zone: &str, min_replicas: u32) -> Result<Self, ScheduleError> {
        let refuse = |key, problem: String, fix| Err(ScheduleError { key, problem, fix });
        let cron_fix = "write five fields such as `30 8 * * MON-FRI` (minute, hour, day, month, weekday)";
        // The library takes the zone as a sixth field; ours has a key of its own.
        if cron.split_whitespace().count() != 5 {
            return refuse("cron", format!("`{cron}` has not five fields"), cron_fix);
        }
        let crontab = match cronexpr::parse_crontab(&format!("{cron} UTC")) {
            Ok(crontab) => crontab,
            Err(error) => {
                return refuse("cron", format!("`{cron}` is not understood ({})", one_line(&error)), cron_fix);
            }
        };
        if crontab.find_next(MakeTimestamp(Timestamp::UNIX_EPOCH)).is_err() {
            return refuse("cron", format!("`{cron}` never comes"), cron_fix);
        }
        let Ok(zone) = TimeZone::get(time_zone) else {
            let problem = format!("`{time_zone}` is not among the time zones of this system");
            return refuse("timeZone", problem, "write UTC or a name such as Europe/Berlin (needs the package tzdata)");
        };
        if duration.is_zero() || duration > LONGEST {
            return refuse(
                "duration",
                "it must be above 0s and at most 168h".to_owned(),
                "write a duration such as 2h",
            );
        }
        if min_replicas == 0 {
            return refuse("minReplicas", "a floor of 0 holds nothing".to_owned(), "write 1 or more");
        }
        let duration = SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX);
        Ok(Self { written: (cron.to_owned(), time_zone.to_owned()), crontab, zone, duration, min_replicas })
    }

    /// The floor that has begun, if any, and the one that comes next.
    pub fn floors(&self, now: Timestamp) -> impl Iterator<Item = ScheduledFloor> + '_ {
        let began = now.checked_sub(self.duration).ok().and_then(|since| self.first_after(since));
        let next = self.first_after(now);
        let floor = |from: Timestamp| {
            let until = from.checked_add(self.duration).unwrap_or(Timestamp::MAX);
            ScheduledFloor { from, until, min_replicas: self.min_replicas }
        };
        began.filter(move |from| *from <= now).into_iter().chain(next).map(floor)
    }

    /// The first start after a moment.
    fn first_after(&self, moment: Timestamp) -> Option<Timestamp> {
        let begin = moment.checked_sub(LARGEST_CHANGE).ok()?;
        let mut wall = self.zone.to_datetime(begin);
        loop {
            wall = self.next_on_the_wall(wall)?;
            // `compatible`: a time in a gap is the one right after it, a time in a fold the first of the two.
            let from = self.zone.to_ambiguous_timestamp(wall).compatible().ok()?;
            if from > moment {
                return Some(from);
            }
        }
    }

    /// The expression knows UTC only, which has no changes: a wall clock like any other.
    fn next_on_the_wall(&self, wall: DateTime) -> Option<DateTime> {
        let as_utc = TimeZone::UTC.to_timestamp(wall).ok()?;
        self.crontab.find_next(MakeTimestamp(as_utc)).ok().map(|next| next.datetime())
    }
}

/// The library draws an arrow below the expression.
fn one_line(error: &cronexpr::Error) -> String {
    error.to_string().lines().last().unwrap_or_default().trim().trim_start_matches('^').trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn moment(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    fn spans(schedule: &Schedule, now: &str) -> Vec<(String, String)> {
        schedule.floors(moment(now)).map(|floor| (floor.from.to_string(), floor.until.to_string())).collect()
    }

    fn daily(cron: &str, duration: Duration) -> Schedule {
        Schedule::new(cron, duration, "Europe/Berlin", 3).expect("valid")
    }

    #[test]
    fn the_floor_that_has_begun_and_the_next_one_are_told() {
        let office = daily("30 8 * * MON-FRI", 10 * HOUR);
        // A Friday in July: 08:30 is 06:30 UTC, and the next one is on Monday.
        let friday = ("2026-07-10T06:30:00Z".to_owned(), "2026-07-10T16:30:00Z".to_owned());
        let monday = ("2026-07-13T06:30:00Z".to_owned(), "2026-07-13T16:30:00Z".to_owned());
        assert_eq!(spans(&office, "2026-07-10T06:29:59Z"), std::slice::from_ref(&friday));
        assert_eq!(spans(&office, "2026-07-10T06:30:00Z"), [friday.clone(), monday.clone()]);
        assert_eq!(spans(&office, "2026-07-10T16:29:59Z"), [friday, monday.clone()]);
        assert_eq!(spans(&office, "2026-07-10T16:30:00Z"), [monday]);
    }

    #[test]
    fn the_wall_clock_counts_across_a_change_of_clocks() {
        let office = daily("30 8 * * *", HOUR);
        // Clocks go forward on 2026-03-29 and back on 2026-10-25.
        for (day, utc) in
            [("2026-03-28", "07:30"), ("2026-03-29", "06:30"), ("2026-10-24", "06:30"), ("2026-10-25", "07:30")]
        {
            assert_eq!(spans(&office, &format!("{day}T00:00:00Z"))[0].0, format!("{day}T{utc}:00Z"));
        }
    }

    #[test]
    fn a_time_that_the_clock_skips_counts_right_after_the_gap() {
        let night = daily("30 2 * * *", HOUR);
        // 02:00 becomes 03:00 at 01:00 UTC: 02:30 is not shown, 03:30 is 01:30 UTC.
        assert_eq!(spans(&night, "2026-03-29T00:00:00Z")[0].0, "2026-03-29T01:30:00Z");
        for during in ["2026-03-29T01:30:00Z", "2026-03-29T02:29:59Z"] {
            assert_eq!(spans(&night, during)[0].0, "2026-03-29T01:30:00Z", "{during}");
        }
        assert_eq!(spans(&night, "2026-03-29T02:30:00Z")[0].0, "2026-03-30T00:30:00Z");
    }

    #[test]
    fn a_time_that_the_clock_shows_twice_counts_once() {
        let night = daily("30 2 * * *", 2 * HOUR);
        // 03:00 becomes 02:00 at 01:00 UTC: 02:30 is 00:30 and 01:30 UTC.
        for during in ["2026-10-25T00:30:00Z", "2026-10-25T01:10:00Z", "2026-10-25T02:29:59Z"] {
            let both = spans(&night, during);
            assert_eq!((both[0].0.as_str(), both[0].1.as_str()), ("2026-10-25T00:30:00Z", "2026-10-25T02:30:00Z"));
            assert_eq!(both[1].0, "2026-10-26T01:30:00Z", "{during}");
        }
    }

    #[test]
    fn what_cannot_be_kept_is_refused_with_key_and_fix() {
        let refused = |cron, duration, zone, replicas| {
            Schedule::new(cron, duration, zone, replicas).expect_err("refused").to_string()
        };
        for (message, expected) in [
            (refused("8:30", HOUR, "UTC", 1), "cron: `8:30` has not five fields; write five fields such as"),
            (refused("30 8 * * * UTC", HOUR, "UTC", 1), "cron: `30 8 * * * UTC` has not five fields"),
            (refused("61 8 * * *", HOUR, "UTC", 1), "cron: `61 8 * * *` is not understood ("),
            (refused("0 0 31 FEB *", HOUR, "UTC", 1), "cron: `0 0 31 FEB *` never comes"),
            (refused("0 8 * * *", HOUR, "Berlin", 1), "timeZone: `Berlin` is not among the time zones"),
            (refused("0 8 * * *", Duration::ZERO, "UTC", 1), "duration: it must be above 0s and at most 168h"),
            (refused("0 8 * * *", 169 * HOUR, "UTC", 1), "duration: it must be above 0s and at most 168h"),
            (refused("0 8 * * *", HOUR, "UTC", 0), "minReplicas: a floor of 0 holds nothing"),
        ] {
            assert!(message.starts_with(expected), "{message}\nexpected {expected}");
        }
    }
}
