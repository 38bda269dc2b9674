//! Packs endpoints into slices so that as few slices as possible are rewritten.
//!
//! Source of the rules: upstream's `reconcileByPortMapping`.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::discovery::v1::Endpoint;

/// At most so many endpoints in a slice.
pub(super) const SLICE_MAX: usize = 100;

/// What becomes of the slices of one group.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Packed {
    /// By the slice's place in the input: its new endpoints.
    pub(super) changed: BTreeMap<usize, Vec<Endpoint>>,
    pub(super) deleted: Vec<usize>,
    pub(super) created: Vec<Vec<Endpoint>>,
    pub(super) unchanged: Vec<usize>,
}

/// Endpoints are the same endpoint where they are the same pod at the same address.
fn identity(endpoint: &Endpoint) -> (String, String) {
    let uid = endpoint.target_ref.as_ref().and_then(|target| target.uid.clone());
    (uid.unwrap_or_default(), endpoint.addresses.first().cloned().unwrap_or_default())
}

/// `existing`: the endpoints of each slice there is. `outdated`: slices to be rewritten in any case.
pub(super) fn pack(
    existing: &[&[Endpoint]],
    outdated: &BTreeSet<usize>,
    desired: Vec<Endpoint>,
) -> Packed {
    let mut left: BTreeMap<(String, String), Endpoint> =
        desired.into_iter().map(|endpoint| (identity(&endpoint), endpoint)).collect();
    let mut packed = Packed::default();
    for (at, endpoints) in existing.iter().enumerate() {
        let mut kept = Vec::with_capacity(endpoints.len());
        let mut same = !outdated.contains(&at);
        for old in *endpoints {
            match left.remove(&identity(old)) {
                Some(wanted) => {
                    same &= wanted == *old;
                    kept.push(wanted);
                }
                None => same = false,
            }
        }
        if same && !kept.is_empty() {
            packed.unchanged.push(at);
        } else if kept.is_empty() {
            packed.deleted.push(at);
        } else {
            packed.changed.insert(at, kept);
        }
    }
    place(existing, left.into_values().collect(), &mut packed);
    packed
}

/// Places what is new: into slices that are rewritten anyway, then into the fullest slice that takes
/// all that is left, then into new slices (a slice to be deleted is used again first).
fn place(existing: &[&[Endpoint]], mut left: Vec<Endpoint>, packed: &mut Packed) {
    for endpoints in packed.changed.values_mut() {
        let room = SLICE_MAX.saturating_sub(endpoints.len()).min(left.len());
        endpoints.extend(left.drain(..room));
    }
    while !left.is_empty() {
        let count = left.len().min(SLICE_MAX);
        let chunk: Vec<Endpoint> = left.drain(..count).collect();
        let fitting = packed
            .unchanged
            .iter()
            .enumerate()
            .filter(|(_, at)| count < SLICE_MAX && existing[**at].len() + count <= SLICE_MAX)
            .max_by_key(|(_, at)| existing[**at].len())
            .map(|(place, at)| (place, *at));
        if let Some((place, at)) = fitting {
            packed.unchanged.remove(place);
            let mut endpoints = existing[at].to_vec();
            endpoints.extend(chunk);
            packed.changed.insert(at, endpoints);
        } else if let Some(at) = packed.deleted.pop() {
            packed.changed.insert(at, chunk);
        } else {
            packed.created.push(chunk);
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ObjectReference;
    use k8s_openapi::api::discovery::v1::EndpointConditions;

    use super::*;

    fn endpoints(range: std::ops::Range<usize>, ready: bool) -> Vec<Endpoint> {
        range
            .map(|i| Endpoint {
                addresses: vec![format!("10.0.{}.{}", i / 250, i % 250)],
                conditions: Some(EndpointConditions { ready: Some(ready), ..Default::default() }),
                target_ref: Some(ObjectReference {
                    uid: Some(format!("{i:05}")),
                    ..Default::default()
                }),
                ..Endpoint::default()
            })
            .collect()
    }

    fn check(existing: &[Vec<Endpoint>], desired: Vec<Endpoint>) -> String {
        let existing: Vec<&[Endpoint]> = existing.iter().map(Vec::as_slice).collect();
        let packed = pack(&existing, &BTreeSet::new(), desired);
        let changed: Vec<String> =
            packed.changed.iter().map(|(at, list)| format!("{at}:{}", list.len())).collect();
        let created: Vec<usize> = packed.created.iter().map(Vec::len).collect();
        format!(
            "changed {changed:?} deleted {:?} created {created:?} unchanged {:?}",
            packed.deleted, packed.unchanged
        )
    }

    #[test]
    fn new_endpoints_fill_slices_of_a_hundred() {
        assert_eq!(
            check(&[], endpoints(0..250, true)),
            "changed [] deleted [] created [100, 100, 50] unchanged []"
        );
    }

    #[test]
    fn nothing_is_rewritten_where_nothing_changed() {
        let existing = [endpoints(0..100, true), endpoints(100..150, true)];
        assert_eq!(
            check(&existing, endpoints(0..150, true)),
            "changed [] deleted [] created [] unchanged [0, 1]"
        );
    }

    #[test]
    fn one_changed_endpoint_rewrites_one_slice() {
        let existing = [endpoints(0..100, true), endpoints(100..150, true)];
        let mut desired = endpoints(0..150, true);
        desired[120] = endpoints(120..121, false).remove(0);
        assert_eq!(
            check(&existing, desired),
            "changed [\"1:50\"] deleted [] created [] unchanged [0]"
        );
    }

    #[test]
    fn additions_go_into_a_slice_that_is_rewritten_anyway() {
        let existing = [endpoints(0..90, true), endpoints(100..180, true)];
        let mut desired = endpoints(1..90, true);
        desired.extend(endpoints(100..180, true));
        desired.extend(endpoints(200..205, true));
        assert_eq!(
            check(&existing, desired),
            "changed [\"0:94\"] deleted [] created [] unchanged [1]"
        );
    }

    #[test]
    fn additions_go_into_the_fullest_slice_that_takes_them_all() {
        let existing =
            [endpoints(0..50, true), endpoints(100..195, true), endpoints(200..290, true)];
        let mut desired: Vec<Endpoint> = existing.iter().flatten().cloned().collect();
        desired.extend(endpoints(300..308, true));
        assert_eq!(
            check(&existing, desired),
            "changed [\"2:98\"] deleted [] created [] unchanged [0, 1]"
        );
    }

    #[test]
    fn an_emptied_slice_is_used_again_or_deleted() {
        let existing = [endpoints(0..100, true), endpoints(100..110, true)];
        assert_eq!(
            check(&existing, endpoints(0..100, true)),
            "changed [] deleted [1] created [] unchanged [0]"
        );
        let mut desired = endpoints(0..100, true);
        desired.extend(endpoints(500..520, true));
        assert_eq!(
            check(&existing, desired),
            "changed [\"1:20\"] deleted [] created [] unchanged [0]"
        );
    }
}
