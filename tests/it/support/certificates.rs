//! Certificates for the TLS servers of a test.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

/// How a server's certificate came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Certificate {
    /// For `localhost` and `127.0.0.1`, signed by an authority of its own.
    FromAuthority,
    /// Signed by itself, with those names but not marked as an authority.
    SelfSigned,
    /// As `openssl req -x509` makes it: marked as an authority, a common name only. What most boxes have.
    Boxed,
}

/// Files in PEM, for the server and for its clients.
#[derive(Debug, Clone)]
pub struct Files {
    /// The server's certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// Key and certificate in one file.
    pub both: PathBuf,
    /// What a client has to trust: the authority, or the certificate itself.
    pub trust: PathBuf,
}

/// Makes a certificate and writes it below `directory`.
pub fn write(directory: &Path, kind: Certificate) -> Files {
    let key = KeyPair::generate().expect("a key");
    let (certificate, trust) = match kind {
        Certificate::FromAuthority => {
            let authority = authority();
            let certificate = named().signed_by(&key, &authority).expect("a certificate").pem();
            (certificate, authority.pem())
        }
        Certificate::SelfSigned => {
            let certificate = named().self_signed(&key).expect("a certificate").pem();
            (certificate.clone(), certificate)
        }
        Certificate::Boxed => {
            let mut params = CertificateParams::default();
            params.distinguished_name.push(DnType::CommonName, "ftp.example");
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            let certificate = params.self_signed(&key).expect("a certificate").pem();
            (certificate.clone(), certificate)
        }
    };
    let files = Files {
        certificate: directory.join("certificate.pem"),
        key: directory.join("key.pem"),
        both: directory.join("both.pem"),
        trust: directory.join("trust.pem"),
    };
    let key = key.serialize_pem();
    std::fs::write(&files.certificate, &certificate).expect("the certificate");
    std::fs::write(&files.key, &key).expect("the key");
    std::fs::write(&files.both, key + &certificate).expect("both");
    std::fs::write(&files.trust, trust).expect("the trusted certificate");
    files
}

fn named() -> CertificateParams {
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let mut params = CertificateParams::new(names).expect("names of a certificate");
    params.distinguished_name.push(DnType::CommonName, "localhost");
    params
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "test authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority")
}
