//! Whether a text is a regular expression of Go, and Go's words where it is none.
//!
//! Judged is the syntax alone; what matches is the business of the `regex` crate, whose syntax is
//! nearly the same. Source: Go's `regexp/syntax`.

use std::collections::BTreeSet;

use regex::Regex;

const COUNT_MAX: u32 = 1000;

/// The error is the one of Go's `regexp.Compile`.
pub fn check(pattern: &str) -> Result<(), String> {
    let mut parser =
        Parser { pattern, rest: pattern, open: 0, has_argument: false, names: BTreeSet::new() };
    parser.parse().map_err(|(code, part)| format!("error parsing regexp: {code}: `{part}`"))
}

/// What is wrong, and with which part of the pattern.
type Fault<'a> = (&'static str, &'a str);

const BAD_RANGE: &str = "invalid character class range";
const BAD_ESCAPE: &str = "invalid escape sequence";
const BAD_COUNT: &str = "invalid repeat count";
const BAD_NAME: &str = "invalid named capture";

struct Parser<'a> {
    pattern: &'a str,
    rest: &'a str,
    /// Groups that are not closed yet.
    open: usize,
    /// Whether there is something to repeat.
    has_argument: bool,
    names: BTreeSet<&'a str>,
}

/// The beginning of a text up to where `rest`, its end, begins.
fn before<'a>(text: &'a str, rest: &str) -> &'a str {
    &text[..text.len() - rest.len()]
}

impl<'a> Parser<'a> {
    fn parse(&mut self) -> Result<(), Fault<'a>> {
        // Where the operator right before this place begins.
        let mut last: Option<&'a str> = None;
        while let Some(letter) = self.rest.chars().next() {
            let here = self.rest;
            let mut repeats = false;
            match letter {
                '(' if here.starts_with("(?") => self.flags()?,
                '(' => {
                    self.open += 1;
                    self.skip(1, false);
                }
                '|' => self.skip(1, false),
                ')' => {
                    self.open = self.open.checked_sub(1).ok_or(("unexpected )", self.pattern))?;
                    self.skip(1, true);
                }
                '[' => {
                    self.rest = class(here)?;
                    self.has_argument = true;
                }
                '*' | '+' | '?' => {
                    self.repeat(here, &here[1..], last)?;
                    repeats = true;
                }
                '{' => match count(here) {
                    None => self.skip(1, true),
                    Some((min, max, rest)) => {
                        let wrong =
                            min > COUNT_MAX || max.is_some_and(|max| max > COUNT_MAX || min > max);
                        if wrong {
                            return Err((BAD_COUNT, before(here, rest)));
                        }
                        self.repeat(here, rest, last)?;
                        repeats = true;
                    }
                },
                '\\' => self.backslash()?,
                letter => self.skip(letter.len_utf8(), true),
            }
            last = repeats.then_some(here);
        }
        if self.open > 0 { Err(("missing closing )", self.pattern)) } else { Ok(()) }
    }

    fn skip(&mut self, bytes: usize, has_argument: bool) {
        self.rest = &self.rest[bytes..];
        self.has_argument = has_argument;
    }

    fn repeat(
        &mut self,
        operator: &'a str,
        after: &'a str,
        last: Option<&'a str>,
    ) -> Result<(), Fault<'a>> {
        let after = after.strip_prefix('?').unwrap_or(after);
        if let Some(last) = last {
            return Err(("invalid nested repetition operator", before(last, after)));
        }
        if !self.has_argument {
            let operator = before(operator, after);
            return Err(("missing argument to repetition operator", operator));
        }
        self.rest = after;
        Ok(())
    }

    /// `(?i)`, `(?i:…)`, `(?P<name>…)`, `(?<name>…)`.
    fn flags(&mut self) -> Result<(), Fault<'a>> {
        let here = self.rest;
        let name = here.strip_prefix("(?P<").or_else(|| here.strip_prefix("(?<"));
        if let Some(name) = name {
            let (name, after) = name.split_once('>').ok_or((BAD_NAME, here))?;
            let is_name = !name.is_empty()
                && name.chars().all(|letter| letter == '_' || letter.is_ascii_alphanumeric());
            if !is_name {
                return Err((BAD_NAME, before(here, after)));
            }
            if !self.names.insert(name) {
                return Err(("duplicate capture group name", name));
            }
            self.open += 1;
            self.rest = after;
            self.has_argument = false;
            return Ok(());
        }
        let (mut minus, mut any) = (false, false);
        for (at, letter) in here.char_indices().skip(2) {
            let after = &here[at + letter.len_utf8()..];
            let refuse = Err(("invalid or unsupported Perl syntax", before(here, after)));
            match letter {
                'i' | 'm' | 's' | 'U' => any = true,
                '-' if minus => return refuse,
                '-' => (minus, any) = (true, false),
                ':' | ')' if minus && !any => return refuse,
                ':' => {
                    self.open += 1;
                    self.rest = after;
                    self.has_argument = false;
                    return Ok(());
                }
                ')' => {
                    self.rest = after;
                    return Ok(());
                }
                _ => return refuse,
            }
        }
        Err(("missing closing )", self.pattern))
    }

    fn backslash(&mut self) -> Result<(), Fault<'a>> {
        let here = self.rest;
        self.has_argument = true;
        match here[1..].chars().next() {
            Some('A' | 'b' | 'B' | 'z') => self.rest = &here[2..],
            Some('C') => return Err((BAD_ESCAPE, &here[..2])),
            Some('Q') => {
                let quoted = &here[2..];
                self.rest = quoted.split_once("\\E").map_or("", |(_, after)| after);
            }
            _ => {
                self.rest = match letters(here)? {
                    Some(rest) => rest,
                    None => escape(here)?.1,
                };
            }
        }
        Ok(())
    }
}

