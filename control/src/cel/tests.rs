//! What a server says of expressions. The tables were read off one.

mod comprehensions;
mod environments;
mod overloads;
mod schemas;
mod syntax;
mod types;

use super::admission::Has;
use super::environment::{Compiled, Environment};

/// Compiles with all that a validation may name.
fn compile(text: &str) -> Result<Compiled, String> {
    let has = Has { params: true, authorizer: true, patches: false };
    Environment::admission(has).compile(text, &[])
}

/// What is wrong without the lines that show where: its places and texts.
fn shorten(why: &str) -> String {
    let lines: Vec<&str> = why.lines().filter(|line| !line.starts_with(" | ")).collect();
    let why = lines.join("; ").replace("; ERROR: <input>:", "; ");
    why.strip_prefix("compilation failed: ERROR: <input>:").unwrap_or(&why).to_owned()
}

/// The type, or what is wrong, in short.
fn brief(result: Result<Compiled, String>) -> String {
    match result {
        Ok(compiled) => compiled.result.to_string(),
        Err(why) => shorten(&why),
    }
}

fn check(cases: &[(&str, &str)]) {
    for (text, expected) in cases {
        assert_eq!(brief(compile(text)), *expected, "{text}");
    }
}
