//! Which form an answer takes: the media type and the shape that `Accept` asks for. Pure.
//!
//! Source: `k8s.io/apiserver/pkg/endpoints/handlers/negotiation`.

use http::HeaderMap;
use http::header::{ACCEPT, CONTENT_TYPE, USER_AGENT};

use crate::status::ApiError;

use super::query::Query;

pub const JSON: &str = "application/json";
pub const YAML: &str = "application/yaml";
pub const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
pub const JSON_STREAM: &str = "application/json;stream=watch";
pub const PROTOBUF_STREAM: &str = "application/vnd.kubernetes.protobuf;stream=watch";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Media {
    Json,
    Yaml,
    Protobuf,
}

impl Media {
    const ALL: [Self; 3] = [Self::Json, Self::Yaml, Self::Protobuf];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Json => JSON,
            Self::Yaml => YAML,
            Self::Protobuf => PROTOBUF,
        }
    }

    /// The media type of a request's body; JSON where it says nothing.
    pub fn of_body(headers: &HeaderMap) -> Result<Self, ApiError> {
        let Some(value) = headers.get(CONTENT_TYPE) else { return Ok(Self::Json) };
        let given = value.to_str().unwrap_or_default();
        let given = given.split(';').next().unwrap_or_default().trim();
        if given.is_empty() {
            return Ok(Self::Json);
        }
        Self::ALL
            .into_iter()
            .find(|media| media.name().eq_ignore_ascii_case(given))
            .ok_or_else(|| unsupported(&[JSON, YAML, PROTOBUF]))
    }
}

/// The body is in none of these formats.
pub fn unsupported(accepted: &[&str]) -> ApiError {
    ApiError::unsupported_media_type(format!(
        "the body of the request was in an unknown format - accepted media types include: {}",
        accepted.join(", ")
    ))
}

/// Which shapes there are of what stands at a path, besides the whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shapes {
    None,
    /// The metadata alone.
    Partial,
    All,
}

/// How an object is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// As it is.
    Whole,
    Table,
    /// Its metadata alone: `PartialObjectMetadata(List)`.
    Partial,
}

/// The form of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Output {
    pub media: Media,
    pub shape: Shape,
    /// `v1` or `v1beta1` of `meta.k8s.io`, for tables and partial objects.
    pub meta_version: &'static str,
    pub pretty: bool,
    /// `PartialObjectMetadataList` was asked for, not the metadata of one object.
    pub of_list: bool,
}

impl Output {
    pub const PLAIN: Self = Self {
        media: Media::Json,
        shape: Shape::Whole,
        meta_version: "v1",
        pretty: false,
        of_list: false,
    };

    pub fn negotiate(headers: &HeaderMap, query: &Query, shapes: Shapes) -> Result<Self, ApiError> {
        let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let pretty = wants_pretty(headers, query);
        if accept.is_empty() {
            return Ok(Self { pretty, ..Self::PLAIN });
        }
        clauses(accept)
            .iter()
            .flat_map(|clause| Media::ALL.iter().map(move |media| (clause, *media)))
            .find_map(|(clause, media)| clause.accepts(media, shapes))
            .map(|output| Self { pretty: output.pretty || pretty, ..output })
            .ok_or_else(not_acceptable)
    }
}

pub fn not_acceptable() -> ApiError {
    ApiError::not_acceptable(format!(
        "only the following media types are accepted: {}",
        [JSON, YAML, PROTOBUF].join(", ")
    ))
}

/// One part of an `Accept` header.
#[derive(Debug)]
pub struct Clause<'a> {
    pub kind: &'a str,
    pub subtype: &'a str,
    quality: f32,
    parameters: Vec<(&'a str, &'a str)>,
}

impl Clause<'_> {
    pub fn parameter(&self, name: &str) -> &str {
        self.parameters.iter().find(|(key, _)| *key == name).map_or("", |(_, value)| value)
    }

    fn accepts(&self, media: Media, shapes: Shapes) -> Option<Output> {
        let (kind, subtype) = media.name().split_once('/').unwrap_or_default();
        let fits = match (self.kind, self.subtype) {
            ("*", "*") => true,
            (given, "*") => given == kind,
            (given, sub) => given == kind && sub == subtype,
        };
        let stream = self.parameter("stream");
        // YAML has no form for streams.
        let streams = stream == "watch" && media != Media::Yaml;
        if !fits || !(stream.is_empty() || streams) {
            return None;
        }
        let shape = self.shape(media, shapes)?;
        let meta_version = if self.parameter("v") == "v1beta1" { "v1beta1" } else { "v1" };
        let pretty = self.parameter("pretty") == "1";
        let of_list = self.parameter("as") == "PartialObjectMetadataList";
        Some(Output { media, shape, meta_version, pretty, of_list })
    }

    /// `None`: this clause asks for something that cannot be had.
    fn shape(&self, media: Media, shapes: Shapes) -> Option<Shape> {
        let (shape, group) = (self.parameter("as"), self.parameter("g"));
        if shape.is_empty() && group.is_empty() && self.parameter("v").is_empty() {
            return Some(Shape::Whole);
        }
        if shapes == Shapes::None
            || group != "meta.k8s.io"
            || !matches!(self.parameter("v"), "v1" | "v1beta1")
        {
            return None;
        }
        match shape {
            "Table" if media != Media::Protobuf && shapes == Shapes::All => Some(Shape::Table),
            "PartialObjectMetadata" | "PartialObjectMetadataList" => Some(Shape::Partial),
            _ => None,
        }
    }
}

