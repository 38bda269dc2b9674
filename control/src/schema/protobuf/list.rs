//! Lists in pieces: their items are written one by one, behind a head that says how long they are.

use serde_json::Value;

use super::MAGIC;
use super::encode::encode_message;
use super::transcode::put_text;
use super::wire::{put_bytes, put_key, put_message, put_varint};
use crate::schema::types::Type;

/// What stands behind the last item: the envelope's empty encoding and content type, which upstream
/// writes though they are empty.
pub const LIST_TAIL: &[u8] = &[0x1a, 0, 0x22, 0];

/// All that stands before the first item. `meta`: `ListMeta`. `items`: how many bytes `list_item`
/// makes of all items.
pub fn list_head(
    meta: &Type,
    api_version: &str,
    kind: &str,
    metadata: &Value,
    items: usize,
) -> Vec<u8> {
    let mut head = MAGIC.to_vec();
    put_message(&mut head, 1, |out| {
        put_bytes(out, 1, api_version.as_bytes());
        put_bytes(out, 2, kind.as_bytes());
    });
    let mut message = Vec::new();
    put_bytes(&mut message, 1, &encode_message(meta, metadata));
    put_key(&mut head, 2, 2);
    put_varint(&mut head, (message.len() + items) as u64);
    head.append(&mut message);
    head
}

/// One item, as the field of its list.
pub fn list_item(ty: &Type, item: &Value) -> Vec<u8> {
    let message = encode_message(ty, item);
    let mut field = Vec::with_capacity(message.len() + 8);
    put_bytes(&mut field, 2, &message);
    field
}

/// The same for an item whose JSON is at hand, appended.
pub fn put_list_item(ty: &Type, text: &[u8], out: &mut Vec<u8>) {
    put_message(out, 2, |out| put_text(ty, text, out));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::schema::protobuf::encode;
    use crate::schema::schema;

    #[test]
    fn a_list_in_pieces_is_the_list_in_one_piece() {
        let known = |name: &str| schema().by_name(name).expect("known");
        let meta = known("io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta");
        let ty = known("io.k8s.api.core.v1.ConfigMap");
        let list = known("io.k8s.api.core.v1.ConfigMapList");
        for count in [0, 1, 300] {
            let items: Vec<Value> = (0..count)
                .map(|index| json!({ "metadata": { "name": format!("m{index}") }, "data": { "k": "v" } }))
                .collect();
            let metadata =
                json!({ "resourceVersion": "7", "continue": "x", "remainingItemCount": 5 });
            let fields: Vec<_> = items.iter().map(|item| list_item(ty, item)).collect();
            let size = fields.iter().map(Vec::len).sum();
            let mut pieces = list_head(meta, "v1", "ConfigMapList", &metadata, size);
            pieces.extend(fields.concat());
            pieces.extend(LIST_TAIL);
            let whole = json!({ "metadata": metadata, "items": items });
            assert_eq!(pieces, encode(list, "v1", "ConfigMapList", &whole), "{count}");
        }
    }
}
