//! PEM blocks as Go reads them: text around a block is skipped, and so is what only looks like one.
//!
//! Source: `encoding/pem` of Go, which upstream's rules for certificates rest on.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
const DASHES: &str = "-----";

/// A block: what its first line calls it, and its bytes.
#[derive(Debug, PartialEq, Eq)]
pub struct Block {
    pub label: String,
    pub has_headers: bool,
    pub bytes: Vec<u8>,
}

/// Every block of a text, in its order.
pub fn blocks(text: &[u8]) -> Vec<Block> {
    let text = String::from_utf8_lossy(text);
    let mut lines = text.lines().map(str::trim_end).peekable();
    let mut blocks = Vec::new();
    while let Some(line) = lines.next() {
        let Some(label) = line.strip_prefix(BEGIN).and_then(|rest| rest.strip_suffix(DASHES))
        else {
            continue;
        };
        let end = format!("{END}{label}{DASHES}");
        let mut has_headers = false;
        while lines.peek().is_some_and(|line| line.contains(':')) {
            has_headers = true;
            lines.next();
        }
        let mut encoded = String::new();
        let mut is_closed = false;
        for line in lines.by_ref() {
            if line == end {
                is_closed = true;
                break;
            }
            encoded.push_str(line.trim());
        }
        let bytes = STANDARD.decode(encoded);
        if let (true, Ok(bytes)) = (is_closed, bytes) {
            blocks.push(Block { label: label.to_owned(), has_headers, bytes });
        }
    }
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_found_among_other_text() {
        let text = b"junk\n-----BEGIN A-----\naGk=\n-----END A-----\n\n\
            -----BEGIN B-----\nKey: value\n\naGk=\n-----END B-----\n\
            -----BEGIN C-----\naGk=\n";
        let found = blocks(text);
        let found: Vec<(&str, bool, &[u8])> = found
            .iter()
            .map(|block| (block.label.as_str(), block.has_headers, block.bytes.as_slice()))
            .collect();
        assert_eq!(found, [("A", false, b"hi".as_slice()), ("B", true, b"hi".as_slice())]);
    }
}
