//! Tokens. What is no token is the business of `syntax`.

use super::source::Source;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Bytes,
    /// An identifier between backticks.
    EscapedIdent,
    Float,
    Ident,
    Int,
    /// Operators, punctuation, and the words that are no identifiers.
    Mark(&'static str),
    String,
    Uint,
    End,
}

#[derive(Clone, Copy, Debug)]
pub struct Token {
    pub kind: Kind,
    pub start: usize,
    pub end: usize,
}

const WORDS: &[&str] = &["in", "true", "false", "null"];
/// Longer ones first.
const MARKS: &[&str] = &[
    "==", "!=", "<=", ">=", "&&", "||", "<", ">", "[", "]", "{", "}", "(", ")", ".", ",", "-", "!",
    "?", ":", "+", "*", "/", "%",
];

/// The tokens and an end, or nothing where there is something else.
pub fn tokens(source: &Source) -> Option<Vec<Token>> {
    let lexer = Lexer { letters: &source.letters };
    let mut tokens = Vec::new();
    let mut at = 0;
    loop {
        at = lexer.skip_blanks(at);
        if at >= source.letters.len() {
            tokens.push(Token { kind: Kind::End, start: at, end: at });
            return Some(tokens);
        }
        let (kind, end) = lexer.token(at)?;
        tokens.push(Token { kind, start: at, end });
        at = end;
    }
}

/// The tokens of a broken text, beside what is said to be none: where it starts and ends.
pub fn tokens_among(source: &Source, skipped: &[(usize, usize)]) -> Vec<Token> {
    let lexer = Lexer { letters: &source.letters };
    let mut tokens = Vec::new();
    let mut at = lexer.skip_blanks(0);
    while at < source.letters.len() {
        let end = if let Some((_, end)) = skipped.iter().find(|(start, _)| *start == at) {
            (*end).max(at + 1)
        } else {
            let token = lexer.token(at);
            tokens.extend(token.map(|(kind, end)| Token { kind, start: at, end }));
            token.map_or(at + 1, |(_, end)| end)
        };
        at = lexer.skip_blanks(end);
    }
    tokens
}

struct Lexer<'a> {
    letters: &'a [char],
}

impl Lexer<'_> {
    fn letter(&self, at: usize) -> char {
        self.letters.get(at).copied().unwrap_or('\0')
    }

    fn starts_with(&self, at: usize, text: &str) -> bool {
        text.chars().enumerate().all(|(index, it)| self.letters.get(at + index) == Some(&it))
    }

    /// Where what `is` says ends.
    fn run(&self, mut at: usize, is: fn(char) -> bool) -> usize {
        while at < self.letters.len() && is(self.letters[at]) {
            at += 1;
        }
        at
    }

    fn skip_blanks(&self, mut at: usize) -> usize {
        loop {
            at = self.run(at, |it| matches!(it, '\t' | ' ' | '\r' | '\n' | '\u{c}'));
            if !self.starts_with(at, "//") {
                return at;
            }
            at = self.run(at, |it| it != '\n');
        }
    }

    fn token(&self, at: usize) -> Option<(Kind, usize)> {
        let letter = self.letter(at);
        if let Some(end) = self.string(at) {
            return Some((Kind::String, end));
        }
        if matches!(letter, 'b' | 'B')
            && let Some(end) = self.string(at + 1)
        {
            return Some((Kind::Bytes, end));
        }
        if letter == '_' || letter.is_ascii_alphabetic() {
            let end = self.run(at, |it| it == '_' || it.is_ascii_alphanumeric());
            let text: String = self.letters[at..end].iter().collect();
            let word = WORDS.iter().find(|word| **word == text);
            return Some((word.map_or(Kind::Ident, |word| Kind::Mark(word)), end));
        }
        if letter == '`' {
            let is =
                |it: char| it.is_ascii_alphanumeric() || matches!(it, '_' | '.' | '-' | '/' | ' ');
            let end = self.run(at + 1, is);
            let is_whole = end > at + 1 && self.letter(end) == '`';
            return is_whole.then_some((Kind::EscapedIdent, end + 1));
        }
        if letter.is_ascii_digit() || letter == '.' && self.letter(at + 1).is_ascii_digit() {
            return Some(self.number(at));
        }
        let mark = MARKS.iter().find(|mark| self.starts_with(at, mark))?;
        Some((Kind::Mark(mark), at + mark.len()))
    }

    fn number(&self, at: usize) -> (Kind, usize) {
        let digits = |at| self.run(at, |it| it.is_ascii_digit());
        let hex = self.run(at + 2, |it| it.is_ascii_hexdigit());
        let is_hex = self.starts_with(at, "0x") && hex > at + 2;
        let whole = if is_hex { hex } else { digits(at) };
        let mut end = whole;
        if !is_hex {
            if self.letter(end) == '.' && digits(end + 1) > end + 1 {
                end = digits(end + 1);
            }
            if matches!(self.letter(end), 'e' | 'E') {
                let sign = usize::from(matches!(self.letter(end + 1), '+' | '-'));
                let exponent = end + 1 + sign;
                end = if digits(exponent) > exponent { digits(exponent) } else { end };
            }
        }
        match self.letter(whole) {
            _ if end > whole => (Kind::Float, end),
            'u' | 'U' => (Kind::Uint, whole + 1),
            _ => (Kind::Int, whole),
        }
    }

    /// Where the string ends that starts here.
    fn string(&self, at: usize) -> Option<usize> {
        let is_raw = matches!(self.letter(at), 'r' | 'R');
        let at = at + usize::from(is_raw);
        let quote = self.letter(at);
        if quote != '"' && quote != '\'' {
            return None;
        }
        let triple: String = std::iter::repeat_n(quote, 3).collect();
        let long = self.starts_with(at, &triple).then(|| self.text(at + 3, &triple, is_raw));
        long.flatten().or_else(|| self.text(at + 1, &quote.to_string(), is_raw))
    }

    /// Where the text ends that starts here, with its closing quote.
    fn text(&self, mut at: usize, quote: &str, is_raw: bool) -> Option<usize> {
        let is_line = quote.len() == 1;
        loop {
            let letter = *self.letters.get(at)?;
            if self.starts_with(at, quote) {
                return Some(at + quote.len());
            }
            match letter {
                '\n' | '\r' if is_line => return None,
                '\\' if !is_raw => at += 1 + self.escape(at + 1)?,
                _ => at += 1,
            }
        }
    }

    /// How long the escape is whose backslash is before.
    fn escape(&self, at: usize) -> Option<usize> {
        let are = |count: usize, is: fn(&char) -> bool| {
            let letters = self.letters.get(at + 1..at + 1 + count)?;
            letters.iter().all(is).then_some(1 + count)
        };
        match self.letter(at) {
            'a' | 'b' | 'f' | 'n' | 'r' | 't' | 'v' | '"' | '\'' | '\\' | '?' | '`' => Some(1),
            'x' | 'X' => are(2, char::is_ascii_hexdigit),
            'u' => are(4, char::is_ascii_hexdigit),
            'U' => are(8, char::is_ascii_hexdigit),
            '0'..='3' => are(2, |it| matches!(it, '0'..='7')),
            _ => None,
        }
    }
}
