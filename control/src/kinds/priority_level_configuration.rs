//! PriorityLevelConfigurations: how many requests of a level are served at once, and what becomes
//! of the others.
//!
//! Source: `pkg/registry/flowcontrol/prioritylevelconfiguration/strategy.go`.

mod validate;

use jiff::Timestamp;
use k8s_openapi::api::flowcontrol::v1::{
    LimitedPriorityLevelConfiguration, PriorityLevelConfiguration, QueuingConfiguration,
};
use serde_json::Value;

use super::flow_schema::condition_types;
use super::{Column, FieldError, Generation, Kind, KindInfo, Subresource, USER_METADATA, meta};

const SHARES: i32 = 30;
const HAND: i32 = 8;
const QUEUES: i32 = 64;
const QUEUE_LENGTH: i32 = 50;

pub struct PriorityLevelConfigurations;

impl Kind for PriorityLevelConfigurations {
    type Object = PriorityLevelConfiguration;

    const INFO: KindInfo = KindInfo {
        generation: Generation::Raised,
        subresources: &[Subresource::Status],
        fixed_by_status: USER_METADATA,
        ..KindInfo::cluster(
            "flowcontrol.apiserver.k8s.io",
            "v1",
            "PriorityLevelConfiguration",
            "prioritylevelconfigurations",
            "prioritylevelconfiguration",
            "io.k8s.api.flowcontrol.v1.PriorityLevelConfiguration",
        )
    };

    fn default(level: &mut PriorityLevelConfiguration) {
        let spec = level.spec.get_or_insert_default();
        if let Some(exempt) = &mut spec.exempt {
            exempt.nominal_concurrency_shares.get_or_insert(0);
            exempt.lendable_percent.get_or_insert(0);
        }
        if let Some(limited) = &mut spec.limited {
            default_limited(limited);
        }
    }

    fn validate(level: &PriorityLevelConfiguration) -> Vec<FieldError> {
        let mut errors = validate::spec(level);
        errors.extend(validate_status(level));
        errors
    }

    fn validate_status(
        new: &PriorityLevelConfiguration,
        _old: &PriorityLevelConfiguration,
    ) -> Vec<FieldError> {
        validate_status(new)
    }

    fn columns() -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            Column::NAME,
            Column::new("Type", "string", 0, "Whether its requests are limited."),
            Column::new(
                "NominalConcurrencyShares",
                "string",
                0,
                "Its part in the seats of the server, among those of all levels.",
            ),
            Column::new("Queues", "string", 0, "How many queues it has."),
            Column::new("HandSize", "string", 0, "From how many queues a flow's is chosen."),
            Column::new("QueueLengthLimit", "string", 0, "How many may wait in a queue."),
            Column::AGE,
        ];
        COLUMNS
    }

    fn cells(level: &PriorityLevelConfiguration, now: Timestamp) -> Vec<Value> {
        let spec = level.spec.clone().unwrap_or_default();
        let limited = spec.limited.as_ref();
        let queuing = limited
            .and_then(|limited| limited.limit_response.as_ref())
            .and_then(|response| response.queuing.as_ref());
        let shares = limited.map(|limited| limited.nominal_concurrency_shares.unwrap_or(0));
        let of_queues = |field: fn(&QueuingConfiguration) -> Option<i32>| {
            queuing.map(|queuing| field(queuing).unwrap_or(0))
        };
        let number = |number: Option<i32>| number.map_or("<none>".into(), Value::from);
        vec![
            meta::object_name(&level.metadata),
            spec.type_.as_str().into(),
            number(shares),
            number(of_queues(|queuing| queuing.queues)),
            number(of_queues(|queuing| queuing.hand_size)),
            number(of_queues(|queuing| queuing.queue_length_limit)),
            meta::object_age(&level.metadata, now),
        ]
    }
}

/// No shares at all are a choice; none given are not.
fn default_limited(limited: &mut LimitedPriorityLevelConfiguration) {
    limited.nominal_concurrency_shares.get_or_insert(SHARES);
    limited.lendable_percent.get_or_insert(0);
    let response = limited.limit_response.as_mut();
    if let Some(queuing) = response.and_then(|response| response.queuing.as_mut()) {
        for (field, default) in [
            (&mut queuing.hand_size, HAND),
            (&mut queuing.queues, QUEUES),
            (&mut queuing.queue_length_limit, QUEUE_LENGTH),
        ] {
            if field.unwrap_or(0) == 0 {
                *field = Some(default);
            }
        }
    }
}

fn validate_status(level: &PriorityLevelConfiguration) -> Vec<FieldError> {
    let conditions = level.status.iter().flat_map(|status| status.conditions.iter().flatten());
    condition_types(conditions.map(|condition| condition.type_.as_deref()))
}
