//! A body in JSON, of the kind that its first byte says, on its way to an object and through every walk
//! of the schema. What has come in once must come in again unchanged.
#![no_main]

use std::sync::OnceLock;

use copepod_control::kinds::{Registry, registry};
use copepod_control::schema::{self, check_types, protobuf, prune, schema, settle};
use libfuzzer_sys::fuzz_target;

fn kinds() -> &'static Registry {
    static KINDS: OnceLock<Registry> = OnceLock::new();
    KINDS.get_or_init(registry)
}

fuzz_target!(|input: &[u8]| {
    let Some((first, body)) = input.split_first() else { return };
    let Ok((mut value, _)) = schema::decode_json(body) else { return };
    let kinds: Vec<_> = kinds().iter().collect();
    let kind = kinds[usize::from(*first) % kinds.len()];
    let info = kind.info();
    let ty = schema().by_name(info.schema).expect("every kind has a type");
    if check_types(ty, &value).is_err() {
        return;
    }
    prune(ty, &mut value);
    assert_eq!(check_types(ty, &value), Ok(()), "what was pruned is of its type");
    let mut again = value.clone();
    assert!(prune(ty, &mut again).unknown.is_empty(), "nothing is left to prune");
    assert_eq!(again, value, "what is pruned stays so");
    if let Ok(defaulted) = kind.default(value.clone()) {
        assert_eq!(kind.default(defaulted.clone()), Ok(defaulted), "defaults are filled in once");
    }
    let text = serde_json::to_vec(&value).expect("a value is JSON");
    let mut message = Vec::new();
    protobuf::put_text(ty, &text, &mut message);
    assert_eq!(message, protobuf::encode_message(ty, &value), "text is sent as its value is");
    let sent = protobuf::encode(ty, &info.api_version(), info.kind, &value);
    let (_, _, mut read) = protobuf::decode(&sent).expect("what was encoded decodes");
    settle(ty, &mut read);
    let again = protobuf::encode(ty, &info.api_version(), info.kind, &read);
    let (_, _, mut twice) = protobuf::decode(&again).expect("what was encoded decodes");
    settle(ty, &mut twice);
    assert_eq!(read, twice, "protobuf keeps what it has once held");
});
