//! Finds the few bytes of a chunk that mean something, 64 bytes at a time.
//!
//! Rows are short: calling a vectorised search once per row and field costs more than the search. Here a block is looked at
//! once and its finds are kept as bits for the calls that follow. *Measured*: `benches/copy_split.rs`.

/// Looked at at once: a bit for each byte fits into a word.
const BLOCK_BYTES: usize = 64;

/// Bytes looked at one by one before a search is called for.
const NEAR_BYTES: usize = 32;

/// Positions in a chunk of four bytes (some may be equal).
#[derive(Debug)]
pub(super) struct Marks {
    wanted: [u8; 4],
    /// Where the block begins.
    base: usize,
    /// Bit i: the byte at `base + i` is wanted. Zero before the first block of a chunk.
    bits: u64,
    /// Where the block ends.
    end: usize,
}

impl Marks {
    pub(super) fn new(wanted: [u8; 4]) -> Marks {
        Marks { wanted, base: 0, bits: 0, end: 0 }
    }

    /// Positions count from the start of a new chunk from now on.
    pub(super) fn begin_chunk(&mut self) {
        (self.base, self.bits, self.end) = (0, 0, 0);
    }

    /// The first wanted byte at `at` or after. `at` never goes back within a chunk.
    pub(super) fn next(&mut self, chunk: &[u8], at: usize) -> Option<usize> {
        let mut at = at;
        loop {
            if at < self.end {
                let bits = self.bits & (u64::MAX << (at - self.base));
                if bits != 0 {
                    return Some(self.base + bits.trailing_zeros() as usize);
                }
                at = self.end;
            }
            let rest = chunk.get(at..)?;
            self.base = at;
            if let Some(block) = rest.first_chunk() {
                self.bits = bits(block, self.wanted);
                self.end = at + BLOCK_BYTES;
            } else if rest.is_empty() {
                return None;
            } else {
                let mut block = [0; BLOCK_BYTES];
                block[..rest.len()].copy_from_slice(rest);
                self.bits = bits(&block, self.wanted) & (u64::MAX >> (BLOCK_BYTES - rest.len()));
                self.end = chunk.len();
            }
        }
    }
}

/// One bit per byte that is wanted. The compiler turns the comparison into vector instructions.
fn bits(block: &[u8; BLOCK_BYTES], [a, b, c, d]: [u8; 4]) -> u64 {
    let mut found = [0u8; BLOCK_BYTES];
    for (found, &byte) in found.iter_mut().zip(block) {
        *found = u8::from(byte == a) | u8::from(byte == b) | u8::from(byte == c) | u8::from(byte == d);
    }
    let (words, _) = found.as_chunks::<8>();
    let mut bits = 0;
    for (index, &word) in words.iter().enumerate() {
        // Bytes that are 0 or 1 -> the eight bits of the product's highest byte.
        let eight = u64::from_le_bytes(word).wrapping_mul(0x0102_0408_1020_4080) >> 56;
        bits |= eight << (8 * index);
    }
    bits
}

/// As `memchr2`, for finds that are likely near.
pub(super) fn find_near(a: u8, b: u8, bytes: &[u8]) -> Option<usize> {
    let (near, far) = bytes.split_at(bytes.len().min(NEAR_BYTES));
    match near.iter().position(|&byte| byte == a || byte == b) {
        None => memchr::memchr2(a, b, far).map(|found| near.len() + found),
        found => found,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn marks_are_found_wherever_they_are(
            chunk in prop::collection::vec(0u8..20, 0..300), wanted in any::<[u8; 4]>().prop_map(|w| w.map(|b| b % 20)),
        ) {
            let mut marks = Marks::new(wanted);
            let mut at = 0;
            let mut found = Vec::new();
            while let Some(next) = marks.next(&chunk, at) {
                found.push(next);
                at = next + 1;
            }
            let expected: Vec<usize> = (0..chunk.len()).filter(|&i| wanted.contains(&chunk[i])).collect();
            prop_assert_eq!(found, expected);
            prop_assert_eq!(find_near(wanted[0], wanted[1], &chunk), memchr::memchr2(wanted[0], wanted[1], &chunk));
        }
    }
}
