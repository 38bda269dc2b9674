//! Go's regular expressions: what is one, Go's words where it is none, and the same expression for
//! the `regex` crate, whose syntax is nearly Go's.
//!
//! Source: Go's `regexp/syntax`.

mod letters;
mod limits;

use std::fmt::Write as _;

use regex::bytes::Regex;

use letters::{class, escape, letters};
use limits::{Group, Weight};

/// How often a part may be repeated, by all the counts around it together.
const REPEATS_MAX: u32 = 1000;
const HEIGHT_MAX: u32 = 1000;
/// In Go's instructions.
const SIZE_MAX: u64 = (128 << 20) / 40;

/// The error is the one of Go's `regexp.Compile`, or says that the expression is too large for the
/// `regex` crate.
pub fn compile(pattern: &str) -> Result<Regex, String> {
    let mut parser = Parser::new(pattern);
    parser.parse().map_err(|(code, part)| format!("error parsing regexp: {code}: `{part}`"))?;
    Regex::new(&parser.translated).map_err(|_| "larger than this server can match".to_owned())
}

/// What is wrong, and with which part of the pattern.
type Fault<'a> = (&'static str, &'a str);

const BAD_RANGE: &str = "invalid character class range";
const BAD_ESCAPE: &str = "invalid escape sequence";
const BAD_COUNT: &str = "invalid repeat count";
const BAD_FLAGS: &str = "invalid or unsupported Perl syntax";
const BAD_NAME: &str = "invalid named capture";

struct Parser<'a> {
    pattern: &'a str,
    rest: &'a str,
    /// What is read so far, in the syntax of the `regex` crate.
    translated: String,
    /// The open groups; the first is the whole.
    groups: Vec<Group>,
    /// Flags that begin before what comes next, but for an operator.
    flags: String,
}

/// The beginning of a text up to where `rest`, its end, begins.
fn before<'a>(text: &'a str, rest: &str) -> &'a str {
    &text[..text.len() - rest.len()]
}

impl<'a> Parser<'a> {
    fn new(pattern: &'a str) -> Self {
        Self {
            pattern,
            rest: pattern,
            translated: String::with_capacity(pattern.len()),
            groups: vec![Group::default()],
            flags: String::new(),
        }
    }

