//! The certificate that the server shows; it can be replaced while connections run.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use rustls::ServerConfig;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::peer::AnyClientCertificate;

/// Why PEM texts are not a serving certificate.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The chain holds no certificate or an unreadable one.
    #[error("the certificate is not PEM with at least one certificate")]
    Chain,
    /// The key is unreadable.
    #[error("the private key is not a PEM key")]
    Key,
    /// The key does not belong to the certificate, or its kind is not supported.
    #[error("the private key does not fit the certificate: {0}")]
    Mismatch(rustls::Error),
}

/// The certificate in use. Clones share it, so replacing it in one place changes what new connections see.
#[derive(Clone, Debug, Default)]
pub struct ServingCertificate {
    current: Arc<ArcSwapOption<CertifiedKey>>,
}

impl ServingCertificate {
    /// Checks a chain (leaf first) with its key and shows it from now on; on an error the old one stays.
    ///
    /// # Errors
    /// If the texts are not a certificate with its key.
    pub fn replace(&self, chain_pem: &[u8], key_pem: &[u8]) -> Result<(), CertificateError> {
        let chain: Result<Vec<CertificateDer<'static>>, _> = CertificateDer::pem_slice_iter(chain_pem).collect();
        let chain = chain.ok().filter(|chain| !chain.is_empty()).ok_or(CertificateError::Chain)?;
        let key = PrivateKeyDer::from_pem_slice(key_pem).map_err(|_| CertificateError::Key)?;
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let certified = CertifiedKey::from_der(chain, key, &provider).map_err(CertificateError::Mismatch)?;
        certified.keys_match().map_err(CertificateError::Mismatch)?;
        self.current.store(Some(Arc::new(certified)));
        Ok(())
    }

    /// Whether there is a certificate to show.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.current.load().is_some()
    }

    /// A server configuration that shows this certificate, asks for a client certificate and speaks h2 and h1.
    pub(crate) fn server_config(&self) -> Result<ServerConfig, rustls::Error> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = Arc::new(AnyClientCertificate::new(&provider));
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(self.clone()));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        // Resumed sessions would carry the old client certificate past a rotation of its CA.
        config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(config)
    }
}

impl ResolvesServerCert for ServingCertificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.current.load_full()
    }
}
