//! Taints keep pods away that do not tolerate them.
//!
//! Source: <https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/>.

use k8s_openapi::api::core::v1::{Taint, Toleration};

use super::Reason;
use crate::scheduler::snapshot::{NodeInfo, PodInfo};

pub fn filter(pod: &PodInfo, node: &NodeInfo, reasons: &mut Vec<Reason>) {
    let taints = node.node.spec.as_ref().and_then(|spec| spec.taints.as_deref());
    let untolerated = taints.unwrap_or_default().iter().find(|taint| {
        matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute")
            && !tolerates(pod.tolerations(), taint)
    });
    if let Some(taint) = untolerated {
        reasons.push(format!(
            "node(s) had untolerated taint(s) {{{}: {}}}",
            taint.key,
            taint.value.as_deref().unwrap_or_default()
        ));
    }
}

/// Whether one of the tolerations covers the taint.
pub fn tolerates(tolerations: &[Toleration], taint: &Taint) -> bool {
    tolerations.iter().any(|toleration| covers(toleration, taint))
}

fn covers(toleration: &Toleration, taint: &Taint) -> bool {
    let some = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    if some(&toleration.effect).is_some_and(|effect| effect != taint.effect) {
        return false;
    }
    if some(&toleration.key).is_some_and(|key| key != taint.key) {
        return false;
    }
    match some(&toleration.operator).as_deref() {
        Some("Exists") => true,
        None | Some("Equal") => {
            some(&toleration.key).is_some()
                && toleration.value.clone().unwrap_or_default()
                    == taint.value.clone().unwrap_or_default()
        }
        // Gt and Lt (KEP-5471) compare integers.
        Some(operator) => {
            let number = |text: &Option<String>| text.as_ref()?.parse::<i64>().ok();
            match (operator, number(&taint.value), number(&toleration.value)) {
                ("Gt", Some(taint), Some(limit)) => taint > limit,
                ("Lt", Some(taint), Some(limit)) => taint < limit,
                _ => false,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tolerations_cover_taints_as_documented() {
        let taint = Taint {
            key: "k".to_owned(),
            value: Some("v".to_owned()),
            effect: "NoSchedule".to_owned(),
            ..Taint::default()
        };
        for (yaml, covered) in [
            ("{operator: Exists}", true),
            ("{key: k, operator: Exists}", true),
            ("{key: k, value: v}", true),
            ("{key: k, value: w}", false),
            ("{key: other, operator: Exists}", false),
            ("{key: k, operator: Exists, effect: NoExecute}", false),
            ("{key: k, operator: Equal, value: v, effect: NoSchedule}", true),
        ] {
            let toleration: Toleration = serde_yaml::from_str(yaml).expect("a toleration");
            assert_eq!(tolerates(&[toleration], &taint), covered, "{yaml}");
        }
    }
}
