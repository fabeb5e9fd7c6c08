//! Sockets: listening, streams with and without TLS, TLS configurations. Knows nothing of the protocol but where TLS begins.

pub mod stream;
pub mod listener;
pub mod tls;
mod verify;

pub use listener::{Listener, raise_descriptor_limit};
pub use stream::{ClientStream, ServerStream};
pub use tls::{ClientTls, TlsError, client_config, server_end_point};
