//! Go's regular expressions: what is one, Go's words where it is none, and the same expression for
//! the `regex` crate, whose syntax is nearly Go's.
//!
//! Source: Go's `regexp/syntax`.

use std::fmt::Write as _;

use regex::bytes::Regex;

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

/// What Go limits of a part.
#[derive(Clone, Copy, Default)]
struct Weight {
    height: u32,
    /// The greatest product of counts within each other.
    repeats: u32,
    size: u64,
}

impl Weight {
    const ONE: Self = Self { height: 1, repeats: 1, size: 1 };

    /// Beside each other.
    fn and(self, other: Self) -> Self {
        Self {
            height: self.height.max(other.height),
            repeats: self.repeats.max(other.repeats),
            size: self.size + other.size,
        }
    }

    fn within(self, size: u64) -> Self {
        Self { height: self.height + 1, size: self.size + size, ..self }
    }

    /// Go counts the copies that it makes: those that must be, and those that may.
    fn repeated(self, min: u32, max: Option<u32>) -> Self {
        let must = u64::from(min) * self.size;
        let size = match max {
            None => must + 1 + u64::from(min == 0),
            Some(max) => must + u64::from(max - min) * (1 + self.size),
        };
        let repeats = max.unwrap_or(min).saturating_mul(self.repeats).max(1);
        Self { height: self.height + 1, repeats, size: size.max(1) }
    }
}

#[derive(Default)]
struct Group {
    /// The alternatives before this one, and how many there are.
    others: Weight,
    alternatives: u32,
    /// What stands before the last part, and how many parts that are.
    before: Weight,
    parts: u32,
    /// What an operator would repeat.
    last: Option<Weight>,
    is_capture: bool,
}

impl Group {
    fn push(&mut self, part: Weight) {
        if let Some(last) = self.last.replace(part) {
            // Letters beside each other are one part.
            let is_text = |part: Weight| part.height <= 1;
            let joins = self.parts > 0 && is_text(self.before) && is_text(last);
            self.parts += u32::from(!joins);
            self.before = self.before.and(last);
        }
    }

    fn end_alternative(&mut self) {
        let parts = self.parts + u32::from(self.last.is_some());
        let all = self.before.and(self.last.take().unwrap_or_default());
        let is_text = all.height <= 1;
        let whole = if parts > 1 && !is_text { all.within(0) } else { all };
        self.others = self.others.and(whole);
        self.alternatives += 1;
        (self.before, self.parts) = (Weight::default(), 0);
    }

    fn end(mut self) -> Weight {
        self.end_alternative();
        let mut whole = self.others;
        if self.alternatives > 1 {
            whole = whole.within(u64::from(self.alternatives) - 1);
        }
        if self.is_capture { whole.within(2) } else { whole }
    }
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
        self.groups.push(Group { is_capture, ..Group::default() });
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

/// `\d`, `\pL`, `\p{Greek}`: what follows, or `None` where it is no class of letters.
fn letters<'a>(text: &'a str, translated: &mut String) -> Result<Option<&'a str>, Fault<'a>> {
    let rest = &text[1..];
    let Some(letter) = rest.chars().next() else { return Ok(None) };
    // Go's are of ASCII alone.
    let ascii = match letter.to_ascii_lowercase() {
        'd' => Some("0-9"),
        's' => Some(r"\t\n\f\r "),
        'w' => Some("0-9A-Za-z_"),
        _ => None,
    };
    if let Some(ascii) = ascii {
        let not = if letter.is_ascii_uppercase() { "^" } else { "" };
        let _ = write!(translated, "[{not}{ascii}]");
        return Ok(Some(&rest[1..]));
    }
    match letter {
        'p' | 'P' if rest.len() > 1 => {
            let name = &rest[1..];
            let after = match name.strip_prefix('{') {
                Some(name) => name.split_once('}').ok_or((BAD_RANGE, text))?.1,
                None => &name[name.chars().next().map_or(0, char::len_utf8)..],
            };
            let class = before(text, after);
            let known = class.replacen("{^", "{", 1);
            if Regex::new(&known).is_err() {
                return Err((BAD_RANGE, class));
            }
            // `{^` turns the class about, as `\P` does.
            if known != class {
                let turned = if letter == 'p' { 'P' } else { 'p' };
                let _ = write!(translated, "\\{turned}{}", &known[2..]);
            } else {
                translated.push_str(class);
            }
            Ok(Some(after))
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
    let is = |letter: char| Ok((letter, rest));
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
        'a' => is('\u{7}'),
        'f' => is('\u{c}'),
        'n' => is('\n'),
        'r' => is('\r'),
        't' => is('\t'),
        'v' => is('\u{b}'),
        letter if letter.is_ascii() && !letter.is_ascii_alphanumeric() => is(letter),
        _ => refuse(rest),
    }
}

fn is_octal(byte: &u8) -> bool {
    matches!(byte, b'0'..=b'7')
}

fn hexadecimal<'a>(text: &'a str, rest: &'a str) -> Result<(char, &'a str), Fault<'a>> {
    let refuse = |rest: &str| Err((BAD_ESCAPE, before(text, rest)));
    let letter = |code| char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
    let mut code = 0;
    let mut digits = rest.chars();
    if !rest.starts_with('{') {
        let two = digits.by_ref().take(2).map(|digit| digit.to_digit(16));
        let two = two.collect::<Option<Vec<_>>>().filter(|two| two.len() == 2);
        let after = rest.char_indices().nth(2).map_or("", |(at, _)| &rest[at..]);
        return match two {
            Some(two) => Ok((letter(16 * two[0] + two[1]), after)),
            None => refuse(after),
        };
    }
    digits.next();
    while let Some(digit) = digits.next() {
        let after = digits.as_str();
        match digit.to_digit(16) {
            Some(digit) => code = code * 16 + digit,
            None if digit == '}' && after.len() + 2 < rest.len() => {
                return Ok((letter(code), after));
            }
            None => return refuse(after),
        }
        if code > u32::from(char::MAX) {
            return refuse(after);
        }
    }
    refuse("")
}

