//! Random numbers that are the same on every machine and in every release: the sample data never changes by itself.

/// Sebastiano Vigna's SplitMix64. *Source*: <https://prng.di.unimi.it/splitmix64.c>, public domain.
#[derive(Clone, Copy, Debug)]
pub struct Random(u64);

impl Random {
    /// An own sequence for one thing (an order, a customer) of one kind.
    pub fn of(kind: u64, id: u64) -> Random {
        let mut random = Random(kind.wrapping_mul(0xd6e8_feb8_6659_fd93) ^ id);
        Random(random.next())
    }

    /// The next 64 bits.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `limit`; 0 when `limit` is 0. The bias is at most limit / 2^64.
    pub fn below(&mut self, limit: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(limit)) >> 64) as u64
    }

    /// A number below `limit`, the small ones far more often than the large ones.
    pub fn skewed(&mut self, limit: u64) -> u64 {
        let bound = self.below(limit) + 1;
        self.below(bound)
    }

    /// True `percent` times out of a hundred.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// One of several; `None` only of none.
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> Option<&'a T> {
        let index = self.below(of.len() as u64);
        of.get(index as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_reference_implementation() {
        // The first outputs of splitmix64.c for the state 1234567, as Rosetta Code lists them.
        let mut random = Random(1_234_567);
        assert_eq!([random.next(), random.next()], [6_457_827_717_110_365_317, 3_203_168_211_198_807_973]);
    }

    #[test]
    fn below_stays_below() {
        let mut random = Random::of(1, 1);
        assert!((0..10_000).all(|_| random.below(7) < 7));
        assert_eq!(random.below(0), 0);
    }
}
