//! Regular expressions, as far as to say what is wrong with one, in Go's words.
//!
//! Source: the syntax of Go's `regexp/syntax`.

const REPEAT_MAX: u32 = 1000;

/// What Go says of a pattern that is wrong.
pub fn problem(pattern: &str) -> Option<String> {
    let mut reader = Reader { whole: pattern, rest: pattern, groups: vec![1] };
    let Wrong { why, what } = reader.read().err()?;
    Some(format!("error parsing regexp: {why}: `{what}`"))
}

struct Wrong {
    why: &'static str,
    what: String,
}

type Step<T = ()> = Result<T, Wrong>;

fn wrong<T>(why: &'static str, what: &str) -> Step<T> {
    Err(Wrong { why, what: what.to_owned() })
}

const BAD_RANGE: &str = "invalid character class range";
const BAD_COUNT: &str = "invalid repeat count";

struct Reader<'a> {
    whole: &'a str,
    rest: &'a str,
    /// How often the most repeated part of each open group is repeated.
    groups: Vec<u32>,
}

/// What of `before` is no longer in `after`, which is its end.
fn read_of<'a>(before: &'a str, after: &str) -> &'a str {
    &before[..before.len() - after.len()]
}

impl<'a> Reader<'a> {
    fn skip(&mut self, bytes: usize) {
        self.rest = &self.rest[bytes..];
    }

    fn next(&mut self) -> Option<char> {
        let letter = self.rest.chars().next()?;
        self.skip(letter.len_utf8());
        Some(letter)
    }

    fn read(&mut self) -> Step {
        // How often what there is to repeat is repeated already, and what repeated it last.
        let mut operand = None;
        let mut last_repeat = None;
        while let Some(letter) = self.rest.chars().next() {
            let before = self.rest;
            let repeated = last_repeat.take();
            match letter {
                '(' => operand = self.open(operand)?,
                '|' => {
                    operand = None;
                    self.skip(1);
                }
                ')' => {
                    let inner = self.groups.pop();
                    if self.groups.is_empty() {
                        return wrong("unexpected )", self.whole);
                    }
                    operand = inner;
                    self.skip(1);
                }
                '*' | '+' | '?' => {
                    self.skip(1);
                    last_repeat = Some(self.repeat(before, operand, repeated)?);
                }
                '{' => match self.counts()? {
                    Some((count, after)) => {
                        self.rest = after;
                        last_repeat = Some(self.repeat(before, operand, repeated)?);
                        operand = operand.map(|times| times.saturating_mul(count.max(1)));
                        if operand.is_some_and(|times| times > REPEAT_MAX) {
                            return wrong(BAD_COUNT, read_of(before, after));
                        }
                    }
                    None => {
                        operand = Some(1);
                        self.skip(1);
                    }
                },
                '[' => {
                    operand = Some(1);
                    self.class()?;
                }
                '\\' => operand = self.escaped()?.then_some(1).or(operand),
                other => {
                    operand = Some(1);
                    self.skip(other.len_utf8());
                }
            }
            let most = self.groups.last_mut().into_iter();
            most.for_each(|most| *most = (*most).max(operand.unwrap_or(1)));
        }
        if self.groups.len() > 1 { wrong("missing closing )", self.whole) } else { Ok(()) }
    }

