//! Settings of a baseline: the shipped one, and every combination of a few values.

/// One knob.
#[derive(Debug, Clone, Copy)]
pub(super) struct Knob {
    /// Name.
    pub(super) name: &'static str,
    /// Unit as it is printed after a number.
    pub(super) unit: &'static str,
    /// Value that is shipped.
    pub(super) shipped: f64,
    /// Values that tuning tries.
    pub(super) tried: &'static [f64],
}

/// Settings of these knobs: the shipped one and every combination.
pub(super) fn count(knobs: &[Knob]) -> usize {
    1 + if knobs.is_empty() { 0 } else { knobs.iter().map(|knob| knob.tried.len()).product() }
}

/// Values of the knobs at a setting below [`count`]; setting 0 is the shipped one.
pub(super) fn values(knobs: &[Knob], setting: usize) -> Vec<f64> {
    let Some(mut index) = setting.checked_sub(1) else {
        return knobs.iter().map(|knob| knob.shipped).collect();
    };
    let value = |knob: &Knob| {
        let value = knob.tried[index % knob.tried.len()];
        index /= knob.tried.len();
        value
    };
    knobs.iter().map(value).collect()
}

/// A setting in words.
pub(super) fn described(knobs: &[Knob], setting: usize) -> String {
    let values = values(knobs, setting);
    let words: Vec<String> =
        knobs.iter().zip(values).map(|(knob, value)| format!("{} {value}{}", knob.name, knob.unit)).collect();
    if words.is_empty() { "no knobs".to_owned() } else { words.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_the_shipped_one_and_every_combination_once() {
        let knobs = [
            Knob { name: "headroom", unit: "", shipped: 1.3, tried: &[1.0, 2.0] },
            Knob { name: "hold", unit: " s", shipped: 60.0, tried: &[0.0, 300.0, 600.0] },
        ];
        assert_eq!(count(&knobs), 7);
        assert_eq!(values(&knobs, 0), [1.3, 60.0]);
        let mut all: Vec<String> = (1..7).map(|setting| described(&knobs, setting)).collect();
        assert_eq!(all[1], "headroom 2, hold 0 s");
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 6);
        assert_eq!((count(&[]), described(&[], 0).as_str()), (1, "no knobs"));
    }
}
