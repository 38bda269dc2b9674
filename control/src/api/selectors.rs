//! Label and field selectors: parsing with upstream's errors, and matching. Pure.
//!
//! Source: `k8s.io/apimachinery/pkg/{labels,fields}/selector.go`.

use serde_json::Value;

use crate::cache::Cached;
use crate::kinds::{AnyKind, FieldError, names};
use crate::status::ApiError;

use super::object::{self, Object};
use super::query::Query;

/// Both selectors of a request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Selectors {
    labels: Vec<Requirement>,
    fields: Vec<Term>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
    Greater,
    Less,
}

#[derive(Clone, Debug, PartialEq)]
struct Requirement {
    key: String,
    operator: Operator,
    values: Vec<String>,
}

#[derive(Clone, Debug, PartialEq)]
struct Term {
    field: String,
    value: String,
    equal: bool,
}

/// Whether a label selector and a field selector select an object of a kind. The error says what is
/// wrong with them.
pub fn selects(
    kind: &dyn AnyKind,
    labels: &str,
    fields: &str,
    object: &Value,
) -> Result<bool, ApiError> {
    let selectors = Selectors::of_texts(labels, fields, kind)?;
    let labels = &object["metadata"]["labels"];
    Ok(selectors.match_labels(|key| labels.get(key).and_then(Value::as_str))
        && selectors.match_fields(&Own::of_value(kind, object)))
}

impl Selectors {
    pub fn parse(query: &Query, kind: &dyn AnyKind) -> Result<Self, ApiError> {
        let text = |name: &str| query.get(name).unwrap_or_default();
        Self::of_texts(text("labelSelector"), text("fieldSelector"), kind)
    }

    fn of_texts(labels: &str, fields: &str, kind: &dyn AnyKind) -> Result<Self, ApiError> {
        let (labels, fields) = (parse_labels(labels), parse_fields(fields));
        let mut selectors = Self {
            labels: labels.map_err(ApiError::bad_request)?,
            fields: fields.map_err(ApiError::bad_request)?,
        };
        for term in &mut selectors.fields {
            term.field = kind.info().field(&term.field).to_owned();
        }
        selectors.check_fields(kind)?;
        Ok(selectors)
    }

    /// Selects the one object of this name, as a watch on an object's own path does.
    pub fn named(mut self, name: &str) -> Result<Self, ApiError> {
        match self.exact("metadata.name") {
            Some(selected) if selected == name => Ok(self),
            None if self.fields.is_empty() => {
                let field = "metadata.name".to_owned();
                self.fields.push(Term { field, value: name.to_owned(), equal: true });
                Ok(self)
            }
            _ => Err(ApiError::bad_request(
                "fieldSelector metadata.name doesn't match requested name",
            )),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    /// The value that a field must have.
    pub fn exact(&self, field: &str) -> Option<&str> {
        self.fields
            .iter()
            .find(|term| term.equal && term.field == field)
            .map(|term| term.value.as_str())
    }

    /// Whether an object is selected. It is decoded no further than the selectors look.
    pub fn match_cached(&self, kind: &dyn AnyKind, cached: &Cached) -> bool {
        if !self.labels.is_empty() {
            let labels = cached.labels();
            if !self.match_labels(|key| labels.get(key)) {
                return false;
            }
        }
        if self.fields.is_empty() {
            return true;
        }
        if self.fields.iter().all(|term| is_plain(&term.field)) {
            return self.match_terms(|field| plain(cached, field));
        }
        let object = Object::of_cached(kind, cached);
        self.match_fields(&Own::of_value(kind, object.value()))
    }

    fn match_labels<'a>(&self, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.labels.iter().all(|requirement| requirement.matches(label(&requirement.key)))
    }

    fn match_fields(&self, own: &Own) -> bool {
        self.match_terms(|field| own.field(field))
    }

    fn match_terms<'a>(&self, value: impl Fn(&str) -> &'a str) -> bool {
        self.fields.iter().all(|term| (value(&term.field) == term.value) == term.equal)
    }

    fn check_fields(&self, kind: &dyn AnyKind) -> Result<(), ApiError> {
        if self.fields.is_empty() {
            return Ok(());
        }
        let own = kind.selectable(&Value::Object(serde_json::Map::new()));
        for term in &self.fields {
            let field = term.field.as_str();
            // Kinds of the cluster that have fields of their own know no namespace.
            let common = match field {
                "metadata.name" => true,
                "metadata.namespace" => own.is_empty() || kind.info().is_namespaced(),
                _ => false,
            };
            if common || own.iter().any(|(name, _)| *name == field) {
                continue;
            }
            return Err(ApiError::bad_request(if own.is_empty() {
                format!(
                    "{field:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
                )
            } else {
                format!("field label not supported: {field}")
            }));
        }
        Ok(())
    }
}

