//! Room of `session`.
