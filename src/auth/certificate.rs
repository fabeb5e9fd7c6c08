//! What certificates say.

use x509_parser::prelude::{FromDer, X509Certificate};

/// The subject's first common name; `None` if there is none, or one that could be mistaken (a NUL inside).
///
/// *Source*: `src/backend/libpq/be-secure-openssl.c`, `open_server_SSL`.
pub(super) fn common_name(der: &[u8]) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let name = certificate.subject().iter_common_name().next()?.as_str().ok()?;
    (!name.contains('\0')).then(|| name.to_owned())
}
