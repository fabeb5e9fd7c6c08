//! Checking a server's certificate as libpq's `sslmode` says.
//!
//! On top of rustls' rules stand two kindnesses of libpq, without which common set-ups of PostgreSQL would not verify: a self-signed certificate that
//! is itself the configured root is trusted, and the common name counts where the certificate has no alternative names.
//! *Source*: PostgreSQL 15 manual, 34.19.1 "Client Verification of Server Certificates"; `fe-secure-common.c`, `fe-secure-openssl.c`.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// How much of a server's certificate is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Checked {
    /// That the server has its key.
    Nothing,
    /// And that a known authority signed it.
    Chain,
    /// And that it names the host.
    ChainAndName,
}

/// See the module.
#[derive(Debug)]
pub(super) struct ServerVerifier {
    checked: Checked,
    roots: RootCertStore,
    pinned: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
}

impl ServerVerifier {
    /// `pinned`: certificates that are trusted as they are.
    pub(super) fn new(
        checked: Checked,
        roots: RootCertStore,
        pinned: Vec<CertificateDer<'static>>,
        provider: Arc<CryptoProvider>,
    ) -> Self {
        Self { checked, roots, pinned, provider }
    }

    fn check_chain(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        if self.pinned.iter().any(|pinned| pinned.as_ref() == leaf.as_ref()) {
            return check_dates(leaf, now);
        }
        let algorithms = self.provider.signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(
            &ParsedCertificate::try_from(leaf)?,
            &self.roots,
            others,
            now,
            algorithms,
        )
    }
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.checked {
            Checked::Nothing => {}
            Checked::Chain => self.check_chain(end_entity, intermediates, now)?,
            Checked::ChainAndName => {
                self.check_chain(end_entity, intermediates, now)?;
                check_name(end_entity, server_name)?;
            }
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

fn check_dates(leaf: &CertificateDer<'_>, now: UnixTime) -> Result<(), Error> {
    let (_, parsed) =
        X509Certificate::from_der(leaf).map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    if now < parsed.validity().not_before.timestamp() {
        Err(Error::InvalidCertificate(CertificateError::NotValidYet))
    } else if now > parsed.validity().not_after.timestamp() {
        Err(Error::InvalidCertificate(CertificateError::Expired))
    } else {
        Ok(())
    }
}

fn check_name(leaf: &CertificateDer<'_>, name: &ServerName<'_>) -> Result<(), Error> {
    let by_alternative_names = ParsedCertificate::try_from(leaf).and_then(|parsed| verify_server_name(&parsed, name));
    match by_alternative_names {
        Err(_) if named_by_common_name(leaf, name) => Ok(()),
        result => result,
    }
}

/// Exactly equal, without wildcards, and only if no alternative name could have said it.
fn named_by_common_name(leaf: &CertificateDer<'_>, name: &ServerName<'_>) -> bool {
    let Ok((_, parsed)) = X509Certificate::from_der(leaf) else { return false };
    let alternatives = match parsed.subject_alternative_name() {
        Ok(Some(extension)) => extension.value.general_names.as_slice(),
        Ok(None) => &[],
        Err(_) => return false,
    };
    if alternatives.iter().any(|name| matches!(name, GeneralName::DNSName(_) | GeneralName::IPAddress(_))) {
        return false;
    }
    let common_name = parsed.subject().iter_common_name().next().and_then(|name| name.as_str().ok());
    common_name.is_some_and(|common_name| common_name.eq_ignore_ascii_case(&name.to_str()))
}