/// `{2}`, `{2,}`, `{2,3}`: the limits and what follows. Anything else is no count.
fn count(text: &str) -> Option<(u32, Option<u32>, &str)> {
    let (inside, after) = text.strip_prefix('{')?.split_once('}')?;
    let number = |text: &str| {
        let is_number = !text.is_empty()
            && text.bytes().all(|byte| byte.is_ascii_digit())
            && (text.len() == 1 || !text.starts_with('0'));
        is_number.then(|| text.parse().unwrap_or(u32::MAX))
    };
    match inside.split_once(',') {
        None => number(inside).map(|count| (count, Some(count), after)),
        Some((min, "")) => number(min).map(|min| (min, None, after)),
        Some((min, max)) => Some((number(min)?, Some(number(max)?), after)),
    }
}

/// `\d`, `\pL`, `\p{Greek}`: what follows, or `None` where it is no class of letters.
fn letters(text: &str) -> Result<Option<&str>, Fault<'_>> {
    let rest = &text[1..];
    let Some(letter) = rest.chars().next() else { return Ok(None) };
    match letter {
        'd' | 'D' | 's' | 'S' | 'w' | 'W' => Ok(Some(&rest[1..])),
        'p' | 'P' if rest.len() > 1 => {
            let name = &rest[1..];
            let after = match name.strip_prefix('{') {
                Some(name) => name.split_once('}').ok_or((BAD_RANGE, text))?.1,
                None => &name[name.chars().next().map_or(0, char::len_utf8)..],
            };
            let class = before(text, after);
            let known = class.replacen("{^", "{", 1);
            if Regex::new(&known).is_err() { Err((BAD_RANGE, class)) } else { Ok(Some(after)) }
        }
        _ => Ok(None),
    }
}

/// `\n`, `\x41`, `\.`: the letter that is meant, and what follows.
fn escape(text: &str) -> Result<(char, &str), Fault<'_>> {
    let mut after = text[1..].chars();
    let Some(letter) = after.next() else {
        return Err(("trailing backslash at end of expression", ""));
    };
    let rest = after.as_str();
    let refuse = |rest: &str| Err((BAD_ESCAPE, before(text, rest)));
    let plain = |letter: char| Ok((letter, rest));
    match letter {
        // A single digit but zero is a backreference.
        '1'..='7' if !rest.as_bytes().first().is_some_and(is_octal) => refuse(rest),
        '0'..='7' => {
            let more = rest.bytes().take(2).take_while(is_octal).count();
            let digits = &text[1..2 + more];
            let code = u32::from_str_radix(digits, 8).ok().and_then(char::from_u32);
            Ok((code.unwrap_or_default(), &rest[more..]))
        }
        'x' => hexadecimal(text, rest),
        'a' => plain('\u{7}'),
        'f' => plain('\u{c}'),
        'n' => plain('\n'),
        'r' => plain('\r'),
        't' => plain('\t'),
        'v' => plain('\u{b}'),
        letter if letter.is_ascii() && !letter.is_ascii_alphanumeric() => plain(letter),
        _ => refuse(rest),
    }
}

fn is_octal(byte: &u8) -> bool {
    matches!(byte, b'0'..=b'7')
}

