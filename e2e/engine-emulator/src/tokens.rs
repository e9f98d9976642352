//! A simple tokenizer, and the hash chain of a sequence's KV blocks.
//!
//! A piece is at most eight letters or digits with the space before them; every other character stands alone. The id
//! of a piece is a hash of it, so equal text is equal tokens in every engine, whatever its seed: that is all that
//! prefix caching and token counts need.

/// A token's number.
pub(crate) type Token = u32;

/// Numbers are below this, as large as today's vocabularies.
const VOCABULARY: u32 = 151_936;
/// The first numbers are kept for the marks of the chat template.
const SPECIAL: u32 = 8;
/// Opens a message of a chat.
pub(crate) const MESSAGE_START: Token = 1;
/// Closes a message of a chat.
pub(crate) const MESSAGE_END: Token = 2;
const PIECE_BYTES: usize = 8;

/// Appends the tokens of `text` to `tokens`, and stops once more than `limit` are there.
pub(crate) fn tokenize(text: &str, limit: usize, tokens: &mut Vec<Token>) {
    let bytes = text.as_bytes();
    let mut start = 0;
    while start < bytes.len() && tokens.len() <= limit {
        let end = start + piece_length(&bytes[start..]);
        tokens.push(token(&bytes[start..end]));
        start = end;
    }
}

fn piece_length(bytes: &[u8]) -> usize {
    let space = usize::from(bytes[0] == b' ');
    let word = bytes[space..].iter().take(PIECE_BYTES).take_while(|byte| byte.is_ascii_alphanumeric()).count();
    if word > 0 {
        return space + word;
    }
    // One character: in UTF-8 its first byte and the continuation bytes after it.
    1 + bytes[1..].iter().take_while(|byte| (0x80..0xC0).contains(*byte)).count()
}

fn token(piece: &[u8]) -> Token {
    let hash = piece.iter().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    SPECIAL + hash % (VOCABULARY - SPECIAL)
}

/// Hashes of a sequence's full KV blocks, each over all tokens before its end.
#[derive(Debug, Clone)]
pub(crate) struct Chain {
    state: u64,
    tokens: u32,
    block_size: u32,
    blocks: Vec<u64>,
}

impl Chain {
    /// An empty sequence. Sequences of different `salt` never share a block.
    pub(crate) fn new(block_size: u32, salt: u64) -> Self {
        Self { state: mix(salt ^ 0x9e37_79b9_7f4a_7c15), tokens: 0, block_size, blocks: Vec::new() }
    }

    /// Appends one token.
    pub(crate) fn push(&mut self, token: Token) {
        self.state = mix(self.state ^ u64::from(token));
        self.tokens += 1;
        if self.tokens.is_multiple_of(self.block_size) {
            // Zero marks a block without a hash.
            self.blocks.push(self.state.max(1));
        }
    }

    /// Hashes of the full blocks, first to last.
    pub(crate) fn blocks(&self) -> &[u64] {
        &self.blocks
    }

    /// A hash of the whole sequence.
    pub(crate) fn fingerprint(&self) -> u64 {
        self.state
    }

    /// Tokens in the sequence.
    pub(crate) fn len(&self) -> u32 {
        self.tokens
    }
}

/// A bijective mix of 64 bits (splitmix64's finalizer).
pub(crate) fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &str) -> Vec<Token> {
        let mut tokens = Vec::new();
        tokenize(text, usize::MAX - 1, &mut tokens);
        tokens
    }

    #[test]
    fn words_punctuation_and_other_scripts_are_cut_into_pieces() {
        assert_eq!(tokens("This program is free software").len(), 5);
        assert_eq!(tokens("free software").len(), 2);
        assert_eq!(tokens("characteristic").len(), 2);
        assert_eq!(tokens("a,b").len(), 3);
        assert_eq!(tokens("日本語").len(), 3);
        assert_eq!(tokens("").len(), 0);
        assert_eq!(tokens("  \n"), [tokens(" "), tokens(" "), tokens("\n")].concat());
    }

    #[test]
    fn counting_stops_one_past_the_limit() {
        let mut few = Vec::new();
        tokenize(&"word ".repeat(3000), 512, &mut few);
        assert_eq!(few.len(), 513);
    }

    #[test]
    fn chains_agree_up_to_the_first_different_token_and_never_after() {
        let chain = |tokens: &[Token]| {
            let mut chain = Chain::new(4, 0);
            tokens.iter().for_each(|token| chain.push(*token));
            chain
        };
        let one = chain(&[1, 2, 3, 4, 5, 6, 7, 8, 9]);
        let other = chain(&[1, 2, 3, 4, 5, 6, 7, 0, 9]);
        assert_eq!(one.blocks().len(), 2);
        assert_eq!(one.blocks()[0], other.blocks()[0]);
        assert_ne!(one.blocks()[1], other.blocks()[1]);
        assert_ne!(chain(&[5, 6, 7, 8]).blocks()[0], one.blocks()[1]);
        assert_ne!(Chain::new(4, 1).fingerprint(), Chain::new(4, 0).fingerprint());
    }
}
