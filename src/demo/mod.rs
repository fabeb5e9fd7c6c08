//! Room of `demo`.
