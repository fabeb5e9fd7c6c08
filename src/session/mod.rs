//! Room of `session`.

pub mod accept;
