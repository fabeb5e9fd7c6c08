//! Room of `admin`.
