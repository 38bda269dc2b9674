//! The frames of a watch: events in the form that was asked for.
//!
//! Source: `k8s.io/apiserver/pkg/endpoints/handlers/response.go` (watchEncoder).

use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;

use crate::ambient::Ambient;
use crate::cache::{Form, Occurred};
use crate::kinds::AnyKind;
use crate::schema::schema;
use crate::status::ApiError;

use super::answer::{partial_protobuf, self_described, to_protobuf};
use super::call::Call;
use super::negotiate::{JSON, JSON_STREAM, Media, Output, PROTOBUF_STREAM, Shape};
use super::object::Object;
use super::table;

/// Puts events into the form that was asked for.
pub struct Encoder {
    pub kind: Arc<dyn AnyKind>,
    output: Output,
    table: table::Options,
    ambient: Ambient,
}

impl Encoder {
    pub fn new(call: &Call) -> Result<Self, ApiError> {
        let mut output = call.output;
        if output.media == Media::Yaml {
            return Err(no_stream());
        }
        // What has no protobuf form is JSON, which every client reads.
        if schema().by_name(call.info().schema).is_none() {
            output.media = Media::Json;
        }
        Ok(Self {
            kind: call.kind.clone(),
            output,
            table: table::Options::of(&output, &call.query)?,
            ambient: call.api.ambient().clone(),
        })
    }

    pub fn content_type(&self) -> &'static str {
        if self.output.media == Media::Protobuf { PROTOBUF_STREAM } else { JSON }
    }

    /// The frame of an event that others may ask for in the same form.
    pub fn shared(
        &mut self,
        event: &Occurred,
        what: &'static str,
        object: impl FnOnce() -> Object,
    ) -> Bytes {
        let form = Form { schema: self.kind.info().schema, what, encoding: self.encoding() };
        let frame = event.frame(form, || self.encode(what, &object(), self.table));
        self.table.headless = true;
        frame
    }

    /// The frame of what is this watcher's alone.
    pub fn frame(&mut self, what: &str, object: &Object) -> Bytes {
        let frame = self.encode(what, object, self.table);
        self.table.headless = true;
        frame
    }

    /// A bookmark. In a table that tells where the initial events end, its annotation is there
    /// whatever the rows are to carry.
    pub fn bookmark(&mut self, object: &Object, initial_events_end: bool) -> Bytes {
        let mut options = self.table;
        if initial_events_end && options.include == table::Include::None {
            options.include = table::Include::Metadata;
        }
        let frame = self.encode("BOOKMARK", object, options);
        self.table.headless = true;
        frame
    }

    /// An error, which takes no other shape.
    pub fn error(&self, error: &ApiError) -> Bytes {
        let status = error.to_status();
        match self.output.media {
            Media::Protobuf => {
                protobuf_frame("ERROR", &self_described(&status).unwrap_or_default())
            }
            Media::Json | Media::Yaml => json_frame("ERROR", &text(&status)),
        }
    }

    /// All that a frame's form depends on, but for the kind and the type of event.
    fn encoding(&self) -> u16 {
        let Output { media, shape, meta_version, .. } = self.output;
        let mut encoding = media as u16 | (shape as u16) << 2;
        if shape != Shape::Whole && meta_version == "v1beta1" {
            encoding |= 1 << 4;
        }
        if shape == Shape::Table {
            encoding |= (self.table.include as u16) << 5 | u16::from(self.table.headless) << 7;
        }
        encoding
    }

    fn encode(&self, what: &str, object: &Object, options: table::Options) -> Bytes {
        let (output, kind) = (&self.output, self.kind.as_ref());
        let is_protobuf = output.media == Media::Protobuf;
        match output.shape {
            Shape::Whole if is_protobuf => {
                let message = to_protobuf(kind.info().schema, object);
                protobuf_frame(what, &message.unwrap_or_default())
            }
            Shape::Whole => json_frame(what, &object.bytes),
            Shape::Partial if is_protobuf => {
                protobuf_frame(what, &partial_protobuf(&table::partial(output, object)))
            }
            Shape::Partial => json_frame(what, &text(&table::partial(output, object))),
            Shape::Table => {
                let now = self.ambient.now();
                json_frame(what, &text(&table::of_object(output, kind, object, options, now)))
            }
        }
    }
}

/// Source: `k8s.io/apiserver/pkg/endpoints/handlers/negotiation` (NegotiateOutputMediaTypeStream).
fn no_stream() -> ApiError {
    ApiError::not_acceptable(format!(
        "only the following media types are accepted: {JSON_STREAM}, {PROTOBUF_STREAM}"
    ))
}

fn text(value: &Value) -> Vec<u8> {
    serde_json::to_vec(value).expect("a value is JSON")
}

fn json_frame(what: &str, object: &[u8]) -> Bytes {
    let mut frame = Vec::with_capacity(object.len() + what.len() + 24);
    frame.extend_from_slice(b"{\"type\":\"");
    frame.extend_from_slice(what.as_bytes());
    frame.extend_from_slice(b"\",\"object\":");
    frame.extend_from_slice(object);
    frame.extend_from_slice(b"}\n");
    frame.into()
}

/// A `meta.v1.WatchEvent` (type = 1, object = 2, a RawExtension whose raw = 1) behind its length.
fn protobuf_frame(what: &str, object: &[u8]) -> Bytes {
    let raw = length(object.len()).len() + 1 + object.len();
    let event = 2 + what.len() + 1 + length(raw).len() + raw;
    let mut frame = Vec::with_capacity(4 + event);
    frame.extend_from_slice(&(event as u32).to_be_bytes());
    field(&mut frame, 1, what.len());
    frame.extend_from_slice(what.as_bytes());
    field(&mut frame, 2, raw);
    field(&mut frame, 1, object.len());
    frame.extend_from_slice(object);
    frame.into()
}

/// The tag and length of a length-delimited field.
fn field(out: &mut Vec<u8>, tag: u8, size: usize) {
    out.push((tag << 3) | 2);
    out.extend_from_slice(&length(size));
}

fn length(mut size: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(5);
    while size >= 0x80 {
        out.push((size as u8) | 0x80);
        size >>= 7;
    }
    out.push(size as u8);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_wrap_the_bytes_as_they_are() {
        assert_eq!(json_frame("ADDED", b"{}"), "{\"type\":\"ADDED\",\"object\":{}}\n");
        let frame = protobuf_frame("ADDED", b"xy");
        assert_eq!(&frame[..], b"\x00\x00\x00\x0d\x0a\x05ADDED\x12\x04\x0a\x02xy");
        let long = protobuf_frame("ADDED", &[7; 300]);
        assert_eq!(&long[..15], b"\x00\x00\x01\x39\x0a\x05ADDED\x12\xaf\x02\x0a");
        assert_eq!(long.len(), 4 + 0x139);
    }
}
