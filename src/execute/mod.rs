//! Room of `execute`.
