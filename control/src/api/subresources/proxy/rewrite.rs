//! Links in what a pod answers: those to its own root lead through the proxy.
//!
//! Pure. Source: `k8s.io/apimachinery/pkg/util/proxy/transport.go`.

/// Which attributes of which elements are links.
const LINKS: &[(&str, &[&str])] = &[
    ("a", &["href"]),
    ("applet", &["codebase"]),
    ("area", &["href"]),
    ("audio", &["src"]),
    ("base", &["href"]),
    ("blockquote", &["cite"]),
    ("body", &["background"]),
    ("button", &["formaction"]),
    ("command", &["icon"]),
    ("del", &["cite"]),
    ("embed", &["src"]),
    ("form", &["action"]),
    ("frame", &["longdesc", "src"]),
    ("head", &["profile"]),
    ("html", &["manifest"]),
    ("iframe", &["longdesc", "src"]),
    ("img", &["longdesc", "src", "usemap"]),
    ("input", &["src", "usemap", "formaction"]),
    ("ins", &["cite"]),
    ("link", &["href"]),
    ("object", &["classid", "codebase", "data", "usemap"]),
    ("q", &["cite"]),
    ("script", &["src"]),
    ("source", &["src"]),
    ("video", &["poster", "src"]),
];

/// The place that links are seen from.
pub struct Seen<'a> {
    /// The path up to and with `/proxy`.
    pub prefix: &'a str,
    /// The pod's address, with its port.
    pub pod: &'a str,
    /// The host that the client asked.
    pub host: &'a str,
}

impl Seen<'_> {
    /// A link as it is to be followed through the proxy; of other hosts, and relative ones, as it is.
    pub fn link(&self, link: &str) -> String {
        let (host, path) = match authority(link) {
            Some((host, path)) => (host, path),
            None => ("", link),
        };
        let is_other = !matches!(host, "") && host != self.pod && host != self.host;
        if is_other || !path.starts_with('/') {
            return link.to_owned();
        }
        // What names the client's own host keeps it; what names the pod cannot be reached by that.
        let head = match host {
            "" => "",
            host if host == self.host => &link[..link.len() - path.len()],
            _ => "",
        };
        if path.starts_with(self.prefix) {
            return format!("{head}{path}");
        }
        format!("{head}{}{path}", self.prefix)
    }

    /// The page with its links rewritten.
    pub fn page(&self, page: &str) -> String {
        let mut out = String::with_capacity(page.len() + 256);
        let mut rest = page;
        while let Some(at) = rest.find('<') {
            out.push_str(&rest[..at]);
            rest = &rest[at..];
            let length = match rest {
                comment if comment.starts_with("<!--") => after(comment, "-->"),
                tag => tag_length(tag),
            };
            let (tag, behind) = rest.split_at(length);
            let name = element(tag);
            match LINKS.iter().find(|(known, _)| *known == name) {
                Some((_, attributes)) => out.push_str(&self.tag(tag, attributes)),
                None => out.push_str(tag),
            }
            rest = behind;
            if matches!(name.as_str(), "script" | "style" | "textarea" | "title") {
                // What stands in there is text.
                let text = find_end(rest, &name);
                out.push_str(&rest[..text]);
                rest = &rest[text..];
            }
        }
        out.push_str(rest);
        out
    }

    fn tag(&self, tag: &str, attributes: &[&str]) -> String {
        let mut out = String::with_capacity(tag.len() + 64);
        let mut copied = 0;
        for (name, value) in values(tag) {
            if attributes.contains(&name.to_ascii_lowercase().as_str()) {
                out.push_str(&tag[copied..value.start]);
                let link = tag[value.clone()].replace("&amp;", "&");
                let rewritten = self.link(&link);
                if rewritten == link {
                    out.push_str(&tag[value.clone()]);
                } else {
                    out.push_str(&rewritten.replace('&', "&amp;").replace('"', "&#34;"));
                }
                copied = value.end;
            }
        }
        out.push_str(&tag[copied..]);
        out
    }
}

/// The host of an absolute link, and what follows it.
fn authority(link: &str) -> Option<(&str, &str)> {
    let start = match link.strip_prefix("//") {
        Some(rest) => rest,
        None => {
            let (scheme, rest) = link.split_once("://")?;
            let is_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
                && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
            is_scheme.then_some(rest)?
        }
    };
    let end = start.find(['/', '?', '#']).unwrap_or(start.len());
    Some(start.split_at(end))
}

/// The length up to and with `end`.
fn after(text: &str, end: &str) -> usize {
    text.find(end).map_or(text.len(), |at| at + end.len())
}

