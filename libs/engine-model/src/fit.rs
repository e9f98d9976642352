//! Parameters of [`StepTime`] from measured latencies.
//!
//! `T(n)` is linear in its four parameters, so they are a least-squares solution: nonnegative, on relative residuals (a
//! step of 5 ms counts as much as one of 50), with Huber's weights so that a few wild measurements do not bend it. Where
//! measurements are few a [`Prior`] holds the rest.

use crate::least_squares::{dot, inverse, nonnegative_least_squares};
use crate::{Batch, Limits, ModelError, StepTime, Workload, ttft_seconds};

/// Unknowns: α, β, γ, c.
const UNKNOWNS: usize = 4;
type Vector = [f64; UNKNOWNS];
type Matrix = [Vector; UNKNOWNS];

/// One of each parameter: a formula evaluated with them gives its coefficients, and so stays written in one place.
const UNITS: [StepTime; UNKNOWNS] = [
    StepTime::from_milliseconds(1e3, 0.0, 0.0, 0.0),
    StepTime::from_milliseconds(0.0, 1e3, 0.0, 0.0),
    StepTime::from_milliseconds(0.0, 0.0, 1e3, 0.0),
    StepTime::from_milliseconds(0.0, 0.0, 0.0, 1e3),
];

/// Huber's constant: full weight up to this many deviations, 95 % efficient where nothing is wild.
const HUBER: f64 = 1.345;

/// From the median of absolute residuals to a standard deviation, for a normal distribution.
const MEDIAN_TO_DEVIATION: f64 = 1.4826;

/// Residuals are believed no smaller than this, relative: measurements repeat within about a hundredth.
const LEAST_DEVIATION: f64 = 0.01;

/// The same where there is a prior: the formula itself is within a few hundredths of any engine, however many samples agree.
const LEAST_DEVIATION_WITH_PRIOR: f64 = 0.03;

/// Width of a prior around a parameter that is 0 in it: this share of the fixed part.
const ZERO_WIDTH: f64 = 0.05;

/// Weight of a first token beside a step. Prompts of twice the length cost both more computing and more context, so step
/// times alone hardly tell β from γ, and first tokens do. They also hold waits that the formula leaves out; at this weight
/// they choose among parameters that explain the steps equally well, and change nothing else.
const FIRST_TOKEN_WEIGHT: f64 = 0.003;

const MOST_ROUNDS: usize = 25;

/// One measured latency and what the engine did meanwhile.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Observation {
    coefficients: Vector,
    seconds: f64,
    weight: f64,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Step,
    FirstToken,
}

impl Observation {
    /// A mean step (so a mean time between tokens) of `seconds` over batches that were `batch` in the mean.
    #[must_use]
    pub fn step(batch: Batch, seconds: f64) -> Self {
        Self { coefficients: UNITS.map(|unit| unit.step_seconds(batch)), seconds, weight: 1.0, kind: Kind::Step }
    }

    /// A mean time to first token of `seconds` that no queue lengthened, at a steady `concurrency` of `workload`. It counts
    /// little: it tells computing from context where step times cannot.
    #[must_use]
    pub fn first_token(concurrency: f64, workload: &Workload, limits: &Limits, seconds: f64) -> Self {
        let coefficients = UNITS.map(|unit| ttft_seconds(&unit, concurrency, workload, limits));
        Self { coefficients, seconds, weight: FIRST_TOKEN_WEIGHT, kind: Kind::FirstToken }
    }

    /// The same, worth as much as `count` of them.
    #[must_use]
    pub fn times(self, count: f64) -> Self {
        Self { weight: self.weight * count, ..self }
    }

    fn validate(&self) -> Result<(), ModelError> {
        let is_duration = self.seconds.is_finite() && self.seconds > 0.0;
        ModelError::check(is_duration, "seconds", self.seconds, "a measured latency above 0")?;
        let is_weight = self.weight.is_finite() && self.weight >= 0.0;
        ModelError::check(is_weight, "weight", self.weight, "a number of observations, at least 0")?;
        for value in self.coefficients {
            ModelError::check(value.is_finite() && value >= 0.0, "batch", value, "counts of tokens, at least 0")?;
        }
        Ok(())
    }

    /// Coefficients for a target of 1: residuals are then relative.
    fn relative(&self) -> Vector {
        self.coefficients.map(|value| value / self.seconds)
    }
}

/// What is believed of an engine before it is measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Prior {
    /// The expected parameters.
    pub step: StepTime,
    /// Relative standard deviation of the engine's overall speed: all parameters together. Above 0.
    pub scale_deviation: f64,
    /// Relative standard deviation of each parameter by itself. Above 0.
    pub shape_deviation: f64,
}

impl Prior {
    /// Relative standard deviation of `T(n)` as expected by this prior.
    #[must_use]
    pub fn relative_error(&self, concurrency: f64, workload: &Workload) -> f64 {
        let coefficients = Observation::step(Batch::steady(concurrency, workload), 1.0).coefficients;
        let seconds = self.step.steady_step_seconds(concurrency, workload);
        let widths = self.widths(&vector(&self.step));
        let shape: f64 = coefficients.iter().zip(widths).map(|(x, width)| (x * width / seconds).powi(2)).sum();
        (self.scale_deviation.powi(2) + shape).sqrt()
    }

