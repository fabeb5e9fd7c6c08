//! Room of `wire`.

pub mod copy;