/// The length of the tag at the start, quoted values included. A lone `<` is text.
fn tag_length(text: &str) -> usize {
    let mut quote = None;
    for (at, byte) in text.bytes().enumerate() {
        match (quote, byte) {
            (Some(open), byte) if open == byte => quote = None,
            (Some(_), _) => {}
            (None, b'"' | b'\'') => quote = Some(byte),
            (None, b'>') => return at + 1,
            (None, b'<') if at > 0 => return at,
            (None, _) => {}
        }
    }
    text.len()
}

/// The name of a start tag, in lower case; empty for anything else.
fn element(tag: &str) -> String {
    let name = tag.trim_start_matches('<');
    let end = name.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(name.len());
    name[..end].to_ascii_lowercase()
}

/// Where the end tag of an element of text begins.
fn find_end(text: &str, name: &str) -> usize {
    let end = format!("</{name}");
    let found = text.to_ascii_lowercase().find(&end);
    found.unwrap_or(text.len())
}

/// The attributes of a tag, and where their values stand in it.
fn values(tag: &str) -> Vec<(&str, std::ops::Range<usize>)> {
    let bytes = tag.as_bytes();
    let is_end = |byte: u8| byte.is_ascii_whitespace() || matches!(byte, b'=' | b'>' | b'/');
    let skip = |mut at: usize, over: &dyn Fn(u8) -> bool| {
        while bytes.get(at).is_some_and(|byte| over(*byte)) {
            at += 1;
        }
        at
    };
    let mut found = Vec::new();
    let mut at = skip(1, &|byte| !is_end(byte));
    loop {
        let start = skip(at, &|byte| byte.is_ascii_whitespace() || byte == b'/');
        let end = skip(start, &|byte| !is_end(byte));
        if end == start {
            return found;
        }
        at = skip(end, &|byte| byte.is_ascii_whitespace());
        if bytes.get(at) != Some(&b'=') {
            continue;
        }
        at = skip(at + 1, &|byte| byte.is_ascii_whitespace());
        let value = match bytes.get(at) {
            Some(quote @ (b'"' | b'\'')) => {
                let end = skip(at + 1, &|byte| byte != *quote);
                at + 1..end
            }
            _ => at..skip(at, &|byte| !byte.is_ascii_whitespace() && byte != b'>'),
        };
        at = (value.end + 1).min(bytes.len());
        if bytes.get(value.end) == Some(&b'>') {
            at = value.end;
        }
        found.push((&tag[start..end], value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEEN: Seen<'_> = Seen {
        prefix: "/api/v1/namespaces/a/services/web/proxy",
        pod: "10.0.0.1:80",
        host: "localhost:8001",
    };

    #[test]
    fn links_to_the_root_lead_through_the_proxy() {
        let through = "/api/v1/namespaces/a/services/web/proxy";
        let cases = [
            ("/", format!("{through}/")),
            ("/a/b?c=d#e", format!("{through}/a/b?c=d#e")),
            ("http://10.0.0.1:80/a", format!("{through}/a")),
            ("//10.0.0.1:80/a", format!("{through}/a")),
            ("http://localhost:8001/a", format!("http://localhost:8001{through}/a")),
            ("https://example.com/a", "https://example.com/a".to_owned()),
            ("a/b", "a/b".to_owned()),
            ("#a", "#a".to_owned()),
            ("mailto:a@b", "mailto:a@b".to_owned()),
            ("", String::new()),
        ];
        for (link, expected) in cases {
            assert_eq!(SEEN.link(link), expected, "{link}");
        }
        let done = format!("{through}/a");
        assert_eq!(SEEN.link(&done), done);
    }

    #[test]
    fn pages_keep_everything_but_their_links() {
        let seen = Seen { prefix: "/p", ..SEEN };
        let cases = [
            (r#"<a href="/x">y</a>"#, r#"<a href="/p/x">y</a>"#),
            ("<A HREF='/x' id=a>", "<A HREF='/p/x' id=a>"),
            ("<img src=/x alt=/y><img src=/z>", "<img src=/p/x alt=/y><img src=/p/z>"),
            (
                r#"<a title="a > b" href="/x?a=1&amp;b=2">"#,
                r#"<a title="a > b" href="/p/x?a=1&amp;b=2">"#,
            ),
            ("<p href=/x>1 < 2</p>", "<p href=/x>1 < 2</p>"),
            ("<!-- <a href=/x> --><br/>", "<!-- <a href=/x> --><br/>"),
            (
                r#"<script src="/x">let a = '<a href="/y">';</script>"#,
                r#"<script src="/p/x">let a = '<a href="/y">';</script>"#,
            ),
            ("<form action=/x method", "<form action=/p/x method"),
            ("<a href=>é<a href=", "<a href=>é<a href="),
            ("<a", "<a"),
        ];
        for (page, expected) in cases {
            assert_eq!(seen.page(page), expected, "{page}");
        }
    }
}
