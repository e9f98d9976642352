//! Numbers as they are written in flags.

/// A whole number above 0, also as vLLM writes them: `1k` is 1,000, `1K` is 1,024, and so on with m, g and a point.
pub(super) fn whole(text: &str) -> Result<u32, String> {
    let expected = || format!("`{text}` is not a whole number from 1 to {}, like 512, 32k or 32K", u32::MAX);
    let (digits, factor) = match text.char_indices().next_back() {
        Some((end, 'k')) => (&text[..end], 1e3),
        Some((end, 'K')) => (&text[..end], 1024.0),
        Some((end, 'm')) => (&text[..end], 1e6),
        Some((end, 'M')) => (&text[..end], 1024.0 * 1024.0),
        Some((end, 'g')) => (&text[..end], 1e9),
        Some((end, 'G')) => (&text[..end], 1024.0 * 1024.0 * 1024.0),
        _ => (text, 1.0),
    };
    let number = digits.parse::<f64>().map_err(|_| expected())? * factor;
    if number.fract() == 0.0 && (1.0..=f64::from(u32::MAX)).contains(&number) {
        // In range and whole: the cast loses nothing.
        Ok(number as u32)
    } else {
        Err(expected())
    }
}

fn number(text: &str, accepts: impl Fn(f64) -> bool, expected: &str) -> Result<f64, String> {
    text.parse::<f64>()
        .ok()
        .filter(|number| number.is_finite() && accepts(*number))
        .ok_or_else(|| format!("`{text}` is not {expected}"))
}

/// A number above 0.
pub(super) fn positive(text: &str) -> Result<f64, String> {
    number(text, |number| number > 0.0, "a number above 0")
}

/// A number from 0 on.
pub(super) fn at_least_zero(text: &str) -> Result<f64, String> {
    number(text, |number| number >= 0.0, "a number from 0 on")
}

/// A number from 0 to 1.
pub(super) fn share(text: &str) -> Result<f64, String> {
    number(text, |number| (0.0..=1.0).contains(&number), "a share from 0 to 1")
}
