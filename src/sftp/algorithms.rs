//! What may be agreed on with a server: what is safe today, and on request what old servers have.

use std::borrow::Cow;

use russh::keys::{Algorithm, EcdsaCurve, HashAlg};
use russh::{Preferred, cipher, compression, kex, mac};

/// AES-GCM comes first: most processors have instructions for it.
const CIPHERS: [cipher::Name; 6] = [
    cipher::AES_128_GCM,
    cipher::AES_256_GCM,
    cipher::CHACHA20_POLY1305,
    cipher::AES_128_CTR,
    cipher::AES_192_CTR,
    cipher::AES_256_CTR,
];
const OLD_CIPHERS: [cipher::Name; 3] = [cipher::AES_128_CBC, cipher::AES_192_CBC, cipher::AES_256_CBC];
const NIST: [kex::Name; 3] = [kex::ECDH_SHA2_NISTP256, kex::ECDH_SHA2_NISTP384, kex::ECDH_SHA2_NISTP521];
const OLD_KEX: [kex::Name; 3] = [kex::DH_GEX_SHA1, kex::DH_G14_SHA1, kex::DH_G1_SHA1];
const OLD_MACS: [mac::Name; 2] = [mac::HMAC_SHA1_ETM, mac::HMAC_SHA1];
const CURVES: [EcdsaCurve; 3] = [EcdsaCurve::NistP256, EcdsaCurve::NistP384, EcdsaCurve::NistP521];

/// The lists of algorithms. Host keys of the kinds that are `known` come first, so that the server shows one that can
/// be compared; `old` adds ssh-rsa with SHA-1, key exchange with SHA-1, AES in CBC mode and HMAC-SHA1 at the end.
pub(super) fn preferred(known: &[Algorithm], old: bool) -> Preferred {
    let safe = Preferred::DEFAULT;
    let both = |old_ones: &[kex::Name]| safe.kex.iter().chain(&NIST).chain(old_ones).copied().collect();
    let mut keys = vec![Algorithm::Ed25519];
    keys.extend(CURVES.map(|curve| Algorithm::Ecdsa { curve }));
    keys.extend([HashAlg::Sha512, HashAlg::Sha256].map(|hash| Algorithm::Rsa { hash: Some(hash) }));
    if old {
        keys.push(Algorithm::Rsa { hash: None });
    }
    // stable: within the known and the unknown the order stays
    keys.sort_by_key(|key| !known.iter().any(|known| is_same_kind(known, key)));
    let old_ciphers: &[cipher::Name] = if old { &OLD_CIPHERS } else { &[] };
    let old_macs: &[mac::Name] = if old { &OLD_MACS } else { &[] };
    Preferred {
        kex: both(if old { &OLD_KEX } else { &[] }),
        key: keys.into(),
        cipher: CIPHERS.iter().chain(old_ciphers).copied().collect(),
        mac: safe.mac.iter().chain(old_macs).copied().collect(),
        // zips do not get smaller
        compression: Cow::Borrowed(&[compression::NONE]),
        ..safe
    }
}

/// Keys are of a kind whatever hash their signatures use.
fn is_same_kind(a: &Algorithm, b: &Algorithm) -> bool {
    match (a, b) {
        (Algorithm::Rsa { .. }, Algorithm::Rsa { .. }) => true,
        (a, b) => a == b,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(preferred: &Preferred) -> Vec<String> {
        let Preferred { kex, key, cipher, mac, .. } = preferred;
        let mut names: Vec<String> = key.iter().map(|name| name.as_str().to_owned()).collect();
        names.extend(kex.iter().map(|name| name.as_ref().to_owned()));
        names.extend(cipher.iter().map(|name| name.as_ref().to_owned()));
        names.extend(mac.iter().map(|name| name.as_ref().to_owned()));
        names
    }

    #[test]
    fn what_is_broken_or_weak_is_offered_on_request_alone() {
        let weak = [
            "ssh-rsa",
            "diffie-hellman-group14-sha1",
            "diffie-hellman-group1-sha1",
            "diffie-hellman-group-exchange-sha1",
            "aes128-cbc",
            "aes256-cbc",
            "hmac-sha1",
        ];
        let (now, old) = (names(&preferred(&[], false)), names(&preferred(&[], true)));
        for name in weak {
            assert!(!now.iter().any(|offered| offered == name), "{name}");
            assert!(old.iter().any(|offered| offered == name), "{name}");
        }
        assert!(!old.iter().any(|name| name.contains("3des") || name == "none"), "{old:?}");
    }

    #[test]
    fn keys_of_a_known_kind_are_asked_for_first() {
        let first = |known: &[Algorithm]| preferred(known, false).key.first().cloned();
        assert_eq!(first(&[]), Some(Algorithm::Ed25519));
        let rsa = Algorithm::Rsa { hash: None };
        assert_eq!(first(&[rsa]), Some(Algorithm::Rsa { hash: Some(HashAlg::Sha512) }));
        let curve = Algorithm::Ecdsa { curve: EcdsaCurve::NistP384 };
        assert_eq!(first(std::slice::from_ref(&curve)), Some(curve));
    }
}
