//! CertificateSigningRequests: somebody asks for a certificate, somebody approves, a signer signs.
//!
//! Source: `pkg/registry/certificates/certificates/strategy.go`,
//! `pkg/apis/certificates/validation/validation.go`.

mod certificate;

pub use certificate::organizations;

use jiff::Timestamp;
use k8s_openapi::api::certificates::v1::{
    CertificateSigningRequest as Object, CertificateSigningRequestCondition as Condition,
    CertificateSigningRequestSpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

use super::rules::signer_name;
use super::{
    Column, Context, FieldError, Kind, KindInfo, NameRule, Part, Reset, Subresource, meta,
};

/// Conditions that only the approval writes.
const DECISIONS: [&str; 2] = ["Approved", "Denied"];
/// Conditions that are True or absent, and never go.
const FINAL: [&str; 3] = ["Approved", "Denied", "Failed"];
const EXPIRATION_SECONDS_MIN: i32 = 600;

pub struct CertificateSigningRequests;

impl Kind for CertificateSigningRequests {
    type Object = Object;
    const INFO: KindInfo = KindInfo {
        short_names: &["csr"],
        names: NameRule::PathSegment,
        subresources: &[Subresource::Approval, Subresource::Status],
        resets: &[
            Reset { part: Part::Main, paths: &["spec", "status"] },
            Reset { part: Part::Status, paths: &["spec", "status.conditions"] },
            Reset {
                part: Part::Sub(Subresource::Approval),
                paths: &["spec", "status.certificate"],
            },
        ],
        not_yet: Some("nothing signs it yet"),
        ..KindInfo::cluster(
            "certificates.k8s.io",
            "v1",
            "CertificateSigningRequest",
            "certificatesigningrequests",
            "certificatesigningrequest",
            "io.k8s.api.certificates.v1.CertificateSigningRequest",
        )
    };

    /// A request is by whom it was made.
    fn prepare_create(object: &mut Object, context: &Context<'_>) {
        let user = context.user;
        object.spec.username = Some(user.name.clone()).filter(|name| !name.is_empty());
        object.spec.uid = Some(user.uid.clone()).filter(|uid| !uid.is_empty());
        object.spec.groups = Some(user.groups.clone()).filter(|groups| !groups.is_empty());
        object.spec.extra = Some(user.extra.clone()).filter(|extra| !extra.is_empty());
        object.status = Some(Default::default());
    }

    fn prepare_update(new: &mut Object, old: &Object, _context: &Context<'_>) {
        new.spec = old.spec.clone();
        new.status = old.status.clone();
    }

    fn prepare_status(new: &mut Object, old: &Object, context: &Context<'_>) {
        for decision in DECISIONS {
            keep_conditions(new, old, decision);
        }
        set_times(new, old, context.now);
    }

    /// The approval writes conditions alone.
    fn prepare_subresource(
        new: &mut Object,
        old: &Object,
        _subresource: Subresource,
        context: &Context<'_>,
    ) {
        set_times(new, old, context.now);
        let conditions = new.status.take().and_then(|status| status.conditions);
        new.spec = old.spec.clone();
        new.status = old.status.clone();
        if let Some(conditions) = conditions {
            new.status.get_or_insert_default().conditions = Some(conditions);
        } else if let Some(status) = &mut new.status {
            status.conditions = None;
        }
    }

    fn validate(object: &Object) -> Vec<FieldError> {
        let mut errors = validate_spec(&object.spec);
        errors.extend(validate_conditions(conditions(object)));
        if let Some(why) = certificate::validate_issued(issued(object)) {
            errors.push(FieldError::invalid("status.certificate", "<certificate data>", why));
        }
        errors
    }

    /// Spec and status are put back by then.
    fn validate_update(_new: &Object, _old: &Object) -> Vec<FieldError> {
        Vec::new()
    }

    fn validate_status(new: &Object, old: &Object) -> Vec<FieldError> {
        let mut errors = validate_moves(new, old);
        for decision in DECISIONS {
            if count(new, decision) > count(old, decision) {
                let why = format!("updates may not add a condition of type {decision:?}");
                errors.push(FieldError::forbidden("status.conditions", why));
            }
        }
        if issued(new) != issued(old) && !issued(old).is_empty() {
            let why = "updates may not modify existing certificate content";
            errors.push(FieldError::forbidden("status.certificate", why));
        }
        errors
    }

    fn validate_subresource(
        new: &Object,
        old: &Object,
        _subresource: Subresource,
    ) -> Vec<FieldError> {
        validate_moves(new, old)
    }

    fn columns() -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            Column::NAME,
            Column::AGE,
            Column::new("SignerName", "string", 0, "Who is asked to sign."),
            Column::new("Requestor", "string", 0, "Who asks."),
            Column::new("RequestedDuration", "string", 0, "How long it is asked to be valid."),
            Column::new("Condition", "string", 0, "What became of the request."),
        ];
        COLUMNS
    }

    fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
        let spec = &object.spec;
        let signer = Some(spec.signer_name.as_str()).filter(|name| !name.is_empty());
        let duration = spec.expiration_seconds.map(|seconds| meta::human_duration(seconds.into()));
        vec![
            meta::object_name(&object.metadata),
            meta::object_age(&object.metadata, now),
            signer.unwrap_or("<none>").into(),
            spec.username.clone().unwrap_or_default().into(),
            duration.unwrap_or("<none>".to_owned()).into(),
            condition_cell(object).into(),
        ]
    }

    fn selectable(object: &Object) -> Vec<(&'static str, String)> {
        vec![("spec.signerName", object.spec.signer_name.clone())]
    }
}

