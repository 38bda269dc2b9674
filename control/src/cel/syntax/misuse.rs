//! Macros that are misused in a broken text, which is said beside what is broken.
//!
//! Nothing is expanded here: what a broken text would have become is not looked at.

use ::cel::Env;
use ::cel::common::ast::{Expr, IdedExpr};
use ::cel::parser::{Macro, MacroExprHelper, ParseError, Parser};

/// What a macro demands of its arguments.
type Demand = fn(&Call) -> Result<(), Wrong>;
/// Which part is wrong, and why.
type Wrong = (u64, String);

struct Call<'a> {
    function: &'static str,
    target: Option<&'a IdedExpr>,
    args: &'a [IdedExpr],
}

/// The macros that are called on something, with how many arguments they take.
const MACROS: &[(&str, usize, Demand)] = &[
    ("all", 2, one_name),
    ("all", 3, two_names),
    ("exists", 2, one_name),
    ("exists", 3, two_names),
    ("existsOne", 3, two_names),
    ("exists_one", 2, one_name),
    ("exists_one", 3, two_names),
    ("filter", 2, identifier),
    ("map", 2, identifier),
    ("map", 3, identifier),
    ("optFlatMap", 2, optional_name),
    ("optMap", 2, optional_name),
    ("sortBy", 2, sortable),
    ("transformList", 3, two_names),
    ("transformList", 4, two_names),
    ("transformMap", 3, two_names),
    ("transformMap", 4, two_names),
    ("transformMapEntry", 3, two_names),
    ("transformMapEntry", 4, two_names),
];

/// A parser that says which macros are misused.
pub fn parser() -> Parser {
    let mut environment = Env::default();
    // The list has no macro twice, which is all that could be wrong.
    let _ = environment.add_macro(Macro::global("has", 1, |helper, target, args| {
        refuse(helper, ("has", field), target.as_ref(), args)
    }));
    for (function, count, demand) in MACROS.iter().copied() {
        let expand = move |helper: &mut MacroExprHelper<'_>,
                           target: &mut Option<IdedExpr>,
                           args: &mut Vec<IdedExpr>| {
            refuse(helper, (function, demand), target.as_ref(), args)
        };
        let _ = environment.add_macro(Macro::receiver(function, count, expand));
    }
    environment.parser()
}

fn refuse(
    helper: &MacroExprHelper<'_>,
    (function, demand): (&'static str, Demand),
    target: Option<&IdedExpr>,
    args: &[IdedExpr],
) -> Result<Option<IdedExpr>, ParseError> {
    let refused = demand(&Call { function, target, args });
    refused.map(|()| None).map_err(|(part, why)| helper.new_error(part, why))
}

fn name<'a>(arg: &'a IdedExpr, otherwise: &str) -> Result<&'a str, Wrong> {
    match &arg.expr {
        Expr::Ident(name) => Ok(name),
        _ => Err((arg.id, otherwise.to_owned())),
    }
}

fn free_name<'a>(arg: &'a IdedExpr, otherwise: &str) -> Result<&'a str, Wrong> {
    match name(arg, otherwise)? {
        "__result__" => {
            Err((arg.id, "iteration variable overwrites accumulator variable".to_owned()))
        }
        name => Ok(name),
    }
}

fn field(call: &Call) -> Result<(), Wrong> {
    match &call.args[0].expr {
        Expr::Select(_) => Ok(()),
        _ => Err((call.args[0].id, "invalid argument to has() macro".to_owned())),
    }
}

fn one_name(call: &Call) -> Result<(), Wrong> {
    free_name(&call.args[0], "argument must be a simple name").map(|_| ())
}

fn two_names(call: &Call) -> Result<(), Wrong> {
    const SIMPLE: &str = "argument must be a simple name";
    let (first, second) = (name(&call.args[0], SIMPLE)?, name(&call.args[1], SIMPLE)?);
    if first == second {
        return Err((call.args[1].id, format!("duplicate variable name: {first}")));
    }
    free_name(&call.args[0], SIMPLE)?;
    free_name(&call.args[1], SIMPLE).map(|_| ())
}

fn identifier(call: &Call) -> Result<(), Wrong> {
    free_name(&call.args[0], "argument is not an identifier").map(|_| ())
}

fn optional_name(call: &Call) -> Result<(), Wrong> {
    let why = format!("{}() variable name must be a simple identifier", call.function);
    name(&call.args[0], &why).map(|_| ())
}

fn sortable(call: &Call) -> Result<(), Wrong> {
    let Some(target) = call.target else { return Ok(()) };
    let is_sortable = matches!(
        target.expr,
        Expr::List(_) | Expr::Select(_) | Expr::Ident(_) | Expr::Comprehension(_) | Expr::Call(_)
    );
    if !is_sortable {
        let why = "sortBy can only be applied to a list, identifier, comprehension, call or select expression";
        return Err((target.id, why.to_owned()));
    }
    identifier(call)
}
