//! Keys and their hash: the only place that knows which bytes of a value are hashed and how.

use xxhash_rust::xxh64::xxh64;

use crate::bucket::Bucket;

/// The seed is part of the placement of every row ever stored.
const SEED: u64 = 0;

/// A key value in the form in which it is hashed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Key {
    /// Integers of any width.
    Integer(i64),
    /// text, varchar, and char without its padding.
    Text(Box<str>),
    /// uuid.
    Uuid([u8; 16]),
}

impl Key {
    /// The bucket the key falls into: the upper 12 bits of XXH64 over the key's canonical bytes.
    pub fn bucket(&self) -> Bucket {
        Bucket::of_hash(self.hash())
    }

    /// XXH64 of the canonical bytes: an integer's 8 bytes little-endian, a text's UTF-8, a uuid's 16 bytes as printed.
    fn hash(&self) -> u64 {
        match self {
            Key::Integer(value) => xxh64(&value.to_le_bytes(), SEED),
            Key::Text(text) => xxh64(text.as_bytes(), SEED),
            Key::Uuid(bytes) => xxh64(bytes, SEED),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sanity buffer of xxHash's own test suite. *Source*: xxHash v0.8, `tests/sanity_test.c`, `fillTestBuffer`.
    fn sanity_buffer(len: usize) -> Vec<u8> {
        const PRIME32: u64 = 2_654_435_761;
        const PRIME64: u64 = 11_400_714_785_074_694_797;
        let mut state = PRIME32;
        let mut buffer = Vec::with_capacity(len);
        for _ in 0..len {
            buffer.push((state >> 56) as u8);
            state = state.wrapping_mul(PRIME64);
        }
        buffer
    }

    /// *Source*: xxHash v0.8, `cli/xsum_sanity_check.c`, the table of XXH64 with seed 0.
    #[test]
    fn xxh64_agrees_with_the_vectors_of_its_authors() {
        let vectors = [
            (0, 0xEF46_DB37_51D8_E999),
            (1, 0xE934_A84A_DB05_2768),
            (4, 0x9136_A0DC_A574_57EE),
            (14, 0x8282_DCC4_994E_35C8),
            (222, 0xB641_AE8C_B691_C174_u64),
        ];
        for (len, expected) in vectors {
            assert_eq!(xxh64(&sanity_buffer(len), 0), expected, "{len} bytes");
        }
    }

    /// Widely published values of XXH64 with seed 0 for short texts.
    #[test]
    fn xxh64_of_texts_is_the_published_one() {
        for (text, expected) in [
            ("", 0xEF46_DB37_51D8_E999),
            ("a", 0xD24E_C4F1_A98C_6E5B),
            ("abc", 0x44BC_2CF5_AD77_0999),
            ("Nobody inspects the spammish repetition", 0xFBCE_A83C_8A37_8BF1_u64),
        ] {
            assert_eq!(Key::Text(text.into()).hash(), expected, "{text:?}");
        }
    }

    /// These decide where rows that already exist are looked for: a change here loses them.
    #[test]
    fn buckets_of_known_keys_never_change() {
        let known = [
            (Key::Integer(0), 844),
            (Key::Integer(1), 2546),
            (Key::Integer(-1), 2141),
            (Key::Integer(4711), 1258),
            (Key::Integer(i64::MIN), 1012),
            (Key::Integer(i64::MAX), 4087),
            (Key::Text("".into()), 3828),
            (Key::Text("abc".into()), 1099),
            (Key::Text("Zürich".into()), 2143),
            (Key::Uuid([0; 16]), 2800),
            (Key::Uuid([0xff; 16]), 2674),
        ];
        let expected: Vec<_> = known.iter().map(|(key, bucket)| (key, Bucket(*bucket))).collect();
        let found: Vec<_> = known.iter().map(|(key, _)| (key, key.bucket())).collect();
        assert_eq!(found, expected);
    }
}
