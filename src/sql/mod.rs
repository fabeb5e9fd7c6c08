//! Room of `sql`.
