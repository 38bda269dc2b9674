//! An object and a patch of it, parted by a NUL, of the form and the kind that the first byte says.
#![no_main]

use copepod_control::patch;
use copepod_control::schema::{self, check_types, prune, schema};
use libfuzzer_sys::fuzz_target;

const KINDS: [(&str, &str); 5] = [
    ("v1", "Pod"),
    ("apps/v1", "Deployment"),
    ("v1", "Service"),
    ("apps/v1", "ControllerRevision"),
    ("apiextensions.k8s.io/v1", "CustomResourceDefinition"),
];

fuzz_target!(|input: &[u8]| {
    let Some((first, rest)) = input.split_first() else { return };
    let mut parts = rest.splitn(2, |byte| *byte == 0);
    let (Some(object), Some(patch)) = (parts.next(), parts.next()) else { return };
    let (Ok((mut object, _)), Ok((patch, _))) =
        (schema::decode_json(object), schema::decode_json(patch))
    else {
        return;
    };
    let (api_version, kind) = KINDS[usize::from(first / 3) % KINDS.len()];
    let ty = schema().by_api_version(api_version, kind).expect("it is in the schema");
    if !object.is_object() || check_types(ty, &object).is_err() {
        return;
    }
    prune(ty, &mut object);
    let patched = match first % 3 {
        0 => patch::json(&object, &patch).ok(),
        1 => Some(patch::merge(&object, &patch)),
        _ => patch::strategic(ty, &object, &patch).ok(),
    };
    let Some(mut patched) = patched else { return };
    if check_types(ty, &patched).is_ok() {
        prune(ty, &mut patched);
        assert_eq!(check_types(ty, &patched), Ok(()));
    }
});
