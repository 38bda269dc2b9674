//! A set of paths, as a tree whose nodes are in the order of the text form.
//!
//! Source: `fieldpath/set.go`.

use std::cmp::Ordering;

use super::element::{Element, Path};
use super::shape::Shape;

/// Every node is a member or has members below it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Set<'a> {
    nodes: Vec<Node<'a>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node<'a> {
    pub element: Element<'a>,
    /// Whether the path that ends here is in the set; the paths below it are in `children`.
    pub member: bool,
    pub children: Set<'a>,
}

/// Which fields a write can set at all: the others are put back by the kind's strategy, so nobody
/// comes to own them by writing them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep<'k> {
    /// All but these (`status`, `metadata.labels`) and what is below them.
    AllBut(&'k [String]),
    /// Only these and what is below them. `*` is any field or item.
    Only(&'k [&'k str]),
}

impl<'a> Set<'a> {
    pub const EMPTY: Self = Self { nodes: Vec::new() };

    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    pub fn nodes(&self) -> &[Node<'a>] {
        &self.nodes
    }

    pub fn get(&self, element: &Element<'_>) -> Option<&Node<'a>> {
        self.find(element).ok().map(|at| &self.nodes[at])
    }

    /// Of nodes in any order, the same element more than once perhaps.
    pub fn of_nodes(mut nodes: Vec<Node<'a>>) -> Self {
        nodes.retain(|node| node.member || !node.children.is_empty());
        if nodes.is_sorted_by(|left, right| left.element < right.element) {
            return Self { nodes };
        }
        nodes.sort_by(|left, right| left.element.cmp(&right.element));
        let mut set = Self::default();
        for node in nodes {
            set.put(node.element, node.member, node.children);
        }
        set
    }

    fn find(&self, element: &Element<'_>) -> Result<usize, usize> {
        // Most often what is looked for comes behind all that is there.
        match self.nodes.last() {
            None => Err(0),
            Some(last) if last.element < *element => Err(self.nodes.len()),
            Some(_) => self.nodes.binary_search_by(|node| node.element.cmp(element)),
        }
    }

    /// Whether this very path is in the set.
    pub fn has(&self, path: &[Element<'_>]) -> bool {
        let Some((first, rest)) = path.split_first() else { return false };
        self.get(first).is_some_and(|node| match rest {
            [] => node.member,
            rest => node.children.has(rest),
        })
    }

    /// Adds an element with what is below it. Nothing is added where there is nothing to add. Quick
    /// where it comes behind what is there.
    pub fn put(&mut self, element: Element<'a>, member: bool, children: Set<'a>) {
        if !member && children.is_empty() {
            return;
        }
        match self.find(&element) {
            Err(at) => self.nodes.insert(at, Node { element, member, children }),
            Ok(at) => {
                let known = &mut self.nodes[at];
                known.member |= member;
                if known.children.is_empty() {
                    known.children = children;
                } else if !children.is_empty() {
                    known.children = known.children.union(&children);
                }
            }
        }
    }

    pub fn insert(&mut self, path: &[Element<'a>]) {
        match path {
            [] => {}
            [last] => self.put(last.clone(), true, Set::default()),
            [first, rest @ ..] => {
                let mut below = Set::default();
                below.insert(rest);
                self.put(first.clone(), false, below);
            }
        }
    }

    /// A set of plain fields: `metadata.labels` and the like.
    pub fn of_fields(paths: impl IntoIterator<Item = &'a str>) -> Self {
        let mut set = Self::default();
        for path in paths {
            let path: Vec<_> = path.split('.').map(Element::field).collect();
            set.insert(&path);
        }
        set
    }

    /// Walks two sets side by side; `each` gets an element's node in the one and in the other.
    fn zip<'b>(
        &self,
        other: &Set<'b>,
        mut each: impl FnMut(Option<&Node<'a>>, Option<&Node<'b>>) -> Option<Node<'a>>,
    ) -> Set<'a> {
        let (mut left, mut right) = (self.nodes.iter().peekable(), other.nodes.iter().peekable());
        let mut nodes = Vec::with_capacity(self.nodes.len());
        loop {
            let order = match (left.peek(), right.peek()) {
                (None, None) => return Set { nodes },
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(left), Some(right)) => left.element.cmp(&right.element),
            };
            let made = match order {
                Ordering::Less => each(left.next(), None),
                Ordering::Greater => each(None, right.next()),
                Ordering::Equal => each(left.next(), right.next()),
            };
            nodes.extend(made);
        }
    }

