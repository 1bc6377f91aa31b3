//! Mutual TLS 1.3 in which both ends show the same certificate, and accept exactly this one.
//!
//! Possession of its key is proved by the signature over the handshake. That signature says which side made it
//! (RFC 8446, 4.4.3), so that nobody can send an end's own signature back to it. Sessions are not resumed: every
//! connection proves it anew.

use crate::{Error, Result, Secret};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme,
    version::TLS13,
};
use std::sync::Arc;

/// Accepts one certificate.
#[derive(Debug)]
struct Same {
    certificate: CertificateDer<'static>,
    provider: Arc<CryptoProvider>,
}

impl Same {
    fn new(secret: &Secret) -> Arc<Same> {
        Arc::new(Same {
            certificate: secret.certificate(),
            provider: Arc::new(rustls::crypto::ring::default_provider()),
        })
    }

    fn compare(
        &self,
        shown: &CertificateDer<'_>,
        more: &[CertificateDer<'_>],
    ) -> std::result::Result<(), rustls::Error> {
        if *shown == self.certificate && more.is_empty() {
            return Ok(());
        }
        Err(rustls::Error::InvalidCertificate(
            CertificateError::ApplicationVerificationFailure,
        ))
    }

    fn verify(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn refuse_tls12() -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.2 is not spoken here".to_string()))
    }
}

impl ServerCertVerifier for Same {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        more: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        self.compare(shown, more)
            .map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        Same::refuse_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        self.verify(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

impl ClientCertVerifier for Same {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        shown: &CertificateDer<'_>,
        more: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> std::result::Result<ClientCertVerified, rustls::Error> {
        self.compare(shown, more)
            .map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        Same::refuse_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        self.verify(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

fn failure(e: rustls::Error) -> Error {
    Error::Tls(e.to_string())
}

/// The coordinator's end.
pub(crate) fn server(secret: &Secret) -> Result<Arc<ServerConfig>> {
    let same = Same::new(secret);
    let mut config = ServerConfig::builder_with_provider(Arc::clone(&same.provider))
        .with_protocol_versions(&[&TLS13])
        .map_err(failure)?
        .with_client_cert_verifier(same)
        .with_single_cert(vec![secret.certificate()], secret.key())
        .map_err(failure)?;
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// An agent's end.
pub(crate) fn client(secret: &Secret) -> Result<Arc<ClientConfig>> {
    let same = Same::new(secret);
    let mut config = ClientConfig::builder_with_provider(Arc::clone(&same.provider))
        .with_protocol_versions(&[&TLS13])
        .map_err(failure)?
        .dangerous()
        .with_custom_certificate_verifier(same)
        .with_client_auth_cert(vec![secret.certificate()], secret.key())
        .map_err(failure)?;
    config.resumption = rustls::client::Resumption::disabled();
    config.enable_sni = false;
    Ok(Arc::new(config))
}