    /// A repetition that has been read since `before`.
    fn repeat(
        &mut self,
        before: &'a str,
        operand: Option<u32>,
        repeated: Option<&'a str>,
    ) -> Step<&'a str> {
        if self.rest.starts_with('?') {
            self.skip(1);
        }
        if let Some(repeated) = repeated {
            let what = read_of(repeated, self.rest);
            return wrong("invalid nested repetition operator", what);
        }
        if operand.is_none() {
            let what = read_of(before, self.rest);
            return wrong("missing argument to repetition operator", what);
        }
        Ok(before)
    }

    /// How often `{n}`, `{n,}` or `{n,m}` repeats, and what follows it, if one is here.
    fn counts(&self) -> Step<Option<(u32, &'a str)>> {
        let inner = &self.rest[1..];
        let Some((least, after)) = number(inner) else { return Ok(None) };
        let (most, after) = match after.strip_prefix(',') {
            None => (Some(least), after),
            Some(after) if after.starts_with('}') => (None, after),
            Some(after) => match number(after) {
                None => return Ok(None),
                Some((most, after)) => (Some(most), after),
            },
        };
        let Some(after) = after.strip_prefix('}') else { return Ok(None) };
        if least > REPEAT_MAX || most.is_some_and(|most| most > REPEAT_MAX || least > most) {
            return wrong(BAD_COUNT, read_of(self.rest, after));
        }
        Ok(Some((most.unwrap_or(least), after)))
    }

    /// A group, or flags, which leave what there is to repeat as it is.
    fn open(&mut self, operand: Option<u32>) -> Step<Option<u32>> {
        if !self.rest.starts_with("(?") {
            self.groups.push(1);
            self.skip(1);
            return Ok(None);
        }
        let start = self.rest;
        for prefix in ["(?P<", "(?<"] {
            if let Some(name) = start.strip_prefix(prefix).filter(|name| !name.is_empty()) {
                return self.named(start, name).map(|()| None);
            }
        }
        self.skip(2);
        let (mut is_negative, mut has_flag) = (false, false);
        while let Some(letter) = self.next() {
            match letter {
                'i' | 'm' | 's' | 'U' => has_flag = true,
                '-' if !is_negative => (is_negative, has_flag) = (true, false),
                ':' | ')' if !is_negative || has_flag => {
                    if letter == ')' {
                        return Ok(operand);
                    }
                    self.groups.push(1);
                    return Ok(None);
                }
                _ => break,
            }
        }
        wrong("invalid or unsupported Perl syntax", read_of(start, self.rest))
    }

    fn named(&mut self, start: &'a str, name: &'a str) -> Step {
        const WHY: &str = "invalid named capture";
        let Some(end) = name.find('>') else { return wrong(WHY, start) };
        let (name, after) = name.split_at(end);
        let after = &after[1..];
        let is_word = |letter: char| letter == '_' || letter.is_ascii_alphanumeric();
        if name.is_empty() || !name.chars().all(is_word) {
            return wrong(WHY, read_of(start, after));
        }
        self.groups.push(1);
        self.rest = after;
        Ok(())
    }

    /// An escape outside of a class; whether it is something to repeat.
    fn escaped(&mut self) -> Step<bool> {
        let rest = self.rest;
        if let Some(quoted) = rest.strip_prefix("\\Q") {
            let end = quoted.find("\\E");
            self.rest = end.map_or("", |end| &quoted[end + 2..]);
            return Ok(end != Some(0) && !quoted.is_empty());
        }
        if rest.starts_with("\\C") {
            return wrong("invalid escape sequence", "\\C");
        }
        if ["\\A", "\\b", "\\B", "\\z"].iter().any(|it| rest.starts_with(it)) {
            self.skip(2);
            return Ok(true);
        }
        if !self.class_escape()? {
            self.escape()?;
        }
        Ok(true)
    }

    /// `\d`, `\pL` and the like, if one is here.
    fn class_escape(&mut self) -> Step<bool> {
        let mut letters = self.rest.chars();
        match letters.nth(1) {
            Some('d' | 'D' | 's' | 'S' | 'w' | 'W') => {
                self.skip(2);
                return Ok(true);
            }
            Some('p' | 'P') => {}
            _ => return Ok(false),
        }
        let start = self.rest;
        let Some(first) = letters.next() else { return Ok(false) };
        let end = if first == '{' {
            let Some(end) = start.find('}') else { return wrong(BAD_RANGE, start) };
            end + 1
        } else {
            2 + first.len_utf8()
        };
        self.skip(end);
        let name = start[2..end].trim_start_matches('{').trim_end_matches('}');
        let name = name.strip_prefix('^').unwrap_or(name);
        let is_known = name == "Any" || regex::Regex::new(&format!(r"\p{{{name}}}")).is_ok();
        if is_known { Ok(true) } else { wrong(BAD_RANGE, &start[..end]) }
    }

    /// An escape that stands for one letter.
    fn escape(&mut self) -> Step<char> {
        let start = self.rest;
        self.skip(1);
        let Some(letter) = self.next() else {
            return wrong("trailing backslash at end of expression", "");
        };
        let is_octal = |it: char| matches!(it, '0'..='7');
        let value = match letter {
            '1'..='7' if !self.rest.starts_with(is_octal) => None,
            '0'..='7' => {
                let mut code = letter.to_digit(8).unwrap_or_default();
                for _ in 0..2 {
                    let Some(digit) = self.rest.chars().next().and_then(|it| it.to_digit(8)) else {
                        break;
                    };
                    code = code * 8 + digit;
                    self.skip(1);
                }
                char::from_u32(code)
            }
            'x' => self.hex(),
            'a' => Some('\u{7}'),
            'f' => Some('\u{c}'),
            'n' => Some('\n'),
            'r' => Some('\r'),
            't' => Some('\t'),
            'v' => Some('\u{b}'),
            other if other.is_ascii() && !other.is_ascii_alphanumeric() => Some(other),
            _ => None,
        };
        match value {
            Some(value) => Ok(value),
            None => wrong("invalid escape sequence", read_of(start, self.rest)),
        }
    }

    /// The letter of `\x41` or `\x{41}`, behind the `x`.
    fn hex(&mut self) -> Option<char> {
        let first = self.next()?;
        if first != '{' {
            let second = self.next()?;
            return char::from_u32(first.to_digit(16)? * 16 + second.to_digit(16)?);
        }
        let mut code: u32 = 0;
        let mut count = 0;
        loop {
            let letter = self.next()?;
            if letter == '}' {
                return (count > 0).then(|| char::from_u32(code)).flatten();
            }
            code = code * 16 + letter.to_digit(16)?;
            count += 1;
            if code > 0x10_FFFF {
                return None;
            }
        }
    }

    fn class(&mut self) -> Step {
        const NAMES: &[&str] = &[
            "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print",
            "punct", "space", "upper", "word", "xdigit",
        ];
        let start = self.rest;
        self.skip(1);
        if self.rest.starts_with('^') {
            self.skip(1);
        }
        let mut is_first = true;
        while is_first || !self.rest.starts_with(']') {
            is_first = false;
            if let Some(named) = self.rest.strip_prefix("[:")
                && let Some(end) = named.find(":]")
            {
                let name = named[..end].strip_prefix('^').unwrap_or(&named[..end]);
                if !NAMES.contains(&name) {
                    return wrong(BAD_RANGE, &self.rest[..end + 4]);
                }
                self.skip(end + 4);
                continue;
            }
            if self.rest.starts_with('\\') && self.class_escape()? {
                continue;
            }
            let range = self.rest;
            let low = self.class_letter(start)?;
            let follows = self.rest.strip_prefix('-').and_then(|rest| rest.chars().next());
            if follows.is_some_and(|it| it != ']') {
                self.skip(1);
                let high = self.class_letter(start)?;
                if high < low {
                    return wrong(BAD_RANGE, read_of(range, self.rest));
                }
            }
        }
        self.skip(1);
        Ok(())
    }

    fn class_letter(&mut self, class: &str) -> Step<char> {
        if self.rest.starts_with('\\') {
            return self.escape();
        }
        self.next().map_or_else(|| wrong("missing closing ]", class), Ok)
    }
}

