//! Room of `pool`.
