//! Which servers there are and how the gateway itself talks to them; where the map is stored.
//!
//! Health, lag and failover will live here too. Callers: `admin`, `session` (through `catalog`'s handle), `main`.

mod control;
mod map_file;

pub use control::{Connector, ControlError, Place, connect, describe, pool};
pub use map_file::{MapFile, MapFileError};
