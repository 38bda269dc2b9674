//! What to do about one ReplicaSet.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetSpec};
use k8s_openapi::api::core::v1::{ObjectReference, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::REPLICA_SETS;
use super::outline::Outline;
use super::ranking::first_to_go;
use super::status::{Counts, new_status};
use crate::controllers::owners::{self, Claim};
use crate::controllers::pods::{PODS, is_active, is_terminating};
use crate::controllers::selectors;
use crate::engine::{Action, Create, Delete, Failure, Key, Message, Note, Plan, Update, about};

/// At most so many pods are created or deleted in one go.
const BURST: usize = 500;

/// A large ReplicaSet rests so long between two looks, per pod: most of what a look costs is to decode
/// the pods that have changed since the last, and a pod that starts changes several times.
const REST_PER_POD: Duration = Duration::from_micros(50);
const REST_FROM: usize = 25;

pub(super) struct Observed {
    pub(super) set: Arc<ReplicaSet>,
    /// The pods it controls, and those of its namespace that nobody controls.
    pub(super) pods: Vec<Arc<Outline>>,
    /// Active pods of this ReplicaSet and its siblings by node; filled only where pods must go.
    pub(super) neighbours: BTreeMap<String, usize>,
    pub(super) failure: Option<Failure>,
}

pub(super) fn plan(now: Timestamp, observed: &Observed) -> Plan {
    let set = &*observed.set;
    let Some(spec) = &set.spec else { return Plan::nothing("no spec") };
    let mut actions = Vec::new();
    let active = claim_pods(observed, spec, &mut actions);
    let (why, creating) = if set.metadata.deletion_timestamp.is_some() {
        ("being deleted".to_owned(), false)
    } else {
        scale(now, observed, spec, &active, &mut actions)
    };
    let counts =
        Counts { terminating: terminating(observed, spec), ..Counts::of(&active, spec, now) };
    // The pods to be created are not counted yet: the status waits for them to be seen.
    let status = if creating && observed.failure.is_none() {
        None
    } else {
        new_status(now, set, &active, &counts, observed.failure.as_ref())
    };
    let rest = if active.len() < REST_FROM {
        Duration::ZERO
    } else {
        REST_PER_POD.saturating_mul(u32::try_from(active.len()).unwrap_or(u32::MAX))
    };
    Plan {
        actions,
        status: status.map(|status| {
            let updated = ReplicaSet { status: Some(status), ..set.clone() };
            Update::status(Key::of(REPLICA_SETS, &set.metadata), &updated)
        }),
        why,
        again: counts.next_available,
        rest: rest.min(Duration::from_millis(50)),
        wake: Vec::new(),
    }
}

/// The active pods that are its own, after adoptions and releases.
fn claim_pods<'a>(
    observed: &'a Observed,
    spec: &ReplicaSetSpec,
    actions: &mut Vec<Action>,
) -> Vec<&'a Pod> {
    let set = &*observed.set;
    let mut active: Vec<&Pod> = Vec::new();
    for pod in observed.pods.iter().filter(|pod| is_active(pod)) {
        match owners::claim(&set.metadata, &spec.selector, &pod.metadata) {
            Claim::Own => active.push(&**pod),
            Claim::Adopt => {
                let owner = owners::controller_reference(set);
                actions.push(owners::adopt(PODS, &pod.metadata, &owner));
                active.push(&**pod);
            }
            Claim::Release => {
                let uid = set.metadata.uid.as_deref().unwrap_or_default();
                actions.push(owners::release(PODS, &pod.metadata, uid));
            }
            Claim::Leave => {}
        }
    }
    active
}

fn terminating(observed: &Observed, spec: &ReplicaSetSpec) -> i32 {
    let uid = observed.set.metadata.uid.as_deref();
    let count = observed
        .pods
        .iter()
        .filter(|pod| is_terminating(pod))
        .filter(|pod| owners::is_controlled_by(&pod.metadata, uid))
        .filter(|pod| selectors::matches(&spec.selector, pod.metadata.labels.as_ref()))
        .count();
    i32::try_from(count).unwrap_or(i32::MAX)
}

