//! The replicas of each variant that carry what is needed, at the least price.

/// A way to run the model: one kind of GPU, with its own capacity, price and start-up time.
#[derive(Debug, Clone, PartialEq)]
pub struct Variant {
    /// Its name.
    pub name: String,
    /// Requests that a replica carries within the objective, at once or a second as for all others; above 0.
    pub capacity_requests: f64,
    /// Price of a replica for a second, in any one unit; above 0.
    pub price: f64,
    /// Seconds from order to Ready.
    pub startup_seconds: f64,
    /// Replicas it has now: they serve, and their starts are paid for.
    pub present: u32,
    /// Fewest replicas.
    pub min_replicas: u32,
    /// Most replicas.
    pub max_replicas: u32,
}

/// Demand to be carried from some moment on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Need {
    /// Seconds from now. What starts more slowly is no help by then.
    pub within_seconds: f64,
    /// Requests, in the unit of the capacities.
    pub requests: f64,
}

/// Replicas of each variant.
#[derive(Debug, Clone, PartialEq)]
pub struct Cover {
    /// In the order of the variants.
    pub replicas: Vec<u32>,
    /// Price of them for a second, the starts of those that are new spread over `horizon_seconds`.
    pub price: f64,
    /// Requests of each need that no replicas carry in time, in the order of the needs.
    pub missing_requests: Vec<f64>,
    /// Whether no cheaper cover exists. With many replicas of many variants the search ends early.
    pub is_least: bool,
}

/// Covers looked at before the search ends with the best one found: three variants of a hundred replicas are a few
/// thousand.
const MOST_LOOKS: u32 = 200_000;

/// Requests that count as none.
const NEGLIGIBLE: f64 = 1e-9;

/// Covers the needs at the least price. A new replica is paid for from its order on, so its price is that of
/// `horizon_seconds` and of its start, spread over the horizon: what is there is left alone unless a change pays within it.
///
/// Where the maxima do not suffice, as little as possible stays missing of each need, and that at the least price. Variants without capacity or price, or with numbers that are none, keep what they have.
#[must_use]
pub fn cover(variants: &[Variant], needs: &[Need], horizon_seconds: f64) -> Cover {
    let mut search = Search::new(variants, needs, horizon_seconds);
    search.descend(0, 0.0);
    let mut replicas: Vec<u32> = variants.iter().map(|variant| variant.present).collect();
    for (place, count) in search.order.iter().zip(&search.best) {
        replicas[*place] = *count;
    }
    Cover { replicas, price: search.least, is_least: search.looks < MOST_LOOKS, missing_requests: search.missing }
}

/// Branch and bound over the variants, those that carry a request cheapest first.
struct Search<'a> {
    variants: &'a [Variant],
    needs: &'a [Need],
    horizon_seconds: f64,
    /// Usable variants, by price of a request.
    order: Vec<usize>,
    chosen: Vec<u32>,
    best: Vec<u32>,
    least: f64,
    /// What stays missing of each need even with every replica there may be.
    missing: Vec<f64>,
    looks: u32,
}

impl<'a> Search<'a> {
    fn new(variants: &'a [Variant], needs: &'a [Need], horizon_seconds: f64) -> Self {
        let is_positive = |value: f64| value.is_finite() && value > 0.0;
        let usable = |index: &usize| {
            let variant = &variants[*index];
            is_positive(variant.capacity_requests) && is_positive(variant.price) && variant.startup_seconds >= 0.0
        };
        let mut order: Vec<usize> = (0..variants.len()).filter(usable).collect();
        let per_request = |index: usize| variants[index].price / variants[index].capacity_requests;
        order.sort_by(|one, other| {
            per_request(*one)
                .total_cmp(&per_request(*other))
                .then_with(|| variants[*one].name.cmp(&variants[*other].name))
        });
        let most: Vec<u32> = order.iter().map(|index| variants[*index].max_replicas).collect();
        let mut search = Self {
            variants,
            needs,
            horizon_seconds: if is_positive(horizon_seconds) { horizon_seconds } else { 1.0 },
            order,
            chosen: Vec::new(),
            best: most.clone(),
            least: f64::INFINITY,
            missing: Vec::new(),
            looks: 0,
        };
        search.missing = needs.iter().map(|need| search.left(&most, need).max(0.0)).collect();
        // Everything there may be is a cover as good as can be had, if a dear one.
        search.least = search.best.iter().enumerate().map(|(place, count)| search.price(place, *count)).sum();
        search
    }

    /// Requests of a need that `chosen` replicas of the first variants do not carry.
    fn left(&self, chosen: &[u32], need: &Need) -> f64 {
        let carried: f64 = chosen
            .iter()
            .zip(&self.order)
            .map(|(count, index)| {
                self.variants[*index].capacity_requests * f64::from(self.in_time(*index, *count, need))
            })
            .sum();
        need.requests - carried
    }

    fn in_time(&self, index: usize, count: u32, need: &Need) -> u32 {
        let variant = &self.variants[index];
        if variant.startup_seconds <= need.within_seconds { count } else { count.min(variant.present) }
    }

    fn price(&self, place: usize, count: u32) -> f64 {
        let variant = &self.variants[self.order[place]];
        let new = count.saturating_sub(variant.present);
        variant.price * (f64::from(count) + f64::from(new) * variant.startup_seconds / self.horizon_seconds)
    }

    /// Tries every number of the variant at `place`, given those before it and their price.
    fn descend(&mut self, place: usize, price: f64) {
        self.looks += 1;
        if self.looks >= MOST_LOOKS || price >= self.least {
            return;
        }
        let lacking =
            self.needs.iter().zip(&self.missing).map(|(need, missing)| self.left(&self.chosen, need) - missing);
        let lacking = lacking.fold(0.0, f64::max);
        let Some(index) = self.order.get(place) else {
            if lacking <= NEGLIGIBLE {
                self.least = price;
                self.best.clone_from(&self.chosen);
            }
            return;
        };
        let variant = &self.variants[*index];
        // What is left costs at least as much as by the cheapest of the variants that follow, this one.
        if lacking > 0.0 && price + lacking * variant.price / variant.capacity_requests > self.least + NEGLIGIBLE {
            return;
        }
        let (min, max) = (variant.min_replicas.min(variant.max_replicas), variant.max_replicas);
        // More than what is left of the largest need is of no use.
        let useful = ((lacking - NEGLIGIBLE) / variant.capacity_requests).ceil().max(0.0);
        let useful = if useful < f64::from(max) { useful as u32 } else { max };
        for count in (min..=useful.max(min)).rev() {
            self.chosen.push(count);
            self.descend(place + 1, price + self.price(place, count));
            self.chosen.pop();
        }
    }
}

#[cfg(test)]
mod tests;
