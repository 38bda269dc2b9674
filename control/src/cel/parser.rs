//! From text to nodes.
//!
//! The parser gives up at the first thing that is no syntax, and `syntax` says what that is. It
//! judges nothing but what is wrong with the text itself: names and types are `check`'s.
//! Source of the grammar: `parser/gen/CEL.g4` of cel-go.

mod primary;

use super::ast::{Expr, Kind, Literal};
use super::lexer::{self, Token};
use super::macros;
use super::source::{Issue, NOWHERE, Source};

/// How deep rules may be in each other.
const DEPTH_MAX: usize = 250;
/// How many characters an expression may have.
const SIZE_MAX: usize = 100_000;
/// How many nodes an expression may become.
const NODES_MAX: usize = 400_000;

/// Why there are no nodes.
pub enum Failure {
    /// The text is not in the language.
    Syntax,
    Issues(Vec<Issue>),
}

/// An expression and how many nodes it has.
pub struct Parsed {
    pub root: Expr,
    pub count: usize,
}

pub fn parse(source: &Source) -> Result<Parsed, Failure> {
    let size = source.letters.len();
    if size > SIZE_MAX {
        let limit = "expression code point size exceeds limit";
        return Err(nowhere(format!("{limit}: size: {size}, limit {SIZE_MAX}")));
    }
    let tokens = lexer::tokens(source).ok_or(Failure::Syntax)?;
    let mut parser = Parser {
        source,
        tokens,
        next: 0,
        nodes: Nodes::default(),
        issues: Vec::new(),
        depths: [0; 3],
    };
    let root = match parser.start() {
        Ok(root) => root,
        Err(Stop::Syntax) => return Err(Failure::Syntax),
        Err(Stop::TooDeep) => {
            return Err(nowhere(format!("expression recursion limit exceeded: {DEPTH_MAX}")));
        }
    };
    if root.height > DEPTH_MAX || parser.nodes.count > NODES_MAX {
        return Err(nowhere("max recursion depth exceeded".to_owned()));
    }
    if !parser.issues.is_empty() {
        return Err(Failure::Issues(parser.issues));
    }
    Ok(Parsed { root: root.expr, count: parser.nodes.count })
}

fn nowhere(text: String) -> Failure {
    Failure::Issues(vec![Issue { place: NOWHERE, text }])
}

/// Counts the nodes that are made.
#[derive(Default)]
pub struct Nodes {
    count: usize,
}

impl Nodes {
    pub fn make(&mut self, at: usize, kind: Kind) -> Expr {
        self.count += 1;
        Expr { id: self.count - 1, at, kind }
    }

    /// Whether there are already more than an expression may have.
    pub fn are_too_many(&self) -> bool {
        self.count > NODES_MAX
    }
}

enum Stop {
    Syntax,
    TooDeep,
}

type Step<T> = Result<T, Stop>;

/// The rules whose depth upstream's parser counts.
#[derive(Clone, Copy)]
enum Rule {
    Expr,
    Relation,
    Calc,
}

/// A node, and how many of those that upstream counts are in each other below it.
struct Tree {
    expr: Expr,
    height: usize,
}

struct Parser<'a> {
    source: &'a Source,
    tokens: Vec<Token>,
    next: usize,
    nodes: Nodes,
    issues: Vec<Issue>,
    depths: [usize; 3],
}

/// Binary operators: how tightly they bind, what is written, what is called.
type Operators = &'static [(u8, &'static str, &'static str)];
const RELATIONS: Operators = &[
    (1, "<", "_<_"),
    (1, "<=", "_<=_"),
    (1, ">=", "_>=_"),
    (1, ">", "_>_"),
    (1, "==", "_==_"),
    (1, "!=", "_!=_"),
    (1, "in", "@in"),
];
const CALCULATIONS: Operators =
    &[(2, "*", "_*_"), (2, "/", "_/_"), (2, "%", "_%_"), (1, "+", "_+_"), (1, "-", "_-_")];

