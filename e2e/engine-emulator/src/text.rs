//! The answers: noise made of plain words, the same for the same prompt and seed.

use std::sync::LazyLock;

use crate::tokens::{Token, mix, tokenize};

/// Each is one token with the space before it, so that an answer sent back in the next prompt hits the prefix cache.
const WORDS: [&str; 64] = [
    " the", " a", " of", " to", " in", " and", " is", " for", " on", " with", " as", " by", " that", " this", " it",
    " from", " engine", " token", " batch", " queue", " step", " cache", " block", " model", " prompt", " answer",
    " stream", " load", " time", " rate", " scale", " replica", " request", " memory", " kernel", " weight", " layer",
    " head", " score", " value", " query", " key", " window", " length", " start", " stop", " wait", " run", " plan",
    " state", " count", " share", " limit", " bound", " first", " last", " next", " small", " large", " fast", " slow",
    " warm", " cold", " ready",
];

static TOKENS: LazyLock<[Token; 64]> = LazyLock::new(|| {
    WORDS.map(|word| {
        let mut tokens = Vec::with_capacity(1);
        tokenize(word, 1, &mut tokens);
        tokens[0]
    })
});

fn index(seed: u64, position: u32) -> usize {
    // Below 64, so the cast loses nothing.
    (mix(seed ^ u64::from(position)) % 64) as usize
}

/// The text of an answer's token.
pub(crate) fn word(seed: u64, position: u32) -> &'static str {
    WORDS[index(seed, position)]
}

/// The number of an answer's token.
pub(crate) fn token(seed: u64, position: u32) -> Token {
    TOKENS[index(seed, position)]
}

/// The first `count` tokens of an answer, as text.
pub(crate) fn answer(seed: u64, count: u32) -> String {
    (0..count).map(|position| word(seed, position)).collect()
}

/// Tokens after which the model would end its answer by itself: log-normal about `mean`, at least 1.
pub(crate) fn natural_length(seed: u64, mean: f64) -> u32 {
    const SIGMA: f64 = 0.7;
    // A sum of twelve uniform numbers is near enough to a normal one, and needs no tables.
    let normal = (0..12_u64)
        .map(|draw| (mix(seed.wrapping_add(draw).rotate_left(17)) >> 11) as f64 / (1_u64 << 53) as f64)
        .sum::<f64>()
        - 6.0;
    let length = mean * (SIGMA * normal - SIGMA * SIGMA / 2.0).exp();
    length.round().clamp(1.0, 1e6) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_one_token_that_the_tokenizer_finds_again() {
        let mut tokens = Vec::new();
        tokenize(&answer(7, 200), 1000, &mut tokens);
        assert_eq!(tokens, (0..200).map(|position| token(7, position)).collect::<Vec<_>>());
    }

    #[test]
    fn lengths_scatter_about_their_mean_and_repeat_with_the_seed() {
        let lengths: Vec<u32> = (0..4000).map(|seed| natural_length(mix(seed), 200.0)).collect();
        let mean = f64::from(lengths.iter().sum::<u32>()) / 4000.0;
        assert!((180.0..220.0).contains(&mean), "{mean}");
        assert!(*lengths.iter().max().expect("some") > 500 && *lengths.iter().min().expect("some") < 60);
        assert_eq!(natural_length(5, 200.0), natural_length(5, 200.0));
    }
}