/// An object's selectable fields with their values.
struct Own(Vec<(&'static str, String)>);

impl Own {
    fn of_value(kind: &dyn AnyKind, object: &Value) -> Self {
        let mut fields = kind.selectable(object);
        fields.push(("metadata.name", object::name(object).to_owned()));
        fields.push(("metadata.namespace", object::namespace(object).to_owned()));
        Self(fields)
    }

    fn field(&self, name: &str) -> &str {
        self.0.iter().find(|(field, _)| *field == name).map_or("", |(_, value)| value)
    }
}

/// Fields that are what their path says: what kubelets and clients select by all the time, read
/// without decoding the object into its type.
fn is_plain(field: &str) -> bool {
    matches!(field, "metadata.name" | "metadata.namespace" | "spec.nodeName" | "status.phase")
}

fn plain<'a>(cached: &'a Cached, field: &str) -> &'a str {
    let value = match field {
        "metadata.name" => return cached.name(),
        "metadata.namespace" => return cached.namespace(),
        "spec.nodeName" => &cached.meta().node_name,
        _ => &cached.meta().phase,
    };
    value.as_deref().unwrap_or_default()
}

impl Requirement {
    fn matches(&self, label: Option<&str>) -> bool {
        match (self.operator, label) {
            (Operator::In, Some(label)) => self.values.iter().any(|value| value == label),
            (Operator::NotIn, Some(label)) => self.values.iter().all(|value| value != label),
            (Operator::Exists, label) => label.is_some(),
            (Operator::DoesNotExist, label) => label.is_none(),
            (Operator::NotIn, None) => true,
            (Operator::In, None) => false,
            (Operator::Greater | Operator::Less, label) => self.compares(label).unwrap_or(false),
        }
    }

    fn compares(&self, label: Option<&str>) -> Option<bool> {
        let label: i64 = label?.parse().ok()?;
        let bound: i64 = self.values.first()?.parse().ok()?;
        Some(if self.operator == Operator::Greater { label > bound } else { label < bound })
    }

