//! Which replicas to order and which to release, at a price for a replica that is missing.

use autoscaler_forecast::Usage;

/// The layers that a plan at one price has on: the k-th entry is the age, in plan steps since its order, of the k-th replica.
#[derive(Debug, Clone)]
pub(crate) struct Layers {
    price: f64,
    ages: Vec<u32>,
}

/// Memory for one solution, kept between them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tables {
    /// Price of leaving the layer off, summed up to each point.
    missed: Vec<f64>,
    off: Vec<f64>,
    on: Vec<f64>,
}

impl Layers {
    /// A plan that has `replicas` on and Ready.
    pub(crate) fn new(price: f64, replicas: u32) -> Self {
        Self { price, ages: vec![u32::MAX; replicas as usize] }
    }

    /// Takes one plan step, of a start-up time of `startup_steps`; returns the layers that are on.
    ///
    /// The dynamic programme for one layer, backwards over the points of the horizon, in units of a replica for one point
    /// (`L` points to start, `p` the price, `u` the expected use):
    ///
    /// ```text
    /// off[s] = min(off[s+1] + p·u[s],  L + p·Σ u[s..s+L] + on[s+L])      stay off | order now
    /// on[s]  = min(on[s+1] + 1,        off[s])                           keep | release
    /// ```
    ///
    /// It is ski rental (an idle replica is kept as long as its return would cost more) with a forecast, and credits what is
    /// on its way by what is left of its start-up time.
    pub(crate) fn step(&mut self, usage: &Usage, startup_steps: usize, tables: &mut Tables) -> u32 {
        let top = (1..=usage.layers()).rev().find(|layer| self.wants(*layer, usage, startup_steps, tables));
        let top = top.unwrap_or(0);
        for age in &mut self.ages {
            *age = age.saturating_add(1);
        }
        self.ages.resize(top, 1);
        top as u32
    }

    /// Whether ordering or keeping a layer is cheaper than leaving or releasing it.
    fn wants(&self, layer: usize, usage: &Usage, startup_steps: usize, tables: &mut Tables) -> bool {
        let points = usage.points();
        let startup = usage.startup_points();
        let Tables { missed, off, on } = tables;
        missed.clear();
        missed.push(0.0);
        let mut sum = 0.0;
        for point in 0..points {
            sum += self.price * usage.of(layer, point);
            missed.push(sum);
        }
        // Not worth one replica for one point.
        if sum <= 1.0 {
            return false;
        }
        off.clear();
        off.resize(points + 1, 0.0);
        on.clear();
        on.resize(points + 1, 0.0);
        for point in (0..points).rev() {
            let mut least = off[point + 1] + missed[point + 1] - missed[point];
            if point + startup <= points {
                let order = startup as f64 + missed[point + startup] - missed[point] + on[point + startup];
                least = least.min(order);
            }
            off[point] = least;
            on[point] = (on[point + 1] + 1.0).min(least);
        }
        let release = off[1] + missed[1];
        match self.ages.get(layer - 1) {
            None => startup as f64 + missed[startup] + on[startup] < release - 1e-12,
            Some(age) => {
                let left = startup_steps.saturating_sub(*age as usize).div_ceil(usage.stride()).min(startup);
                if left == 0 { on[1] + 1.0 <= release } else { left as f64 + missed[left] + on[left] < release }
            }
        }
    }
}
