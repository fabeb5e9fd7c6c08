//! Room of `net`.