    /// Standard deviation of each parameter by itself.
    fn widths(&self, expected: &Vector) -> Vector {
        let least = ZERO_WIDTH * expected[0];
        expected.map(|value| self.shape_deviation * if value > 0.0 { value } else { least })
    }

    /// Precision matrix of the prior, and its product with the expected parameters, around the prior scaled by `scale`.
    ///
    /// The covariance is `s²·t·tᵀ + diag(widths²)`; its inverse follows from Sherman and Morrison.
    fn precision(&self, scale: f64) -> (Matrix, Vector) {
        let expected = vector(&self.step).map(|value| value * scale);
        let inverse_variance = self.widths(&expected).map(|width| width.powi(-2));
        let pulled: Vector = std::array::from_fn(|row| inverse_variance[row] * expected[row]);
        let norm = self.scale_deviation.powi(-2) + dot(&pulled, &expected);
        let matrix: Matrix = std::array::from_fn(|row| {
            std::array::from_fn(|column| {
                let diagonal = if row == column { inverse_variance[row] } else { 0.0 };
                diagonal - pulled[row] * pulled[column] / norm
            })
        });
        (matrix, matrix.map(|row| dot(&row, &expected)))
    }
}

/// Fitted parameters and how sure they are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fit {
    /// The parameters.
    pub step: StepTime,
    /// Relative standard deviation of the residuals of steps, outliers aside.
    pub residual_deviation: f64,
    /// Steps that count, after outliers were discounted.
    pub effective_observations: f64,
    covariance: Matrix,
}

impl Fit {
    /// Standard error of each parameter; 0 for one that ended at its bound of 0.
    #[must_use]
    pub fn standard_errors(&self) -> StepTime {
        step_time(&std::array::from_fn(|index| self.covariance[index][index].max(0.0).sqrt()))
    }

    /// Relative standard error of `T(n)`.
    #[must_use]
    pub fn relative_error(&self, concurrency: f64, workload: &Workload) -> f64 {
        let coefficients = Observation::step(Batch::steady(concurrency, workload), 1.0).coefficients;
        let variance = dot(&coefficients, &self.covariance.map(|row| dot(&row, &coefficients)));
        variance.max(0.0).sqrt() / self.step.steady_step_seconds(concurrency, workload)
    }
}

/// Why there is no fit.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum FitError {
    /// A measurement or the prior is not what it must be.
    #[error(transparent)]
    Invalid(#[from] ModelError),
    /// Fewer steps than unknowns, and no prior.
    #[error("{found} measured steps cannot give four parameters: measure at least {LEAST_STEPS}, or give a prior")]
    TooFew {
        /// Steps that were given.
        found: usize,
    },
    /// The measurements agree with no positive fixed part of a step.
    #[error("the measured steps have no fixed part: measure at lower concurrency too")]
    NoFixedPart,
}

/// Measured steps needed where there is no prior: one more than unknowns, or the residuals would say nothing.
pub const LEAST_STEPS: usize = UNKNOWNS + 1;

/// Share of the expected fixed part that stands for one too small to be measured.
const NEGLIGIBLE_SHARE: f64 = 1e-3;

/// Fits the parameters of a step to measurements, and to a prior where there is one.
///
/// # Errors
/// When a number is out of its range, and without a prior when there are fewer than [`LEAST_STEPS`] steps or when no `α > 0`
/// fits.
pub fn fit(observations: &[Observation], prior: Option<&Prior>) -> Result<Fit, FitError> {
    observations.iter().try_for_each(Observation::validate)?;
    let steps = observations.iter().filter(|one| one.kind == Kind::Step && one.weight > 0.0).count();
    match prior {
        Some(prior) => validate(prior)?,
        None if steps < LEAST_STEPS => return Err(FitError::TooFew { found: steps }),
        None => {}
    }
    let least = if prior.is_some() { LEAST_DEVIATION_WITH_PRIOR } else { LEAST_DEVIATION };
    let rows: Vec<Vector> = observations.iter().map(Observation::relative).collect();
    let mut trust = vec![1.0; rows.len()];
    let mut deviation = least;
    let mut round = Round::solve(observations, &rows, &trust, prior, deviation);
    for _ in 0..MOST_ROUNDS {
        let residuals: Vec<f64> = rows.iter().map(|row| 1.0 - dot(row, &round.solution)).collect();
        for kind in [Kind::Step, Kind::FirstToken] {
            let spread = spread(observations, &residuals, kind).max(least);
            if kind == Kind::Step {
                deviation = spread;
            }
            for (index, residual) in residuals.iter().enumerate().filter(|(index, _)| observations[*index].kind == kind)
            {
                trust[index] = (HUBER * spread / residual.abs().max(f64::MIN_POSITIVE)).min(1.0);
            }
        }
        let next = Round::solve(observations, &rows, &trust, prior, deviation);
        let is_settled = next
            .solution
            .iter()
            .zip(round.solution)
            .all(|(new, old)| (new - old).abs() <= 1e-9 * new.abs().max(old.abs()));
        round = next;
        if is_settled {
            break;
        }
    }
    let mut step = step_time(&round.solution);
    if step.fixed_seconds <= 0.0 {
        // Measured at high concurrency alone, it is lost among the rest. Whoever has a prior knows that there is one.
        let Some(prior) = prior else { return Err(FitError::NoFixedPart) };
        step.fixed_seconds = NEGLIGIBLE_SHARE * prior.step.fixed_seconds;
    }
    let effective_observations = observations
        .iter()
        .zip(&trust)
        .filter(|(one, _)| one.kind == Kind::Step)
        .map(|(one, trust)| one.weight * trust)
        .sum();
    let covariance = round.covariance(deviation, prior.is_some());
    Ok(Fit { step, residual_deviation: deviation, effective_observations, covariance })
}

