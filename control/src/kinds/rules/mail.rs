//! Mail addresses as Go reads them: `jane@example.com`, `Jane <jane@example.com>`.
//!
//! Source: `net/mail` of Go, `ParseAddress`.

use std::net::IpAddr;

/// Whether a text is one mail address. A group counts when it has one member.
pub fn is_address(text: &str) -> bool {
    let mut reader = Reader(text);
    reader.address(true).is_some_and(|count| count == 1) && reader.comments() && reader.0.is_empty()
}

/// What is not read yet.
#[derive(Clone, Copy)]
struct Reader<'a>(&'a str);

impl<'a> Reader<'a> {
    /// How many addresses stand there: `None` where there is none.
    fn address(&mut self, takes_group: bool) -> Option<usize> {
        self.spaces();
        let mut bare = *self;
        if bare.bare_address() {
            let mut behind = bare;
            behind.spaces();
            *self = if behind.0.starts_with('(') && behind.comments() { behind } else { bare };
            return Some(1);
        }
        if !self.0.starts_with('<') && !self.phrase() {
            return None;
        }
        self.spaces();
        if takes_group && self.take(':') {
            return self.group();
        }
        (self.take('<') && self.bare_address() && self.take('>')).then_some(1)
    }

    fn group(&mut self) -> Option<usize> {
        let mut count = 0;
        if !self.comments() {
            return None;
        }
        if self.take(';') {
            return self.comments().then_some(0);
        }
        loop {
            self.spaces();
            count += self.address(false)?;
            if !self.comments() {
                return None;
            }
            if self.take(';') {
                return self.comments().then_some(count);
            }
            if !self.take(',') {
                return None;
            }
        }
    }

    /// `local@domain`.
    fn bare_address(&mut self) -> bool {
        self.spaces();
        let local = match self.0.starts_with('"') {
            true => self.quoted().is_some_and(|text| !text.is_empty()),
            false => self.atom(false),
        };
        if !local || !self.take('@') {
            return false;
        }
        self.spaces();
        if self.0.starts_with('[') { self.literal() } else { self.atom(false) }
    }

    /// The words before `<`.
    fn phrase(&mut self) -> bool {
        let mut any = false;
        loop {
            let mut next = *self;
            if any && !next.comments() {
                return false;
            }
            next.spaces();
            let is_word = match next.0.starts_with('"') {
                true => next.quoted().is_some(),
                false => !is_foreign(next.0) && next.atom(true),
            };
            if !is_word {
                return any;
            }
            (*self, any) = (next, true);
        }
    }

    /// `permissive`: dots may stand anywhere.
    fn atom(&mut self, permissive: bool) -> bool {
        let is_part = |letter| is_visible(letter) && !"()<>[]:;@\\,\"".contains(letter);
        let end = self.0.find(|letter| !is_part(letter)).unwrap_or(self.0.len());
        let (atom, rest) = self.0.split_at(end);
        let dots_fit = !atom.starts_with('.') && !atom.ends_with('.') && !atom.contains("..");
        if atom.is_empty() || !permissive && !dots_fit {
            return false;
        }
        self.0 = rest;
        true
    }

    fn quoted(&mut self) -> Option<&'a str> {
        let inside = self.0.strip_prefix('"')?;
        let mut letters = inside.char_indices();
        while let Some((at, letter)) = letters.next() {
            match letter {
                '"' => {
                    self.0 = &inside[at + 1..];
                    return Some(&inside[..at]);
                }
                '\\' => {
                    let (_, next) = letters.next()?;
                    if !is_visible(next) && !is_space(next) {
                        return None;
                    }
                }
                letter if is_visible(letter) || is_space(letter) => {}
                _ => return None,
            }
        }
        None
    }

    /// `[192.0.2.1]`, `[2001:db8::1]`.
    fn literal(&mut self) -> bool {
        let inside = self.0.strip_prefix('[').and_then(|inside| inside.split_once(']'));
        let Some((address, rest)) = inside else { return false };
        self.0 = rest;
        address.parse::<IpAddr>().is_ok()
    }

    /// Skips spaces and comments, which may stand within each other.
    fn comments(&mut self) -> bool {
        self.spaces();
        while self.take('(') {
            let mut depth = 1;
            let mut letters = self.0.char_indices();
            while depth > 0 {
                let Some((at, letter)) = letters.next() else { return false };
                match letter {
                    '\\' => drop(letters.next()),
                    '(' => depth += 1,
                    ')' => depth -= 1,
                    _ => {}
                }
                if depth == 0 {
                    self.0 = &self.0[at + 1..];
                }
            }
            self.spaces();
        }
        true
    }

    fn spaces(&mut self) {
        self.0 = self.0.trim_start_matches(is_space);
    }

    fn take(&mut self, letter: char) -> bool {
        let rest = self.0.strip_prefix(letter);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }
}

/// Whether an encoded word begins there whose letters Go cannot read. Source: RFC 2047.
fn is_foreign(text: &str) -> bool {
    const KNOWN: [&str; 3] = ["utf-8", "us-ascii", "iso-8859-1"];
    let word = text.split([' ', '<']).next().unwrap_or_default();
    let inside = word.strip_prefix("=?").and_then(|word| word.strip_suffix("?="));
    let parts: Vec<&str> = inside.into_iter().flat_map(|inside| inside.split('?')).collect();
    let [charset, "q" | "Q" | "b" | "B", _] = parts[..] else { return false };
    !KNOWN.iter().any(|known| known.eq_ignore_ascii_case(charset))
}

fn is_space(letter: char) -> bool {
    matches!(letter, ' ' | '\t')
}

fn is_visible(letter: char) -> bool {
    ('!'..='~').contains(&letter) || !letter.is_ascii()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_go_reads_them() {
        for (text, is) in [
            ("jane@example.com", true),
            (" jane@example.com ", true),
            ("Jane Doe <jane@example.com>", true),
            ("\"Doe, Jane\" <jane@example.com>", true),
            ("J. Doe <jane@example.com> (at home)", true),
            ("<jane@localhost>", true),
            ("\"a b\"@example.com", true),
            ("jane@[192.0.2.1]", true),
            ("jane@[2001:db8::1]", true),
            ("=?utf-8?q?J?= <jane@example.com>", true),
            ("=?odd?q?J?= <jane@example.com>", false),
            ("Jane [Doe <jane@example.com>", false),
            ("friends: jane@example.com;", true),
            ("friends: a@b, c@d;", false),
            ("friends:;", false),
            ("jane", false),
            ("jane@", false),
            ("@example.com", false),
            ("jane..doe@example.com", false),
            (".jane@example.com", false),
            ("jane@example.com,", false),
            ("jane@example.com (open", false),
            ("\"\"@example.com", false),
            ("jane@[example]", false),
            ("", false),
        ] {
            assert_eq!(is_address(text), is, "{text}");
        }
    }
}
