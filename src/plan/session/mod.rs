//! Statements about the session: settings, what of itself it remembers and shows, and those that only need to be told apart.

pub mod remembered;
pub mod setting;
pub mod shown;
pub mod utility;