    fn checked(self) -> Result<Self, String> {
        let problems = names::label_key(&self.key);
        if !problems.is_empty() {
            let error = FieldError::invalid("key", self.key.as_str(), problems.join("; "));
            return Err(error.to_string());
        }
        for (index, value) in self.values.iter().enumerate() {
            if matches!(self.operator, Operator::Greater | Operator::Less)
                && value.parse::<i64>().is_err()
            {
                let why = "for 'Gt', 'Lt' operators, the value must be an integer";
                let path = format!("values[{index}]");
                return Err(FieldError::invalid(path, value.as_str(), why).to_string());
            }
            let problems = names::label_value(value);
            if !problems.is_empty() {
                let path = format!("values[{index}][{}]", self.key);
                let error = FieldError::invalid(path, value.as_str(), problems.join("; "));
                return Err(error.to_string());
            }
        }
        Ok(self)
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Word(String),
    /// `in` and `notin`, which are words where a value is expected.
    Keyword(&'static str),
    Symbol(&'static str),
    End,
}

impl Token {
    fn literal(&self) -> &str {
        match self {
            Self::Word(word) => word,
            Self::Keyword(symbol) | Self::Symbol(symbol) => symbol,
            Self::End => "",
        }
    }
}

const SYMBOLS: [&str; 9] = ["==", "!=", "=", "!", "(", ")", ",", ">", "<"];

fn is_symbol(letter: char) -> bool {
    matches!(letter, '=' | '!' | '(' | ')' | ',' | '>' | '<')
}

/// No other space parts words: a form feed is part of one, which is then wrong.
fn is_space(letter: char) -> bool {
    matches!(letter, ' ' | '\t' | '\r' | '\n')
}

fn tokens(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start_matches(is_space);
    while let Some(first) = rest.chars().next() {
        let taken = if is_symbol(first) {
            let symbol = SYMBOLS.iter().find(|symbol| rest.starts_with(**symbol));
            let symbol = symbol.copied().unwrap_or_default();
            tokens.push(Token::Symbol(symbol));
            symbol.len().max(1)
        } else {
            let end = rest.find(|letter: char| is_symbol(letter) || is_space(letter));
            let end = end.unwrap_or(rest.len());
            tokens.push(match &rest[..end] {
                "in" => Token::Keyword("in"),
                "notin" => Token::Keyword("notin"),
                word => Token::Word(word.to_owned()),
            });
            end
        };
        rest = rest[taken..].trim_start_matches(is_space);
    }
    tokens.push(Token::End);
    tokens
}

struct Parser {
    tokens: std::vec::IntoIter<Token>,
    ahead: Token,
}

impl Parser {
    fn new(text: &str) -> Self {
        let mut tokens = tokens(text).into_iter();
        let ahead = tokens.next().unwrap_or(Token::End);
        Self { tokens, ahead }
    }

    fn next(&mut self) -> Token {
        std::mem::replace(&mut self.ahead, self.tokens.next().unwrap_or(Token::End))
    }

    fn at(&self, symbol: &str) -> bool {
        matches!(&self.ahead, Token::Symbol(ahead) if *ahead == symbol)
    }

    /// A word; `in` and `notin` count as words.
    fn at_word(&self) -> bool {
        matches!(self.ahead, Token::Word(_) | Token::Keyword(_))
    }

    fn requirements(&mut self) -> Result<Vec<Requirement>, String> {
        let mut requirements = Vec::new();
        loop {
            if self.ahead == Token::End {
                return Ok(requirements);
            }
            if !self.at_word() && !self.at("!") {
                return Err(format!(
                    "found '{}', expected: !, identifier, or 'end of string'",
                    self.ahead.literal()
                ));
            }
            let requirement =
                self.requirement().map_err(|why| format!("unable to parse requirement: {why}"))?;
            requirements.push(requirement);
            match self.next() {
                Token::End => return Ok(requirements),
                Token::Symbol(",") if self.at_word() || self.at("!") => {}
                Token::Symbol(",") => {
                    return Err(format!(
                        "found '{}', expected: identifier after ','",
                        self.ahead.literal()
                    ));
                }
                other => {
                    return Err(format!(
                        "found '{}', expected: ',' or 'end of string'",
                        other.literal()
                    ));
                }
            }
        }
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        let negated = self.at("!");
        if negated {
            self.next();
        }
        if !self.at_word() {
            return Err(format!("found '{}', expected: identifier", self.ahead.literal()));
        }
        let key = self.next().literal().to_owned();
        let problems = names::label_key(&key);
        if !problems.is_empty() {
            let path = "<nil>";
            return Err(FieldError::invalid(path, key, problems.join("; ")).to_string());
        }
        if negated {
            return Requirement { key, operator: Operator::DoesNotExist, values: vec![] }.checked();
        }
        if self.ahead == Token::End || self.at(",") {
            return Requirement { key, operator: Operator::Exists, values: vec![] }.checked();
        }
        let operator = match self.next() {
            Token::Keyword("in") => Operator::In,
            Token::Keyword("notin") => Operator::NotIn,
            Token::Symbol("=" | "==") => return self.exact(key, Operator::In),
            Token::Symbol("!=") => return self.exact(key, Operator::NotIn),
            Token::Symbol(">") => return self.exact(key, Operator::Greater),
            Token::Symbol("<") => return self.exact(key, Operator::Less),
            other => {
                return Err(format!(
                    "found '{}', expected: in, notin, =, ==, !=, gt, lt",
                    other.literal()
                ));
            }
        };
        let values = self.set()?;
        Requirement { key, operator, values }.checked()
    }

    fn exact(&mut self, key: String, operator: Operator) -> Result<Requirement, String> {
        let value = if self.ahead == Token::End || self.at(",") {
            String::new()
        } else if self.at_word() {
            self.next().literal().to_owned()
        } else {
            return Err(format!("found '{}', expected: identifier", self.ahead.literal()));
        };
        Requirement { key, operator, values: vec![value] }.checked()
    }

    fn set(&mut self) -> Result<Vec<String>, String> {
        if !self.at("(") {
            return Err(format!("found '{}' expected: '('", self.ahead.literal()));
        }
        self.next();
        let mut values = match self.ahead {
            Token::Word(_) | Token::Keyword(_) | Token::Symbol(",") => self.identifiers()?,
            Token::Symbol(")") => vec![String::new()],
            _ => {
                return Err(format!(
                    "found '{}', expected: ',', ')' or identifier",
                    self.ahead.literal()
                ));
            }
        };
        self.next();
        values.sort();
        values.dedup();
        Ok(values)
    }

    /// What stands in parentheses, up to the closing one.
    fn identifiers(&mut self) -> Result<Vec<String>, String> {
        let mut values = Vec::new();
        loop {
            match self.next() {
                Token::Symbol(",") => {
                    if values.is_empty() || self.at(")") || self.at(",") {
                        values.push(String::new());
                    }
                    if self.at(")") {
                        return Ok(values);
                    }
                    if self.at(",") {
                        self.next();
                    }
                }
                word @ (Token::Word(_) | Token::Keyword(_)) => {
                    values.push(word.literal().to_owned());
                    if self.at(")") {
                        return Ok(values);
                    }
                    if !self.at(",") {
                        let found = self.ahead.literal();
                        return Err(format!("found '{found}', expected: ',' or ')'"));
                    }
                }
                other => {
                    return Err(format!(
                        "found '{}', expected: ',', or identifier",
                        other.literal()
                    ));
                }
            }
        }
    }
}

fn parse_labels(text: &str) -> Result<Vec<Requirement>, String> {
    let mut requirements = Parser::new(text).requirements()?;
    requirements.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(requirements)
}

fn parse_fields(text: &str) -> Result<Vec<Term>, String> {
    let mut parts = split_terms(text);
    parts.sort_unstable();
    parts
        .into_iter()
        .filter(|part| !part.is_empty())
        .map(|part| {
            let (field, equal, value) = split_term(part)
                .ok_or_else(|| format!("invalid selector: '{text}'; can't understand '{part}'"))?;
            Ok(Term { field: field.to_owned(), value: unescape(value)?, equal })
        })
        .collect()
}

/// Splits at commas, but not at escaped ones.
fn split_terms(text: &str) -> Vec<&str> {
    let (mut terms, mut start, mut escaped) = (Vec::new(), 0, false);
    for (at, letter) in text.char_indices() {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                terms.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    terms.push(&text[start..]);
    terms
}

fn split_term(term: &str) -> Option<(&str, bool, &str)> {
    let at = term
        .find(['=', '!'])
        .filter(|at| term[*at..].starts_with('=') || term[*at..].starts_with("!="))?;
    let (field, rest) = term.split_at(at);
    for (operator, equal) in [("!=", false), ("==", true), ("=", true)] {
        if let Some(value) = rest.strip_prefix(operator) {
            return Some((field, equal, value));
        }
    }
    None
}

fn unescape(value: &str) -> Result<String, String> {
    let mut out = String::with_capacity(value.len());
    let mut letters = value.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => match letters.next() {
                Some(next @ ('\\' | ',' | '=')) => out.push(next),
                next => {
                    let sequence: String = ['\\'].into_iter().chain(next).collect();
                    return Err(format!(
                        "invalid field selector: invalid escape sequence: {sequence}"
                    ));
                }
            },
            ',' | '=' => {
                return Err(format!(
                    "invalid field selector: unescaped character in value: {}",
                    u32::from(letter)
                ));
            }
            _ => out.push(letter),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn selects(selector: &str, labels: &Value) -> bool {
        let selectors = Selectors {
            labels: parse_labels(selector).unwrap_or_else(|why| panic!("{selector}: {why}")),
            fields: vec![],
        };
        selectors.match_labels(|key| labels.get(key).and_then(Value::as_str))
    }

    #[test]
    fn label_selectors_select() {
        let labels = json!({ "app": "web", "tier": "front", "n": "5" });
        let table = [
            ("", true),
            ("app=web", true),
            ("app==web,tier=front", true),
            ("app!=web", false),
            ("other!=web", true),
            ("app in (web, db)", true),
            ("app notin (web)", false),
            ("other notin (web)", true),
            ("app", true),
            ("!app", false),
            ("!other", true),
            ("other=", false),
            ("n>4", true),
            ("n<5", false),
            ("app in ()", false),
            (" app = web , tier ", true),
        ];
        for (selector, expected) in table {
            assert_eq!(selects(selector, &labels), expected, "{selector}");
        }
    }

    #[test]
    fn bad_label_selectors_are_named_as_upstream_names_them() {
        let table = [
            ("a=b,", "found '', expected: identifier after ','"),
            (",a", "found ',', expected: !, identifier, or 'end of string'"),
            (
                "a b",
                "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt",
            ),
            ("a in b", "unable to parse requirement: found 'b' expected: '('"),
            ("a in (b", "unable to parse requirement: found '', expected: ',' or ')'"),
            ("a in (", "unable to parse requirement: found '', expected: ',', ')' or identifier"),
            ("a in (b,=", "unable to parse requirement: found '=', expected: ',', or identifier"),
            ("a=b c", "found 'c', expected: ',' or 'end of string'"),
        ];
        for (selector, expected) in table {
            assert_eq!(parse_labels(selector), Err(expected.to_owned()), "{selector}");
        }
    }

    #[test]
    fn other_spaces_part_no_words() {
        for selector in ["a\u{c}", "a\u{c}=b", "a=b\u{c}c", "a in (\u{c})", "\u{c}"] {
            let problem = parse_labels(selector).expect_err(selector);
            assert!(problem.contains("alphanumeric characters"), "{problem}");
        }
    }

    #[test]
    fn field_selectors_are_split_and_unescaped() {
        let term = |field: &str, value: &str, equal| Term {
            field: field.into(),
            value: value.into(),
            equal,
        };
        assert_eq!(
            parse_fields(r"a=b,c!=d,e==f\,g"),
            Ok(vec![term("a", "b", true), term("c", "d", false), term("e", "f,g", true)])
        );
        assert_eq!(
            parse_fields("abc"),
            Err("invalid selector: 'abc'; can't understand 'abc'".to_owned())
        );
        assert_eq!(
            parse_fields(r"a=\b"),
            Err(r"invalid field selector: invalid escape sequence: \b".to_owned())
        );
    }
}