/// The parts of an `Accept` header, the most wanted first.
pub fn clauses(accept: &str) -> Vec<Clause<'_>> {
    let mut clauses: Vec<Clause<'_>> = accept
        .split(',')
        .filter_map(|part| {
            let mut fields = part.split(';').map(str::trim);
            let media = fields.next()?;
            let (kind, subtype) = match media.split_once('/') {
                Some(pair) => pair,
                None if media == "*" => ("*", "*"),
                None => return None,
            };
            let parameters: Vec<(&str, &str)> = fields
                .filter_map(|field| field.split_once('='))
                .map(|(key, value)| (key.trim(), value.trim()))
                .collect();
            let quality = parameters
                .iter()
                .find(|(key, _)| *key == "q")
                .map_or(Some(1.0), |(_, value)| value.parse().ok())?;
            Some(Clause { kind: kind.trim(), subtype: subtype.trim(), quality, parameters })
        })
        .collect();
    let wildness = |clause: &Clause<'_>| (clause.kind == "*", clause.subtype == "*");
    clauses.sort_by(|a, b| {
        b.quality.total_cmp(&a.quality).then_with(|| wildness(a).cmp(&wildness(b)))
    });
    clauses
}

/// Asked for, or a person's tool that says nothing.
fn wants_pretty(headers: &HeaderMap, query: &Query) -> bool {
    if query.text("pretty").is_some() {
        return query.flag("pretty");
    }
    let agent = headers.get(USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    ["curl", "Wget", "Mozilla/5.0"].iter().any(|tool| agent.starts_with(tool))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn negotiate(accept: &'static str) -> Result<(Media, Shape), u16> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, accept.parse().expect("a header value"));
        Output::negotiate(&headers, &Query::default(), Shapes::All)
            .map(|output| (output.media, output.shape))
            .map_err(|error| error.code)
    }

    #[test]
    fn the_first_form_that_can_be_had_is_chosen() {
        use Media::{Json, Protobuf, Yaml};
        use Shape::{Partial, Table, Whole};
        let table = [
            ("*/*", Ok((Json, Whole))),
            ("application/*", Ok((Json, Whole))),
            ("application/json", Ok((Json, Whole))),
            ("application/yaml", Ok((Yaml, Whole))),
            ("application/vnd.kubernetes.protobuf,application/json", Ok((Protobuf, Whole))),
            ("application/json;as=Table;v=v1;g=meta.k8s.io,application/json", Ok((Json, Table))),
            (
                "application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1;g=meta.k8s.io,application/json",
                Ok((Json, Table)),
            ),
            (
                "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
                Ok((Json, Partial)),
            ),
            ("application/json;as=Other;g=meta.k8s.io;v=v1", Err(406)),
            ("text/html", Err(406)),
            ("text/html,application/json;q=0.9,*/*;q=0.8", Ok((Json, Whole))),
            ("application/json;q=0.5,application/yaml", Ok((Yaml, Whole))),
            ("application/json;stream=watch", Ok((Json, Whole))),
            ("application/yaml;stream=watch", Err(406)),
            (
                "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1beta1",
                Ok((Protobuf, Partial)),
            ),
        ];
        for (accept, expected) in table {
            assert_eq!(negotiate(accept), expected, "{accept}");
        }
    }

    #[test]
    fn bodies_are_json_unless_they_say_otherwise() {
        let media = |value: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            if let Some(value) = value {
                headers.insert(CONTENT_TYPE, value.parse().expect("a header value"));
            }
            Media::of_body(&headers).map_err(|error| error.code)
        };
        assert_eq!(media(None), Ok(Media::Json));
        assert_eq!(media(Some("application/json; charset=utf-8")), Ok(Media::Json));
        assert_eq!(media(Some("application/yaml")), Ok(Media::Yaml));
        assert_eq!(media(Some("application/vnd.kubernetes.protobuf")), Ok(Media::Protobuf));
        assert_eq!(media(Some("text/plain")), Err(415));
    }
}