/// Adds the creates or deletes; says why, and whether pods are created.
fn scale(
    now: Timestamp,
    observed: &Observed,
    spec: &ReplicaSetSpec,
    active: &[&Pod],
    actions: &mut Vec<Action>,
) -> (String, bool) {
    let set = &*observed.set;
    let wanted = usize::try_from(spec.replicas.unwrap_or(1)).unwrap_or(0);
    let about = about(set);
    if active.len() < wanted {
        let count = (wanted - active.len()).min(BURST);
        actions.push(create_pods(set, spec, count, &about));
        (format!("{} of {wanted} pods; creating {count}", active.len()), true)
    } else if active.len() > wanted {
        let count = (active.len() - wanted).min(BURST);
        let going = first_to_go(now, active.to_vec(), &observed.neighbours, count);
        actions.extend(going.into_iter().map(|pod| delete_pod(pod, &about)));
        (format!("{} pods for {wanted}; deleting {count}", active.len()), false)
    } else {
        (format!("{wanted} of {wanted} pods"), false)
    }
}

fn create_pods(
    set: &ReplicaSet,
    spec: &ReplicaSetSpec,
    count: usize,
    about: &Arc<ObjectReference>,
) -> Action {
    let template = spec.template.clone().unwrap_or_default();
    let metadata = template.metadata.unwrap_or_default();
    let name = set.metadata.name.as_deref().unwrap_or_default();
    let pod = Pod {
        metadata: ObjectMeta {
            generate_name: Some(format!("{name}-")),
            labels: metadata.labels,
            annotations: metadata.annotations,
            finalizers: metadata.finalizers,
            owner_references: Some(vec![owners::controller_reference(set)]),
            ..ObjectMeta::default()
        },
        spec: template.spec,
        status: None,
    };
    let namespace = set.metadata.namespace.as_deref().unwrap_or_default();
    Action::Create(Create {
        count,
        done: Some(Note::normal(about, "SuccessfulCreate", Message::Name("Created pod: "))),
        failed: Some(Note::warning(
            about,
            "FailedCreate",
            Message::Error("Error creating: ".to_owned()),
        )),
        ..Create::one(PODS, namespace, &pod)
    })
}

