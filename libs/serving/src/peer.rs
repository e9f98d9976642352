//! The client certificate of a connection, and whether it leads to a certain CA.

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, UnixTime};

/// The certificate chain that a client showed and whose key it has proved to hold; a request extension.
#[derive(Clone, Debug, Default)]
pub struct Peer {
    chain: Arc<Vec<CertificateDer<'static>>>,
}

impl Peer {
    pub(crate) fn new(chain: Option<&[CertificateDer<'_>]>) -> Self {
        let owned = chain.unwrap_or_default().iter().map(|certificate| certificate.clone().into_owned());
        Self { chain: Arc::new(owned.collect()) }
    }

    /// Whether the client showed a certificate.
    #[must_use]
    pub fn has_certificate(&self) -> bool {
        !self.chain.is_empty()
    }

    /// Common name and organisations of the leaf's subject: user and groups of a Kubernetes client certificate.
    #[must_use]
    pub fn subject(&self) -> Option<(String, Vec<String>)> {
        let (_, leaf) = x509_parser::parse_x509_certificate(self.chain.first()?).ok()?;
        let subject = leaf.subject();
        let common_name = subject.iter_common_name().next()?.as_str().ok()?.to_owned();
        let organisations = subject.iter_organization().filter_map(|name| name.as_str().ok()).map(str::to_owned);
        Some((common_name, organisations.collect()))
    }
}

/// Why a CA bundle cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the CA bundle holds no usable certificate: {0}")]
pub struct CaPoolError(String);

/// CA certificates that a peer's chain may lead to.
#[derive(Clone)]
pub struct CaPool {
    verifier: Arc<dyn ClientCertVerifier>,
}

impl fmt::Debug for CaPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CaPool").finish_non_exhaustive()
    }
}

impl CaPool {
    /// Reads a bundle of CA certificates.
    ///
    /// # Errors
    /// If there is none among them that can be used.
    pub fn from_pem(pem: &[u8]) -> Result<Self, CaPoolError> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|error| CaPoolError(error.to_string()))?;
            roots.add(certificate).map_err(|error| CaPoolError(error.to_string()))?;
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .map_err(|error| CaPoolError(error.to_string()))?;
        Ok(Self { verifier })
    }

    /// Whether the peer's chain leads to one of these CAs, is meant for clients, and is valid at `now`.
    #[must_use]
    pub fn verifies(&self, peer: &Peer, now: UnixTime) -> bool {
        let Some((leaf, intermediates)) = peer.chain.split_first() else { return false };
        self.verifier.verify_client_cert(leaf, intermediates, now).is_ok()
    }
}

/// Takes any client certificate whose key the client holds; what it is worth is decided per request.
#[derive(Debug)]
pub(crate) struct AnyClientCertificate {
    algorithms: WebPkiSupportedAlgorithms,
}

impl AnyClientCertificate {
    pub(crate) fn new(provider: &CryptoProvider) -> Self {
        Self { algorithms: provider.signature_verification_algorithms }
    }
}

impl ClientCertVerifier for AnyClientCertificate {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    /// Empty on purpose: with hints that lack the front proxy's CA, Go's client would send no certificate at all.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _leaf: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
