//! Calls that stand for something longer.
//!
//! Source: cel-go's `parser/macro.go`, `ext/comprehensions.go`, `ext/lists.go` and `cel/library.go`.

use super::ast::{Element, Expr, Fold, Kind, Literal};
use super::parser::Nodes;

/// What a comprehension computes is kept under this name.
const ACCUMULATOR: &str = "@result";
const UNUSED: &str = "#unused";
const SORT_INPUT: &str = "@__sortBy_input__";

/// A call as it is written.
pub struct Call<'a> {
    pub at: usize,
    pub function: &'a str,
    pub target: Option<Expr>,
    pub args: Vec<Expr>,
}

/// A macro called with what it cannot take.
pub struct Misuse {
    pub at: usize,
    pub text: String,
}

type Expansion = Result<Expr, Misuse>;

/// What the call stands for: itself where no macro has its name, form and number of arguments.
pub fn expand(call: Call, nodes: &mut Nodes) -> Expansion {
    let Call { at, function, target, mut args } = call;
    let mut maker = Maker { at, nodes };
    let Some(target) = target else {
        if function == "has" && args.len() == 1 {
            return maker.has(args.remove(0));
        }
        return Ok(maker.call(function, None, args));
    };
    match (function, args.len()) {
        ("all" | "exists" | "exists_one", 2) => maker.quantify(function, target, args, 1),
        ("all" | "exists" | "exists_one" | "existsOne", 3) => {
            maker.quantify(function, target, args, 2)
        }
        ("map", 2 | 3) => maker.map(target, args),
        ("filter", 2) => maker.filter(target, args),
        ("transformList" | "transformMap" | "transformMapEntry", 3 | 4) => {
            maker.transform(function, target, args)
        }
        ("optMap" | "optFlatMap", 2) => maker.map_optional(function, target, args),
        ("sortBy", 2) => maker.sort_by(target, args),
        _ => Ok(maker.call(function, Some(target), args)),
    }
}

fn misuse<T>(at: usize, text: impl Into<String>) -> Result<T, Misuse> {
    Err(Misuse { at, text: text.into() })
}

/// Makes nodes that are told of where the macro is called.
struct Maker<'a> {
    at: usize,
    nodes: &'a mut Nodes,
}

