//! The experts: ways to lay the past onto the present, each giving a family of paths.

use crate::history::History;
use crate::rhythm::Rhythm;

/// How many experts there are.
pub(crate) const EXPERTS: usize = 6;

/// Seasons that are compared with.
const SEASONS: u64 = 7;

/// Starts drawn from the last season for persistence.
pub(crate) const STARTS: usize = 32;

/// Added to both sides of a ratio of levels, in replicas: a night at zero is no reason to multiply by infinity.
const LEVEL_FLOOR: f64 = 0.5;

/// Bounds of the ratio of levels between two days.
const MOST_LEVEL_RATIO: f64 = 2.0;

/// One way to foresee.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum ExpertKind {
    /// The same time of earlier seasons, scaled to the present level.
    ScaledDay,
    /// The same time of earlier seasons as it was.
    Day,
    /// The ups and downs of the last season, from the demand of this half minute.
    PersistenceNow,
    /// The same, from the level of the last 3 minutes.
    PersistenceShort,
    /// The same, from the level of the last 10 minutes.
    PersistenceLong,
    /// The same time of earlier seasons, moved up or down to the present: what repeats is added to what does not.
    MovedDay,
}

impl ExpertKind {
    /// All, in the order of their indices.
    pub const ALL: [Self; EXPERTS] = [
        Self::ScaledDay,
        Self::Day,
        Self::PersistenceNow,
        Self::PersistenceShort,
        Self::PersistenceLong,
        Self::MovedDay,
    ];

    /// Whether it compares with the same time of earlier seasons.
    pub(crate) fn is_day(self) -> bool {
        matches!(self, Self::ScaledDay | Self::Day | Self::MovedDay)
    }

    /// In words.
    #[must_use]
    pub fn as_words(self) -> &'static str {
        match self {
            Self::ScaledDay => "earlier days at the present level",
            Self::Day => "earlier days as they were",
            Self::PersistenceNow => "the present, moving as in the last day",
            Self::PersistenceShort => "the last minutes, moving as in the last day",
            Self::PersistenceLong => "the last ten minutes, moving as in the last day",
            Self::MovedDay => "earlier days moved to the present level",
        }
    }
}

/// Window lengths and decays in plan steps.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Windows {
    pub(crate) now: usize,
    pub(crate) short: usize,
    pub(crate) long: usize,
    /// Level for comparing days.
    pub(crate) level: usize,
    /// Shift of a day, earlier and later.
    pub(crate) shift: usize,
    /// An excess over the day fades within this.
    pub(crate) fade_up: f64,
    /// A shortfall fades within this.
    pub(crate) fade_down: f64,
    pub(crate) fade_short: f64,
    pub(crate) fade_long: f64,
}

impl Windows {
    pub(crate) fn of(rhythm: &Rhythm) -> Self {
        Self {
            now: rhythm.minutes(0.5),
            short: rhythm.minutes(3.0),
            long: rhythm.minutes(10.0),
            level: rhythm.minutes(30.0),
            shift: rhythm.minutes(1.0),
            fade_up: rhythm.minutes(10.0) as f64,
            fade_down: rhythm.minutes(3.0) as f64,
            fade_short: rhythm.minutes(1.0) as f64,
            fade_long: rhythm.minutes(3.0) as f64,
        }
    }
}

/// A stretch of the past laid onto the present: `x(s) = ratio · d[base + s] + gap · exp(-s / fade)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Path {
    pub(crate) base: u64,
    pub(crate) ratio: f64,
    pub(crate) gap: f64,
    pub(crate) fade: f64,
}

/// A start of persistence, with the levels before it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Start {
    pub(crate) base: u64,
    now: f64,
    short: f64,
    long: f64,
}

impl Start {
    pub(crate) fn at(base: u64, history: &History, windows: &Windows) -> Self {
        Self {
            base,
            now: history.mean_before(base, windows.now),
            short: history.mean_before(base, windows.short),
            long: history.mean_before(base, windows.long),
        }
    }
}

/// The present: levels before the step that comes next.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Present {
    pub(crate) now: f64,
    short: f64,
    long: f64,
    level: f64,
}

impl Present {
    pub(crate) fn of(history: &History, windows: &Windows) -> Self {
        let next = history.next();
        Self {
            now: history.mean_before(next, windows.now),
            short: history.mean_before(next, windows.short),
            long: history.mean_before(next, windows.long),
            level: history.mean_before(next, windows.level),
        }
    }
}

/// Puts the paths of one expert into `paths`; none if it has nothing to compare with.
pub(crate) fn paths(
    kind: ExpertKind,
    present: &Present,
    history: &History,
    starts: &[Start],
    windows: &Windows,
    season: usize,
    paths: &mut Vec<Path>,
) {
    paths.clear();
    match kind {
        ExpertKind::ScaledDay | ExpertKind::Day | ExpertKind::MovedDay => {
            for day in 1..=SEASONS {
                let Some(same_time) = history.next().checked_sub(day * season as u64) else { break };
                for base in
                    [same_time.saturating_sub(windows.shift as u64), same_time, same_time + windows.shift as u64]
                {
                    if base < history.first() + windows.now as u64 {
                        continue;
                    }
                    let ratio = if kind == ExpertKind::ScaledDay {
                        let level = history.mean_before(base, windows.level);
                        ((present.level + LEVEL_FLOOR) / (level + LEVEL_FLOOR))
                            .clamp(1.0 / MOST_LEVEL_RATIO, MOST_LEVEL_RATIO)
                    } else {
                        1.0
                    };
                    let gap = if kind == ExpertKind::MovedDay {
                        // What stays is not to be the noise of half a minute.
                        present.short - history.mean_before(base, windows.short)
                    } else {
                        present.now - ratio * history.mean_before(base, windows.now)
                    };
                    let fade = match kind {
                        // Whoever sends more than on other days, and follows no clock, goes on.
                        ExpertKind::MovedDay => f64::INFINITY,
                        _ if gap > 0.0 => windows.fade_up,
                        _ => windows.fade_down,
                    };
                    paths.push(Path { base, ratio, gap, fade });
                }
            }
        }
        ExpertKind::PersistenceNow | ExpertKind::PersistenceShort | ExpertKind::PersistenceLong => {
            paths.extend(starts.iter().map(|start| {
                // Noise of a few requests must not be multiplied into the noise of many: beyond the cap it is shifted.
                let ratio =
                    |present: f64, past: f64| ((present + LEVEL_FLOOR) / (past + LEVEL_FLOOR)).min(MOST_LEVEL_RATIO);
                let (ratio, fade) = match kind {
                    ExpertKind::PersistenceShort => (ratio(present.short, start.short), windows.fade_short),
                    ExpertKind::PersistenceLong => (ratio(present.long, start.long), windows.fade_long),
                    ExpertKind::PersistenceNow | ExpertKind::ScaledDay | ExpertKind::Day | ExpertKind::MovedDay => {
                        let (ratio, full) =
                            (ratio(present.now, start.now), (present.now + LEVEL_FLOOR) / (start.now + LEVEL_FLOOR));
                        let gap = if ratio < full { present.now - ratio * start.now } else { 0.0 };
                        return Path { base: start.base, ratio, gap, fade: f64::INFINITY };
                    }
                };
                Path { base: start.base, ratio, gap: present.now - ratio * start.now, fade }
            }));
        }
    }
}