fn hexadecimal<'a>(text: &'a str, rest: &'a str) -> Result<(char, &'a str), Fault<'a>> {
    let letter = |digits: &str| u32::from_str_radix(digits, 16).ok().and_then(char::from_u32);
    if let Some(braced) = rest.strip_prefix('{') {
        let end = braced.find(|letter: char| !letter.is_ascii_hexdigit()).unwrap_or(braced.len());
        let (digits, after) = braced.split_at(end);
        return match (after.strip_prefix('}'), letter(digits)) {
            (Some(after), Some(letter)) => Ok((letter, after)),
            _ => {
                let more = after.chars().next().map_or(0, char::len_utf8);
                Err((BAD_ESCAPE, before(text, &after[more..])))
            }
        };
    }
    let good = rest.bytes().take(2).take_while(u8::is_ascii_hexdigit).count();
    match letter(&rest[..good]).filter(|_| good == 2) {
        Some(letter) => Ok((letter, &rest[2..])),
        None => {
            let bad = rest[good..].chars().next().map_or(0, char::len_utf8);
            Err((BAD_ESCAPE, before(text, &rest[good + bad..])))
        }
    }
}

/// What follows a class in brackets.
fn class(text: &str) -> Result<&str, Fault<'_>> {
    let mut rest = &text[1..];
    rest = rest.strip_prefix('^').unwrap_or(rest);
    let mut is_first = true;
    while is_first || !rest.starts_with(']') {
        is_first = false;
        if let Some((name, after)) = rest.strip_prefix("[:").and_then(|it| it.split_once(":]")) {
            if !is_named_class(name.strip_prefix('^').unwrap_or(name)) {
                return Err((BAD_RANGE, before(rest, after)));
            }
            rest = after;
            continue;
        }
        if rest.starts_with('\\')
            && let Some(after) = letters(rest)?
        {
            rest = after;
            continue;
        }
        let range = rest;
        let (low, after) = class_letter(rest, text)?;
        rest = after;
        if let Some(high) =
            rest.strip_prefix('-').filter(|it| !it.is_empty() && !it.starts_with(']'))
        {
            let (high, after) = class_letter(high, text)?;
            rest = after;
            if high < low {
                return Err((BAD_RANGE, before(range, rest)));
            }
        }
    }
    Ok(&rest[1..])
}

fn class_letter<'a>(text: &'a str, whole: &'a str) -> Result<(char, &'a str), Fault<'a>> {
    let mut letters = text.chars();
    match letters.next() {
        None => Err(("missing closing ]", whole)),
        Some('\\') => escape(text),
        Some(letter) => Ok((letter, letters.as_str())),
    }
}

fn is_named_class(name: &str) -> bool {
    const NAMES: [&str; 14] = [
        "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct",
        "space", "upper", "word", "xdigit",
    ];
    NAMES.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_of_go_are_taken() {
        for pattern in [
            "",
            "^\\S+$",
            "a{",
            "a{,2}",
            "a{1000}",
            "(?i)a",
            "(?P<n>a)(?<m>b)",
            "(?i-s:a)",
            "[]a]",
            "[^]-]",
            "[a-]",
            "[[:alpha:]_]",
            "\\pL\\p{Greek}\\p{^Lu}",
            "\\Qa**\\E",
            "\\Q",
            "\\x41",
            "\\x{10FFFF}",
            "\\012",
            "a*?",
            "(a*)*",
            "\\_\\-",
            "[\\d\\-z]",
        ] {
            assert_eq!(check(pattern), Ok(()), "{pattern}");
        }
    }

    #[test]
    fn others_are_refused_in_gos_words() {
        for (pattern, why) in [
            ("(", "missing closing ): `(`"),
            ("a)", "unexpected ): `a)`"),
            ("[a", "missing closing ]: `[a`"),
            ("b[", "missing closing ]: `[`"),
            ("[z-a]", "invalid character class range: `z-a`"),
            ("[[:foo:]]", "invalid character class range: `[:foo:]`"),
            ("\\p{Foo}", "invalid character class range: `\\p{Foo}`"),
            ("*", "missing argument to repetition operator: `*`"),
            ("a|+?", "missing argument to repetition operator: `+?`"),
            ("a**", "invalid nested repetition operator: `**`"),
            ("a{2}{3}", "invalid nested repetition operator: `{2}{3}`"),
            ("a{2,1}", "invalid repeat count: `{2,1}`"),
            ("a{1001}", "invalid repeat count: `{1001}`"),
            ("(?!a)", "invalid or unsupported Perl syntax: `(?!`"),
            ("(?P<n", "invalid named capture: `(?P<n`"),
            ("(?P<n->a)", "invalid named capture: `(?P<n->`"),
            ("\\", "trailing backslash at end of expression: ``"),
            ("\\1", "invalid escape sequence: `\\1`"),
            ("\\y", "invalid escape sequence: `\\y`"),
            ("\\xZ", "invalid escape sequence: `\\xZ`"),
        ] {
            assert_eq!(check(pattern), Err(format!("error parsing regexp: {why}")), "{pattern}");
        }
    }
}
