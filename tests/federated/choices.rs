//! Choices that make a query: from a seed, or a list that is being made shorter while the query it makes still fails.

/// A list of numbers that a generator reads. When it ends, every choice is the first, which is the simplest.
#[derive(Clone, Debug)]
pub struct Choices {
    list: Vec<u32>,
    at: usize,
}

/// Choices in one query at the most.
const LENGTH: usize = 400;

impl Choices {
    /// The same seed makes the same choices.
    pub fn from_seed(seed: u64) -> Choices {
        // Xorshift64*.
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let list = (0..LENGTH).map(|_| {
            state ^= state >> 12;
            state ^= state << 25;
            state ^= state >> 27;
            (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as u32
        });
        Choices { list: list.collect(), at: 0 }
    }

    /// From the start again, without what was not read.
    fn again(&self) -> Choices {
        Choices { list: self.list.clone(), at: 0 }
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u32) -> u32 {
        let choice = self.list.get(self.at).copied().unwrap_or(0);
        self.at += 1;
        choice % bound.max(1)
    }

    /// One of `n`.
    pub fn chance(&mut self, n: u32) -> bool {
        self.below(n) == n - 1
    }

    /// One of these.
    pub fn one_of<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u32) as usize]
    }

    /// Makes the list shorter and its numbers smaller as long as what it makes fails; returns the smallest that does.
    pub fn shrink(mut self, mut fails: impl FnMut(Choices) -> bool) -> Choices {
        self.list.truncate(self.at);
        let mut better = true;
        let mut rounds = 0;
        while better && rounds < 4 {
            rounds += 1;
            better = false;
            let mut size = self.list.len().next_power_of_two() / 2;
            while size > 0 {
                let mut start = 0;
                while start < self.list.len() {
                    let mut shorter = self.again();
                    shorter.list.drain(start..(start + size).min(shorter.list.len()));
                    let mut zeroed = self.again();
                    zeroed.list[start..].iter_mut().take(size).for_each(|choice| *choice = 0);
                    if fails(shorter.again()) {
                        self = shorter;
                        better = true;
                    } else if zeroed.list != self.list && fails(zeroed.again()) {
                        self = zeroed;
                        better = true;
                        start += size;
                    } else {
                        start += size;
                    }
                }
                size /= 2;
            }
        }
        self.again()
    }
}

#[test]
fn shrinking_finds_the_smallest_list_that_fails() {
    let mut choices = Choices::from_seed(3);
    (0..50).for_each(|_| {
        choices.below(10);
    });
    let small = choices.shrink(|mut list| (0..50).any(|_| list.below(10) == 7));
    assert_eq!(small.list.iter().filter(|choice| **choice != 0).count(), 1);
}