/// One weighted least-squares problem and its solution.
struct Round {
    matrix: Matrix,
    solution: Vector,
}

impl Round {
    fn solve(
        observations: &[Observation],
        rows: &[Vector],
        trust: &[f64],
        prior: Option<&Prior>,
        deviation: f64,
    ) -> Self {
        let (mut matrix, mut target) = ([[0.0; UNKNOWNS]; UNKNOWNS], [0.0; UNKNOWNS]);
        for ((one, row), trust) in observations.iter().zip(rows).zip(trust) {
            let weight = one.weight * trust;
            for (index, left) in row.iter().enumerate() {
                target[index] += weight * left;
                for (sum, right) in matrix[index].iter_mut().zip(row) {
                    *sum += weight * left * right;
                }
            }
        }
        if let Some(prior) = prior {
            let variance = deviation * deviation;
            let scale = prior_scale(prior, &matrix, &target, variance);
            let (precision, pulled) = prior.precision(scale);
            for index in 0..UNKNOWNS {
                target[index] += variance * pulled[index];
                for (sum, value) in matrix[index].iter_mut().zip(precision[index]) {
                    *sum += variance * value;
                }
            }
        }
        Self { matrix, solution: nonnegative_least_squares(&matrix, &target) }
    }

    /// Covariance of the solution. Without a prior a parameter at its bound is taken as known to be 0; with one it may move.
    fn covariance(&self, deviation: f64, has_prior: bool) -> Matrix {
        let mut set = 0;
        for (index, value) in self.solution.iter().enumerate() {
            if has_prior || *value > 0.0 {
                set |= 1 << index;
            }
        }
        let inverse = inverse(&self.matrix, set).unwrap_or([[0.0; UNKNOWNS]; UNKNOWNS]);
        inverse.map(|row| row.map(|value| value * deviation * deviation))
    }
}

/// How many times slower than the prior the engine is, all parameters together.
///
/// The prior is then centred there: an engine of another speed keeps the prior's shape instead of the prior's seconds.
fn prior_scale(prior: &Prior, matrix: &Matrix, target: &Vector, variance: f64) -> f64 {
    let expected = vector(&prior.step);
    let belief = variance / prior.scale_deviation.powi(2);
    let measured = dot(&expected, &matrix.map(|row| dot(&row, &expected)));
    ((belief + dot(target, &expected)) / (belief + measured)).max(f64::MIN_POSITIVE)
}

/// Robust standard deviation of the relative residuals of one kind: from their weighted median size.
fn spread(observations: &[Observation], residuals: &[f64], kind: Kind) -> f64 {
    let mut sizes: Vec<(f64, f64)> = observations
        .iter()
        .zip(residuals)
        .filter(|(one, _)| one.kind == kind)
        .map(|(one, residual)| (residual.abs(), one.weight))
        .collect();
    sizes.sort_by(|left, right| left.0.total_cmp(&right.0));
    let half = 0.5 * sizes.iter().map(|(_, weight)| weight).sum::<f64>();
    let mut sum = 0.0;
    for (size, weight) in sizes {
        sum += weight;
        if sum >= half {
            return MEDIAN_TO_DEVIATION * size;
        }
    }
    0.0
}

fn validate(prior: &Prior) -> Result<(), ModelError> {
    prior.step.validate()?;
    for (field, value) in [("scaleDeviation", prior.scale_deviation), ("shapeDeviation", prior.shape_deviation)] {
        ModelError::check(value.is_finite() && value > 0.0, field, value, "a relative deviation above 0")?;
    }
    Ok(())
}

fn vector(step: &StepTime) -> Vector {
    [step.fixed_seconds, step.per_token_seconds, step.per_context_token_seconds, step.per_root_sequence_seconds]
}

fn step_time(values: &Vector) -> StepTime {
    let [fixed_seconds, per_token_seconds, per_context_token_seconds, per_root_sequence_seconds] = *values;
    StepTime { fixed_seconds, per_token_seconds, per_context_token_seconds, per_root_sequence_seconds }
}