fn conditions(object: &Object) -> &[Condition] {
    object.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default()
}

fn issued(object: &Object) -> &[u8] {
    let certificate = object.status.as_ref().and_then(|status| status.certificate.as_ref());
    certificate.map_or(&[], |bytes| &bytes.0)
}

fn count(object: &Object, kind: &str) -> usize {
    conditions(object).iter().filter(|condition| condition.type_ == kind).count()
}

fn condition_cell(object: &Object) -> String {
    let has = |kind: &str| count(object, kind) > 0;
    let mut text = match (has("Denied"), has("Approved")) {
        (true, _) => "Denied",
        (false, true) => "Approved",
        (false, false) => "Pending",
    }
    .to_owned();
    if has("Failed") {
        text.push_str(",Failed");
    }
    if !issued(object).is_empty() {
        text.push_str(",Issued");
    }
    text
}

/// The conditions of a type stay as they were, unless there are more or fewer of them: then
/// validation refuses.
fn keep_conditions(new: &mut Object, old: &Object, kind: &str) {
    if count(new, kind) != count(old, kind) {
        return;
    }
    let mut kept = conditions(old).iter().filter(|condition| condition.type_ == kind);
    let list = new.status.iter_mut().flat_map(|status| status.conditions.iter_mut().flatten());
    for condition in list.filter(|condition| condition.type_ == kind) {
        if let Some(old) = kept.next() {
            *condition = old.clone();
        }
    }
}

/// Fills in the times that the writer left out.
fn set_times(new: &mut Object, old: &Object, now: Timestamp) {
    let list = new.status.iter_mut().flat_map(|status| status.conditions.iter_mut().flatten());
    for condition in list {
        condition.last_update_time.get_or_insert(Time(now));
        if condition.last_transition_time.is_none() {
            let known = conditions(old).iter().find(|known| {
                known.type_ == condition.type_
                    && known.status == condition.status
                    && known.last_transition_time.is_some()
            });
            let since = known.and_then(|known| known.last_transition_time.clone());
            condition.last_transition_time = Some(since.unwrap_or(Time(now)));
        }
    }
}

