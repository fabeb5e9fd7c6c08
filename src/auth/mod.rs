//! Room of `auth`.
