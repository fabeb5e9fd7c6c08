//! Text -> plan, and the caches between: [`lookup`] is the hot path, [`recent`] a session's last plans, [`shapes`] and [`compiled`] what all clients
//! share, [`bound`] what servers prepare of it, [`scope`] what a text's meaning depends on besides the catalog.

pub mod scope;
pub mod shapes;
pub mod bound;
pub mod compiled;
pub mod recent;
pub mod lookup;