    pub fn union(&self, other: &Set<'a>) -> Set<'a> {
        if other.is_empty() {
            return self.clone();
        }
        if self.is_empty() {
            return other.clone();
        }
        self.zip(other, |left, right| match (left, right) {
            (Some(left), Some(right)) => {
                let children = left.children.union(&right.children);
                Node::new(&left.element, left.member || right.member, children)
            }
            (one, other) => one.or(other).cloned(),
        })
    }

    pub fn intersection(&self, other: &Set<'_>) -> Set<'a> {
        if self.is_empty() || other.is_empty() {
            return Set::default();
        }
        self.zip(other, |left, right| {
            let (left, right) = (left?, right?);
            let children = left.children.intersection(&right.children);
            Node::new(&left.element, left.member && right.member, children)
        })
    }

    pub fn difference(&self, other: &Set<'_>) -> Set<'a> {
        self.clone().without(other)
    }

    /// The difference, of a set that nobody else needs.
    pub fn without(self, other: &Set<'_>) -> Set<'a> {
        self.less(other, false)
    }

    /// The difference, and without all that is below a path of `other`.
    pub fn without_below(self, other: &Set<'_>) -> Set<'a> {
        self.less(other, true)
    }

    fn less(self, other: &Set<'_>, below: bool) -> Set<'a> {
        if self.is_empty() || other.is_empty() {
            return self;
        }
        let nodes = self.nodes.into_iter().filter_map(|mut node| {
            let Some(gone) = other.get(&node.element) else { return Some(node) };
            if gone.member && below {
                return None;
            }
            node.member &= !gone.member;
            node.children = node.children.less(&gone.children, below);
            (node.member || !node.children.is_empty()).then_some(node)
        });
        Set { nodes: nodes.collect() }
    }

    pub fn kept(self, keep: Keep<'_>) -> Set<'a> {
        match keep {
            Keep::AllBut([]) => self,
            Keep::AllBut(paths) => {
                let paths = paths.iter().map(String::as_str);
                self.without_below(&Set::of_fields(paths))
            }
            Keep::Only(paths) => {
                let paths: Vec<Vec<&str>> =
                    paths.iter().map(|path| path.split('.').collect()).collect();
                let paths: Vec<&[&str]> = paths.iter().map(Vec::as_slice).collect();
                self.only(&paths)
            }
        }
    }

    fn only(&self, patterns: &[&[&str]]) -> Set<'a> {
        let mut nodes = Vec::new();
        for node in &self.nodes {
            let matches = |part: &str| match &node.element {
                _ if part == "*" => true,
                Element::Field(name) => name == part,
                _ => false,
            };
            let matching: Vec<&[&str]> = patterns
                .iter()
                .filter_map(|pattern| pattern.split_first())
                .filter(|(first, _)| matches(first))
                .map(|(_, rest)| rest)
                .collect();
            if matching.is_empty() {
                continue;
            }
            if matching.iter().any(|rest| rest.is_empty()) {
                nodes.push(node.clone());
                continue;
            }
            let children = node.children.only(&matching);
            nodes.extend(Node::new(&node.element, node.member, children));
        }
        Set { nodes }
    }

    /// The set with each named field of a struct on the way to a member as a member too, so that
    /// what is taken away leaves no empty struct behind.
    pub fn with_named_fields(&self, shape: Shape) -> Set<'a> {
        let nodes = self.nodes.iter().map(|node| {
            let declared = shape.declares(&node.element);
            let below = shape.below(&node.element);
            let children = match below {
                Some(below) => node.children.with_named_fields(below),
                None => node.children.clone(),
            };
            let member = node.member || (declared && !node.children.is_empty());
            Node { element: node.element.clone(), member, children }
        });
        Set { nodes: nodes.collect() }
    }

    /// The set as the schema of today has it: where a part has become atomic since, it is owned as
    /// a whole. `None`: as it is.
    pub fn reconciled(&self, shape: Shape) -> Option<Set<'a>> {
        let mut nodes: Option<Vec<Node<'a>>> = None;
        for (at, node) in self.nodes.iter().enumerate() {
            if node.children.is_empty() {
                continue;
            }
            let Some(below) = shape.below(&node.element) else { continue };
            let (member, children) = if below.is_atomic() {
                (true, Set::default())
            } else {
                let Some(children) = node.children.reconciled(below) else { continue };
                (node.member, children)
            };
            let nodes = nodes.get_or_insert_with(|| self.nodes.clone());
            nodes[at] = Node { element: node.element.clone(), member, children };
        }
        nodes.map(|nodes| Set { nodes })
    }

    /// All paths: those of a level before those below it.
    pub fn paths(&self) -> Vec<Path<'a>> {
        let mut paths = Vec::new();
        self.walk(&mut Vec::new(), &mut paths);
        paths
    }

    fn walk(&self, prefix: &mut Vec<Element<'a>>, paths: &mut Vec<Path<'a>>) {
        let end = |prefix: &[Element<'a>], node: &Node<'a>| {
            Path(prefix.iter().chain([&node.element]).cloned().collect())
        };
        paths.extend(self.nodes.iter().filter(|node| node.member).map(|node| end(prefix, node)));
        for node in &self.nodes {
            prefix.push(node.element.clone());
            node.children.walk(prefix, paths);
            prefix.pop();
        }
    }
}

impl<'a> Node<'a> {
    fn new(element: &Element<'a>, member: bool, children: Set<'a>) -> Option<Self> {
        let here = member || !children.is_empty();
        here.then(|| Self { element: element.clone(), member, children })
    }
}