fn delete_pod(pod: &Pod, about: &Arc<ObjectReference>) -> Action {
    Action::Delete(Delete {
        done: Some(Note::normal(about, "SuccessfulDelete", Message::Name("Deleted pod: "))),
        failed: Some(Note::warning(
            about,
            "FailedDelete",
            Message::Error("Error deleting: ".to_owned()),
        )),
        ..Delete::of(PODS, &pod.metadata)
    })
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;
    use crate::engine::show_plan;

    const SET: &str = "
metadata: {name: web-1, namespace: shop, uid: rs, generation: 2, resourceVersion: '7'}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template: {metadata: {labels: {app: web}}, spec: {containers: []}}
status: {replicas: 0}
";

    fn pod(name: &str, more: &str, status: &str) -> String {
        format!(
            "{{metadata: {{name: {name}, namespace: shop, uid: u-{name}, resourceVersion: '9', {more}}}, \
             spec: {{nodeName: n1, containers: []}}, status: {status}}}"
        )
    }

    const OWNED: &str = "labels: {app: web}, ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, \
                         name: web-1, uid: rs, controller: true}]";
    const READY: &str = "{phase: Running, conditions: [{type: Ready, status: 'True', \
                         lastTransitionTime: '2026-01-01T00:00:00Z'}]}";

    fn check(set: &str, pods: &[String], failure: Option<&str>, expected: Expect) {
        let observed = Observed {
            set: Arc::new(serde_yaml::from_str(set).unwrap()),
            pods: pods.iter().map(|pod| Arc::new(serde_yaml::from_str(pod).unwrap())).collect(),
            neighbours: BTreeMap::new(),
            failure: failure.map(|message| Failure {
                reason: "Forbidden".to_owned(),
                message: message.to_owned(),
            }),
        };
        let now = "2026-01-01T00:00:10Z".parse().unwrap();
        expected.assert_eq(&show_plan(&plan(now, &observed)));
    }

    #[test]
    fn missing_pods_are_created_and_the_status_waits() {
        check(
            SET,
            &[],
            None,
            expect![[r#"
            create pods web-1- x2
              event Normal SuccessfulCreate: Created pod: <name>
            why 0 of 2 pods; creating 2
        "#]],
        );
    }

    #[test]
    fn replicaset_adopts_matching_orphans_and_releases_strays() {
        let stray = OWNED.replace("app: web", "app: db");
        check(
            SET,
            &[
                pod("a", "labels: {app: web}", READY),
                pod("b", &stray, READY),
                pod("c", OWNED, READY),
            ],
            None,
            expect![[r#"
                patch pods/shop/a {"metadata":{"ownerReferences":[{"apiVersion":"apps/v1","blockOwnerDeletion":true,"controller":true,"kind":"ReplicaSet","name":"web-1","uid":"rs"}],"resourceVersion":"9"}}
                patch pods/shop/b {"metadata":{"ownerReferences":[],"resourceVersion":"9"}}
                status replicasets.apps/shop/web-1 {"status":{"availableReplicas":2,"fullyLabeledReplicas":2,"observedGeneration":2,"readyReplicas":2,"replicas":2,"terminatingReplicas":0}}
                why 2 of 2 pods
            "#]],
        );
    }

    #[test]
    fn terminating_and_finished_pods_do_not_count() {
        let leaving = format!("deletionTimestamp: '2026-01-01T00:00:00Z', {OWNED}");
        check(
            SET,
            &[
                pod("a", OWNED, READY),
                pod("b", &leaving, READY),
                pod("c", OWNED, "{phase: Failed}"),
                pod("d", OWNED, "{phase: Running}"),
            ],
            None,
            expect![[r#"
                status replicasets.apps/shop/web-1 {"status":{"availableReplicas":1,"fullyLabeledReplicas":2,"observedGeneration":2,"readyReplicas":1,"replicas":2,"terminatingReplicas":1}}
                why 2 of 2 pods
            "#]],
        );
    }

    #[test]
    fn surplus_pods_go_unready_first() {
        check(
            SET,
            &[pod("a", OWNED, READY), pod("b", OWNED, "{phase: Pending}"), pod("c", OWNED, READY)],
            None,
            expect![[r#"
                delete pods/shop/b Background
                  event Normal SuccessfulDelete: Deleted pod: <name>
                status replicasets.apps/shop/web-1 {"status":{"availableReplicas":2,"fullyLabeledReplicas":3,"observedGeneration":2,"readyReplicas":2,"replicas":3,"terminatingReplicas":0}}
                why 3 pods for 2; deleting 1
            "#]],
        );
    }

    #[test]
    fn availability_is_looked_at_again_when_it_is_due() {
        let set = SET.replace("replicas: 2", "replicas: 1\n  minReadySeconds: 30");
        check(
            &set,
            &[pod("a", OWNED, READY)],
            None,
            expect![[r#"
            status replicasets.apps/shop/web-1 {"status":{"fullyLabeledReplicas":1,"observedGeneration":2,"readyReplicas":1,"replicas":1,"terminatingReplicas":0}}
            again in 20s
            why 1 of 1 pods
        "#]],
        );
    }

    #[test]
    fn a_failed_creation_shows_in_the_status() {
        check(
            SET,
            &[],
            Some("pods \"web-1-\" is forbidden: quota"),
            expect![[r#"
            create pods web-1- x2
              event Normal SuccessfulCreate: Created pod: <name>
            status replicasets.apps/shop/web-1 {"status":{"conditions":[{"lastTransitionTime":"2026-01-01T00:00:10Z","message":"pods \"web-1-\" is forbidden: quota","reason":"FailedCreate","status":"True","type":"ReplicaFailure"}],"observedGeneration":2,"replicas":0,"terminatingReplicas":0}}
            why 0 of 2 pods; creating 2
        "#]],
        );
    }

    #[test]
    fn a_replicaset_on_its_way_out_creates_nothing() {
        let set = SET.replace("uid: rs", "uid: rs, deletionTimestamp: '2026-01-01T00:00:00Z'");
        check(
            &set,
            &[pod("a", OWNED, READY)],
            None,
            expect![[r#"
            status replicasets.apps/shop/web-1 {"status":{"availableReplicas":1,"fullyLabeledReplicas":1,"observedGeneration":2,"readyReplicas":1,"replicas":1,"terminatingReplicas":0}}
            why being deleted
        "#]],
        );
    }
}
