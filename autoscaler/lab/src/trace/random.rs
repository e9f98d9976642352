//! Random streams: one for each cell of a trace, so that any stretch of it can be made on its own.

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

/// The stream that belongs to these numbers and to no others.
pub(crate) fn stream(numbers: &[u64]) -> Pcg64Mcg {
    Pcg64Mcg::seed_from_u64(numbers.iter().fold(0x243f_6a88_85a3_08d3, |hash, &number| mix(hash ^ mix(number))))
}

/// The finaliser of SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// From an exponential distribution of mean 1.
pub(crate) fn exponential(random: &mut Pcg64Mcg) -> f64 {
    // 1 - u is in (0, 1]: never the logarithm of 0.
    -(1.0 - random.random::<f64>()).ln()
}

/// From a Weibull distribution of scale 1, by inversion.
pub(crate) fn weibull(random: &mut Pcg64Mcg, shape: f64) -> f64 {
    exponential(random).powf(1.0 / shape)
}

/// From a Gamma distribution of scale 1 (Marsaglia and Tsang, "A simple method for generating gamma variables", 2000).
pub(crate) fn gamma(random: &mut Pcg64Mcg, shape: f64) -> f64 {
    if shape < 1.0 {
        // Gamma(a) = Gamma(a + 1) · U^(1/a).
        let power: f64 = 1.0 - random.random::<f64>();
        return gamma(random, shape + 1.0) * power.powf(1.0 / shape);
    }
    let d = shape - 1.0 / 3.0;
    let c = 1.0 / (9.0 * d).sqrt();
    loop {
        let x = normal(random);
        let v = (1.0 + c * x).powi(3);
        if v <= 0.0 {
            continue;
        }
        let u: f64 = 1.0 - random.random::<f64>();
        if u.ln() < 0.5 * x * x + d - d * v + d * v.ln() {
            return d * v;
        }
    }
}

/// From the standard normal distribution (Box and Muller, 1958).
fn normal(random: &mut Pcg64Mcg) -> f64 {
    let radius = (2.0 * exponential(random)).sqrt();
    radius * (std::f64::consts::TAU * random.random::<f64>()).cos()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moments(mut draw: impl FnMut(&mut Pcg64Mcg) -> f64) -> (f64, f64) {
        let mut random = stream(&[7]);
        let values: Vec<f64> = (0..200_000).map(|_| draw(&mut random)).collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        (mean, values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / values.len() as f64)
    }

    #[test]
    fn the_laws_have_their_moments() {
        for shape in [0.25, 1.0, 4.0] {
            let (mean, variance) = moments(|random| gamma(random, shape));
            assert!(
                (mean / shape - 1.0).abs() < 0.02 && (variance / shape - 1.0).abs() < 0.05,
                "{shape}: {mean} {variance}"
            );
        }
        let (mean, variance) = moments(exponential);
        assert!((mean - 1.0).abs() < 0.01 && (variance - 1.0).abs() < 0.03);
        // Weibull of shape 2: mean Γ(1.5), variance 1 - Γ(1.5)².
        let (mean, variance) = moments(|random| weibull(random, 2.0));
        assert!((mean - 0.886_227).abs() < 0.005 && (variance - 0.214_602).abs() < 0.005);
    }

    #[test]
    fn streams_of_neighbouring_cells_differ() {
        let first = |numbers: &[u64]| stream(numbers).random::<u64>();
        assert_ne!(first(&[1, 2]), first(&[2, 1]));
        assert_ne!(first(&[0, 0]), first(&[0, 1]));
        assert_eq!(first(&[3, 4]), first(&[3, 4]));
    }
}
