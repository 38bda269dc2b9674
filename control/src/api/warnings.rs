//! `Warning` headers: what a client is told besides the answer.
//!
//! Source: `k8s.io/apiserver/pkg/endpoints/filters/warning.go`, `k8s.io/apimachinery/pkg/util/net/http.go`
//! (NewWarningHeader).

use axum::response::Response;
use http::HeaderValue;
use http::header::WARNING;

/// Letters of all warnings beyond which each of them is cut.
const LETTERS_MAX: usize = 4096;
const LETTERS_OF_EACH_MAX: usize = 256;

/// The warnings of a response so far, each once.
#[derive(Clone, Debug, Default)]
struct Told(Vec<String>);

/// Adds warnings to a response. What was said already is not said again.
pub fn warn(response: &mut Response, warnings: &[String]) {
    let mut told: Told = response.extensions_mut().remove().unwrap_or_default();
    for warning in warnings {
        if !warning.is_empty() && !told.0.contains(warning) {
            told.0.push(warning.clone());
        }
    }
    response.headers_mut().remove(WARNING);
    for text in shown(&told.0) {
        if let Some(header) = header(text) {
            response.headers_mut().append(WARNING, header);
        }
    }
    if !told.0.is_empty() {
        response.extensions_mut().insert(told);
    }
}

/// As much of the warnings as is shown: too many make all of them short, and end the list.
fn shown(texts: &[String]) -> Vec<&str> {
    let mut shown: Vec<&str> = Vec::with_capacity(texts.len());
    let (mut letters, mut cuts) = (0, false);
    for (at, text) in texts.iter().enumerate() {
        if cuts && letters >= LETTERS_MAX {
            break;
        }
        if !cuts && letters + text.chars().count() > LETTERS_MAX {
            cuts = true;
            shown = texts[..at].iter().map(|text| cut(text)).collect();
            letters = shown.iter().map(|text| text.chars().count()).sum();
        }
        let text = if cuts { cut(text) } else { text };
        letters += text.chars().count();
        shown.push(text);
    }
    shown
}

fn cut(text: &str) -> &str {
    match text.char_indices().nth(LETTERS_OF_EACH_MAX) {
        Some((end, _)) => &text[..end],
        None => text,
    }
}

fn header(text: &str) -> Option<HeaderValue> {
    let mut escaped = String::with_capacity(text.len() + 8);
    for letter in text.chars().filter(|letter| !letter.is_control()) {
        if matches!(letter, '"' | '\\') {
            escaped.push('\\');
        }
        escaped.push(letter);
    }
    HeaderValue::from_bytes(format!("299 - \"{escaped}\"").as_bytes()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(calls: &[&[&str]]) -> Vec<String> {
        let mut response = Response::default();
        for call in calls {
            let texts: Vec<String> = call.iter().map(|text| (*text).to_owned()).collect();
            warn(&mut response, &texts);
        }
        let headers = response.headers().get_all(WARNING).iter();
        headers.map(|header| String::from_utf8_lossy(header.as_bytes()).into_owned()).collect()
    }

    #[test]
    fn each_is_said_once_and_in_order() {
        assert_eq!(
            told(&[&["b", "a \"quoted\" \\", ""], &["b", "c\n"]]),
            [r#"299 - "b""#, r#"299 - "a \"quoted\" \\""#, r#"299 - "c""#]
        );
    }

    #[test]
    fn too_many_are_cut() {
        let long: Vec<String> = (0..40).map(|at| format!("{at:02}{}", "ü".repeat(298))).collect();
        let few: Vec<&str> = long[..13].iter().map(String::as_str).collect();
        assert!(told(&[&few]).iter().all(|text| text.chars().count() == 300 + 8));
        let many: Vec<&str> = long.iter().map(String::as_str).collect();
        let told = told(&[&many]);
        assert_eq!(told.len(), LETTERS_MAX / LETTERS_OF_EACH_MAX);
        assert!(told.iter().all(|text| text.chars().count() == LETTERS_OF_EACH_MAX + 8));
    }
}
