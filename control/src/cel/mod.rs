//! Expressions in the Common Expression Language (CEL): whether they compile.
//!
//! The words of every refusal are those of a server that runs cel-go. `parser` and `macros` make
//! nodes of a text (`syntax` says why there are none), `check` gives them types with what an
//! `environment` declares, `validate` judges literals and `plan` what would be computed at once.
//!
//! Nothing here evaluates an expression, or estimates what evaluating it costs.

mod admission;
mod ast;
mod check;
mod declarations;
mod environment;
mod format;
mod lexer;
mod literal;
mod macros;
mod messages;
mod parser;
mod plan;
mod regexp;
mod schema;
mod source;
mod syntax;
#[cfg(test)]
mod tests;
mod time;
mod types;
mod validate;

pub use admission::{Policy, match_condition};
pub use environment::KEYWORDS;
pub use schema::{NO_TYPE, Schema};
