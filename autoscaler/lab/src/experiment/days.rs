//! Which days are looked at request by request.

use autoscaler_sim::Stretch;

use super::{Ground, Tuning};

const DAY_SECONDS: f64 = 86_400.0;

/// The window that was asked for, or two whole days of the scored time by a fixed rule: of its days in order of their
/// largest demand, the middle one (the lower of two) and the last. All of the scored time when it has fewer than three.
pub(super) fn windows(ground: &Ground<'_>) -> Vec<Stretch> {
    let scored = match ground.experiment.tuning {
        Tuning::Tuned => ground.final_stretch(),
        Tuning::Defaults | Tuning::Hindsight => ground.scored,
    };
    let days = ((scored.to_seconds - scored.from_seconds) / DAY_SECONDS + 1e-9) as usize;
    if ground.experiment.window.is_some() || days < 3 {
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
