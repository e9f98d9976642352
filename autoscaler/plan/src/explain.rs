//! A decision in plain words, one sentence for each term it rests on. Status, page and `autoscaler explain` show these.

use std::time::Duration;

use serde::Serialize;

use crate::decision::{Credit, Decision, ForecastCoverage};
use crate::planner::Planned;
use crate::score::Score;
use crate::standby::{Standby, StandbyTier};

/// One term of a decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Term {
    /// `binding`, `forecast`, `startup`, `standby`, `capacity`, `credit`, `price`, `budget` or `score`.
    pub term: &'static str,
    /// A sentence or two.
    pub words: String,
}

impl Decision {
    /// What the decision rests on, the binding term first. At most nine sentences, each a line or three.
    #[must_use]
    pub fn terms(&self) -> Vec<Term> {
        let mut terms = Vec::with_capacity(9);
        let mut add = |term, words| terms.push(Term { term, words });
        add("binding", self.binding_words());
        add("forecast", self.plan.as_ref().map_or_else(no_plan_words, |plan| self.forecast_words(plan)));
        add("startup", self.startup_words());
        if let Some(tier) = &self.standby {
            add("standby", standby_words(tier));
        }
        add("capacity", self.capacity_words());
        if let Some(credit) = &self.credit {
            add("credit", credit_words(credit));
        }
        if let Some(plan) = &self.plan {
            add("price", price_words(plan));
        }
        add("budget", self.budget_words());
        if let Some(score) = &self.score {
            add("score", score_words(score));
        }
        terms
    }

    fn binding_words(&self) -> String {
        let Some(reason) = self.headline() else { return format!("{} replicas, for no reason given.", self.replicas) };
        let wanted = if self.wanted == self.replicas {
            String::new()
        } else {
            format!(" Before limits and holds, {} were wanted.", self.wanted)
        };
        format!("{} decides on {}: {}.{wanted}", reason.reason, replicas(self.replicas), reason.message)
    }

    fn forecast_words(&self, plan: &Planned) -> String {
        let [p50, p80, p95, p99] = plan.forecast.quantiles;
        let coverage = self.forecast_coverage.as_ref().map(coverage_words).unwrap_or_default();
        format!(
            "Within the next start-up time the largest demand will be at most {p50:.2} replicas with 50 %, {p80:.2} with 80 %, \
             {p95:.2} with 95 % and {p99:.2} with 99 % certainty; it is {:.2} now.{coverage}",
            self.demand.replicas
        )
    }

    fn startup_words(&self) -> String {
        let startup = &self.startup;
        let source = match startup.samples {
            0 => "not learned yet, or set by hand".to_owned(),
            samples => learned_from(samples, "start"),
        };
        let mut words = format!(
            "A start takes {} in the median and {} at 95 %, which is how far the plan looks ahead ({source}).",
            span(startup.p50_seconds),
            span(startup.p95_seconds)
        );
        let parts = [("a machine", startup.machine_p95_seconds), ("the image", startup.image_p95_seconds)];
        let parts: Vec<String> =
            parts.iter().filter_map(|(what, seconds)| Some(format!("{what} {}", span((*seconds)?)))).collect();
        if !parts.is_empty() {
            words += &format!(" Of that at 95 %: {}.", parts.join(", "));
        }
        if startup.failures + startup.stock_outs > 0 {
            words += &format!(" Starts that failed: {}; orders never met: {}.", startup.failures, startup.stock_outs);
        }
        words
    }

    fn capacity_words(&self) -> String {
        let capacity = &self.capacity;
        let mut words = format!(
            "A replica carries {:.1} requests at once, set by {}; {:.0} % of that rests on what was seen.",
            capacity.requests,
            capacity.source.as_words(),
            capacity.confidence * 100.0
        );
        if let (Some(prompt), Some(output)) = (capacity.prompt_tokens, capacity.output_tokens) {
            words += &format!(" The mean request has {prompt:.0} + {output:.0} tokens.");
        }
        words
    }

    fn budget_words(&self) -> String {
        let mut words =
            format!("The objective allows {} of the demand to be missed", percent(self.allowed_missed_share));
        if let Some(plan) = &self.plan
            && plan.goal > 0.0
        {
            words += &format!("; after what was missed so far the plan aims at {}", percent(plan.goal));
        }
        if let Some(score) = &self.score {
            words += &format!("; {} was, in the last {}", percent(score.missed_share()), span(score.seconds));
        }
        words + "."
    }
}

