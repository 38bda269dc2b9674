//! The requests and certificates inside the objects: PEM around DER.
//!
//! Where Go's parser would say what is wrong with the DER, ours says it in its own words.
//! Source: `ParseCSR` in `pkg/apis/certificates/helpers.go`, `validateCertificate` in
//! `pkg/apis/certificates/validation/validation.go`.

use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::kinds::rules::pem;

/// A PKCS#10 request whose signature holds, in its first PEM block.
pub fn validate_request(text: &[u8]) -> Result<(), String> {
    let der = request_der(text)?;
    let request = parse(&der)?;
    request
        .verify_signature()
        .map_err(|why| format!("x509: the signature of the request cannot be verified: {why}"))
}

/// The organisations of the subject: the groups of whoever will bear the certificate.
pub fn organizations(text: &[u8]) -> Result<Vec<String>, String> {
    let der = request_der(text)?;
    let request = parse(&der)?;
    let subject = &request.certification_request_info.subject;
    let groups = subject.iter_organization().filter_map(|group| group.as_str().ok());
    Ok(groups.map(str::to_owned).collect())
}

fn request_der(text: &[u8]) -> Result<Vec<u8>, String> {
    let first = pem::blocks(text).into_iter().next();
    let first = first.filter(|block| block.label == "CERTIFICATE REQUEST");
    first
        .map(|block| block.bytes)
        .ok_or_else(|| "PEM block type must be CERTIFICATE REQUEST".to_owned())
}

fn parse(der: &[u8]) -> Result<X509CertificationRequest<'_>, String> {
    match X509CertificationRequest::from_der(der) {
        Ok(([], request)) => Ok(request),
        Ok(_) => Err("asn1: syntax error: trailing data".to_owned()),
        Err(why) => Err(format!("x509: malformed certificate request: {why}")),
    }
}

/// What is wrong with the certificates that a signer put in; none at all are fine.
pub fn validate_issued(text: &[u8]) -> Option<String> {
    if text.is_empty() {
        return None;
    }
    let blocks = pem::blocks(text);
    if blocks.is_empty() {
        return Some("must contain at least one CERTIFICATE PEM block".to_owned());
    }
    blocks.iter().find_map(|block| {
        if block.label != "CERTIFICATE" {
            return Some(format!(
                "only CERTIFICATE PEM blocks are allowed, found {:?}",
                block.label
            ));
        }
        if block.has_headers {
            return Some("no PEM block headers are permitted".to_owned());
        }
        if block.bytes.is_empty() {
            return Some("found CERTIFICATE PEM block containing 0 certificates".to_owned());
        }
        let parsed = X509Certificate::from_der(&block.bytes);
        parsed.err().map(|why| format!("x509: malformed certificate: {why}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::pki::Authority;

    fn request(organization: &str) -> String {
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::OrganizationName, organization);
        let key = rcgen::KeyPair::generate().expect("a key");
        params.serialize_request(&key).expect("a request").pem().expect("PEM")
    }

    #[test]
    fn a_request_is_pem_and_signed_by_its_own_key() {
        let good = request("dev");
        assert_eq!(validate_request(good.as_bytes()), Ok(()));
        assert_eq!(organizations(good.as_bytes()), Ok(vec!["dev".to_owned()]));
        let why = validate_request(b"hello").expect_err("no PEM");
        assert_eq!(why, "PEM block type must be CERTIFICATE REQUEST");
        let forged = pem::blocks(good.as_bytes()).remove(0).bytes;
        let mut forged = forged;
        let last = forged.len() - 1;
        forged[last] ^= 1;
        let request = parse(&forged).expect("it parses");
        assert!(request.verify_signature().is_err());
    }

    #[test]
    fn issued_certificates_are_certificates() {
        let authority = Authority::in_memory().expect("made");
        assert_eq!(validate_issued(authority.pem().as_bytes()), None);
        let table: [(&[u8], &str); 3] = [
            (b"x", "must contain at least one CERTIFICATE PEM block"),
            (
                b"-----BEGIN A-----\naGk=\n-----END A-----\n",
                "only CERTIFICATE PEM blocks are allowed, found \"A\"",
            ),
            (
                b"-----BEGIN CERTIFICATE-----\na: b\n\naGk=\n-----END CERTIFICATE-----\n",
                "no PEM block headers are permitted",
            ),
        ];
        for (text, why) in table {
            assert_eq!(validate_issued(text).as_deref(), Some(why));
        }
    }
}
