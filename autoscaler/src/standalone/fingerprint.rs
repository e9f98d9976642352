//! A short, stable name for what a process was started with, so that a changed configuration is noticed after a restart.

/// FNV-1a over the parts and their borders. Not a secret-keeper: it only has to differ when the parts differ.
pub fn fingerprint<'a>(parts: impl IntoIterator<Item = &'a String>) -> String {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;
    let mut hash = OFFSET;
    for part in parts {
        for byte in part.bytes().chain([0]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(PRIME);
        }
    }
    format!("{hash:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_borders_between_parts_count() {
        let parts = |parts: &[&str]| fingerprint(&parts.iter().map(|part| (*part).to_owned()).collect::<Vec<_>>());
        assert_eq!(parts(&["a", "bc"]), parts(&["a", "bc"]));
        assert_ne!(parts(&["a", "bc"]), parts(&["ab", "c"]));
    }
}
