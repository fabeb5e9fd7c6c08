//! Room of `pool`.

pub mod connect;
