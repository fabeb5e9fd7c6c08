//! Room of `txn`.
