//! Room of `topology`.