fn no_plan_words() -> String {
    "None yet: before a 24th of a season was seen the load of this moment decides alone.".to_owned()
}

fn learned_from(samples: u32, what: &str) -> String {
    let plural = if samples == 1 { "" } else { "s" };
    format!("learned from {samples} {what}{plural}")
}

fn standby_words(tier: &StandbyTier) -> String {
    let StandbyTier { standby: Standby { asleep, most, price }, waking, wake } = tier;
    let sleeping = match asleep {
        0 => format!("No engine is asleep, up to {most} may be"),
        1 => format!("1 engine of at most {most} is asleep"),
        _ => format!("{asleep} engines of at most {most} are asleep"),
    };
    let waking = if *waking > 0 { format!(", {waking} being woken") } else { String::new() };
    let source = if wake.samples == 0 { "not learned yet".to_owned() } else { learned_from(wake.samples, "wake") };
    format!(
        "{sleeping}{waking}, at {} of the price of a Ready one. A wake takes {} in the median and {} at 95 % ({source}).",
        percent(*price),
        span(wake.p50_seconds),
        span(wake.p95_seconds)
    )
}

fn coverage_words(coverage: &ForecastCoverage) -> String {
    if coverage.judged == 0 {
        return String::new();
    }
    let [p50, p80, p95, p99] = coverage.covered.map(|held| held as f64 * 100.0 / coverage.judged as f64);
    format!(" Of {} forecasts, {p50:.1} / {p80:.1} / {p95:.1} / {p99:.1} % held.", coverage.judged)
}

fn credit_words(credit: &Credit) -> String {
    let Credit { starting, missing, first_ready_seconds, last_ready_seconds } = *credit;
    let mut words = Vec::new();
    if starting > 0 {
        let when = match (starting, last_ready_seconds > 0.0, first_ready_seconds > 0.0) {
            (_, false, _) => "due by now".to_owned(),
            (1, _, _) => format!("within {}", span(last_ready_seconds)),
            (_, _, true) => {
                format!("the first within {}, the last within {}", span(first_ready_seconds), span(last_ready_seconds))
            }
            (_, _, false) => format!("the first is overdue, the last comes within {}", span(last_ready_seconds)),
        };
        let verb = if starting == 1 { "is" } else { "are" };
        words.push(format!("{} {verb} starting, credited from the time of being Ready: {when}.", replicas(starting)));
    }
    if missing > 0 {
        words.push(format!("Ordered, and no engine exists yet: {missing}."));
    }
    words.join(" ")
}

fn price_words(plan: &Planned) -> String {
    let priced = match plan.price {
        Some(price) => format!("A missing replica is priced as {price:.0} idle ones"),
        None => "What arrives now is followed, for nothing foresees it better".to_owned(),
    };
    format!(
        "{priced}, with a margin of {:.0} %, and what was wanted is held for {}: the cheapest of the shadow plans that keep \
         within the budget. It asks for {}.",
        (plan.gain - 1.0) * 100.0,
        span(plan.hold_seconds),
        replicas(plan.replicas)
    )
}

fn score_words(score: &Score) -> String {
    let Some(regret) = score.regret_ratio() else { return "Nothing was needed so far.".to_owned() };
    let (share, side) = if regret < 0.0 { (-regret, "less") } else { (regret, "more") };
    format!(
        "{} {side} engine time than a plan that knows the future and misses nothing, over {}.",
        percent(share),
        span(score.seconds)
    )
}

fn replicas(count: u32) -> String {
    if count == 1 { "1 replica".to_owned() } else { format!("{count} replicas") }
}

/// Three digits below a tenth of a percent, as 99.9 % needs them.
fn percent(share: f64) -> String {
    let percent = share * 100.0;
    match percent {
        0.0..0.0005 => "0 %".to_owned(),
        0.0005..0.1 => format!("{percent:.3} %"),
        _ => format!("{percent:.2} %"),
    }
}

/// Seconds in the unit that a reader expects.
fn span(seconds: f64) -> String {
    let seconds = Duration::try_from_secs_f64(seconds).unwrap_or_default().as_secs_f64();
    match seconds {
        0.0..10.0 => format!("{seconds:.1} s"),
        10.0..300.0 => format!("{seconds:.0} s"),
        300.0..7_200.0 => format!("{:.0} min", seconds / 60.0),
        7_200.0..172_800.0 => format!("{:.1} h", seconds / 3600.0),
        _ => format!("{:.1} days", seconds / 86_400.0),
    }
}

#[cfg(test)]
mod tests;
