//! Whom TLS trusts: the system's roots, or the certificates of `tls_ca_file`, which are authorities or the
//! server's own certificate, as most boxes have it (self-signed, often without the names that web servers need).
//!
//! There is no switch that turns verification off.

use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme, SupportedProtocolVersion};

use crate::config::TlsVersion;

/// What all logins to one server share: the trust, and nothing of a session.
#[derive(Debug, Clone)]
pub struct Trust {
    verifier: Arc<PinnedOrRooted>,
    provider: Arc<CryptoProvider>,
}

impl Trust {
    /// Trusts the certificates in `ca_file` (PEM), or the system's roots where there is none.
    ///
    /// # Errors
    ///
    /// Where the file cannot be read or holds no certificate, or the system has no roots.
    pub fn load(ca_file: Option<&Path>) -> anyhow::Result<Self> {
        let provider = Arc::new(ring::default_provider());
        let (pinned, certificates) = match ca_file {
            Some(path) => {
                let pinned = read_certificates(path)?;
                (pinned.clone(), pinned)
            }
            None => (Vec::new(), rustls_native_certs::load_native_certs().certs),
        };
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(certificates);
        let rooted = match roots.is_empty() {
            true if pinned.is_empty() => bail!("the system has no root certificates; name tls_ca_file"),
            true => None,
            false => Some(
                WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                    .build()
                    .context("cannot use the root certificates")?,
            ),
        };
        let verifier = Arc::new(PinnedOrRooted { pinned, rooted, provider: Arc::clone(&provider) });
        Ok(Self { verifier, provider })
    }

    /// A configuration for one control connection that speaks these versions, with a session store of its own.
    ///
    /// # Errors
    ///
    /// rustls' own, where the provider carries no protocol version.
    pub fn client_config(&self, versions: RangeInclusive<TlsVersion>) -> Result<ClientConfig, rustls::Error> {
        let verifier: Arc<dyn ServerCertVerifier> = Arc::clone(&self.verifier) as _;
        let known = [(TlsVersion::Tls12, &TLS12), (TlsVersion::Tls13, &TLS13)];
        let spoken: Vec<&'static SupportedProtocolVersion> = known
            .into_iter()
            .filter(|(version, _)| versions.contains(version))
            .map(|(_, known)| known)
            .collect();
        Ok(ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&spoken)?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth())
    }
}

fn read_certificates(path: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let shown = path.display();
    let pem = std::fs::read(path).with_context(|| format!("cannot read certificates from {shown}"))?;
    // a byte order mark would hide the first one
    let pem = pem.strip_prefix("\u{feff}".as_bytes()).unwrap_or(&pem);
    let certificates = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .with_context(|| format!("cannot read certificates from {shown}"))?;
    if certificates.is_empty() {
        bail!("{shown} holds no certificate");
    }
    Ok(certificates)
}

/// Accepts a server certificate that is byte for byte one of `pinned`, and else asks the authorities. The
/// signatures of the handshake are checked in both cases, so that a pinned certificate needs its private key.
#[derive(Debug)]
struct PinnedOrRooted {
    pinned: Vec<CertificateDer<'static>>,
    rooted: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for PinnedOrRooted {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if self.pinned.iter().any(|pinned| pinned.as_ref() == end_entity.as_ref()) {
            return Ok(ServerCertVerified::assertion());
        }
        match &self.rooted {
            Some(rooted) => {
                rooted.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
            }
            None => Err(rustls::CertificateError::UnknownIssuer.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
