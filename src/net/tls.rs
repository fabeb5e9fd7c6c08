//! TLS configurations: towards clients (with what channel binding needs) and towards servers (libpq's `sslmode`).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use pgwire::api::auth::sasl::scram::ScramServerAuth;
use ring::digest;
use rustls::crypto::{CryptoProvider, ring as ring_provider};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;
use x509_parser::oid_registry as oid;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::verify::{Checked, ServerVerifier};
use crate::config;

/// PostgreSQL's name in application-layer protocol negotiation. *Source*: `src/include/libpq/pqcomm.h`, `PG_ALPN_PROTOCOL`.
pub const ALPN: &[u8] = b"postgresql";

/// Why TLS cannot be used as configured.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read or is not PEM.
    #[error("{}: {source}", path.display())]
    Pem {
        /// As configured.
        path: PathBuf,
        /// Why.
        source: pem::Error,
    },
    /// A file holds no certificate.
    #[error("{}: holds no certificate", path.display())]
    NoCertificate {
        /// As configured.
        path: PathBuf,
    },
    /// The system has no certificate authorities and none are configured.
    #[error("the system has no certificate authorities: name some with sslrootcert")]
    NoAuthorities,
    /// Certificate and key do not fit, or are of a kind that is not supported.
    #[error("{}: {source}", path.display())]
    Unusable {
        /// The certificate's file.
        path: PathBuf,
        /// Why.
        source: rustls::Error,
    },
    /// Authorities of client certificates that cannot be used.
    #[error("{}: {source}", path.display())]
    Authorities {
        /// As configured.
        path: PathBuf,
        /// Why.
        source: rustls::server::VerifierBuilderError,
    },
    /// The TLS library refuses its own defaults.
    #[error(transparent)]
    Library(#[from] rustls::Error),
}

/// TLS towards clients.
#[derive(Clone)]
pub struct ClientTls {
    /// Shakes hands.
    pub acceptor: TlsAcceptor,
    /// Knows the hash of the certificate for channel binding, unless its signature algorithm has none (Ed25519, RSA-PSS).
    pub scram: ScramServerAuth,
}

impl ClientTls {
    /// Reads certificate, key and authorities.
    ///
    /// # Errors
    /// See [`TlsError`].
    pub fn load(tls: &config::Tls) -> Result<Self, TlsError> {
        let chain = certificates(&tls.certificate)?;
        let key = private_key(&tls.key)?;
        let mut scram = ScramServerAuth::new();
        if let Err(error) = std::fs::read(&tls.certificate).map_or(Ok(()), |pem| scram.configure_certificate(&pem)) {
            tracing::warn!(%error, "channel binding is not offered: the certificate's signature algorithm has no hash for it");
        }
        let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
        let builder = match &tls.client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(authorities(path)?), provider())
                    .allow_unauthenticated()
                    .build()
                    .map_err(|source| TlsError::Authorities { path: path.clone(), source })?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut config = builder
            .with_single_cert(chain, key)
            .map_err(|source| TlsError::Unusable { path: tls.certificate.clone(), source })?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        Ok(Self { acceptor: TlsAcceptor::from(Arc::new(config)), scram })
    }
}

/// What TLS towards a server looks like; `None` for `sslmode=disable`.
///
/// `prefer` and `require` accept any certificate, except that `require` with `sslrootcert` is `verify-ca`, as in libpq.
///
/// # Errors
/// See [`TlsError`].
pub fn client_config(tls: &config::ServerTls) -> Result<Option<Arc<ClientConfig>>, TlsError> {
    let checked = match (tls.mode, &tls.root_certificate) {
        (config::SslMode::Disable, _) => return Ok(None),
        (config::SslMode::Prefer, _) | (config::SslMode::Require, None) => Checked::Nothing,
        (config::SslMode::Require | config::SslMode::VerifyCa, _) => Checked::Chain,
        (config::SslMode::VerifyFull, _) => Checked::ChainAndName,
    };
    let verifier = match checked {
        Checked::Nothing => ServerVerifier::new(checked, RootCertStore::empty(), Vec::new(), provider()),
        Checked::Chain | Checked::ChainAndName => {
            let roots = match &tls.root_certificate {
                Some(path) => certificates(path)?,
                None => rustls_native_certs::load_native_certs().certs,
            };
            let mut store = RootCertStore::empty();
            let (usable, _) = store.add_parsable_certificates(roots.iter().cloned());
            if usable == 0 {
                return Err(TlsError::NoAuthorities);
            }
            // Only what the user names is pinned, not the system's hundreds.
            let pinned = if tls.root_certificate.is_some() { roots } else { Vec::new() };
            ServerVerifier::new(checked, store, pinned, provider())
        }
    };
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match (&tls.certificate, &tls.key) {
        (Some(certificate), Some(key)) => builder
            .with_client_auth_cert(certificates(certificate)?, private_key(key)?)
            .map_err(|source| TlsError::Unusable { path: certificate.clone(), source })?,
        (_, _) => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(Some(Arc::new(config)))
}

/// The `tls-server-end-point` hash of a server's certificate; `None` if its signature algorithm has none.
///
/// *Source*: RFC 5929, section 4.1: the hash of the signature, SHA-256 where that is MD5 or SHA-1.
pub fn server_end_point(certificate: &CertificateDer<'_>) -> Option<Vec<u8>> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let algorithm = &parsed.signature_algorithm.algorithm;
    let is = |oids: &[oid::Oid<'_>]| oids.contains(algorithm);
    let hash = if is(&[
        oid::OID_PKCS1_MD5WITHRSAENC,
        oid::OID_PKCS1_SHA1WITHRSA,
        oid::OID_PKCS1_SHA256WITHRSA,
        oid::OID_SIG_ECDSA_WITH_SHA256,
    ]) {
        &digest::SHA256
    } else if is(&[oid::OID_PKCS1_SHA384WITHRSA, oid::OID_SIG_ECDSA_WITH_SHA384]) {
        &digest::SHA384
    } else if is(&[oid::OID_PKCS1_SHA512WITHRSA, oid::OID_SIG_ECDSA_WITH_SHA512]) {
        &digest::SHA512
    } else {
        return None;
    };
    Some(digest::digest(hash, certificate).as_ref().to_vec())
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring_provider::default_provider())
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let unreadable = |source| TlsError::Pem { path: path.to_owned(), source };
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).map_err(unreadable)?.collect();
    let certificates = certificates.map_err(unreadable)?;
    if certificates.is_empty() {
        return Err(TlsError::NoCertificate { path: path.to_owned() });
    }
    Ok(certificates)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_file(path).map_err(|source| TlsError::Pem { path: path.to_owned(), source })
}

fn authorities(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    for certificate in certificates(path)? {
        store.add(certificate).map_err(|source| TlsError::Unusable { path: path.to_owned(), source })?;
    }
    Ok(store)
}
