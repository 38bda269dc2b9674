//! A body in YAML: anything that is read is JSON too, and the same when it is read as that.
#![no_main]

use copepod_control::schema::{self, check_types, prune, schema};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    let Ok((mut value, _)) = schema::decode_yaml(body) else { return };
    let text = serde_json::to_vec(&value).expect("a value is JSON");
    if let Ok((json, doubled)) = schema::decode_json(&text) {
        assert_eq!(json, value);
        assert!(doubled.is_empty());
    }
    let ty = schema().of_object(&value).filter(|_| value.is_object());
    let Some(ty) = ty else { return };
    if check_types(ty, &value).is_ok() {
        prune(ty, &mut value);
        assert_eq!(check_types(ty, &value), Ok(()));
    }
});
