//! A list as it goes out: piece by piece, so that neither its text nor its decoded objects are ever
//! held whole. What is held is a reference to each object. Pure.

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::Value;

use crate::cache::Cached;
use crate::encode;
use crate::kinds::{AnyKind, Storage};
use crate::schema::{Type, protobuf, schema};

use super::negotiate::{Media, Output, Shape};
use super::object::Object;
use super::{table, yaml};

/// How large a piece becomes; the last object may make it larger.
const PIECE: usize = 64 * 1024;
/// A list's protobuf form says its length first. Up to so many stored bytes it is made as a whole;
/// beyond that each item is encoded twice, once to learn its length.
const HELD_MAX: usize = 1024 * 1024;
const LIST_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta";
const PARTIAL: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.PartialObjectMetadata";

/// A list and the form that it is to take.
pub struct List {
    pub kind: Arc<dyn AnyKind>,
    pub output: Output,
    pub table: table::Options,
    pub now: Timestamp,
    pub metadata: Value,
    pub items: Vec<Arc<Cached>>,
}

/// The pieces of a list.
pub struct Pieces {
    form: Form,
    metadata: Value,
    items: std::vec::IntoIter<Arc<Cached>>,
    step: Step,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Head,
    /// Whether the next item is the first.
    Items {
        first: bool,
    },
    Done,
}

/// How the items are shown.
struct Form {
    kind: Arc<dyn AnyKind>,
    output: Output,
    /// The items' type, where they go out as protobuf.
    ty: Option<&'static Type>,
    table: table::Options,
    now: Timestamp,
}

impl List {
    pub fn pieces(self) -> Pieces {
        let mut output = self.output;
        let name = match output.shape {
            Shape::Whole => self.kind.info().schema,
            Shape::Table | Shape::Partial => PARTIAL,
        };
        let ty = match output.media {
            Media::Protobuf => schema().by_name(name),
            Media::Json | Media::Yaml => None,
        };
        // What has no protobuf form is JSON, which every client reads.
        if output.media == Media::Protobuf && ty.is_none() {
            output.media = Media::Json;
        }
        let form = Form { kind: self.kind, output, ty, table: self.table, now: self.now };
        let items = self.items.into_iter();
        Pieces { form, metadata: self.metadata, items, step: Step::Head }
    }
}

impl Pieces {
    pub fn content_type(&self) -> &'static str {
        self.form.output.media.name()
    }

    pub fn is_done(&self) -> bool {
        self.step == Step::Done
    }

    fn head(&mut self, out: &mut Vec<u8>) -> Step {
        match self.form.ty {
            Some(ty) => self.protobuf_head(ty, out),
            None => {
                self.form.text_head(&self.metadata, self.items.len() == 0, out);
                Step::Items { first: true }
            }
        }
    }

    fn protobuf_head(&mut self, ty: &Type, out: &mut Vec<u8>) -> Step {
        let form = &self.form;
        let (api_version, kind) = form.list_type();
        let meta = schema().by_name(LIST_META).expect("the table has it");
        let head = |size| protobuf::list_head(meta, &api_version, &kind, &self.metadata, size);
        let held: usize = self.items.as_slice().iter().map(|item| item.stored().len()).sum();
        if held <= HELD_MAX {
            let mut items = Vec::with_capacity(held);
            for item in self.items.by_ref() {
                form.put_protobuf(ty, &item, &mut items);
            }
            out.extend(head(items.len()));
            out.extend(items);
            out.extend(protobuf::LIST_TAIL);
            return Step::Done;
        }
        let (mut size, mut item_bytes) = (0, Vec::new());
        for item in self.items.as_slice() {
            item_bytes.clear();
            form.put_protobuf(ty, item, &mut item_bytes);
            size += item_bytes.len();
        }
        out.extend(head(size));
        Step::Items { first: true }
    }
}

impl Iterator for Pieces {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let mut out = Vec::new();
        if self.step == Step::Head {
            self.step = self.head(&mut out);
        }
        while let Step::Items { first } = self.step
            && out.len() < PIECE
        {
            self.step = match self.items.next() {
                Some(item) => {
                    self.form.put(&item, first, &mut out);
                    Step::Items { first: false }
                }
                None => {
                    self.form.tail(&self.metadata, first, &mut out);
                    Step::Done
                }
            };
        }
        (!out.is_empty()).then(|| Bytes::from(out))
    }
}

impl Form {
    /// The list's own apiVersion and kind.
    fn list_type(&self) -> (String, String) {
        let meta = || format!("meta.k8s.io/{}", self.output.meta_version);
        match self.output.shape {
            Shape::Whole => {
                let info = self.kind.info();
                (info.api_version(), format!("{}List", info.kind))
            }
            Shape::Table => (meta(), "Table".to_owned()),
            Shape::Partial => (meta(), "PartialObjectMetadataList".to_owned()),
        }
    }

