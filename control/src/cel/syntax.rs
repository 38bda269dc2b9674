//! What is wrong with a text that is no expression.
//!
//! What a parser says of a broken text follows from how it recovers, so these words come from one
//! that is generated from the same grammar as the server's. Where the two expect different things,
//! what is expected is found here, from the brackets that are open.

mod misuse;

use super::environment::on_stack;
use super::lexer::{Kind, Token, tokens_among};
use super::source::{Issue, NOWHERE, Place, Source};

/// How much stack the parser may take.
const STACK_BYTES: usize = 256 << 20;
/// How many rules may be in each other.
const DEPTH_MAX: u16 = 250;
/// How many characters of a broken text are looked at.
const LENGTH_MAX: usize = 100_000;

/// How many errors in the syntax are told.
const ERRORS_MAX: usize = 100;

/// What the parser says beside what follows `Syntax error`. It says more that a server does not.
const SAID: &[&str] = &[
    "Syntax error: ",
    "argument ",
    "duplicate variable ",
    "invalid ",
    "iteration variable ",
    "optFlatMap() ",
    "optMap() ",
    "reserved identifier: ",
    "sortBy ",
    "unable to unescape ",
    "unsupported syntax",
];

pub fn issues(source: &Source) -> Vec<Issue> {
    let text = source.slice(0, source.letters.len().min(LENGTH_MAX));
    let mut found = on_stack(STACK_BYTES, || read(&text)).unwrap_or_default();
    if found.is_empty() {
        let text = format!("expression recursion limit exceeded: {DEPTH_MAX}");
        return vec![Issue { place: NOWHERE, text }];
    }
    // A parser gives up after so many, and looks at nothing else then.
    let syntax_count = found.iter().filter(|issue| is_syntax(issue)).count();
    if syntax_count > ERRORS_MAX {
        found.retain(is_syntax);
        found.truncate(ERRORS_MAX + 1);
    }
    if text.is_empty() {
        found[0].place.column = -1;
        return found;
    }
    let mut context = Context::new(source, &found);
    let mut issues = Vec::new();
    for mut issue in found {
        if issue.text.contains("extraneous input") {
            context.tokens.retain(|token| source.place(token.start) != issue.place);
            let is_part = issue.text.ends_with(", ','}") && !issue.text.contains("IDENTIFIER");
            context.has_extra |= is_part;
        }
        issue.text = context.reword(&issue);
        if !issue.text.contains(NONE) {
            issue.text = issue.text.replace('\n', "\\n").replace('\r', "\\r").replace('\t', "\\t");
        }
        if issue.text.starts_with("unsupported syntax: '`'") {
            issue.place.column += i64::from(context.is_dot(issue.place));
        }
        if issue.text.contains("mismatched input") || issue.text.contains(" missing '") {
            context.left.push(issue.place);
        }
        let lacks_field = issue.text.contains("mismatched")
            && issue.text.ends_with("expecting {IDENTIFIER, ESC_IDENTIFIER}")
            && context.follows(issue.place, &[".", "?"]);
        let place = issue.place;
        issues.push(issue);
        if lacks_field {
            issues.push(Issue { place, text: "unsupported ident kind".to_owned() });
        }
    }
    issues
}

fn is_syntax(issue: &Issue) -> bool {
    issue.text.starts_with("Syntax error: ")
}

fn read(text: &str) -> Vec<Issue> {
    let parser = misuse::parser().enable_optional_syntax(true).max_recursion_depth(DEPTH_MAX);
    let Err(errors) = parser.parse(text) else { return Vec::new() };
    let said = errors
        .errors
        .into_iter()
        .filter(|error| SAID.iter().any(|said| error.msg.starts_with(said)));
    said.map(|error| {
        let (line, column) = error.pos;
        let mut place = Place { line: (line as i64).max(1), column: column as i64 - 1 };
        let dotted = error.msg.strip_prefix("reserved identifier: .");
        place.column -= i64::from(dotted.is_some());
        let dotted = dotted.map(|name| format!("reserved identifier: {name}"));
        Issue { place, text: dotted.unwrap_or(error.msg) }
    })
    .collect()
}

/// The tokens that the parser took.
struct Context<'a> {
    source: &'a Source,
    tokens: Vec<Token>,
    /// Whether there was a token too many.
    has_extra: bool,
    /// Where the parser left a rule before its end.
    left: Vec<Place>,
}

/// What is said before what is no token.
const NONE: &str = "token recognition error at: '";