fn validate_spec(spec: &CertificateSigningRequestSpec) -> Vec<FieldError> {
    const USAGES: &[&str] = &[
        "any",
        "cert sign",
        "client auth",
        "code signing",
        "content commitment",
        "crl sign",
        "data encipherment",
        "decipher only",
        "digital signature",
        "email protection",
        "encipher only",
        "ipsec end system",
        "ipsec tunnel",
        "ipsec user",
        "key agreement",
        "key encipherment",
        "microsoft sgc",
        "netscape sgc",
        "ocsp signing",
        "s/mime",
        "server auth",
        "signing",
        "timestamping",
    ];
    let mut errors = Vec::new();
    if let Err(why) = certificate::validate_request(&spec.request.0) {
        let value = Some(json!(spec.request)).filter(|_| !spec.request.0.is_empty());
        errors.push(FieldError::invalid("spec.request", value, why));
    }
    let usages = spec.usages.as_deref().unwrap_or_default();
    if usages.is_empty() {
        errors.push(FieldError::required("spec.usages", ""));
    }
    let path = |index: usize| format!("spec.usages[{index}]");
    for (index, usage) in usages.iter().enumerate() {
        if !USAGES.contains(&usage.as_str()) {
            errors.push(FieldError::not_supported(path(index), usage.as_str(), USAGES));
        }
    }
    for (index, usage) in usages.iter().enumerate() {
        if usages[..index].contains(usage) {
            errors.push(FieldError::duplicate(path(index), usage.as_str()));
        }
    }
    if spec.signer_name == "kubernetes.io/legacy-unknown" {
        let why = "the legacy signerName is not allowed via this API version";
        errors.push(FieldError::invalid("spec.signerName", spec.signer_name.as_str(), why));
    } else {
        errors.extend(signer_name::validate(&spec.signer_name, "spec.signerName"));
    }
    if let Some(seconds) = spec.expiration_seconds.filter(|it| *it < EXPIRATION_SECONDS_MIN) {
        let why = "may not specify a duration less than 600 seconds (10 minutes)";
        errors.push(FieldError::invalid("spec.expirationSeconds", seconds, why));
    }
    errors
}

fn validate_conditions(conditions: &[Condition]) -> Vec<FieldError> {
    const PATH: &str = "status.conditions";
    let mut errors = Vec::new();
    for (index, condition) in conditions.iter().enumerate() {
        let path = |field: &str| format!("{PATH}[{index}].{field}");
        let kind = condition.type_.as_str();
        if kind.is_empty() {
            errors.push(FieldError::required(path("type"), ""));
        }
        let allowed: &[&str] =
            if FINAL.contains(&kind) { &["True"] } else { &["False", "True", "Unknown"] };
        match condition.status.as_str() {
            "" => errors.push(FieldError::required(path("status"), "")),
            status if !allowed.contains(&status) => {
                errors.push(FieldError::not_supported(path("status"), status, allowed));
            }
            _ => {}
        }
        let before = &conditions[..index];
        let other = match kind {
            "Approved" => "Denied",
            "Denied" => "Approved",
            _ => "",
        };
        if !other.is_empty() && before.iter().any(|condition| condition.type_ == other) {
            let why = "Approved and Denied conditions are mutually exclusive";
            errors.push(FieldError::invalid(PATH, kind, why));
        }
        if before.iter().any(|condition| condition.type_ == kind) {
            errors.push(FieldError::duplicate(path("type"), kind));
        }
    }
    errors
}

/// The problems of any write of the status.
fn validate_moves(new: &Object, old: &Object) -> Vec<FieldError> {
    let mut errors = CertificateSigningRequests::validate(new);
    for kind in FINAL {
        if count(new, kind) < count(old, kind) {
            let why = format!("updates may not remove a condition of type {kind:?}");
            errors.push(FieldError::forbidden("status.conditions", why));
        }
    }
    errors
}