    fn parse(&mut self) -> Result<(), Fault<'a>> {
        // Where the operator right before this place begins.
        let mut last: Option<&'a str> = None;
        while let Some(letter) = self.rest.chars().next() {
            let here = self.rest;
            let mut repeats = false;
            if !matches!(letter, '*' | '+' | '?' | '{') && !here.starts_with("(?") {
                self.begin();
            }
            match letter {
                '(' if here.starts_with("(?") => self.flags()?,
                '(' => self.open(&here[1..], true),
                '|' => {
                    self.take(&here[1..]);
                    self.group().end_alternative();
                }
                ')' => {
                    let group = self.groups.pop().filter(|_| !self.groups.is_empty());
                    let group = group.ok_or(("unexpected )", self.pattern))?;
                    self.take(&here[1..]);
                    self.push(group.end())?;
                }
                '[' => {
                    let after = class(here, &mut self.translated)?;
                    self.rest = after;
                    self.push(Weight::ONE)?;
                }
                '*' | '+' | '?' => {
                    let min = u32::from(letter == '+');
                    let max = (letter == '?').then_some(1);
                    self.repeat((min, max, &here[1..]), last)?;
                    repeats = true;
                }
                '{' => match count(here) {
                    None => {
                        self.begin();
                        self.letter(letter)?;
                    }
                    Some(count) => {
                        let (min, max, rest) = count;
                        let most = max.unwrap_or(min);
                        if min > most || most > REPEATS_MAX {
                            return Err((BAD_COUNT, before(here, rest)));
                        }
                        self.repeat(count, last)?;
                        repeats = true;
                    }
                },
                '\\' => self.backslash()?,
                letter => self.letter(letter)?,
            }
            last = repeats.then_some(here);
        }
        match self.groups.pop() {
            Some(whole) if self.groups.is_empty() => self.limit(whole.end()).map(drop),
            _ => Err(("missing closing )", self.pattern)),
        }
    }

    fn group(&mut self) -> &mut Group {
        self.groups.last_mut().expect("the whole is a group that nothing closes")
    }

    fn begin(&mut self) {
        self.translated.push_str(&self.flags);
        self.flags.clear();
    }

    /// Up to here the text means the same to the `regex` crate.
    fn take(&mut self, after: &'a str) {
        self.translated.push_str(before(self.rest, after));
        self.rest = after;
    }

    fn open(&mut self, after: &'a str, is_capture: bool) {
        self.take(after);
        self.groups.push(Group::new(is_capture));
    }

    fn push(&mut self, part: Weight) -> Result<(), Fault<'a>> {
        let part = self.limit(part)?;
        self.group().push(part);
        Ok(())
    }

    fn limit(&self, part: Weight) -> Result<Weight, Fault<'a>> {
        if part.size > SIZE_MAX {
            return Err(("expression too large", self.pattern));
        }
        if part.height > HEIGHT_MAX {
            return Err(("expression nests too deeply", self.pattern));
        }
        Ok(part)
    }

    /// A letter that stands for itself, or one of `.`, `^` and `$`.
    fn letter(&mut self, letter: char) -> Result<(), Fault<'a>> {
        if matches!(letter, '{' | '}' | ']') {
            self.translated.push('\\');
        }
        self.take(&self.rest[letter.len_utf8()..]);
        self.push(Weight::ONE)
    }

    fn repeat(&mut self, count: Count<'a>, last: Option<&'a str>) -> Result<(), Fault<'a>> {
        let (min, max, operator_end) = count;
        let operator = self.rest;
        let after = operator_end.strip_prefix('?').unwrap_or(operator_end);
        if let Some(last) = last {
            return Err(("invalid nested repetition operator", before(last, after)));
        }
        let Some(part) = self.group().last.take() else {
            return Err(("missing argument to repetition operator", before(operator, after)));
        };
        let whole = part.repeated(min, max);
        // Where nothing is copied, Go does not look.
        if max.unwrap_or(min) >= 2 && whole.repeats > REPEATS_MAX {
            return Err((BAD_COUNT, before(operator, operator_end)));
        }
        let whole = self.limit(whole)?;
        self.group().last = Some(whole);
        // Behind flags it may stand behind another operator, and would make that one lazy.
        if !self.flags.is_empty() && operator.starts_with('?') {
            self.translated.push_str("{0,1}");
            self.rest = after;
        } else {
            self.take(after);
        }
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
            // The name matters to nobody, and the `regex` crate refuses some that Go takes.
            self.begin();
            self.translated.push('(');
            self.rest = after;
            self.open(after, true);
            return Ok(());
        }
        let (mut minus, mut any) = (false, false);
        for (at, letter) in here.char_indices().skip(2) {
            let after = &here[at + letter.len_utf8()..];
            let refuse = Err((BAD_FLAGS, before(here, after)));
            match letter {
                'i' | 'm' | 's' | 'U' => any = true,
                '-' if minus => return refuse,
                '-' => (minus, any) = (true, false),
                ':' | ')' if minus && !any => return refuse,
                ':' => {
                    self.begin();
                    self.open(after, false);
                    return Ok(());
                }
                ')' => {
                    self.flags += before(here, after);
                    self.rest = after;
                    return Ok(());
                }
                _ => return refuse,
            }
        }
        Err((BAD_FLAGS, here))
    }

    fn backslash(&mut self) -> Result<(), Fault<'a>> {
        let here = self.rest;
        match here[1..].chars().next() {
            Some('b' | 'B') => {
                // Go's words are of ASCII alone.
                let _ = write!(self.translated, "(?-u:{})", &here[..2]);
                self.rest = &here[2..];
            }
            Some('A' | 'z') => self.take(&here[2..]),
            Some('C') => return Err((BAD_ESCAPE, &here[..2])),
            Some('Q') => {
                let quoted = &here[2..];
                let (quoted, after) = quoted.split_once("\\E").unwrap_or((quoted, ""));
                self.rest = after;
                for letter in quoted.chars() {
                    plain(letter, &mut self.translated);
                    self.push(Weight::ONE)?;
                }
                return Ok(());
            }
            _ => match letters(here, &mut self.translated)? {
                Some(after) => self.rest = after,
                None => {
                    let (letter, after) = escape(here)?;
                    plain(letter, &mut self.translated);
                    self.rest = after;
                }
            },
        }
        self.push(Weight::ONE)
    }
}

/// A letter that stands for itself.
fn plain(letter: char, translated: &mut String) {
    let mut bytes = [0; 4];
    translated.push_str(&regex::escape(letter.encode_utf8(&mut bytes)));
}

/// The limits of a count, and what follows it.
type Count<'a> = (u32, Option<u32>, &'a str);

/// `{2}`, `{2,}`, `{2,3}`: the limits and what follows. Anything else is no count.
fn count(text: &str) -> Option<Count<'_>> {
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

#[cfg(test)]
mod tests;
