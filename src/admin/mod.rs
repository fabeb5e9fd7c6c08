//! Room of `admin`.

pub mod observe;
pub mod metrics;
pub mod http;