impl Maker<'_> {
    fn make(&mut self, kind: Kind) -> Expr {
        self.nodes.make(self.at, kind)
    }

    fn call(&mut self, function: &str, target: Option<Expr>, args: Vec<Expr>) -> Expr {
        let (function, target) = (function.to_owned(), target.map(Box::new));
        self.make(Kind::Call { function, target, args })
    }

    fn global(&mut self, function: &str, args: Vec<Expr>) -> Expr {
        self.call(function, None, args)
    }

    fn literal(&mut self, value: Literal) -> Expr {
        self.make(Kind::Literal(value))
    }

    fn ident(&mut self, name: &str) -> Expr {
        self.make(Kind::Ident(name.to_owned()))
    }

    fn accumulated(&mut self) -> Expr {
        self.ident(ACCUMULATOR)
    }

    fn list(&mut self, values: Vec<Expr>) -> Expr {
        let elements = values.into_iter().map(|value| Element { value, is_optional: false });
        self.make(Kind::List(elements.collect()))
    }

    /// The same nodes again, of which only fields are told of elsewhere. Where there are too many already, the parser says so in the end.
    fn copy(&mut self, expr: &Expr) -> Expr {
        fn renumber(expr: &mut Expr, at: usize, nodes: &mut Nodes) {
            expr.id = nodes.make(expr.at, Kind::Broken).id;
            match &mut expr.kind {
                Kind::Broken | Kind::Literal(_) | Kind::Ident(_) => {}
                Kind::Select { operand, .. } => renumber(operand, at, nodes),
                Kind::Call { target, args, .. } => {
                    target.as_deref_mut().into_iter().for_each(|it| renumber(it, at, nodes));
                    args.iter_mut().for_each(|it| renumber(it, at, nodes));
                }
                Kind::List(elements) => {
                    elements.iter_mut().for_each(|it| renumber(&mut it.value, at, nodes));
                }
                Kind::Map(entries) => entries.iter_mut().for_each(|it| {
                    renumber(&mut it.key, at, nodes);
                    renumber(&mut it.value, at, nodes);
                }),
                Kind::Message { fields, .. } => {
                    fields.iter_mut().for_each(|it| {
                        it.at = at;
                        renumber(&mut it.value, at, nodes);
                    });
                }
                Kind::Fold(fold) => {
                    renumber(&mut fold.range, at, nodes);
                    renumber(&mut fold.initial, at, nodes);
                    renumber(&mut fold.condition, at, nodes);
                    renumber(&mut fold.step, at, nodes);
                    renumber(&mut fold.result, at, nodes);
                }
            }
        }
        if self.nodes.are_too_many() {
            return self.make(Kind::Broken);
        }
        let mut copy = expr.clone();
        renumber(&mut copy, self.at, self.nodes);
        copy
    }

    fn has(&mut self, arg: Expr) -> Expansion {
        match arg.kind {
            Kind::Select { operand, field, .. } => {
                Ok(self.make(Kind::Select { operand, field, is_test: true }))
            }
            _ => misuse(arg.at, "invalid argument to has() macro"),
        }
    }

    /// `all`, `exists` and `exists_one`, over items or over pairs.
    fn quantify(
        &mut self,
        function: &str,
        target: Expr,
        mut args: Vec<Expr>,
        names: usize,
    ) -> Expansion {
        let (item, second_item) = if names == 1 {
            (item_name(&args[0], "argument must be a simple name")?, None)
        } else {
            pair_names(&args)?
        };
        let predicate = args.remove(names);
        let initial = match function {
            "all" => Literal::Bool(true),
            "exists" => Literal::Bool(false),
            _ => Literal::Int(0),
        };
        let initial = self.literal(initial);
        let mut result = self.accumulated();
        let accumulated = self.accumulated();
        let (condition, step) = match function {
            "all" => (accumulated, "_&&_"),
            "exists" => (self.global("!_", vec![accumulated]), "_||_"),
            _ => {
                let one = self.literal(Literal::Int(1));
                result = self.global("_==_", vec![result, one]);
                let one = self.literal(Literal::Int(1));
                let more = self.global("_+_", vec![accumulated, one]);
                let same = self.accumulated();
                let step = self.global("_?_:_", vec![predicate, more, same]);
                let condition = self.literal(Literal::Bool(true));
                let names = (item, second_item);
                return Ok(self.fold(target, names, initial, (condition, step), result));
            }
        };
        let condition = self.global("@not_strictly_false", vec![condition]);
        let accumulated = self.accumulated();
        let step = self.global(step, vec![accumulated, predicate]);
        Ok(self.fold(target, (item, second_item), initial, (condition, step), result))
    }

    fn fold(
        &mut self,
        range: Expr,
        (item, second_item): (String, Option<String>),
        initial: Expr,
        (condition, step): (Expr, Expr),
        result: Expr,
    ) -> Expr {
        let accumulator = ACCUMULATOR.to_owned();
        let fold = Fold { range, item, second_item, accumulator, initial, condition, step, result };
        self.make(Kind::Fold(Box::new(fold)))
    }

    /// A fold that takes every item, with a step that a filter may skip.
    fn collect(
        &mut self,
        range: Expr,
        names: (String, Option<String>),
        initial: Expr,
        mut step: Expr,
        filter: Option<Expr>,
    ) -> Expr {
        if let Some(filter) = filter {
            let same = self.accumulated();
            step = self.global("_?_:_", vec![filter, step, same]);
        }
        let condition = self.literal(Literal::Bool(true));
        let result = self.accumulated();
        self.fold(range, names, initial, (condition, step), result)
    }

    fn append(&mut self, value: Expr) -> Expr {
        let accumulated = self.accumulated();
        let list = self.list(vec![value]);
        self.global("_+_", vec![accumulated, list])
    }

    fn map(&mut self, range: Expr, mut args: Vec<Expr>) -> Expansion {
        let item = item_name(&args[0], "argument is not an identifier")?;
        let value = args.remove(args.len() - 1);
        let filter = (args.len() == 2).then(|| args.remove(1));
        let initial = self.list(Vec::new());
        let step = self.append(value);
        Ok(self.collect(range, (item, None), initial, step, filter))
    }

    fn filter(&mut self, range: Expr, mut args: Vec<Expr>) -> Expansion {
        let item = item_name(&args[0], "argument is not an identifier")?;
        let filter = args.remove(1);
        let initial = self.list(Vec::new());
        let step = self.append(args.remove(0));
        Ok(self.collect(range, (item, None), initial, step, Some(filter)))
    }

    fn transform(&mut self, function: &str, range: Expr, mut args: Vec<Expr>) -> Expansion {
        const INSERT: &str = "cel.@mapInsert";
        let names = pair_names(&args)?;
        let value = args.remove(args.len() - 1);
        let filter = (args.len() == 3).then(|| args.remove(2));
        if function == "transformList" {
            let initial = self.list(Vec::new());
            let step = self.append(value);
            return Ok(self.collect(range, names, initial, step, filter));
        }
        let accumulated = self.accumulated();
        let step = if function == "transformMap" {
            let key = self.ident(&names.0);
            self.global(INSERT, vec![accumulated, key, value])
        } else {
            self.global(INSERT, vec![accumulated, value])
        };
        let initial = self.make(Kind::Map(Vec::new()));
        Ok(self.collect(range, names, initial, step, filter))
    }

    /// A name for a value: a fold over nothing, whose accumulator it is.
    fn bind(&mut self, name: &str, value: Expr, result: Expr) -> Expr {
        let range = self.list(Vec::new());
        let condition = self.literal(Literal::Bool(false));
        let step = self.ident(name);
        let (item, second_item) = (UNUSED.to_owned(), None);
        let accumulator = name.to_owned();
        let initial = value;
        let fold = Fold { range, item, second_item, accumulator, initial, condition, step, result };
        self.make(Kind::Fold(Box::new(fold)))
    }

    fn map_optional(&mut self, function: &str, target: Expr, mut args: Vec<Expr>) -> Expansion {
        let Kind::Ident(name) = &args[0].kind else {
            let why = format!("{function}() variable name must be a simple identifier");
            return misuse(args[0].at, why);
        };
        let name = name.clone();
        let value = self.copy(&target);
        let value = self.call("value", Some(value), Vec::new());
        let mut mapped = self.bind(&name, value, args.remove(1));
        if function == "optMap" {
            mapped = self.global("optional.of", vec![mapped]);
        }
        let condition = self.call("hasValue", Some(target), Vec::new());
        let none = self.global("optional.none", Vec::new());
        Ok(self.global("_?_:_", vec![condition, mapped, none]))
    }

    fn sort_by(&mut self, target: Expr, args: Vec<Expr>) -> Expansion {
        let is_sortable = matches!(
            target.kind,
            Kind::List(_)
                | Kind::Select { .. }
                | Kind::Ident(_)
                | Kind::Fold(_)
                | Kind::Call { .. }
        );
        if !is_sortable {
            let why = "sortBy can only be applied to a list, identifier, comprehension, call or select expression";
            return misuse(target.at, why);
        }
        let input = self.ident(SORT_INPUT);
        let keys = self.map(input, args)?;
        let input = self.ident(SORT_INPUT);
        let sorted = self.call("@sortByAssociatedKeys", Some(input), vec![keys]);
        Ok(self.bind(SORT_INPUT, target, sorted))
    }
}

fn item_name(arg: &Expr, otherwise: &str) -> Result<String, Misuse> {
    let Kind::Ident(name) = &arg.kind else { return misuse(arg.at, otherwise) };
    check_item_name(arg, name)?;
    Ok(name.clone())
}

fn check_item_name(arg: &Expr, name: &str) -> Result<(), Misuse> {
    if name == ACCUMULATOR || name == "__result__" {
        return misuse(arg.at, "iteration variable overwrites accumulator variable");
    }
    Ok(())
}

fn pair_names(args: &[Expr]) -> Result<(String, Option<String>), Misuse> {
    let simple = |arg: &Expr| match &arg.kind {
        Kind::Ident(name) => Ok(name.clone()),
        _ => misuse(arg.at, "argument must be a simple name"),
    };
    let (first, second) = (simple(&args[0])?, simple(&args[1])?);
    if first == second {
        return misuse(args[1].at, format!("duplicate variable name: {first}"));
    }
    check_item_name(&args[0], &first)?;
    check_item_name(&args[1], &second)?;
    Ok((first, Some(second)))
}
