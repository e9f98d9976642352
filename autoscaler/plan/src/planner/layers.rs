//! Which replicas to order and which to release, at a price for a replica that is missing.

use autoscaler_forecast::Usage;

/// The layers that a plan at one price has on.
#[derive(Debug, Clone)]
pub(crate) struct Layers {
    price: f64,
    on: Vec<On>,
}

/// A layer that is on.
#[derive(Debug, Clone, Copy)]
struct On {
    /// Plan steps since its order.
    age: u32,
    /// It was ordered by waking an engine.
    is_woken: bool,
}

/// Engines that sleep, as the layers see them: a layer up to `reach` is had by a wake, and one that is released sleeps while
/// there is room.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Sleepers {
    /// Engines that are Ready, being woken or asleep.
    pub(crate) reach: usize,
    /// Most that sleep at once.
    pub(crate) most: usize,
    /// What a sleeping one costs, in Ready ones: from 0 to below 1.
    pub(crate) price: f64,
    /// Plan steps of a wake, at most those of a start.
    pub(crate) wake_steps: usize,
}

/// Memory for one solution, kept between them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tables {
    /// Price of leaving the layer off, summed up to each point.
    missed: Vec<f64>,
    off: Vec<f64>,
    on: Vec<f64>,
}

/// What a plan step is made under.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Horizon<'a> {
    /// Expected use of each layer.
    pub(crate) usage: &'a Usage,
    /// Plan steps of a start.
    pub(crate) startup_steps: usize,
    /// Engines that sleep, if any ever do.
    pub(crate) sleepers: Option<Sleepers>,
}

impl Horizon<'_> {
    /// Whether the layer is had by waking an engine.
    fn is_woken(&self, layer: usize) -> bool {
        self.sleepers.is_some_and(|sleepers| layer <= sleepers.reach)
    }

    /// Plan steps from order to Ready.
    fn steps(&self, is_woken: bool) -> usize {
        self.sleepers.filter(|_| is_woken).map_or(self.startup_steps, |sleepers| sleepers.wake_steps)
    }

    /// The same in points of the horizon.
    fn points(&self, is_woken: bool) -> usize {
        let startup = self.usage.startup_points();
        if is_woken { self.steps(true).div_ceil(self.usage.stride()).clamp(1, startup) } else { startup }
    }

    /// What a layer costs for one point beyond what it costs released: a sleeping engine is not free. Those that sleep lie
    /// right above the layers that are on, so only the topmost ones would sleep instead of ending.
    fn cost(&self, layer: usize) -> f64 {
        let sleeps = |sleepers: &Sleepers| layer <= sleepers.reach && layer + sleepers.most > sleepers.reach;
        self.sleepers.filter(sleeps).map_or(1.0, |sleepers| 1.0 - sleepers.price)
    }

    /// The least that any layer costs.
    fn least_cost(&self) -> f64 {
        self.sleepers.map_or(1.0, |sleepers| 1.0 - sleepers.price)
    }
}

impl Layers {
    /// A plan that has `replicas` on and Ready.
    pub(crate) fn new(price: f64, replicas: u32) -> Self {
        Self { price, on: vec![On { age: u32::MAX, is_woken: false }; replicas as usize] }
    }

    /// Takes one plan step; returns the layers that are on.
    ///
    /// The dynamic programme for one layer, backwards over the points of the horizon, in units of a replica for one point
    /// (`L` points to start or to wake, `p` the price, `u` the expected use, `c` what the replica costs beyond one released):
    ///
    /// ```text
    /// off[s] = min(off[s+1] + p·u[s],  c·L + p·Σ u[s..s+L] + on[s+L])      stay off | order now
    /// on[s]  = min(on[s+1] + c,        off[s])                             keep | release
    /// ```
    ///
    /// It is ski rental (an idle replica is kept as long as its return would cost more) with a forecast, and credits what is
    /// on its way by what is left of its start-up time.
    pub(crate) fn step(&mut self, horizon: &Horizon<'_>, tables: &mut Tables) -> u32 {
        // Above it none is worth a replica for one point, at the least that one costs.
        let least = (horizon.least_cost() - 1e-9) / self.price;
        let top = self.topmost(horizon.usage.highest_used(least), horizon, tables);
        for on in &mut self.on {
            on.age = on.age.saturating_add(1);
        }
        self.on.truncate(top);
        for layer in self.on.len() + 1..=top {
            self.on.push(On { age: 1, is_woken: horizon.is_woken(layer) });
        }
        top as u32
    }

    /// The topmost layer that is wanted, of those up to `highest`.
    ///
    /// A layer is used no more, and was ordered no earlier, than the one below it, so all below one that is wanted are wanted
    /// too; not so where some are had by a wake and others by a start.
    fn topmost(&self, highest: usize, horizon: &Horizon<'_>, tables: &mut Tables) -> usize {
        if horizon.sleepers.is_some() {
            return (1..=highest).rev().find(|layer| self.wants(*layer, horizon, tables)).unwrap_or(0);
        }
        let (mut wanted, mut unwanted) = (0, highest + 1);
        while unwanted - wanted > 1 {
            let layer = usize::midpoint(wanted, unwanted);
            if self.wants(layer, horizon, tables) { wanted = layer } else { unwanted = layer }
        }
        wanted
    }

    /// Whether ordering or keeping a layer is cheaper than leaving or releasing it.
    fn wants(&self, layer: usize, horizon: &Horizon<'_>, tables: &mut Tables) -> bool {
        let usage = horizon.usage;
        let points = usage.points();
        let startup = horizon.points(horizon.is_woken(layer));
        let cost = horizon.cost(layer);
        let Tables { missed, off, on } = tables;
        missed.clear();
        missed.push(0.0);
        let mut sum = 0.0;
        for point in 0..points {
            sum += self.price * usage.of(layer, point);
            missed.push(sum);
        }
        // Not worth one replica for one point.
        if sum <= cost {
            return false;
        }
        off.clear();
        off.resize(points + 1, 0.0);
        on.clear();
        on.resize(points + 1, 0.0);
        for point in (0..points).rev() {
            let mut least = off[point + 1] + missed[point + 1] - missed[point];
            if point + startup <= points {
                let order = startup as f64 * cost + missed[point + startup] - missed[point] + on[point + startup];
                least = least.min(order);
            }
            off[point] = least;
            on[point] = (on[point + 1] + cost).min(least);
        }
        let release = off[1] + missed[1];
        match self.on.get(layer - 1) {
            None => startup as f64 * cost + missed[startup] + on[startup] < release - 1e-12,
            Some(On { age, is_woken }) => {
                let left = horizon.steps(*is_woken).saturating_sub(*age as usize).div_ceil(usage.stride());
                let left = left.min(usage.startup_points());
                if left == 0 { on[1] + cost <= release } else { left as f64 * cost + missed[left] + on[left] < release }
            }
        }
    }
}

#[cfg(test)]
mod tests;