impl<'a> Context<'a> {
    fn new(source: &'a Source, found: &[Issue]) -> Self {
        let skipped = found.iter().filter_map(|issue| {
            let (_, text) = issue.text.split_once(NONE)?;
            let start = source.offset(issue.place)?;
            Some((start, start + text.chars().count().saturating_sub(1)))
        });
        let skipped: Vec<(usize, usize)> = skipped.collect();
        let tokens = tokens_among(source, &skipped);
        Self { source, tokens, has_extra: false, left: Vec::new() }
    }

    fn before(&self, place: Place) -> &[Token] {
        let count = self.tokens.partition_point(|token| self.source.place(token.start) < place);
        &self.tokens[..count]
    }

    fn token(&self, place: Place) -> Option<&Token> {
        self.tokens.iter().find(|token| self.source.place(token.start) == place)
    }

    fn is_dot(&self, place: Place) -> bool {
        self.token(place).is_some_and(|token| token.kind == Kind::Mark("."))
    }

    /// Whether these marks are right before the place.
    fn follows(&self, place: Place, marks: &[&'static str]) -> bool {
        let marks: Vec<Kind> = marks.iter().map(|mark| Kind::Mark(mark)).collect();
        let kinds: Vec<Kind> = self.before(place).iter().map(|token| token.kind).collect();
        kinds.ends_with(&marks)
    }

    fn reword(&self, issue: &Issue) -> String {
        const EXPECTING: &str = " expecting ";
        if let Some((before, expected)) = issue.text.split_once(EXPECTING)
            && before.contains("mismatched input")
            && !expected.contains("IDENTIFIER")
        {
            return format!("{before}{EXPECTING}{}", self.expected(issue.place));
        }
        reword_reserved(&issue.text)
    }

    /// What would end the innermost rule.
    fn expected(&self, place: Place) -> String {
        let mut open: Vec<&str> = vec!["<EOF>"];
        let mut left = self.left.iter().peekable();
        let mut earlier = None;
        for token in self.before(place) {
            while left.next_if(|left| **left <= self.source.place(token.start)).is_some() {
                open.truncate((open.len() - 1).max(1));
            }
            self.follow(token, earlier, &mut open);
            earlier = Some(token.kind);
        }
        left.for_each(|_| open.truncate((open.len() - 1).max(1)));
        // What is there cannot be what lacks.
        let found = self.token(place);
        if let Some(Token { kind: Kind::Mark(found), .. }) = found {
            while open.len() > 1 && open.last().is_some_and(|end| *end == format!("'{found}'")) {
                open.pop();
            }
        }
        // Nor is the end of the text.
        let is_inside = open.len() > 1 || self.before(place).len() < self.tokens.len();
        let end = open.last().copied().filter(|_| is_inside).unwrap_or("':'");
        match end.strip_prefix("{") {
            Some(end) if self.has_extra || earlier == Some(Kind::Mark(",")) => end.to_owned(),
            Some(end) => format!("{{{end}, ','}}"),
            None => end.to_owned(),
        }
    }

    /// What is open after a token. A brace is before the end of what commas may be in.
    fn follow(&self, token: &Token, earlier: Option<Kind>, open: &mut Vec<&str>) {
        let Kind::Mark(mark) = token.kind else { return };
        let is_index = matches!(
            earlier,
            Some(Kind::Ident | Kind::EscapedIdent | Kind::String | Kind::Mark(")" | "]" | "}"))
        );
        match mark {
            "(" => open.push("')'"),
            "[" if is_index => open.push("']'"),
            "[" => open.push("{']'"),
            "{" => open.extend(["{'}'", "':'"]),
            "?" if !self.is_optional(token) => open.push("':'"),
            ":" if open.last() == Some(&"':'") => drop(open.pop()),
            "," if open.last() == Some(&"{'}'") => open.push("':'"),
            ")" | "]" | "}" => {
                let closed = open.iter().rposition(|end| end.contains(mark));
                open.truncate(closed.unwrap_or(open.len()));
            }
            _ => {}
        }
    }

    /// Whether the question mark makes what follows optional.
    fn is_optional(&self, mark: &Token) -> bool {
        let before = self.before(self.source.place(mark.start)).last();
        before.is_none_or(|token| matches!(token.kind, Kind::Mark("." | "[" | "{" | ",")))
    }
}

/// A word that is no identifier is said to be one where one must be.
fn reword_reserved(text: &str) -> String {
    const WHERE: &str = "no viable alternative at input '";
    let Some((before, rest)) = text.split_once(WHERE) else { return text.to_owned() };
    for word in ["true", "false", "null"] {
        let rest = rest.get(1..).unwrap_or_default();
        if let Some(after) = rest.strip_prefix(word).and_then(|rest| rest.strip_prefix('\'')) {
            return format!("{before}mismatched input '{word}' expecting IDENTIFIER{after}");
        }
    }
    text.to_owned()
}
