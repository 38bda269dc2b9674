//! Where a list that was cut goes on: the token in `metadata.continue`. Pure.
//!
//! Source: `k8s.io/apiserver/pkg/storage/continue.go`.

use base64::DecodeError;
use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::{Value, json};

use crate::schema::json_complaint;
use crate::status::ApiError;
use crate::store::Revision;

const VERSION: &str = "meta.k8s.io/v1";
/// As Go reads it: bits behind the last byte may be set.
const TOKENS: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::RequireNone),
);

/// Upstream's token; but that it also says how many objects are left, where nothing is selected, so
/// that nobody has to count them for each page.
#[derive(Clone, Debug, PartialEq)]
pub struct Continue {
    /// `None`: at the newest revision, after the list's own was compacted.
    pub revision: Option<Revision>,
    /// The last key that was shown, within what is listed.
    pub after: String,
    pub rest: Option<usize>,
}

impl Continue {
    pub fn parse(token: &str) -> Result<Self, ApiError> {
        let refuse = |why: String| {
            let message = format!("invalid continue token: continue key is not valid: {why}");
            ApiError::bad_request(message)
        };
        let bytes = TOKENS.decode(token).map_err(|error| {
            let at = match error {
                DecodeError::InvalidByte(at, _) | DecodeError::InvalidLastSymbol(at, _) => at,
                // Where the group of letters begins that is too short.
                DecodeError::InvalidLength(_) | DecodeError::InvalidPadding => token.len() / 4 * 4,
            };
            refuse(format!("illegal base64 data at input byte {at}"))
        })?;
        let token: Value = serde_json::from_slice(&bytes)
            .map_err(|error| refuse(json_complaint(&bytes).unwrap_or_else(|| error.to_string())))?;
        let version = token["v"].as_str().unwrap_or_default();
        if version != VERSION {
            return Err(refuse(format!(
                "server does not recognize this encoded version {version}"
            )));
        }
        let revision = match token["rv"].as_i64() {
            None | Some(0) => {
                let why = format!("incorrect encoded start resourceVersion (version {VERSION})");
                return Err(refuse(why));
            }
            Some(revision) => u64::try_from(revision).ok().map(Revision),
        };
        let start = token["start"].as_str().unwrap_or_default();
        if start.is_empty() {
            return Err(refuse(format!("encoded start key empty (version {VERSION})")));
        }
        if !is_clean(start) {
            return Err(refuse(start.to_owned()));
        }
        let after = start.strip_prefix('/').unwrap_or(start);
        let after = after.strip_suffix('\0').unwrap_or(after).to_owned();
        let rest = token["rest"].as_u64().and_then(|rest| usize::try_from(rest).ok());
        Ok(Self { revision, after, rest })
    }

    pub fn write(&self) -> String {
        let revision = self.revision.map_or_else(|| Value::from(-1), |known| known.0.into());
        // The next key there can be, as upstream has it.
        let start = format!("{}\0", self.after);
        let mut token = json!({ "v": VERSION, "rv": revision, "start": start });
        if let Some(rest) = self.rest {
            token["rest"] = rest.into();
        }
        URL_SAFE_NO_PAD.encode(token.to_string())
    }
}

/// Whether a key leads nowhere but down, as Go's `path.Clean` would leave it.
fn is_clean(key: &str) -> bool {
    let key = key.strip_prefix('/').unwrap_or(key);
    key.split('/').all(|segment| !matches!(segment, "" | "." | ".."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_read_back() {
        for (revision, after, rest) in [
            (Some(Revision(7)), "default/web", Some(3)),
            (Some(Revision(7)), "web", None),
            (None, "default/web", None),
        ] {
            let token = Continue { revision, after: after.into(), rest };
            assert_eq!(Continue::parse(&token.write()), Ok(token));
        }
    }

    #[test]
    fn a_token_of_upstreams_is_understood() {
        let token = r#"{"v":"meta.k8s.io/v1","rv":12,"start":"default/web\u0000"}"#;
        let parsed = Continue::parse(&URL_SAFE_NO_PAD.encode(token)).expect("fine");
        let after = "default/web".to_owned();
        assert_eq!(parsed, Continue { revision: Some(Revision(12)), after, rest: None });
    }

    #[test]
    fn what_is_no_token_is_refused_in_upstreams_words() {
        let encoded = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let of = |rv: i64, start: &str| {
            encoded(&json!({ "v": VERSION, "rv": rv, "start": start }).to_string())
        };
        let table = [
            ("%%%".to_owned(), "illegal base64 data at input byte 0"),
            ("x".to_owned(), "illegal base64 data at input byte 0"),
            ("eyJ".to_owned(), "unexpected end of JSON input"),
            ("abc".to_owned(), "invalid character 'i' looking for beginning of value"),
            (
                encoded(r#"{"v":"v9","rv":1,"start":"a"}"#),
                "server does not recognize this encoded version v9",
            ),
            (of(0, "a"), "incorrect encoded start resourceVersion (version meta.k8s.io/v1)"),
            (of(1, ""), "encoded start key empty (version meta.k8s.io/v1)"),
            (of(1, "../secrets/a"), "../secrets/a"),
            (of(1, "a//b"), "a//b"),
        ];
        for (token, why) in table {
            let error = Continue::parse(&token).expect_err(why);
            let expected = format!("invalid continue token: continue key is not valid: {why}");
            assert_eq!((error.code, error.message), (400, expected));
        }
    }
}
