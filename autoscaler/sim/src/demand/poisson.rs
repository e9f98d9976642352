//! Numbers of events that come independently of each other.

use rand::RngExt;
use rand_pcg::Pcg64Mcg;
use statrs::function::gamma::ln_gamma;

/// A Poisson law. Small means are counted by products of uniforms (Knuth); from 10 on by transformed rejection
/// (Hörmann 1993, algorithm PTRS), whose cost does not grow with the mean.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Poisson {
    mean: f64,
}

impl Poisson {
    /// With a mean of at least 0.
    pub(crate) const fn new(mean: f64) -> Self {
        Self { mean }
    }

    pub(crate) fn sample(self, random: &mut Pcg64Mcg) -> f64 {
        if self.mean < 10.0 { self.by_product(random) } else { self.by_rejection(random) }
    }

    fn by_product(self, random: &mut Pcg64Mcg) -> f64 {
        let enough = (-self.mean).exp();
        let (mut product, mut count) = (random.random::<f64>(), 0.0);
        while product > enough {
            product *= random.random::<f64>();
            count += 1.0;
        }
        count
    }

    fn by_rejection(self, random: &mut Pcg64Mcg) -> f64 {
        let mean = self.mean;
        let b = 0.931 + 2.53 * mean.sqrt();
        let a = -0.059 + 0.02483 * b;
        let inverse_alpha = 1.1239 + 1.1328 / (b - 3.4);
        let squeeze = 0.9277 - 3.6224 / (b - 2.0);
        loop {
            let u = random.random::<f64>() - 0.5;
            let v: f64 = random.random();
            let us = 0.5 - u.abs();
            let k = ((2.0 * a / us + b) * u + mean + 0.43).floor();
            if us >= 0.07 && v <= squeeze {
                return k;
            }
            if k < 0.0 || (us < 0.013 && v > us) {
                continue;
            }
            if (v * inverse_alpha / (a / (us * us) + b)).ln() <= k * mean.ln() - mean - ln_gamma(k + 1.0) {
                return k;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn counts_have_the_mean_and_the_variance_of_the_law() {
        for mean in [0.0, 0.3, 5.0, 10.0, 160.0, 20_000.0] {
            let mut random = Pcg64Mcg::seed_from_u64(3);
            let counts: Vec<f64> = (0..40_000).map(|_| Poisson::new(mean).sample(&mut random)).collect();
            let found = counts.iter().sum::<f64>() / 40_000.0;
            let variance = counts.iter().map(|c| (c - found).powi(2)).sum::<f64>() / 40_000.0;
            // Five standard errors of the mean, and of the variance of a law that is nearly normal.
            assert!((found - mean).abs() <= 5.0 * (mean / 40_000.0).sqrt(), "mean {mean}: {found}");
            assert!((variance - mean).abs() <= 0.06 * mean, "mean {mean}: variance {variance}");
        }
    }
}
