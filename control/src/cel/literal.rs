//! The values that literals write.

/// An integer as it is written, with its sign.
pub fn int(text: &str, is_negative: bool) -> Option<i64> {
    let (digits, radix) = digits(text);
    let sign = if is_negative { "-" } else { "" };
    i64::from_str_radix(&format!("{sign}{digits}"), radix).ok()
}

/// An unsigned integer as it is written, with its `u`.
pub fn uint(text: &str) -> Option<u64> {
    let (digits, radix) = digits(&text[..text.len() - 1]);
    u64::from_str_radix(digits, radix).ok()
}

fn digits(text: &str) -> (&str, u32) {
    text.strip_prefix("0x").map_or((text, 10), |rest| (rest, 16))
}

pub fn double(text: &str, is_negative: bool) -> Option<f64> {
    let value: f64 = text.parse().ok().filter(|value: &f64| value.is_finite())?;
    Some(if is_negative { -value } else { value })
}

/// What a string says between its quotes, or what is wrong with it.
pub fn string(text: &str) -> Result<String, &'static str> {
    let bytes = unescape(text, false)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// What bytes say, whose `b` is part of the text.
pub fn bytes(text: &str) -> Result<Vec<u8>, &'static str> {
    unescape(&text[1..], true)
}

fn unescape(text: &str, is_bytes: bool) -> Result<Vec<u8>, &'static str> {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let unprefixed = text.trim_start_matches(['r', 'R']);
    let is_raw = unprefixed.len() < text.len();
    let is_long = unprefixed.len() >= 6
        && (unprefixed.starts_with("\"\"\"") || unprefixed.starts_with("'''"));
    let quotes = if is_long { 3 } else { 1 };
    let inner = &unprefixed[quotes..unprefixed.len() - quotes];
    if is_raw {
        return Ok(inner.as_bytes().to_vec());
    }
    let mut value = Vec::with_capacity(inner.len());
    let mut rest = inner;
    while let Some(letter) = rest.chars().next() {
        rest = &rest[letter.len_utf8()..];
        if letter == '\\' {
            rest = unescape_one(rest, is_bytes, &mut value)?;
        } else {
            value.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }
    Ok(value)
}

/// One escape, whose backslash is before; what follows it.
fn unescape_one<'a>(
    text: &'a str,
    is_bytes: bool,
    value: &mut Vec<u8>,
) -> Result<&'a str, &'static str> {
    const UNABLE: &str = "unable to unescape string";
    let (letter, rest) = text.split_at_checked(1).ok_or(UNABLE)?;
    let plain = match letter {
        "a" => 7,
        "b" => 8,
        "f" => 12,
        "n" => b'\n',
        "r" => b'\r',
        "t" => b'\t',
        "v" => 11,
        "\\" | "'" | "\"" | "`" | "?" => letter.as_bytes()[0],
        _ => {
            let (digits, radix) = match letter {
                "x" | "X" => (rest.get(..2), 16),
                "u" if !is_bytes => (rest.get(..4), 16),
                "U" if !is_bytes => (rest.get(..8), 16),
                "0" | "1" | "2" | "3" => (text.get(..3), 8),
                _ => (None, 16),
            };
            let digits = digits.ok_or(UNABLE)?;
            let code = u32::from_str_radix(digits, radix).map_err(|_| UNABLE)?;
            let used = digits.len() + usize::from(radix == 16);
            if is_bytes {
                value.push(code as u8);
            } else {
                let letter = char::from_u32(code).ok_or("invalid unicode code point")?;
                value.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
            }
            return Ok(&text[used..]);
        }
    };
    value.push(plain);
    Ok(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_say_what_is_between_their_quotes() {
        for (text, value) in [
            ("'a'", "a"),
            ("\"a'b\"", "a'b"),
            ("'''a'b'''", "a'b"),
            (r"'\n\t\x41\u00e9\101'", "\n\tAéA"),
            (r"r'\n'", r"\n"),
            ("''", ""),
            ("'''a\r\nb'''", "a\nb"),
        ] {
            assert_eq!(string(text).as_deref(), Ok(value), "{text}");
        }
        assert_eq!(string(r"'\ud800'"), Err("invalid unicode code point"));
        assert_eq!(bytes(r"b'\xff\377é'"), Ok(vec![255, 255, 195, 169]));
        assert_eq!(bytes(r"b'\u00e9'"), Err("unable to unescape string"));
    }

    #[test]
    fn numbers_have_bounds() {
        assert_eq!(int("0x10", true), Some(-16));
        assert_eq!(int("9223372036854775808", true), Some(i64::MIN));
        assert_eq!(int("9223372036854775808", false), None);
        assert_eq!(uint("0xFFu"), Some(255));
        assert_eq!(uint("18446744073709551616u"), None);
        assert_eq!(double("1e999", false), None);
        assert_eq!(double(".5", true), Some(-0.5));
    }
}
