//! CertificateSubjectRestriction: a client's certificate does not make its bearer a master.
//!
//! Source: `plugin/pkg/admission/certificates/subjectrestriction`. CertificateApproval and
//! CertificateSigning stand beside it upstream: they ask who may approve and sign, and everybody may
//! until authorisation comes.

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::lookup::forbidden;
use super::{Operation, Plugin, Review, Surroundings};
use crate::auth::MASTERS;
use crate::kinds::certificate_signing_request::organizations;
use crate::status::ApiError;

const SIGNER: &str = "kubernetes.io/kube-apiserver-client";

/// See the module's documentation.
pub struct CertificateSubjectRestriction;

#[async_trait]
impl Plugin for CertificateSubjectRestriction {
    fn name(&self) -> &'static str {
        "CertificateSubjectRestriction"
    }

    async fn validate(
        &self,
        _surroundings: &Surroundings,
        review: &mut Review<'_>,
    ) -> Result<(), ApiError> {
        let is_request = review.info.group_resource()
            == "certificatesigningrequests.certificates.k8s.io"
            && review.operation == Operation::Create
            && review.subresource.is_none();
        let Some(object) = review.object.as_deref().filter(|_| is_request) else { return Ok(()) };
        if object["spec"]["signerName"] != SIGNER {
            return Ok(());
        }
        let request = object["spec"]["request"].as_str().unwrap_or_default();
        let refuse = |why: &str| Err(forbidden(review, why));
        match organizations(&STANDARD.decode(request).unwrap_or_default()) {
            Err(why) => refuse(&format!("failed to parse CSR: {why}")),
            Ok(groups) if groups.iter().any(|group| group == MASTERS) => {
                refuse(&format!("use of {SIGNER} signer with {MASTERS} group is not allowed"))
            }
            Ok(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::testing::{Request, surroundings};
    use serde_json::json;

    #[tokio::test]
    async fn masters_are_not_made_by_certificates() {
        let around = surroundings(&[]).await;
        let admit = async |organization: &str, signer: &str| {
            let mut params = rcgen::CertificateParams::default();
            params.distinguished_name.push(rcgen::DnType::OrganizationName, organization);
            let key = rcgen::KeyPair::generate().expect("a key");
            let pem = params.serialize_request(&key).expect("a request").pem().expect("PEM");
            let request = Request::of("certificates.k8s.io", "certificatesigningrequests", "a")
                .with(json!({
                    "metadata": {"name": "a"},
                    "spec": {"signerName": signer, "request": STANDARD.encode(pem)},
                }));
            request.admit(&CertificateSubjectRestriction, &around).await.err()
        };
        assert_eq!(admit("dev", SIGNER).await, None);
        assert_eq!(admit(MASTERS, "example.com/signer").await, None);
        let error = admit(MASTERS, SIGNER).await.expect("refused");
        assert_eq!(
            (error.code, error.message.as_str()),
            (
                403,
                "certificatesigningrequests.certificates.k8s.io \"a\" is forbidden: use of kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed"
            )
        );
    }
}
