//! Room of `execute`.

pub mod copy_key;
