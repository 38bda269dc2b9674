//! What operators stand between: names, calls, literals, lists, maps and messages.

use super::super::ast::{Element, Entry, Expr, Field, Kind, Literal};
use super::super::environment::KEYWORDS;
use super::super::lexer::{self, Token};
use super::super::literal;
use super::{Parser, Step, Stop, Tree};

impl Parser<'_> {
    pub(super) fn primary(&mut self) -> Step<Tree> {
        if self.take_if("(").is_some() {
            let tree = self.expr()?;
            self.expect(")")?;
            return Ok(tree);
        }
        if let Some(open) = self.take_if("[") {
            return self.list(open);
        }
        if let Some(open) = self.take_if("{") {
            return self.map(open);
        }
        if let Some(length) = self.message_name() {
            return self.message(length);
        }
        let dot = usize::from(self.is(0, "."));
        if self.peek(dot) == lexer::Kind::Ident {
            return self.named();
        }
        Ok(Tree { expr: self.literal()?, height: 0 })
    }

    /// An identifier or a function's call.
    fn named(&mut self) -> Step<Tree> {
        let dot = self.take_if(".");
        let token = self.take();
        let text = self.text(token);
        let start = dot.map_or(token.start, |dot| dot.start);
        let name = if dot.is_some() { format!(".{text}") } else { text.clone() };
        let open = self.take_if("(");
        let args = open.map(|_| self.args()).transpose()?;
        if KEYWORDS.contains(&text.as_str()) {
            // What a reserved word is called with is not looked at.
            self.issues.retain(|issue| issue.place < self.source.place(start));
            let expr = self.report(start, format!("reserved identifier: {text}"));
            return Ok(Tree { expr, height: 0 });
        }
        let Some((open, (args, height))) = open.zip(args) else {
            return Ok(Tree { expr: self.nodes.make(token.start, Kind::Ident(name)), height: 0 });
        };
        Ok(Tree { expr: self.call(open.start, &name, None, args), height })
    }

    fn list(&mut self, open: Token) -> Step<Tree> {
        let (mut elements, mut height) = (Vec::new(), 0);
        while !self.closes("]", elements.is_empty())? {
            let is_optional = self.take_if("?").is_some();
            let value = self.expr()?;
            height = height.max(value.height);
            elements.push(Element { value: value.expr, is_optional });
            self.separates("]")?;
        }
        Ok(Tree { expr: self.nodes.make(open.start, Kind::List(elements)), height })
    }

    fn map(&mut self, open: Token) -> Step<Tree> {
        let (mut entries, mut height) = (Vec::new(), 0);
        while !self.closes("}", entries.is_empty())? {
            let is_optional = self.take_if("?").is_some();
            let key = self.expr()?;
            self.expect(":")?;
            let value = self.expr()?;
            height = height.max(key.height).max(value.height);
            entries.push(Entry { key: key.expr, value: value.expr, is_optional });
            self.separates("}")?;
        }
        Ok(Tree { expr: self.nodes.make(open.start, Kind::Map(entries)), height })
    }

    /// Takes the end of a literal's parts. A comma may be before it where there are none.
    fn closes(&mut self, mark: &str, is_empty: bool) -> Step<bool> {
        if is_empty && self.is(0, ",") && self.is(1, mark) {
            self.take();
        }
        Ok(self.take_if(mark).is_some())
    }

    /// What comes after a part: a comma, and maybe another part, or the end.
    fn separates(&mut self, mark: &str) -> Step<()> {
        if self.is(0, mark) { Ok(()) } else { self.expect(",").map(|_| ()) }
    }

    /// How many tokens name the message that is constructed here, if one is.
    fn message_name(&self) -> Option<usize> {
        let mut length = usize::from(self.is(0, "."));
        loop {
            if self.peek(length) != lexer::Kind::Ident {
                return None;
            }
            length += 1;
            if self.is(length, "{") {
                return Some(length);
            }
            if !self.is(length, ".") {
                return None;
            }
            length += 1;
        }
    }

    fn message(&mut self, name_length: usize) -> Step<Tree> {
        let tokens: Vec<Token> = (0..name_length).map(|_| self.take()).collect();
        let name = tokens.into_iter().map(|token| self.text(token)).collect();
        let open = self.expect("{")?;
        let start = self.tokens[self.next].start;
        let (mut fields, mut height) = (Vec::new(), 0);
        while !self.closes("}", fields.is_empty())? {
            let is_optional = self.take_if("?").is_some();
            let token = self.take();
            if !matches!(token.kind, lexer::Kind::Ident | lexer::Kind::EscapedIdent) {
                return Err(Stop::Syntax);
            }
            let field = self.field_name(token, start);
            let colon = self.expect(":")?;
            let value = self.expr()?;
            height = height.max(value.height);
            self.separates("}")?;
            let name = field.unwrap_or_default();
            fields.push(Field { at: colon.start, name, value: value.expr, is_optional });
        }
        Ok(Tree { expr: self.nodes.make(open.start, Kind::Message { name, fields }), height })
    }

    fn literal(&mut self) -> Step<Expr> {
        let sign = self.take_if("-");
        let token = self.take();
        let at = sign.map_or(token.start, |sign| sign.start);
        let is_negative = sign.is_some();
        let text = self.text(token);
        let value = match token.kind {
            lexer::Kind::Int => {
                literal::int(&text, is_negative).map(Literal::Int).ok_or("invalid int literal")
            }
            lexer::Kind::Float => literal::double(&text, is_negative)
                .map(Literal::Double)
                .ok_or("invalid double literal"),
            _ if is_negative => return Err(Stop::Syntax),
            lexer::Kind::Uint => {
                literal::uint(&text).map(Literal::Uint).ok_or("invalid uint literal")
            }
            lexer::Kind::String => literal::string(&text).map(Literal::String),
            lexer::Kind::Bytes => literal::bytes(&text).map(Literal::Bytes),
            lexer::Kind::Mark("true") => Ok(Literal::Bool(true)),
            lexer::Kind::Mark("false") => Ok(Literal::Bool(false)),
            lexer::Kind::Mark("null") => Ok(Literal::Null),
            _ => return Err(Stop::Syntax),
        };
        Ok(match value {
            Ok(value) => self.nodes.make(at, Kind::Literal(value)),
            Err(text) => self.report(at, text),
        })
    }
}
