//! A day that comes again and again, made up: a night, a spike that jumps up and down, a wave.

/// Hours of the spike, and how long each of its edges takes.
const SPIKE: (f64, f64) = (6.0, 10.0);
const EDGE_HOURS: f64 = 0.5;
/// Hours of the wave.
const WAVE: (f64, f64) = (13.0, 21.0);
/// Heights, in shares of the highest load.
const NIGHT: f64 = 0.2;
const WAVE_HEIGHT: f64 = 0.65;

/// Load at an hour of the day, 0 to 24, as a share of the highest: a fifth at night, all of it from 6 to 10, with half an hour
/// for each edge, and a wave from 13 to 21 that reaches 85 %.
#[must_use]
pub fn load_at(hour: f64) -> f64 {
    let mut load = NIGHT;
    if (SPIKE.0..SPIKE.1).contains(&hour) {
        let edge = ((hour - SPIKE.0) / EDGE_HOURS).min((SPIKE.1 - hour) / EDGE_HOURS);
        load += (1.0 - NIGHT) * edge.min(1.0);
    }
    if (WAVE.0..WAVE.1).contains(&hour) {
        let turn = (hour - WAVE.0) / (WAVE.1 - WAVE.0) * std::f64::consts::TAU;
        load += WAVE_HEIGHT * 0.5 * (1.0 - turn.cos());
    }
    load
}

/// The load of so many days in so many even steps each.
#[must_use]
pub fn days(days: usize, steps_per_day: usize) -> Vec<f64> {
    #[expect(clippy::cast_precision_loss, reason = "a day has far fewer than 2^53 steps")]
    let hour = |step: usize| (step as f64 + 0.5) / steps_per_day as f64 * 24.0;
    let day: Vec<f64> = (0..steps_per_day).map(|step| load_at(hour(step))).collect();
    day.repeat(days)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_day_is_a_night_a_spike_and_a_wave_and_repeats() {
        let load = days(2, 2400);
        assert_eq!((load.len(), &load[..2400]), (4800, &load[2400..]));
        let near = |hour: f64, expected: f64| (load_at(hour) - expected).abs() < 1e-9;
        assert!(
            near(3.0, 0.2)
                && near(8.0, 1.0)
                && near(6.25, 0.6)
                && near(11.5, 0.2)
                && near(17.0, 0.85)
                && near(23.0, 0.2)
        );
        assert!(load.iter().all(|load| (0.2..=1.0).contains(load)));
        let mean = load.iter().sum::<f64>() / 4800.0;
        assert!((0.42..0.43).contains(&mean), "{mean}");
    }
}
