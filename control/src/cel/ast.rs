//! What an expression is made of, once its macros are expanded.

/// A node. `id` counts the nodes, `at` is where it is told of.
#[derive(Clone, Debug)]
pub struct Expr {
    pub id: usize,
    pub at: usize,
    pub kind: Kind,
}

#[derive(Clone, Debug)]
pub enum Kind {
    /// What stands where the parser found an error.
    Broken,
    Literal(Literal),
    Ident(String),
    Select {
        operand: Box<Expr>,
        field: String,
        is_test: bool,
    },
    Call {
        function: String,
        target: Option<Box<Expr>>,
        args: Vec<Expr>,
    },
    List(Vec<Element>),
    Map(Vec<Entry>),
    Message {
        name: String,
        fields: Vec<Field>,
    },
    Fold(Box<Fold>),
}

#[derive(Clone, Debug, PartialEq)]
pub enum Literal {
    Bool(bool),
    Bytes(Vec<u8>),
    Double(f64),
    Int(i64),
    Null,
    String(String),
    Uint(u64),
}

#[derive(Clone, Debug)]
pub struct Element {
    pub value: Expr,
    pub is_optional: bool,
}

#[derive(Clone, Debug)]
pub struct Entry {
    pub key: Expr,
    pub value: Expr,
    pub is_optional: bool,
}

#[derive(Clone, Debug)]
pub struct Field {
    pub at: usize,
    pub name: String,
    pub value: Expr,
    pub is_optional: bool,
}

/// A comprehension: `step` is computed for each item of `range` while `condition` holds.
#[derive(Clone, Debug)]
pub struct Fold {
    pub range: Expr,
    pub item: String,
    pub second_item: Option<String>,
    pub accumulator: String,
    pub initial: Expr,
    pub condition: Expr,
    pub step: Expr,
    pub result: Expr,
}

impl Expr {
    /// The name that an identifier and selections on it spell.
    pub fn qualified_name(&self) -> Option<String> {
        match &self.kind {
            Kind::Ident(name) => Some(name.clone()),
            Kind::Select { operand, field, is_test: false } => {
                Some(format!("{}.{field}", operand.qualified_name()?))
            }
            _ => None,
        }
    }

    /// The nodes right below.
    pub fn children(&self) -> Vec<&Expr> {
        match &self.kind {
            Kind::Broken | Kind::Literal(_) | Kind::Ident(_) => Vec::new(),
            Kind::Select { operand, .. } => vec![&**operand],
            Kind::Call { target, args, .. } => target.as_deref().into_iter().chain(args).collect(),
            Kind::List(elements) => elements.iter().map(|element| &element.value).collect(),
            Kind::Map(entries) => entries.iter().flat_map(|it| [&it.key, &it.value]).collect(),
            Kind::Message { fields, .. } => fields.iter().map(|field| &field.value).collect(),
            Kind::Fold(fold) => {
                vec![&fold.range, &fold.initial, &fold.condition, &fold.step, &fold.result]
            }
        }
    }

    /// Calls `visit` for this node and all below it.
    pub fn walk<'a>(&'a self, visit: &mut dyn FnMut(&'a Expr)) {
        visit(self);
        for child in self.children() {
            child.walk(visit);
        }
    }
}
