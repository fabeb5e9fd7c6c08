//! Room of `wire`.

pub mod startup;
mod startup_options;
