//! The FlowSchemas and PriorityLevelConfigurations that every cluster has.
//!
//! Source: `k8s.io/apiserver/pkg/apis/flowcontrol/bootstrap/default.go`.

use std::sync::LazyLock;

use k8s_openapi::api::flowcontrol::v1::{
    ExemptPriorityLevelConfiguration, FlowDistinguisherMethod, FlowSchema, FlowSchemaSpec,
    GroupSubject, LimitResponse, LimitedPriorityLevelConfiguration, NonResourcePolicyRule,
    PolicyRulesWithSubjects, PriorityLevelConfiguration, PriorityLevelConfigurationReference,
    PriorityLevelConfigurationSpec, QueuingConfiguration, ResourcePolicyRule,
    ServiceAccountSubject, Subject, UserSubject,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::auth::{AUTHENTICATED, MASTERS};

pub const EXEMPT: &str = "exempt";
pub const CATCH_ALL: &str = "catch-all";
/// `true`: the server may bring the object's specification up to date.
pub const AUTO_UPDATE: &str = "apf.kubernetes.io/autoupdate-spec";

const UNAUTHENTICATED: &str = "system:unauthenticated";
const NODES: &str = "system:nodes";
const CONTROLLER_MANAGER: &str = "system:kube-controller-manager";
const SCHEDULER: &str = "system:kube-scheduler";

/// Objects of one kind: those that must be as they are, and those that a user may change.
pub struct Objects<T> {
    pub mandatory: Vec<T>,
    pub suggested: Vec<T>,
}

impl<T> Objects<T> {
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.mandatory.iter().chain(&self.suggested)
    }
}

pub static PRIORITY_LEVELS: LazyLock<Objects<PriorityLevelConfiguration>> =
    LazyLock::new(|| Objects {
        mandatory: vec![exempt(), limited(CATCH_ALL, 5, 0, None)],
        suggested: vec![
            limited("system", 30, 33, Some((64, 6))),
            limited("node-high", 40, 25, Some((64, 6))),
            limited("leader-election", 10, 0, Some((16, 4))),
            limited("workload-high", 40, 50, Some((128, 6))),
            limited("workload-low", 100, 90, Some((128, 6))),
            limited("global-default", 20, 50, Some((128, 6))),
        ],
    });

pub static FLOW_SCHEMAS: LazyLock<Objects<FlowSchema>> = LazyLock::new(|| {
    let everyone = || groups(&[UNAUTHENTICATED, AUTHENTICATED]);
    let leases = |verbs: &[&str]| rule(verbs, "coordination.k8s.io", &["leases"], false);
    let nodes = rule(&["*"], "", &["nodes", "nodes/status"], true);
    let probes = [urls(&["get"], &["/healthz", "/readyz", "/livez"])];
    let kube_system = || account("kube-system", "*");
    let leaders = users(&[CONTROLLER_MANAGER, SCHEDULER]).into_iter().chain([kube_system()]);
    let (user, namespace) = (Some("ByUser"), Some("ByNamespace"));
    Objects {
        mandatory: vec![
            of_everything(EXEMPT, EXEMPT, 1, None, groups(&[MASTERS])),
            of_everything(CATCH_ALL, CATCH_ALL, 10000, user, everyone()),
        ],
        suggested: vec![
            of_everything("system-nodes", "system", 500, user, groups(&[NODES])),
            schema(
                "system-node-high",
                "node-high",
                400,
                user,
                PolicyRulesWithSubjects {
                    subjects: groups(&[NODES]),
                    resource_rules: Some(vec![nodes, leases(&["*"])]),
                    non_resource_rules: None,
                },
            ),
            schema(
                "probes",
                EXEMPT,
                2,
                None,
                PolicyRulesWithSubjects {
                    subjects: everyone(),
                    resource_rules: None,
                    non_resource_rules: Some(probes.to_vec()),
                },
            ),
            schema(
                "system-leader-election",
                "leader-election",
                100,
                user,
                PolicyRulesWithSubjects {
                    subjects: leaders.collect(),
                    resource_rules: Some(vec![leases(&["get", "create", "update"])]),
                    non_resource_rules: None,
                },
            ),
            of_everything(
                "kube-controller-manager",
                "workload-high",
                800,
                namespace,
                users(&[CONTROLLER_MANAGER]),
            ),
            of_everything("kube-scheduler", "workload-high", 800, namespace, users(&[SCHEDULER])),
            of_everything(
                "kube-system-service-accounts",
                "workload-high",
                900,
                namespace,
                vec![kube_system()],
            ),
            of_everything(
                "service-accounts",
                "workload-low",
                9000,
                user,
                groups(&["system:serviceaccounts"]),
            ),
            of_everything("global-default", "global-default", 9900, user, everyone()),
        ],
    }
});