impl Parser<'_> {
    fn peek(&self, ahead: usize) -> lexer::Kind {
        let last = self.tokens.len() - 1;
        self.tokens[(self.next + ahead).min(last)].kind
    }

    fn is(&self, ahead: usize, mark: &str) -> bool {
        matches!(self.peek(ahead), lexer::Kind::Mark(it) if it == mark)
    }

    fn take(&mut self) -> Token {
        let token = self.tokens[self.next];
        self.next = (self.next + 1).min(self.tokens.len() - 1);
        token
    }

    fn take_if(&mut self, mark: &str) -> Option<Token> {
        self.is(0, mark).then(|| self.take())
    }

    fn expect(&mut self, mark: &str) -> Step<Token> {
        self.take_if(mark).ok_or(Stop::Syntax)
    }

    fn text(&self, token: Token) -> String {
        self.source.slice(token.start, token.end)
    }

    fn report(&mut self, at: usize, text: impl Into<String>) -> Expr {
        self.issues.push(Issue { place: self.source.place(at), text: text.into() });
        self.nodes.make(at, Kind::Broken)
    }

    fn enter(&mut self, rule: Rule) -> Step<()> {
        self.depths[rule as usize] += 1;
        if self.depths[rule as usize] > DEPTH_MAX { Err(Stop::TooDeep) } else { Ok(()) }
    }

    fn leave(&mut self, rule: Rule) {
        let depth = &mut self.depths[rule as usize];
        *depth = depth.saturating_sub(1);
    }

    /// A call, or what its macro makes of it.
    fn call(&mut self, at: usize, function: &str, target: Option<Expr>, args: Vec<Expr>) -> Expr {
        let call = macros::Call { at, function, target, args };
        match macros::expand(call, &mut self.nodes) {
            Ok(expr) => expr,
            Err(macros::Misuse { at, text }) => self.report(at, text),
        }
    }

    fn start(&mut self) -> Step<Tree> {
        let tree = self.expr()?;
        if self.peek(0) == lexer::Kind::End { Ok(tree) } else { Err(Stop::Syntax) }
    }

    fn expr(&mut self) -> Step<Tree> {
        self.enter(Rule::Expr)?;
        let tree = self.logic("||")?;
        let Some(mark) = self.take_if("?") else {
            self.leave(Rule::Expr);
            return Ok(tree);
        };
        let first = self.logic("||")?;
        self.expect(":")?;
        let second = self.expr()?;
        self.leave(Rule::Expr);
        let height = 1 + tree.height.max(first.height).max(second.height);
        let args = vec![tree.expr, first.expr, second.expr];
        Ok(Tree { expr: self.call(mark.start, "_?_:_", None, args), height })
    }

    /// Terms between `||`, or between `&&`, as a balanced tree.
    fn logic(&mut self, mark: &'static str) -> Step<Tree> {
        let function = if mark == "||" { "_||_" } else { "_&&_" };
        let mut marks = Vec::new();
        let first = self.logic_term(mark)?;
        let mut height = first.height;
        let mut terms = vec![Some(first.expr)];
        while let Some(token) = self.take_if(mark) {
            marks.push(token.start);
            let term = self.logic_term(mark)?;
            height = height.max(term.height);
            terms.push(Some(term.expr));
        }
        Ok(Tree { expr: balance(&mut self.nodes, function, &mut terms, &marks), height })
    }

    fn logic_term(&mut self, mark: &str) -> Step<Tree> {
        if mark == "||" { self.logic("&&") } else { self.binary(Rule::Relation, 1) }
    }

    /// Upstream's counters are left once for each operator more than they are entered.
    fn binary(&mut self, rule: Rule, binding_min: u8) -> Step<Tree> {
        let operators = if matches!(rule, Rule::Relation) { RELATIONS } else { CALCULATIONS };
        self.enter(rule)?;
        let mut tree = match rule {
            Rule::Relation => self.binary(Rule::Calc, 1)?,
            _ => self.unary()?,
        };
        let mut count = 0;
        while let Some((binding, _, function)) =
            operators.iter().find(|(binding, mark, _)| *binding >= binding_min && self.is(0, mark))
        {
            let mark = self.take();
            self.leave(rule);
            self.enter(rule)?;
            let right = self.binary(rule, binding + 1)?;
            let height = 1 + tree.height.max(right.height);
            let args = vec![tree.expr, right.expr];
            tree = Tree { expr: self.call(mark.start, function, None, args), height };
            count += 1;
        }
        (0..=count).for_each(|_| self.leave(rule));
        Ok(tree)
    }

    fn unary(&mut self) -> Step<Tree> {
        let is_number = matches!(self.peek(1), lexer::Kind::Int | lexer::Kind::Float);
        let (mark, function) = match self.peek(0) {
            lexer::Kind::Mark("!") => ("!", "!_"),
            lexer::Kind::Mark("-") if !is_number => ("-", "-_"),
            _ => return self.member(),
        };
        let first = self.take();
        let mut count = 1;
        while self.take_if(mark).is_some() {
            count += 1;
        }
        let tree = self.member()?;
        if count % 2 == 0 {
            return Ok(tree);
        }
        Ok(Tree { expr: self.call(first.start, function, None, vec![tree.expr]), ..tree })
    }

    fn member(&mut self) -> Step<Tree> {
        let mut tree = self.primary()?;
        loop {
            tree = if let Some(dot) = self.take_if(".") {
                self.dotted(tree, dot)?
            } else if let Some(open) = self.take_if("[") {
                let function = if self.take_if("?").is_some() { "_[?_]" } else { "_[_]" };
                let index = self.expr()?;
                self.expect("]")?;
                let height = 1 + tree.height.max(index.height);
                let args = vec![tree.expr, index.expr];
                Tree { expr: self.call(open.start, function, None, args), height }
            } else {
                return Ok(tree);
            };
        }
    }

    /// A field or a method.
    fn dotted(&mut self, tree: Tree, dot: Token) -> Step<Tree> {
        let is_optional = self.take_if("?").is_some();
        let token = self.take();
        let is_ident = token.kind == lexer::Kind::Ident;
        if !is_ident && token.kind != lexer::Kind::EscapedIdent {
            return Err(Stop::Syntax);
        }
        if is_ident && !is_optional && self.is(0, "(") {
            let open = self.take();
            let (args, height) = self.args()?;
            let function = self.text(token);
            let expr = self.call(open.start, &function, Some(tree.expr), args);
            return Ok(Tree { expr, height: 1 + tree.height.max(height) });
        }
        let field = self.field_name(token, token.start).unwrap_or_default();
        let height = 1 + tree.height;
        let expr = if is_optional {
            let name = Kind::Literal(Literal::String(field));
            let args = vec![tree.expr, self.nodes.make(token.start, name)];
            let (function, target) = ("_?._".to_owned(), None);
            self.nodes.make(dot.start, Kind::Call { function, target, args })
        } else {
            let operand = Box::new(tree.expr);
            self.nodes.make(dot.start, Kind::Select { operand, field, is_test: false })
        };
        Ok(Tree { expr, height })
    }

    /// Names between backticks are not for Kubernetes.
    fn field_name(&mut self, token: Token, report_at: usize) -> Option<String> {
        if token.kind == lexer::Kind::EscapedIdent {
            self.report(report_at, "unsupported syntax: '`'");
            return None;
        }
        Some(self.text(token))
    }

    /// Arguments, behind their opening parenthesis.
    fn args(&mut self) -> Step<(Vec<Expr>, usize)> {
        let (mut args, mut height) = (Vec::new(), 0);
        if self.take_if(")").is_some() {
            return Ok((args, height));
        }
        loop {
            let arg = self.expr()?;
            height = height.max(arg.height);
            args.push(arg.expr);
            if self.take_if(",").is_none() {
                self.expect(")")?;
                return Ok((args, height));
            }
        }
    }
}

fn balance(nodes: &mut Nodes, function: &str, terms: &mut [Option<Expr>], marks: &[usize]) -> Expr {
    let taken = "each term is taken once";
    if marks.is_empty() {
        return terms[0].take().expect(taken);
    }
    let middle = marks.len() / 2;
    let (left, right) = terms.split_at_mut(middle + 1);
    let left = balance(nodes, function, left, &marks[..middle]);
    let right = balance(nodes, function, right, &marks[middle + 1..]);
    let (function, target) = (function.to_owned(), None);
    nodes.make(marks[middle], Kind::Call { function, target, args: vec![left, right] })
}
