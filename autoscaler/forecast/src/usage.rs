//! How much of each replica the coming demand is expected to use.

/// Expected use of each layer (the k-th replica) at each point of the horizon.
///
/// `use(k, s)` is the mean of `clip(x(s) - (k - 1), 0, 1)` over the paths `x`, in their weights: 1 if the k-th replica will
/// surely be needed whole, 0 if surely not at all.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Usage {
    points: usize,
    layers: usize,
    stride: usize,
    startup_points: usize,
    /// While paths are added: probability mass at whole demands. Afterwards: use. Row by point, layer 0 unused.
    values: Vec<f64>,
    /// Use of each layer, summed over the points; it falls from layer to layer.
    totals: Vec<f64>,
}

impl Usage {
    /// Begins a horizon of `startups` start-up times, each of `startup_points` points that are `stride` plan steps apart, for
    /// demand of at most `most` replicas.
    pub(crate) fn begin(&mut self, startup_points: usize, startups: usize, stride: usize, most: f64) {
        self.points = startup_points * startups;
        self.startup_points = startup_points;
        self.stride = stride;
        self.layers = most.max(0.0).ceil() as usize + 2;
        self.values.clear();
        self.values.resize(self.points * (self.layers + 1), 0.0);
    }

    /// Adds a path's demand at one point, in its weight.
    pub(crate) fn add(&mut self, point: usize, demand: f64, weight: f64) {
        // By way of u32, which takes the processor a third of the time.
        let whole = (demand as u32).min(self.layers as u32 - 1);
        let part = (demand - f64::from(whole)).min(1.0) * weight;
        let at = point * (self.layers + 1) + whole as usize;
        if let Some([below, above]) = self.values.get_mut(at..at + 2) {
            *below += weight - part;
            *above += part;
        }
    }

    /// Turns mass into use, once all paths are in.
    pub(crate) fn finish(&mut self) {
        self.totals.clear();
        self.totals.resize(self.layers + 1, 0.0);
        for row in self.values.chunks_exact_mut(self.layers + 1) {
            let mut above = 0.0;
            for (value, total) in row.iter_mut().zip(&mut self.totals).rev() {
                above += *value;
                *value = above;
                *total += above;
            }
        }
    }

    /// The highest layer whose use, summed over the points, is more than `least`; 0 if none is.
    #[must_use]
    pub fn highest_used(&self, least: f64) -> usize {
        self.totals.iter().rposition(|total| *total > least).unwrap_or(0)
    }

    /// Points of the horizon.
    #[must_use]
    pub fn points(&self) -> usize {
        self.points
    }

    /// Points in one start-up time.
    #[must_use]
    pub fn startup_points(&self) -> usize {
        self.startup_points
    }

    /// Plan steps from one point to the next.
    #[must_use]
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// Layers that any path touches, and two more.
    #[must_use]
    pub fn layers(&self) -> usize {
        self.layers
    }

    /// Expected use of layer `layer` (from 1) at a point, 0 to 1.
    #[must_use]
    pub fn of(&self, layer: usize, point: usize) -> f64 {
        if layer > self.layers { 0.0 } else { self.values[point * (self.layers + 1) + layer] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn use_is_the_mean_of_the_clipped_paths() {
        let mut usage = Usage::default();
        usage.begin(1, 1, 1, 3.0);
        usage.add(0, 2.5, 0.75);
        usage.add(0, 0.2, 0.25);
        usage.finish();
        let expected = [0.75 + 0.25 * 0.2, 0.75, 0.75 * 0.5, 0.0];
        for (layer, expected) in expected.into_iter().enumerate() {
            assert!((usage.of(layer + 1, 0) - expected).abs() < 1e-12, "layer {}", layer + 1);
        }
        assert_eq!([0.2, 0.5, 0.9].map(|least| usage.highest_used(least)), [3, 2, 0]);
    }
}