/// A number without leading zeros, and what follows it.
fn number(text: &str) -> Option<(u32, &str)> {
    let end = text.find(|it: char| !it.is_ascii_digit()).unwrap_or(text.len());
    let (digits, after) = text.split_at(end);
    let is_number = !digits.is_empty() && (digits.len() == 1 || !digits.starts_with('0'));
    is_number.then(|| (digits.parse().unwrap_or(u32::MAX), after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_patterns_are_told_as_go_tells_them() {
        for (pattern, what) in [
            ("a(b|c)*[^a-z\\d]{2,3}?$", ""),
            ("(?i)(?P<n>x)\\pL\\x41", ""),
            ("a{,5}", ""),
            ("[", "missing closing ]: `[`"),
            ("(a", "missing closing ): `(a`"),
            ("a)", "unexpected ): `a)`"),
            ("*", "missing argument to repetition operator: `*`"),
            ("a**", "invalid nested repetition operator: `**`"),
            ("a{1001}", "invalid repeat count: `{1001}`"),
            ("(a{50}b){30}", "invalid repeat count: `{30}`"),
            ("[z-a]", "invalid character class range: `z-a`"),
            ("\\8", "invalid escape sequence: `\\8`"),
            ("(?=a)", "invalid or unsupported Perl syntax: `(?=`"),
            ("a\\", "trailing backslash at end of expression: ``"),
        ] {
            let expected = Some(format!("error parsing regexp: {what}"));
            assert_eq!(problem(pattern), expected.filter(|_| !what.is_empty()), "{pattern}");
        }
    }
}
