//! The user that a client certificate names: the common name, with the organisations as groups.
//!
//! The TLS layer has verified the certificate against the cluster's CA; nothing is verified here.

use x509_parser::prelude::{FromDer, X509Certificate};

use super::UserInfo;

/// `None` where the certificate cannot be read or names nobody.
pub fn user_of_certificate(der: &[u8]) -> Option<UserInfo> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let subject = certificate.subject();
    let name = subject.iter_common_name().next()?.as_str().ok()?;
    if name.is_empty() {
        return None;
    }
    let groups: Vec<&str> =
        subject.iter_organization().filter_map(|group| group.as_str().ok()).collect();
    Some(UserInfo::authenticated(name, &groups))
}
