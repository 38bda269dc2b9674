//! Whether a certificate and a private key belong together.
//!
//! Where Go's parser would say what is wrong with the DER, ours says it in its own words.
//! Source of the wording: `X509KeyPair` in `crypto/tls` of Go.

use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::pem::{self, Block};

const CERTIFICATE: &str = "CERTIFICATE";
const PRIVATE_KEY: &str = "PRIVATE KEY";

/// Why the texts are no pair; `None` where they are one.
pub fn problem(certificate: &[u8], key: &[u8]) -> Option<String> {
    check(certificate, key).err()
}

fn check(certificate: &[u8], key: &[u8]) -> Result<(), String> {
    let certificate = pick(certificate, is_certificate, |skipped| {
        match skipped {
        [] => "failed to find any PEM data in certificate input".to_owned(),
        [one] if one.ends_with(PRIVATE_KEY) => {
            "failed to find certificate PEM data in certificate input, but did find a private key; PEM inputs may have been switched".to_owned()
        }
        many => format!(
            "failed to find \"CERTIFICATE\" PEM block in certificate input after skipping PEM blocks of the following types: [{}]",
            many.join(" ")
        ),
    }
    })?;
    let key = pick(key, is_private_key, |skipped| match skipped {
        [] => "failed to find any PEM data in key input".to_owned(),
        [CERTIFICATE] => {
            "found a certificate rather than a key in the PEM for the private key".to_owned()
        }
        many => format!(
            "failed to find PEM block with type ending in \"PRIVATE KEY\" in key input after skipping PEM blocks of the following types: [{}]",
            many.join(" ")
        ),
    })?;
    match_up(&certificate, &key)
}

/// The first block that is wanted; `why` tells what there is instead.
fn pick(
    text: &[u8],
    is_wanted: fn(&str) -> bool,
    why: impl Fn(&[&str]) -> String,
) -> Result<Block, String> {
    let blocks = pem::blocks(text);
    let skipped: Vec<&str> = blocks.iter().map(|block| block.label.as_str()).collect();
    let missing = format!("tls: {}", why(&skipped));
    blocks.into_iter().find(|block| is_wanted(&block.label)).ok_or(missing)
}

fn is_certificate(label: &str) -> bool {
    label == CERTIFICATE
}

fn is_private_key(label: &str) -> bool {
    label == PRIVATE_KEY || label.ends_with(" PRIVATE KEY")
}

fn match_up(certificate: &Block, key: &Block) -> Result<(), String> {
    let (_, certificate) = X509Certificate::from_der(&certificate.bytes)
        .map_err(|why| format!("x509: malformed certificate: {why}"))?;
    let bytes = key.bytes.clone();
    let key = match key.label.as_str() {
        "RSA PRIVATE KEY" => PrivateKeyDer::from(PrivatePkcs1KeyDer::from(bytes)),
        "EC PRIVATE KEY" => PrivateKeyDer::from(PrivateSec1KeyDer::from(bytes)),
        _ => PrivateKeyDer::from(PrivatePkcs8KeyDer::from(bytes)),
    };
    let key =
        any_supported_type(&key).map_err(|_| "tls: failed to parse private key".to_owned())?;
    let Some(public) = key.public_key() else { return Ok(()) };
    match public.as_ref() == certificate.public_key().raw {
        true => Ok(()),
        false => Err("tls: private key does not match public key".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (String, String) {
        let pair = rcgen::generate_simple_self_signed(vec!["a".to_owned()]).unwrap();
        (pair.cert.pem(), pair.signing_key.serialize_pem())
    }

    #[test]
    fn a_key_belongs_to_its_certificate() {
        let ((certificate, key), (_, other)) = (pair(), pair());
        assert_eq!(problem(certificate.as_bytes(), key.as_bytes()), None);
        assert_eq!(
            problem(certificate.as_bytes(), other.as_bytes()).unwrap(),
            "tls: private key does not match public key"
        );
        assert_eq!(
            problem(key.as_bytes(), key.as_bytes()).unwrap(),
            "tls: failed to find certificate PEM data in certificate input, but did find a private key; PEM inputs may have been switched"
        );
        assert_eq!(
            problem(certificate.as_bytes(), certificate.as_bytes()).unwrap(),
            "tls: found a certificate rather than a key in the PEM for the private key"
        );
        assert_eq!(
            problem(certificate.as_bytes(), b"").unwrap(),
            "tls: failed to find any PEM data in key input"
        );
        assert_eq!(
            problem(b"x", b"").unwrap(),
            "tls: failed to find any PEM data in certificate input"
        );
        let broken = "-----BEGIN PRIVATE KEY-----\naGk=\n-----END PRIVATE KEY-----\n";
        assert_eq!(
            problem(certificate.as_bytes(), broken.as_bytes()).unwrap(),
            "tls: failed to parse private key"
        );
    }
}
