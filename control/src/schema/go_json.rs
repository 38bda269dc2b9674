//! Why a text is no JSON, in the words of Go's scanner, which every client of upstream's has seen.
//! Pure; the texts that are JSON are read by `text`.
//!
//! Source of the wording: Go's `encoding/json` (scanner.go).

/// What Go's scanner stops at; `None` where it finds nothing wrong.
pub fn complaint(bytes: &[u8]) -> Option<String> {
    let mut scanner = Scanner { bytes, at: 0 };
    scanner.document().err()
}

struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
}

type Scanned = Result<(), String>;

impl Scanner<'_> {
    fn document(&mut self) -> Scanned {
        self.space();
        self.value("looking for beginning of value")?;
        self.space();
        match self.peek() {
            None => Ok(()),
            Some(byte) => Err(invalid(byte, "after top-level value")),
        }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn next(&mut self) -> Result<u8, String> {
        let byte = self.peek().ok_or_else(|| "unexpected end of JSON input".to_owned())?;
        self.at += 1;
        Ok(byte)
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    /// The next byte that is no space.
    fn token(&mut self) -> Result<u8, String> {
        self.space();
        self.next()
    }

    fn value(&mut self, context: &str) -> Scanned {
        // By hand rather than by calls: a text may open more brackets than a stack has room for.
        let mut open: Vec<u8> = Vec::new();
        let mut context = context;
        loop {
            let opened = match self.token()? {
                b'{' => match self.token()? {
                    b'}' => None,
                    b'"' => {
                        self.key()?;
                        Some(b'{')
                    }
                    other => {
                        return Err(invalid(other, "looking for beginning of object key string"));
                    }
                },
                b'[' => {
                    self.space();
                    if self.peek() == Some(b']') {
                        self.at += 1;
                        None
                    } else {
                        Some(b'[')
                    }
                }
                first => {
                    self.scalar(first, context)?;
                    None
                }
            };
            context = "looking for beginning of value";
            match opened {
                Some(bracket) => open.push(bracket),
                None if self.close(&mut open)? => return Ok(()),
                None => {}
            }
        }
    }

    /// What follows a value: whether it was the outermost one.
    fn close(&mut self, open: &mut Vec<u8>) -> Result<bool, String> {
        loop {
            match open.last() {
                None => return Ok(true),
                Some(b'{') => match self.token()? {
                    b',' => {
                        match self.token()? {
                            b'"' => self.key()?,
                            other => {
                                let context = "looking for beginning of object key string";
                                return Err(invalid(other, context));
                            }
                        }
                        return Ok(false);
                    }
                    b'}' => {}
                    other => return Err(invalid(other, "after object key:value pair")),
                },
                Some(_) => match self.token()? {
                    b',' => return Ok(false),
                    b']' => {}
                    other => return Err(invalid(other, "after array element")),
                },
            }
            open.pop();
        }
    }

    /// A key behind its first quote, and the colon.
    fn key(&mut self) -> Scanned {
        self.string()?;
        match self.token()? {
            b':' => Ok(()),
            other => Err(invalid(other, "after object key")),
        }
    }

    fn scalar(&mut self, first: u8, context: &str) -> Scanned {
        match first {
            b'"' => self.string(),
            b'-' | b'0'..=b'9' => self.number(first),
            b't' => self.word("true"),
            b'f' => self.word("false"),
            b'n' => self.word("null"),
            other => Err(invalid(other, context)),
        }
    }

    fn string(&mut self) -> Scanned {
        loop {
            match self.next()? {
                b'"' => return Ok(()),
                b'\\' => match self.next()? {
                    b'b' | b'f' | b'n' | b'r' | b't' | b'\\' | b'/' | b'"' => {}
                    b'u' => {
                        for _ in 0..4 {
                            let digit = self.next()?;
                            if !digit.is_ascii_hexdigit() {
                                let context = "in \\u hexadecimal character escape";
                                return Err(invalid(digit, context));
                            }
                        }
                    }
                    other => return Err(invalid(other, "in string escape code")),
                },
                control @ 0..=0x1f => return Err(invalid(control, "in string literal")),
                _ => {}
            }
        }
    }

    fn number(&mut self, first: u8) -> Scanned {
        let first = if first == b'-' { self.digit("in numeric literal")? } else { first };
        if first != b'0' {
            self.digits();
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digit("after decimal point in numeric literal")?;
            self.digits();
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digit("in exponent of numeric literal")?;
            self.digits();
        }
        Ok(())
    }

    fn digit(&mut self, context: &str) -> Result<u8, String> {
        let byte = self.next()?;
        if byte.is_ascii_digit() { Ok(byte) } else { Err(invalid(byte, context)) }
    }

    fn digits(&mut self) {
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
    }

    /// The rest of a word whose first letter was read.
    fn word(&mut self, word: &str) -> Scanned {
        for expected in word.bytes().skip(1) {
            let byte = self.next()?;
            if byte != expected {
                let expected = char::from(expected);
                return Err(invalid(byte, &format!("in literal {word} (expecting '{expected}')")));
            }
        }
        Ok(())
    }
}

fn invalid(byte: u8, context: &str) -> String {
    let shown = match byte {
        b'\'' => r"'\''".to_owned(),
        b'"' => "'\"'".to_owned(),
        b'\\' => r"'\\'".to_owned(),
        7 => r"'\a'".to_owned(),
        8 => r"'\b'".to_owned(),
        9 => r"'\t'".to_owned(),
        10 => r"'\n'".to_owned(),
        11 => r"'\v'".to_owned(),
        12 => r"'\f'".to_owned(),
        13 => r"'\r'".to_owned(),
        0..=0x1f | 0x7f => format!("'\\x{byte:02x}'"),
        0x80..=0xa0 | 0xad => format!("'\\u{byte:04x}'"),
        _ => format!("'{}'", char::from(byte)),
    };
    format!("invalid character {shown} {context}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broken_texts_are_told_of_in_gos_words() {
        let end = "unexpected end of JSON input";
        let table = [
            ("", end),
            ("{", end),
            ("[1,", end),
            ("\"a", end),
            ("-", end),
            ("a: b", "invalid character 'a' looking for beginning of value"),
            ("[1,]", "invalid character ']' looking for beginning of value"),
            ("{a", "invalid character 'a' looking for beginning of object key string"),
            ("{\"a\":1,}", "invalid character '}' looking for beginning of object key string"),
            ("{\"a\" 1}", "invalid character '1' after object key"),
            ("{\"a\":1 2}", "invalid character '2' after object key:value pair"),
            ("[1 2]", "invalid character '2' after array element"),
            ("{} x", "invalid character 'x' after top-level value"),
            ("01", "invalid character '1' after top-level value"),
            ("1.x", "invalid character 'x' after decimal point in numeric literal"),
            ("1ex", "invalid character 'x' in exponent of numeric literal"),
            ("-x", "invalid character 'x' in numeric literal"),
            ("trux", "invalid character 'x' in literal true (expecting 'e')"),
            ("\"\\q\"", "invalid character 'q' in string escape code"),
            ("\"\\u00g0\"", "invalid character 'g' in \\u hexadecimal character escape"),
            ("\"\n\"", "invalid character '\\n' in string literal"),
            ("k8s\0", "invalid character 'k' looking for beginning of value"),
        ];
        for (text, expected) in table {
            assert_eq!(complaint(text.as_bytes()).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_json_is_not_complained_of() {
        for text in
            ["null", " {\"a\":[1,-2.5e+3,{}],\"b\":\"\\u00e9\\n\",\"c\":[]} ", "0", "[[],[{}]]"]
        {
            assert_eq!(complaint(text.as_bytes()), None, "{text}");
        }
        assert_eq!(
            complaint("[".repeat(1_000_000).as_bytes()).as_deref(),
            Some("unexpected end of JSON input")
        );
    }
}
