//! Classes of letters, and letters that are escaped.

use std::fmt::Write as _;

use regex::bytes::Regex;

use super::{BAD_ESCAPE, BAD_RANGE, Fault, before, plain};

/// `\d`, `\pL`, `\p{Greek}`: what follows, or `None` where it is no class of letters.
pub fn letters<'a>(text: &'a str, translated: &mut String) -> Result<Option<&'a str>, Fault<'a>> {
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
pub fn escape(text: &str) -> Result<(char, &str), Fault<'_>> {
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
pub fn class<'a>(text: &'a str, translated: &mut String) -> Result<&'a str, Fault<'a>> {
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