    /// The fields beside the items, in upstream's order, and the name of that with the items.
    fn fields(&self, metadata: &Value) -> (Vec<(&'static str, Value)>, &'static str) {
        let (api_version, kind) = self.list_type();
        let mut fields = vec![
            ("kind", kind.into()),
            ("apiVersion", api_version.into()),
            ("metadata", metadata.clone()),
        ];
        if self.output.shape != Shape::Table {
            return (fields, "items");
        }
        fields.push(("columnDefinitions", table::definitions(self.kind.columns())));
        (fields, "rows")
    }

    fn text_head(&self, metadata: &Value, is_empty: bool, out: &mut Vec<u8>) {
        let (fields, items) = self.fields(metadata);
        if self.output.media == Media::Yaml {
            let before = fields.into_iter().filter(|(name, _)| *name < items);
            let before: Value = before.map(|(name, value)| (name.to_owned(), value)).collect();
            out.extend_from_slice(yaml::text(&before).as_bytes());
            let opened = if is_empty { format!("{items}: []\n") } else { format!("{items}:\n") };
            return out.extend_from_slice(opened.as_bytes());
        }
        let (line, colon) = if self.output.pretty { ("\n  ", ": ") } else { ("", ":") };
        out.push(b'{');
        for (name, value) in fields {
            out.extend_from_slice(format!("{line}\"{name}\"{colon}").as_bytes());
            self.put_json(&value, "\n  ", out);
            out.push(b',');
        }
        out.extend_from_slice(format!("{line}\"{items}\"{colon}[").as_bytes());
    }

    /// `line`: what begins a line of pretty text that stands inside other text.
    fn put_json(&self, value: &Value, line: &str, out: &mut Vec<u8>) {
        if self.output.pretty {
            let text = serde_json::to_string_pretty(value).expect("a value is JSON");
            out.extend_from_slice(text.replace('\n', line).as_bytes());
        } else {
            serde_json::to_writer(out, value).expect("a value is JSON");
        }
    }

    fn put(&self, item: &Cached, first: bool, out: &mut Vec<u8>) {
        if let Some(ty) = self.ty {
            return self.put_protobuf(ty, item, out);
        }
        if self.output.media == Media::Yaml {
            return out.extend_from_slice(yaml::item(&self.value(item)).as_bytes());
        }
        if !first {
            out.push(b',');
        }
        if self.output.pretty {
            out.extend_from_slice(b"\n    ");
        }
        if self.output.shape == Shape::Whole
            && self.kind.info().storage == Storage::Own
            && !self.output.pretty
        {
            return encode::put_item(out, item.stored(), item.revision);
        }
        self.put_json(&self.value(item), "\n    ", out);
    }

    fn put_protobuf(&self, ty: &Type, item: &Cached, out: &mut Vec<u8>) {
        if self.output.shape == Shape::Whole && self.kind.info().storage == Storage::Own {
            protobuf::put_list_item(ty, &item.bytes(), out);
        } else {
            out.extend(protobuf::list_item(ty, &self.value(item)));
        }
    }

    fn value(&self, item: &Cached) -> Value {
        let kind = self.kind.as_ref();
        let object = Object::of_cached(kind, item);
        match self.output.shape {
            Shape::Table => table::row(&self.output, kind, &object, self.table, self.now),
            Shape::Partial => table::partial(&self.output, &object),
            Shape::Whole => {
                let mut value = Value::clone(object.value());
                if let Some(fields) = value.as_object_mut() {
                    // The list says them for all.
                    fields.remove("apiVersion");
                    fields.remove("kind");
                }
                value
            }
        }
    }

    /// What stands behind the last item.
    fn tail(&self, metadata: &Value, is_empty: bool, out: &mut Vec<u8>) {
        if self.ty.is_some() {
            return out.extend_from_slice(protobuf::LIST_TAIL);
        }
        if self.output.media == Media::Yaml {
            let (fields, items) = self.fields(metadata);
            let after = fields.into_iter().filter(|(name, _)| *name > items);
            let after: Value = after.map(|(name, value)| (name.to_owned(), value)).collect();
            if after.as_object().is_some_and(|after| !after.is_empty()) {
                out.extend_from_slice(yaml::text(&after).as_bytes());
            }
            return;
        }
        out.extend_from_slice(match (self.output.pretty, is_empty) {
            (false, _) => b"]}\n",
            (true, true) => b"]\n}",
            (true, false) => b"\n  ]\n}",
        });
    }
}
