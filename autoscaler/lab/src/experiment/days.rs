//! Which days are looked at request by request.

use autoscaler_sim::Stretch;

use super::Ground;

const DAY_SECONDS: f64 = 86_400.0;

/// Which days are played request by request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventDays {
    /// All that are scored.
    All,
    /// Two of them: that of the middle and that of the largest peak.
    Two,
}

/// What is played: the window that was asked for, else the days.
pub(super) fn windows(ground: &Ground<'_>) -> Vec<Stretch> {
    let experiment = ground.experiment;
    if experiment.window.is_some() || experiment.event_days == EventDays::All {
        return vec![ground.final_stretch()];
    }
    sample(ground)
}

/// Two whole days of the scored time by a fixed rule: of its days in order of their largest demand, the middle one (the lower
/// of two) and the last. All of the scored time when it has fewer than three.
pub(super) fn sample(ground: &Ground<'_>) -> Vec<Stretch> {
    let scored = ground.final_stretch();
    let days = ((scored.to_seconds - scored.from_seconds) / DAY_SECONDS + 1e-9) as usize;
    if days < 3 {
        return vec![scored];
    }
    let Some(demand) = ground.demands.first() else { return vec![scored] };
    let mut peaks: Vec<(f64, Stretch)> = (0..days)
        .map(|day| {
            let from_seconds = scored.from_seconds + day as f64 * DAY_SECONDS;
            let stretch = Stretch { from_seconds, to_seconds: from_seconds + DAY_SECONDS };
            let steps = demand.steps_in(stretch.from_seconds)..demand.steps_in(stretch.to_seconds);
            (demand.replicas[steps].iter().copied().fold(0.0, f64::max), stretch)
        })
        .collect();
    peaks.sort_by(|a, b| a.0.total_cmp(&b.0));
    [(days - 1) / 2, days - 1].iter().filter_map(|&place| peaks.get(place).map(|(_, stretch)| *stretch)).collect()
}
