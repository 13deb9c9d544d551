//! Looks at the files of certificates that servers name, before the first login needs them.

use std::io::Read;
use std::path::{Path, PathBuf};

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use super::files::BOM;
use super::reader::{ConfigFaults, Section};
use super::{TlsMode, values};

/// Largest file of certificates in bytes: all authorities of the world take a few hundred KiB.
const MAX_CA_FILE_BYTES: u64 = 16 << 20;

/// Faults a certificate file that would be used and holds none: where it is written, and once. Nothing would be
/// trusted then; it must not wait until the first login to be noticed.
pub(super) fn check_ca_file(section: &mut Section<'_>, faults: &mut ConfigFaults) {
    let is_used = section.read("tls", values::word).is_some_and(|tls: TlsMode| tls != TlsMode::Off);
    let file: Option<PathBuf> = section.read("tls_ca_file", values::path);
    let Some(path) = file.filter(|_| is_used) else { return };
    let Err(fault) = read_certificates(&path) else { return };
    if section.holds("tls_ca_file") {
        section.fault("tls_ca_file", &fault);
    } else {
        faults.push("defaults.tls_ca_file", &fault);
    }
}

/// Makes sure that the file can be read and holds certificates.
pub(super) fn read_certificates(path: &Path) -> Result<(), String> {
    let shown = path.display();
    let mut pem = Vec::new();
    let read = super::files::open(path).and_then(|file| file.take(MAX_CA_FILE_BYTES).read_to_end(&mut pem));
    read.map_err(|error| format!("cannot read {shown}: {error}"))?;
    let pem = pem.strip_prefix(BOM).unwrap_or(&pem);
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match certificates {
        Ok(certificates) if certificates.is_empty() => Err(format!("{shown} holds no certificate (PEM)")),
        Ok(_) => Ok(()),
        Err(error) => Err(format!("cannot read the certificates in {shown}: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use crate::config::fixtures::{SERVER, load};
    use std::fs;

    /// The shape of a certificate; what is in it is read when TLS begins.
    const PEM: &str = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";

    #[test]
    fn a_certificate_file_must_be_readable_where_it_is_used() {
        let general = "[defaults]\ntls_ca_file = '/nonexistent/ca.pem'\n";
        let two = format!("{SERVER}[[servers]]\nname = 'b'\nhost = 'h'\n");
        assert_eq!(load(&format!("{general}{two}")).unwrap().len(), 2);
        let used = two.replace("host", "tls = 'explicit'\nhost");
        let faults_of = |toml: &str| load(toml).unwrap_err();
        let faults = faults_of(&format!("{general}{used}"));
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert!(
            faults[0].starts_with("defaults.tls_ca_file: cannot read /nonexistent/ca.pem: "),
            "{faults:?}"
        );
        let faults = faults_of(&format!("{SERVER}tls = 'implicit'\ntls_ca_file = '/'\n"));
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert!(faults[0].starts_with("servers[0] (omc01).tls_ca_file: cannot read /: "), "{faults:?}");
    }

    #[test]
    fn a_certificate_file_without_a_certificate_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ca.pem");
        let own = format!("{SERVER}tls = 'explicit'\ntls_ca_file = '{}'\n", path.display());
        let key = "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n";
        for garbage in
            ["", "\n", "x", "garbage\n".repeat(1000).as_str(), key, PEM.replace("MAA=", "?").as_str()]
        {
            fs::write(&path, garbage).unwrap();
            let faults = load(&own).unwrap_err();
            assert_eq!(faults.len(), 1, "{faults:?}");
            assert!(faults[0].starts_with("servers[0] (omc01).tls_ca_file: "), "{faults:?}");
            assert!(faults[0].contains(&path.display().to_string()), "{faults:?}");
        }
        for good in [format!("Some Authority\n==========\n{key}{PEM}"), format!("\u{feff}{PEM}")] {
            fs::write(&path, good).unwrap();
            assert_eq!(load(&own).unwrap().len(), 1);
        }
    }
}