fn metadata(name: &str) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.to_owned()),
        annotations: Some([(AUTO_UPDATE.to_owned(), "true".to_owned())].into()),
        ..ObjectMeta::default()
    }
}

fn exempt() -> PriorityLevelConfiguration {
    PriorityLevelConfiguration {
        metadata: metadata(EXEMPT),
        spec: Some(PriorityLevelConfigurationSpec {
            type_: "Exempt".to_owned(),
            exempt: Some(ExemptPriorityLevelConfiguration {
                nominal_concurrency_shares: Some(0),
                lendable_percent: Some(0),
            }),
            limited: None,
        }),
        status: None,
    }
}

/// Its queues and the hand; without, requests are refused.
fn limited(
    name: &str,
    shares: i32,
    lendable: i32,
    queues: Option<(i32, i32)>,
) -> PriorityLevelConfiguration {
    let response = match queues {
        None => LimitResponse { type_: "Reject".to_owned(), queuing: None },
        Some((queues, hand)) => LimitResponse {
            type_: "Queue".to_owned(),
            queuing: Some(QueuingConfiguration {
                queues: Some(queues),
                hand_size: Some(hand),
                queue_length_limit: Some(50),
            }),
        },
    };
    PriorityLevelConfiguration {
        metadata: metadata(name),
        spec: Some(PriorityLevelConfigurationSpec {
            type_: "Limited".to_owned(),
            exempt: None,
            limited: Some(LimitedPriorityLevelConfiguration {
                nominal_concurrency_shares: Some(shares),
                lendable_percent: Some(lendable),
                borrowing_limit_percent: None,
                limit_response: Some(response),
            }),
        }),
        status: None,
    }
}

fn schema(
    name: &str,
    level: &str,
    precedence: i32,
    distinguisher: Option<&str>,
    rule: PolicyRulesWithSubjects,
) -> FlowSchema {
    FlowSchema {
        metadata: metadata(name),
        spec: Some(FlowSchemaSpec {
            priority_level_configuration: PriorityLevelConfigurationReference {
                name: level.to_owned(),
            },
            matching_precedence: Some(precedence),
            distinguisher_method: distinguisher
                .map(|method| FlowDistinguisherMethod { type_: method.to_owned() }),
            rules: Some(vec![rule]),
        }),
        status: None,
    }
}

/// A schema of all that these subjects do.
fn of_everything(
    name: &str,
    level: &str,
    precedence: i32,
    distinguisher: Option<&str>,
    subjects: Vec<Subject>,
) -> FlowSchema {
    schema(
        name,
        level,
        precedence,
        distinguisher,
        PolicyRulesWithSubjects {
            subjects,
            resource_rules: Some(vec![rule(&["*"], "*", &["*"], true)]),
            non_resource_rules: Some(vec![urls(&["*"], &["*"])]),
        },
    )
}

fn subject(kind: &str) -> Subject {
    Subject { kind: kind.to_owned(), ..Subject::default() }
}

fn groups(names: &[&str]) -> Vec<Subject> {
    let group = |name: &&str| Subject {
        group: Some(GroupSubject { name: (*name).to_owned() }),
        ..subject("Group")
    };
    names.iter().map(group).collect()
}

fn users(names: &[&str]) -> Vec<Subject> {
    let user = |name: &&str| Subject {
        user: Some(UserSubject { name: (*name).to_owned() }),
        ..subject("User")
    };
    names.iter().map(user).collect()
}

fn account(namespace: &str, name: &str) -> Subject {
    let account = ServiceAccountSubject { namespace: namespace.into(), name: name.into() };
    Subject { service_account: Some(account), ..subject("ServiceAccount") }
}

fn owned(values: &[&str]) -> Vec<String> {
    values.iter().map(|value| (*value).to_owned()).collect()
}

fn rule(verbs: &[&str], group: &str, resources: &[&str], cluster: bool) -> ResourcePolicyRule {
    ResourcePolicyRule {
        verbs: owned(verbs),
        api_groups: owned(&[group]),
        resources: owned(resources),
        namespaces: Some(owned(&["*"])),
        cluster_scope: cluster.then_some(true),
    }
}

fn urls(verbs: &[&str], urls: &[&str]) -> NonResourcePolicyRule {
    NonResourcePolicyRule { verbs: owned(verbs), non_resource_urls: owned(urls) }
}
