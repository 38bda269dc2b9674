//! A message, in its envelope or of the type that its first byte says. What could be read can be written
//! and is read again as the same.
#![no_main]

use copepod_control::schema::{check_types, protobuf, prune, schema, settle};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    if let Ok((api_version, kind, mut value)) = protobuf::decode(input)
        && let Some(ty) = schema().by_api_version(&api_version, &kind)
    {
        settle(ty, &mut value);
        let written = protobuf::encode(ty, &api_version, &kind, &value);
        let (_, _, mut again) = protobuf::decode(&written).expect("what was encoded decodes");
        settle(ty, &mut again);
        assert_eq!(again, value);
    }
    let Some((first, message)) = input.split_first() else { return };
    let kinds: Vec<_> = schema().types().iter().filter(|ty| !ty.gvks.is_empty()).collect();
    let ty = kinds[usize::from(*first) % kinds.len()];
    let Ok(mut value) = protobuf::decode_as(ty, message) else { return };
    if check_types(ty, &value).is_ok() {
        prune(ty, &mut value);
        assert_eq!(check_types(ty, &value), Ok(()));
    }
});
