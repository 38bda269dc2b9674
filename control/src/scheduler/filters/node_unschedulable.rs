//! A cordoned node takes only pods that tolerate its taint.

use k8s_openapi::api::core::v1::Taint;

use super::{Reason, tolerates};
use crate::scheduler::snapshot::{NodeInfo, PodInfo};

pub fn filter(pod: &PodInfo, node: &NodeInfo, reasons: &mut Vec<Reason>) {
    let cordoned = node.node.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or(false);
    if !cordoned {
        return;
    }
    let taint = Taint {
        key: "node.kubernetes.io/unschedulable".to_owned(),
        effect: "NoSchedule".to_owned(),
        ..Taint::default()
    };
    if !tolerates(pod.tolerations(), &taint) {
        reasons.push("node(s) were unschedulable".to_owned());
    }
}
