//! Lengths of requests for traces that record only rates.

use std::io::BufRead;
use std::path::Path;

use rand::RngExt;
use rand_pcg::Pcg64Mcg;

use super::error::TraceError;
use super::lines::{Lines, open};

/// Longest prompt or answer that a trace may ask for, in tokens: beyond any model's context.
pub(crate) const MOST_TOKENS: u32 = 10_000_000;
/// Pairs kept of a file: a distribution needs no more.
const MOST_PAIRS: usize = 1_000_000;

/// Pairs of prompt and answer tokens from which requests are drawn, each as likely as the others: that a long prompt
/// often goes with a short answer is kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Lengths {
    pairs: Vec<(u32, u32)>,
}

/// 64 cells of equal probability of the conversation trace of Azure LLM inference 2023 (AzurePublicDataset, CC-BY-4.0):
/// the requests in order of prompt length in eight parts, each in order of answer length in eight; a pair is the mean
/// of its cell. Means 1,155 and 211 tokens as in the trace; lengths beyond the cells' means are lost.
#[rustfmt::skip]
const AZURE_CONVERSATION: [(u32, u32); 64] = [
    (151, 40), (177, 89), (149, 119), (134, 148), (186, 164), (174, 179), (168, 204), (192, 245),
    (302, 21), (374, 57), (373, 68), (376, 78), (384, 86), (384, 92), (385, 100), (372, 128),
    (408, 77), (407, 88), (407, 93), (408, 97), (407, 102), (407, 110), (405, 125), (407, 153),
    (753, 61), (669, 90), (675, 108), (863, 286), (984, 393), (983, 402), (984, 418), (981, 492),
    (1052, 280), (1050, 389), (1053, 396), (1050, 402), (1051, 411), (1052, 421), (1053, 439), (1053, 563),
    (1131, 208), (1122, 386), (1126, 395), (1125, 400), (1123, 411), (1126, 422), (1122, 441), (1126, 570),
    (1684, 48), (1715, 71), (1735, 91), (1703, 117), (1430, 149), (1391, 188), (1283, 321), (1250, 452),
    (3928, 32), (4008, 42), (3820, 49), (3920, 58), (3734, 71), (3442, 87), (3523, 112), (3485, 176),
];

impl Lengths {
    /// Chat: the packed distribution (see the source of this module for where it comes from).
    #[must_use]
    pub fn conversation() -> Self {
        Self { pairs: AZURE_CONVERSATION.to_vec() }
    }

    /// Every request alike: `prompt_tokens` and `output_tokens`, the latter at least 1.
    #[must_use]
    pub fn fixed(prompt_tokens: u32, output_tokens: u32) -> Self {
        Self { pairs: vec![(prompt_tokens, output_tokens.max(1))] }
    }

    /// Pairs from a file: `prompt_tokens,output_tokens`, or an Azure trace (`TIMESTAMP,ContextTokens,GeneratedTokens`).
    ///
    /// # Errors
    /// If the file cannot be read, or a line is not of the form that the header promises.
    pub fn load(path: &Path) -> Result<Self, TraceError> {
        Self::read(open(path)?, path)
    }

    pub(crate) fn read(reader: impl BufRead, path: &Path) -> Result<Self, TraceError> {
        const HEADER: &str = "the header `prompt_tokens,output_tokens` or `TIMESTAMP,ContextTokens,GeneratedTokens`";
        let empty = || TraceError::Content {
            path: path.to_owned(),
            problem: "no pairs in it".into(),
            expected: "a header and a line `prompt_tokens,output_tokens` for each request",
        };
        let mut lines = Lines::new(reader, path);
        let is_azure = match lines.next_line()? {
            None => return Err(empty()),
            Some(line) => match line.text {
                "prompt_tokens,output_tokens" => false,
                "TIMESTAMP,ContextTokens,GeneratedTokens" => true,
                other => return Err(line.refuse("the header", other, HEADER)),
            },
        };
        let mut pairs = Vec::new();
        while let Some(line) = lines.next_line()? {
            let [prompt, output] = if is_azure {
                let [_, prompt, output] = line.columns("`TIMESTAMP,ContextTokens,GeneratedTokens`")?;
                [prompt, output]
            } else {
                line.columns("`prompt_tokens,output_tokens`")?
            };
            let tokens = |column, text| {
                line.number(column, text, "a whole number of tokens, at most 10,000,000", |&n: &u32| n <= MOST_TOKENS)
            };
            pairs.push((tokens("prompt_tokens", prompt)?, tokens("output_tokens", output)?.max(1)));
            if pairs.len() == MOST_PAIRS {
                break;
            }
        }
        if pairs.is_empty() { Err(empty()) } else { Ok(Self { pairs }) }
    }

    pub(crate) fn draw(&self, random: &mut Pcg64Mcg) -> (u32, u32) {
        // Not empty: every constructor puts a pair in.
        self.pairs.get(random.random_range(0..self.pairs.len())).copied().unwrap_or((1, 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Lengths, TraceError> {
        Lengths::read(text.as_bytes(), Path::new("lengths.csv"))
    }

    #[test]
    fn the_packed_distribution_has_the_means_of_its_source() {
        let pairs = Lengths::conversation().pairs;
        let mean = |of: fn(&(u32, u32)) -> u32| pairs.iter().map(|p| f64::from(of(p))).sum::<f64>() / 64.0;
        assert!((mean(|p| p.0) - 1154.7).abs() < 1.0);
        assert!((mean(|p| p.1) - 211.1).abs() < 1.0);
    }

    #[test]
    fn both_headers_are_read() {
        assert_eq!(read("prompt_tokens,output_tokens\n10,20\n30,0\n").unwrap().pairs, [(10, 20), (30, 1)]);
        let azure = "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.68,374,44\n";
        assert_eq!(read(azure).unwrap().pairs, [(374, 44)]);
    }

    #[test]
    fn an_error_names_line_column_and_fix() {
        let error = read("prompt_tokens,output_tokens\n10,20\n10,many\n").unwrap_err().to_string();
        assert_eq!(
            error,
            "lengths.csv, line 3, output_tokens: found `many`, expected a whole number of tokens, at most 10,000,000"
        );
        assert!(read("a,b\n1,2\n").unwrap_err().to_string().contains("the header"));
        assert!(read("").unwrap_err().to_string().contains("no pairs"));
    }
}
