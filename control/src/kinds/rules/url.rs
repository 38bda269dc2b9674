//! URLs, taken apart as Go does it.
//!
//! Source: `net/url` of Go, which upstream's rules for webhooks rest on.

use std::net::Ipv6Addr;

/// The parts of a URL that rules speak of. Absent parts are empty.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Url<'a> {
    pub scheme: String,
    pub user: Option<&'a str>,
    pub host: &'a str,
    pub query: &'a str,
    pub fragment: &'a str,
}

/// Whether a text can stand in a request for something: it has a scheme, or begins with a slash. What
/// is no fragment there is a part of the path.
pub fn is_request(text: &str) -> bool {
    // A path may hold the one as it may hold the other, a host neither.
    let text = text.replace('#', "`");
    match split_scheme(&text) {
        Ok(("", path)) if path.starts_with('/') => {
            let is_plain = !text.bytes().any(is_control);
            is_plain && check_escapes(path.split('?').next().unwrap_or_default()).is_ok()
        }
        Ok(("", rest)) => rest == "*",
        Ok(_) => parse(&text).is_ok(),
        Err(_) => false,
    }
}

/// The error is Go's.
pub fn parse(text: &str) -> Result<Url<'_>, String> {
    parse_parts(text).map_err(|why| format!("parse {text:?}: {why}"))
}

fn parse_parts(text: &str) -> Result<Url<'_>, String> {
    if text.bytes().any(is_control) {
        return Err("net/url: invalid control character in URL".to_owned());
    }
    let (text, fragment) = text.split_once('#').unwrap_or((text, ""));
    let (scheme, rest) = split_scheme(text)?;
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let mut url = Url { scheme: scheme.to_ascii_lowercase(), query, fragment, ..Url::default() };
    if !rest.starts_with('/') {
        if url.scheme.is_empty() {
            let first = rest.split('/').next().unwrap_or_default();
            if first.contains(':') {
                return Err("first path segment in URL cannot contain colon".to_owned());
            }
        } else {
            return Ok(url);
        }
    }
    let after = match rest.strip_prefix("//") {
        Some(after) if !url.scheme.is_empty() || !rest.starts_with("///") => after,
        _ => {
            check_escapes(rest)?;
            return Ok(url);
        }
    };
    let (authority, path) = after.find('/').map_or((after, ""), |slash| after.split_at(slash));
    let (user, host) = match authority.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, authority),
    };
    check_host(host)?;
    check_escapes(path)?;
    (url.user, url.host) = (user, host);
    Ok(url)
}

fn is_control(byte: u8) -> bool {
    byte < b' ' || byte == 0x7f
}

fn split_scheme(text: &str) -> Result<(&str, &str), String> {
    for (index, letter) in text.char_indices() {
        match letter {
            'a'..='z' | 'A'..='Z' => {}
            '0'..='9' | '+' | '-' | '.' if index > 0 => {}
            ':' if index == 0 => return Err("missing protocol scheme".to_owned()),
            ':' => return Ok((&text[..index], &text[index + 1..])),
            _ => break,
        }
    }
    Ok(("", text))
}

fn check_host(host: &str) -> Result<(), String> {
    let port = if let Some(at) = host.rfind('[') {
        if at > 0 {
            return Err("invalid IP-literal".to_owned());
        }
        let end = host.rfind(']').ok_or("missing ']' in host")?;
        let address = host[1..end].split("%25").next().unwrap_or_default();
        if address.parse::<Ipv6Addr>().is_err() {
            return Err(format!("invalid host: ParseAddr({address:?}): unable to parse IP"));
        }
        &host[end + 1..]
    } else {
        host.find(':').map_or("", |colon| &host[colon..])
    };
    let digits = port.strip_prefix(':').unwrap_or(port);
    let is_port = port.is_empty()
        || (port.starts_with(':') && digits.bytes().all(|byte| byte.is_ascii_digit()));
    if !is_port {
        return Err(format!("invalid port {port:?} after host"));
    }
    if let Some(bad) = host.chars().find(|letter| " \\^`{|}".contains(*letter)) {
        return Err(format!("invalid character {:?} in host name", bad.to_string()));
    }
    check_escapes(host)
}

fn check_escapes(text: &str) -> Result<(), String> {
    let bytes = text.as_bytes();
    for (index, _) in text.match_indices('%') {
        let digits = bytes.get(index + 1..index + 3);
        if !digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)) {
            let end = text.len().min(index + 3);
            let bad = text.get(index..end).unwrap_or("%");
            return Err(format!("invalid URL escape {bad:?}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_fall_into_their_parts() {
        let url = parse("https://u:p@example.com:443/a?b=c#d").expect("a URL");
        let expected = Url {
            scheme: "https".to_owned(),
            user: Some("u:p"),
            host: "example.com:443",
            query: "b=c",
            fragment: "d",
        };
        assert_eq!(url, expected);
        assert_eq!(parse("").expect("a URL"), Url::default());
        assert_eq!(parse("/path").expect("a URL").host, "");
        assert_eq!(parse("mailto:a@b").expect("a URL").host, "");
    }

    #[test]
    fn errors_are_those_of_go() {
        let table = [
            ("a b:c", "parse \"a b:c\": first path segment in URL cannot contain colon"),
            (":x", "parse \":x\": missing protocol scheme"),
            ("https://a:b/", "parse \"https://a:b/\": invalid port \":b\" after host"),
            ("https://a b/", "parse \"https://a b/\": invalid character \" \" in host name"),
            ("https://a/%zz", "parse \"https://a/%zz\": invalid URL escape \"%zz\""),
        ];
        for (text, why) in table {
            assert_eq!(parse(text).expect_err("no URL"), why);
        }
    }
}
