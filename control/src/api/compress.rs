//! gzip of large answers, for those who ask for it, as they go out.
//!
//! Source: `k8s.io/apiserver/pkg/endpoints/handlers/responsewriters/writers.go`.

use std::io::Write as _;

use axum::body::{Body, BodyDataStream};
use axum::response::Response;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, VARY};
use http::{HeaderMap, HeaderValue};
use http_body::Body as _;

/// Smaller answers go out as they are. As upstream's defaultGzipThresholdBytes.
const THRESHOLD: usize = 128 * 1024;
/// As upstream's defaultGzipContentEncodingLevel.
const LEVEL: u32 = 1;
/// Compressed bytes are sent on in pieces of about this size.
const PIECE: usize = 16 * 1024;

/// The answer, compressed if its reader takes that and it is worth it.
pub async fn compress(accepts: bool, response: Response) -> Response {
    let size = response.body().size_hint();
    let is_small = size.exact().is_some_and(|size| size <= THRESHOLD as u64);
    if !accepts || is_small || response.headers().contains_key(CONTENT_ENCODING) {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let mut rest = body.into_data_stream();
    let mut held = Vec::new();
    let mut size = 0;
    while size <= THRESHOLD {
        match rest.next().await {
            Some(Ok(piece)) => {
                size += piece.len();
                held.push(Ok(piece));
            }
            Some(Err(error)) => {
                held.push(Err(error));
                break;
            }
            None => break,
        }
    }
    if size <= THRESHOLD {
        let body = Body::from_stream(stream::iter(held).chain(rest));
        return Response::from_parts(parts, body);
    }
    parts.headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    parts.headers.append(VARY, HeaderValue::from_static("Accept-Encoding"));
    parts.headers.remove(CONTENT_LENGTH);
    let plain = Body::from_stream(stream::iter(held).chain(rest)).into_data_stream();
    let gzip = Gzip { plain, encoder: Some(GzEncoder::new(Vec::new(), Compression::new(LEVEL))) };
    let pieces = stream::try_unfold(gzip, |mut gzip| async move {
        let piece = gzip.next().await?;
        Ok::<_, axum::Error>(piece.map(|piece| (piece, gzip)))
    });
    Response::from_parts(parts, Body::from_stream(pieces))
}

/// Whether `gzip` stands among the encodings that the request takes. Weights are not looked at, nor
/// does upstream.
pub fn accepts_gzip(headers: &HeaderMap) -> bool {
    let accepted = headers.get(ACCEPT_ENCODING).and_then(|value| value.to_str().ok());
    accepted.unwrap_or_default().split(',').any(|token| token.trim() == "gzip")
}

struct Gzip {
    plain: BodyDataStream,
    /// `None`: its last bytes have been sent.
    encoder: Option<GzEncoder<Vec<u8>>>,
}

impl Gzip {
    async fn next(&mut self) -> Result<Option<Bytes>, axum::Error> {
        while let Some(encoder) = &mut self.encoder {
            match self.plain.try_next().await? {
                Some(piece) => encoder.write_all(&piece).map_err(axum::Error::new)?,
                None => {
                    let encoder = self.encoder.take();
                    let last = encoder.map(GzEncoder::finish).transpose();
                    return Ok(last.map_err(axum::Error::new)?.map(Bytes::from));
                }
            }
            if encoder.get_ref().len() >= PIECE {
                return Ok(Some(Bytes::from(std::mem::take(encoder.get_mut()))));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use http_body_util::BodyExt as _;

    use super::*;

    fn response(body: Body) -> Response {
        Response::new(body)
    }

    async fn read(response: Response) -> (Option<String>, Vec<u8>) {
        let encoding = response.headers().get(CONTENT_ENCODING).cloned();
        let encoding = encoding.map(|value| value.to_str().expect("text").to_owned());
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        (encoding, body.to_vec())
    }

    fn pieces(count: usize) -> Body {
        let piece = Bytes::from("0123456789abcdef".repeat(64));
        Body::from_stream(stream::iter(
            (0..count).map(move |_| Ok::<_, axum::Error>(piece.clone())),
        ))
    }

    #[tokio::test]
    async fn what_is_large_is_compressed_for_those_who_take_it() {
        let whole = |size| Body::from(vec![b'x'; size]);
        let table = [
            (true, whole(THRESHOLD), THRESHOLD, false),
            (true, whole(THRESHOLD + 1), THRESHOLD + 1, true),
            (false, whole(THRESHOLD + 1), THRESHOLD + 1, false),
            (true, pieces(128), THRESHOLD, false),
            (true, pieces(129), THRESHOLD + 1024, true),
            (true, pieces(5000), 5000 * 1024, true),
            (false, pieces(129), THRESHOLD + 1024, false),
        ];
        for (accepts, body, size, expected) in table {
            let answer = compress(accepts, response(body)).await;
            assert_eq!(answer.headers().contains_key(VARY), expected);
            let (encoding, bytes) = read(answer).await;
            assert_eq!(encoding.is_some(), expected, "{accepts} {size}");
            let mut plain = bytes;
            if expected {
                let mut unpacked = Vec::new();
                flate2::read::GzDecoder::new(&plain[..]).read_to_end(&mut unpacked).expect("gzip");
                plain = unpacked;
            }
            assert_eq!(plain.len(), size);
        }
    }

    #[tokio::test]
    async fn an_answer_that_fails_fails_compressed_too() {
        let failing = stream::iter([
            Ok(Bytes::from(vec![0; THRESHOLD + 1])),
            Err(axum::Error::new(std::io::Error::other("gone"))),
        ]);
        let answer = compress(true, response(Body::from_stream(failing))).await;
        assert!(answer.into_body().collect().await.is_err());
    }

    #[test]
    fn gzip_is_asked_for_by_name() {
        for (value, expected) in [
            ("gzip", true),
            ("deflate, gzip", true),
            ("br;q=1.0,gzip ,identity", true),
            ("gzip;q=0", false),
            ("*", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(value));
            assert_eq!(accepts_gzip(&headers), expected, "{value}");
        }
    }
}