/// What follows a class in brackets.
fn class<'a>(text: &'a str, translated: &mut String) -> Result<&'a str, Fault<'a>> {
    let mut rest = &text[1..];
    rest = rest.strip_prefix('^').unwrap_or(rest);
    translated.push_str(before(text, rest));
    let mut is_first = true;
    while is_first || !rest.starts_with(']') {
        is_first = false;
        if let Some((name, after)) = rest.strip_prefix("[:").and_then(|it| it.split_once(":]")) {
            if !is_named_class(name.strip_prefix('^').unwrap_or(name)) {
                return Err((BAD_RANGE, before(rest, after)));
            }
            translated.push_str(before(rest, after));
            rest = after;
            continue;
        }
        if rest.starts_with('\\')
            && let Some(after) = letters(rest, translated)?
        {
            rest = after;
            continue;
        }
        let range = rest;
        let (low, after) = class_letter(rest, text)?;
        rest = after;
        plain(low, translated);
        if let Some(high) =
            rest.strip_prefix('-').filter(|it| !it.is_empty() && !it.starts_with(']'))
        {
            let (high, after) = class_letter(high, text)?;
            rest = after;
            if high < low {
                return Err((BAD_RANGE, before(range, rest)));
            }
            translated.push('-');
            plain(high, translated);
        }
    }
    translated.push(']');
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
            assert_eq!(compile(pattern).err(), None, "{pattern}");
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
            let why = format!("error parsing regexp: {why}");
            assert_eq!(compile(pattern).err(), Some(why), "{pattern}");
        }
    }

    #[test]
    fn what_is_too_much_for_go_is_refused() {
        let nested = |depth: usize| format!("{}a{}", "(".repeat(depth), ")".repeat(depth));
        for (pattern, code) in [
            (nested(1000), "expression nests too deeply"),
            ("(?:|b".repeat(1000) + &")".repeat(1000), "expression nests too deeply"),
            ("((a{100}){11})".to_owned(), "invalid repeat count: `{11}`"),
            ("(a{2,}){501}".to_owned(), "invalid repeat count: `{501}`"),
            (format!("({}){{1000}}", "a".repeat(4000)), "expression too large"),
        ] {
            let why = compile(&pattern).expect_err(code);
            assert!(why.starts_with(&format!("error parsing regexp: {code}")), "{why}");
        }
        for pattern in [nested(200), "((a{100}){10})*".to_owned(), "((a{1000}){0})".to_owned()] {
            assert_eq!(compile(&pattern).err(), None, "{pattern}");
        }
        // Go takes it.
        assert!(compile(&nested(999)).is_err_and(|why| why.contains("this server")));
    }

    #[test]
    fn texts_match_as_in_go() {
        for (pattern, text, matches) in [
            ("^a{$", "a{", true),
            ("^a{,2}$", "a{,2}", true),
            ("^]}$", "]}", true),
            ("^[[a&&b]+$", "[a&b", true),
            ("^[a-c--]$", "-", true),
            ("^[a~~b]$", "~", true),
            (r"^\Qa.b\E+$", "a.bb", true),
            (r"^\Qa.b\E+$", "axb", false),
            (r"^\<$", "<", true),
            (r"^\012$", "\n", true),
            (r"^\x41\x{42}$", "AB", true),
            (r"^[\d\-z]$", "-", true),
            // Of ASCII alone, unlike those of the `regex` crate.
            (r"^\d$", "\u{663}", false),
            (r"^\D$", "\u{663}", true),
            (r"^\w$", "\u{e9}", false),
            (r"^[\W]$", "\u{e9}", true),
            (r"\bb", "\u{e9}b", true),
            (r"^\B\pL", "\u{e9}", true),
            (r"^\pL$", "\u{e9}", true),
            (r"^\p{^L}$", "\u{e9}", false),
            (r"^[\P{^L}]$", "\u{e9}", true),
            ("^(?P<_1>a)(?<2>b)$", "ab", true),
            ("^(?i)A$", "a", true),
            ("^A(?i)+A$", "AAa", true),
            ("^A(?i)+$", "a", false),
            ("^A{2}(?i)?$", "", true),
            ("a$", "a\n", false),
        ] {
            let regex = compile(pattern).expect(pattern);
            assert_eq!(regex.is_match(text.as_bytes()), matches, "{pattern} on {text:?}");
        }
    }
}
