//! The text of an expression, and what is said of places in it.

use std::fmt::Write as _;

/// Where something is said that is about no place.
pub const NOWHERE: Place = Place { line: -1, column: -1 };
/// How many issues are told.
const ISSUES_MAX: usize = 100;
/// The longest line, in bytes, that is shown.
const SNIPPET_BYTES_MAX: usize = 16_384;

/// A line, from one, and the characters before the place in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub line: i64,
    pub column: i64,
}

/// What is wrong at a place.
#[derive(Clone, Debug, PartialEq)]
pub struct Issue {
    pub place: Place,
    pub text: String,
}

/// An expression's text. Offsets count its characters.
pub struct Source {
    pub letters: Vec<char>,
    /// Where each line starts.
    starts: Vec<usize>,
}

impl Source {
    pub fn new(text: &str) -> Self {
        let letters: Vec<char> = text.chars().collect();
        let breaks = letters.iter().enumerate().filter(|(_, letter)| **letter == '\n');
        let starts = std::iter::once(0).chain(breaks.map(|(at, _)| at + 1)).collect();
        Self { letters, starts }
    }

    pub fn place(&self, offset: usize) -> Place {
        let line = self.starts.partition_point(|start| *start <= offset);
        let column = offset - self.starts[line - 1];
        Place { line: line as i64, column: column as i64 }
    }

    pub fn offset(&self, place: Place) -> Option<usize> {
        let line = usize::try_from(place.line).ok()?.checked_sub(1)?;
        Some(self.starts.get(line)? + usize::try_from(place.column).ok()?)
    }

    pub fn slice(&self, start: usize, end: usize) -> String {
        self.letters[start..end].iter().collect()
    }

    fn line(&self, line: i64) -> Option<String> {
        let index = usize::try_from(line).ok()?.checked_sub(1)?;
        let start = *self.starts.get(index).filter(|_| !self.letters.is_empty())?;
        let end = self.starts.get(index + 1).map_or(self.letters.len(), |next| next - 1);
        Some(self.slice(start, end))
    }

    fn show(&self, issue: &Issue) -> String {
        let Place { line, column } = issue.place;
        let mut text = format!("ERROR: <input>:{line}:{}: {}", column + 1, issue.text);
        let Some(snippet) = self.line(line).filter(|it| it.len() <= SNIPPET_BYTES_MAX) else {
            return text;
        };
        let snippet = snippet.replace('\t', " ");
        let mut letters = snippet.chars();
        let skipped = letters.by_ref().take(usize::try_from(column).unwrap_or_default());
        let dots: String = skipped.map(|it| if it.is_ascii() { '.' } else { '．' }).collect();
        let mark = if letters.next().is_none_or(|it| it.is_ascii()) { '^' } else { '＾' };
        let _ = write!(text, "\n | {snippet}\n | {dots}{mark}");
        text
    }

    /// All that is wrong, in the order of the places.
    pub fn show_all(&self, mut issues: Vec<Issue>) -> String {
        let count = issues.len();
        issues.truncate(ISSUES_MAX);
        issues.sort_by_key(|issue| issue.place);
        let mut shown: Vec<String> = issues.iter().map(|issue| self.show(issue)).collect();
        if count > ISSUES_MAX {
            shown.push(format!("{} more errors were truncated", count - ISSUES_MAX));
        }
        shown.join("\n")
    }
}
