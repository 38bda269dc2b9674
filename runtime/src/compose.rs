//! Composition, decided: which import of a container another container of its sandbox gives, and whether both mean the
//! same by it. What a call does is in `neighbours.rs`.
//!
//! What the host offers is the host's, whoever else exports it. Types are compared as text: they are structural, and a
//! difference can be shown. Values cross between two stores by copy; resources of the interfaces that one container
//! gives cross as proxies; futures, streams and resources of other interfaces cannot cross.

use std::fmt;
use std::sync::Arc;

use wasmtime::Engine;
use wasmtime::component::types::{ComponentFunc, ComponentInstance, ComponentItem, Type};
use wasmtime::component::{Component, ResourceType};

use crate::artifact::Artifact;
use crate::host;
use crate::imports::{self, Name, Offer};

/// How deep a type may be nested, and how long its text may be.
const TYPE_DEPTH_MAX: usize = 64;
const TYPE_TEXT_MAX: usize = 64 * 1024;
/// Resources of a component that are told apart; further ones cannot cross.
const RESOURCES_MAX: usize = 1000;

/// An import of a container that nobody gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnmetImport {
    /// The interface with its version, or the bare function.
    pub name: String,
    pub why: Unmet,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unmet {
    /// Nobody offers it; the text names what comes nearest.
    Missing { nearest: String },
    /// A container exports it, but not as it is wanted.
    Different { container: String, how: String },
    /// More than one container exports it.
    Ambiguous { containers: Vec<String> },
}

impl fmt::Display for UnmetImport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (", self.name)?;
        match &self.why {
            Unmet::Missing { nearest } => f.write_str(nearest)?,
            Unmet::Different { container, how } => {
                write!(f, "container {container} exports it otherwise: {how}")?;
            }
            Unmet::Ambiguous { containers } => {
                write!(f, "more than one container exports it: {}", containers.join(", "))?;
            }
        }
        f.write_str(")")
    }
}

/// What an artifact imports from other containers.
#[derive(Debug, Default)]
pub(crate) struct Links {
    pub(crate) providers: Vec<Provider>,
    pub(crate) interfaces: Vec<Link>,
    pub(crate) calls: Vec<Call>,
    pub(crate) resources: Vec<Proxied>,
}

/// A container that is called; its place among the others is that of its instance in the caller's store.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Provider {
    pub(crate) container: String,
    pub(crate) digest: String,
}

/// What tells one composition of an artifact from another: import, export and provider of each link.
pub(crate) type Key = Vec<(String, String, Provider)>;

/// An interface that a provider gives.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) import: String,
    pub(crate) export: String,
    pub(crate) provider: usize,
}

/// A function of a [`Link`].
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) link: usize,
    pub(crate) function: String,
    /// Whether handles of resources are among its parameters or results.
    pub(crate) handles: bool,
}

/// A resource of a [`Link`]; its place is the number of its type in the caller's linker.
#[derive(Debug)]
pub(crate) struct Proxied {
    pub(crate) link: usize,
    pub(crate) name: String,
    /// Another interface's under a second name: the place of the first.
    pub(crate) same_as: Option<usize>,
}

impl Links {
    pub(crate) fn key(&self) -> Key {
        let key = |link: &Link| {
            let provider = self.providers[link.provider].clone();
            (link.import.clone(), link.export.clone(), provider)
        };
        self.interfaces.iter().map(key).collect()
    }
}

/// What a component must be given beyond what the host offers. An interface of types alone needs no giver.
pub(crate) fn wants(component: &Component) -> Vec<String> {
    let engine = component.engine();
    let mut seen = Resources::default();
    let mut wants = Vec::new();
    for (name, import) in component.component_type().imports(engine) {
        let before = seen.0.len();
        seen.add(engine, name, &import.ty);
        let is_needed = match &import.ty {
            ComponentItem::ComponentInstance(instance) => {
                seen.0.len() > before
                    || instance.exports(engine).any(|(_, item)| {
                        !matches!(item.ty, ComponentItem::Type(_) | ComponentItem::Resource(_))
                    })
            }
            ComponentItem::Type(_) => false,
            _ => true,
        };
        if is_needed && !is_offered(name) {
            wants.push(name.to_owned());
        }
    }
    wants
}

fn is_offered(import: &str) -> bool {
    let name = Name::parse(import);
    name.version.is_some_and(|version| {
        host::offered().any(|(interface, offered)| {
            interface == name.interface && imports::fits(version, offered)
        })
    })
}

/// Finds a giver among `others` for everything that `artifact` wants, by name, or says what is unmet.
pub(crate) fn plan(
    artifact: &Artifact,
    others: &[(&str, &Artifact)],
) -> Result<Links, Vec<UnmetImport>> {
    let mut links = Links::default();
    let mut unmet = Vec::new();
    for want in artifact.wants() {
        match giver(artifact, want, others) {
            Ok((container, provider, export)) => {
                links.add(want, container, provider, export);
            }
            Err(why) => unmet.push(UnmetImport { name: want.clone(), why }),
        }
    }
    if unmet.is_empty() { Ok(links) } else { Err(unmet) }
}

fn giver<'a>(
    artifact: &Artifact,
    want: &str,
    others: &[(&'a str, &'a Artifact)],
) -> Result<(&'a str, &'a Artifact, &'a str), Unmet> {
    let is_interface = matches!(
        item(&artifact.component(), want, Side::Import),
        Some(ComponentItem::ComponentInstance(_))
    );
    let mut givers = Vec::new();
    for (container, other) in others {
        let export = other.exports().iter().find(|export| imports::is_same(want, export));
        givers
            .extend(export.filter(|_| is_interface).map(|export| (*container, *other, &**export)));
    }
    match givers[..] {
        [giver] => Ok(giver),
        [] => Err(Unmet::Missing { nearest: nearest(artifact, want, others) }),
        _ => {
            let containers = givers.iter().map(|(container, ..)| (*container).to_owned()).collect();
            Err(Unmet::Ambiguous { containers })
        }
    }
}

/// What comes next to what is wanted, which none of the others gives. What it exports itself is for others.
fn nearest(artifact: &Artifact, want: &str, others: &[(&str, &Artifact)]) -> String {
    match want.contains('/') && artifact.gives(want) {
        true => "only this container itself exports it, and none imports from itself".to_owned(),
        false => imports::nearest(want, &offers(others)),
    }
}

fn offers(others: &[(&str, &Artifact)]) -> Vec<Offer> {
    let exports = others.iter().flat_map(|(container, other)| {
        let interfaces = other.exports().iter().filter(|export| export.contains('/'));
        interfaces.map(|export| Offer { name: export.clone(), by: Some((*container).to_owned()) })
    });
    let host = host::offered()
        .map(|(interface, version)| Offer { name: format!("{interface}@{version}"), by: None });
    exports.chain(host).collect()
}

impl Links {
    fn add(&mut self, want: &str, container: &str, provider: &Artifact, export: &str) {
        let provider =
            Provider { container: container.to_owned(), digest: provider.digest().to_owned() };
        let place = self.providers.iter().position(|held| *held == provider);
        let place = place.unwrap_or_else(|| {
            self.providers.push(provider);
            self.providers.len() - 1
        });
        self.interfaces.push(Link {
            import: want.to_owned(),
            export: export.to_owned(),
            provider: place,
        });
    }

    /// Fills in the functions and resources of every link, which both sides must mean alike.
    pub(crate) fn compare(
        &mut self,
        artifact: &Artifact,
        others: &[(&str, &Artifact)],
    ) -> Result<(), Vec<UnmetImport>> {
        let wanted = Resources::of(&artifact.component(), Side::Import);
        let mut unmet = Vec::new();
        for place in 0..self.interfaces.len() {
            let provider = &self.providers[self.interfaces[place].provider];
            let other = others.iter().find(|(container, _)| *container == provider.container);
            let Some((container, other)) = other else { continue };
            if let Err(how) = self.compare_one(place, artifact, &wanted, other) {
                let name = self.interfaces[place].import.clone();
                let container = (*container).to_owned();
                unmet.push(UnmetImport { name, why: Unmet::Different { container, how } });
            }
        }
        if unmet.is_empty() { Ok(()) } else { Err(unmet) }
    }

    fn compare_one(
        &mut self,
        place: usize,
        artifact: &Artifact,
        wanted: &Resources,
        other: &Artifact,
    ) -> Result<(), String> {
        let link = &self.interfaces[place];
        let (mine, theirs) = (artifact.component(), other.component());
        let given = Resources::of(&theirs, Side::Export);
        let instance = instance(&mine, &link.import, Side::Import).ok_or("it is no interface")?;
        let exported = self::instance(&theirs, &link.export, Side::Export);
        let exported = exported.ok_or("it is no interface there")?;
        let from_here: Vec<&str> = self
            .interfaces
            .iter()
            .filter(|other| other.provider == link.provider)
            .map(|link| link.import.as_str())
            .collect();
        let (mut calls, mut resources) = (Vec::new(), Vec::new());
        for (name, item) in instance.exports(mine.engine()) {
            match (&item.ty, exported.get_export(theirs.engine(), name).map(|item| item.ty)) {
                (
                    ComponentItem::ComponentFunc(wants),
                    Some(ComponentItem::ComponentFunc(gives)),
                ) => {
                    let (wants, crossing) = signature(wants, wanted)?;
                    let (gives, _) = signature(&gives, &given)?;
                    if wants != gives {
                        return Err(format!("wanted is {name}: {wants}, there is {name}: {gives}"));
                    }
                    if let Some(foreign) =
                        crossing.iter().find(|owner| !from_here.contains(&owner.interface.as_str()))
                    {
                        return Err(format!(
                            "{name} passes {} of {}, a resource that this container does not give",
                            foreign.name, foreign.interface
                        ));
                    }
                    calls.push(Call {
                        link: place,
                        function: name.to_owned(),
                        handles: !crossing.is_empty(),
                    });
                }
                (ComponentItem::Resource(wants), Some(ComponentItem::Resource(_))) => {
                    resources.push((name.to_owned(), *wants));
                }
                (ComponentItem::Type(_), _) => {}
                (_, Some(_)) => return Err(format!("{name} is of another kind there")),
                (_, None) => return Err(format!("it has no {name} there")),
            }
        }
        self.calls.extend(calls);
        for (name, ty) in resources {
            let owner = wanted.find(ty);
            let same_as = self.resources.iter().position(|held| {
                owner.is_some_and(|owner| {
                    owner.name == held.name
                        && owner.interface == self.interfaces[held.link].import
                        && owner.interface != self.interfaces[place].import
                })
            });
            self.resources.push(Proxied { link: place, name, same_as });
        }
        Ok(())
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Import,
    Export,
}

fn item(component: &Component, name: &str, side: Side) -> Option<ComponentItem> {
    let ty = component.component_type();
    let found = match side {
        Side::Import => ty.get_import(component.engine(), name),
        Side::Export => ty.get_export(component.engine(), name),
    };
    found.map(|found| found.ty)
}

fn instance(component: &Component, name: &str, side: Side) -> Option<ComponentInstance> {
    match item(component, name, side)? {
        ComponentItem::ComponentInstance(instance) => Some(instance),
        _ => None,
    }
}

/// Which interface each resource comes from: the first that names it.
#[derive(Default)]
struct Resources(Vec<(ResourceType, Owner)>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Owner {
    interface: String,
    name: String,
}

impl Resources {
    fn of(component: &Component, side: Side) -> Resources {
        let engine = component.engine();
        let ty = component.component_type();
        let mut resources = Resources::default();
        for (name, import) in ty.imports(engine) {
            resources.add(engine, name, &import.ty);
        }
        if side == Side::Export {
            for (name, export) in ty.exports(engine) {
                resources.add(engine, name, &export.ty);
            }
        }
        resources
    }

    fn add(&mut self, engine: &Engine, interface: &str, item: &ComponentItem) {
        let ComponentItem::ComponentInstance(instance) = item else { return };
        for (name, item) in instance.exports(engine) {
            if let ComponentItem::Resource(ty) = item.ty
                && self.0.len() < RESOURCES_MAX
                && self.find(ty).is_none()
            {
                let owner = Owner { interface: interface.to_owned(), name: name.to_owned() };
                self.0.push((ty, owner));
            }
        }
    }

    fn find(&self, ty: ResourceType) -> Option<&Owner> {
        self.0.iter().find(|(held, _)| *held == ty).map(|(_, owner)| owner)
    }
}

/// A function's type as text, and the resources whose handles it passes. An error names what cannot cross at all.
fn signature(
    function: &ComponentFunc,
    resources: &Resources,
) -> Result<(String, Vec<Owner>), String> {
    let mut writer = Writer { text: String::new(), resources, crossing: Vec::new() };
    writer.text.push_str(if function.async_() { "async func(" } else { "func(" });
    writer.list(function.params(), |writer, (name, ty)| writer.named(name, &ty, 0))?;
    writer.text.push(')');
    for result in function.results() {
        writer.text.push_str(" -> ");
        writer.ty(&result, 0)?;
    }
    Ok((writer.text, writer.crossing))
}

/// What of a function's type cannot leave its instance at all, where there is something.
pub(crate) fn bound_to_its_instance(function: &ComponentFunc) -> Option<String> {
    let resources = Resources::default();
    match signature(function, &resources) {
        Err(what) => Some(what),
        Ok((_, crossing)) => (!crossing.is_empty()).then(|| "it passes resources".to_owned()),
    }
}

struct Writer<'a> {
    text: String,
    resources: &'a Resources,
    crossing: Vec<Owner>,
}

impl Writer<'_> {
    fn list<T>(
        &mut self,
        items: impl IntoIterator<Item = T>,
        mut write: impl FnMut(&mut Self, T) -> Result<(), String>,
    ) -> Result<(), String> {
        for (place, item) in items.into_iter().enumerate() {
            if place > 0 {
                self.text.push_str(", ");
            }
            write(self, item)?;
        }
        Ok(())
    }

    fn named(&mut self, name: &str, ty: &Type, depth: usize) -> Result<(), String> {
        self.text.push_str(name);
        self.text.push_str(": ");
        self.ty(ty, depth)
    }

    fn within(&mut self, word: &str, ty: Option<&Type>, depth: usize) -> Result<(), String> {
        self.text.push_str(word);
        self.text.push('<');
        match ty {
            Some(ty) => self.ty(ty, depth)?,
            None => self.text.push('_'),
        }
        self.text.push('>');
        Ok(())
    }

    fn handle(&mut self, word: &str, ty: ResourceType) {
        let owner = match self.resources.find(ty) {
            Some(owner) => owner.clone(),
            None => Owner { interface: "?".to_owned(), name: "?".to_owned() },
        };
        // Without the version: the two sides may differ in it.
        let interface = Name::parse(&owner.interface).interface;
        self.text.push_str(&format!("{word}<{interface}.{}>", owner.name));
        if !self.crossing.contains(&owner) {
            self.crossing.push(owner);
        }
    }

    fn ty(&mut self, ty: &Type, depth: usize) -> Result<(), String> {
        if depth > TYPE_DEPTH_MAX || self.text.len() > TYPE_TEXT_MAX {
            return Err("its types are too large to be compared".to_owned());
        }
        let depth = depth + 1;
        let word = match ty {
            Type::Bool => "bool",
            Type::S8 => "s8",
            Type::U8 => "u8",
            Type::S16 => "s16",
            Type::U16 => "u16",
            Type::S32 => "s32",
            Type::U32 => "u32",
            Type::S64 => "s64",
            Type::U64 => "u64",
            Type::Float32 => "f32",
            Type::Float64 => "f64",
            Type::Char => "char",
            Type::String => "string",
            Type::List(list) => return self.within("list", Some(&list.ty()), depth),
            Type::Option(option) => return self.within("option", Some(&option.ty()), depth),
            Type::Map(map) => {
                self.within("map-from", Some(&map.key()), depth)?;
                return self.within("to", Some(&map.value()), depth);
            }
            Type::Result(result) => {
                self.within("result", result.ok().as_ref(), depth)?;
                return self.within("or", result.err().as_ref(), depth);
            }
            Type::Record(record) => {
                self.text.push_str("record { ");
                self.list(record.fields(), |writer, field| {
                    writer.named(field.name, &field.ty, depth)
                })?;
                " }"
            }
            Type::Tuple(tuple) => {
                self.text.push_str("tuple<");
                self.list(tuple.types(), |writer, ty| writer.ty(&ty, depth))?;
                ">"
            }
            Type::Variant(variant) => {
                self.text.push_str("variant { ");
                self.list(variant.cases(), |writer, case| match &case.ty {
                    Some(ty) => writer.named(case.name, ty, depth),
                    None => {
                        writer.text.push_str(case.name);
                        Ok(())
                    }
                })?;
                " }"
            }
            Type::Enum(names) => {
                let names: Vec<_> = names.names().collect();
                self.text.push_str(&format!("enum {{ {} }}", names.join(", ")));
                ""
            }
            Type::Flags(names) => {
                let names: Vec<_> = names.names().collect();
                self.text.push_str(&format!("flags {{ {} }}", names.join(", ")));
                ""
            }
            Type::Own(resource) => {
                self.handle("own", *resource);
                ""
            }
            Type::Borrow(resource) => {
                self.handle("borrow", *resource);
                ""
            }
            // Its length cannot be seen.
            Type::FixedLengthList(_) => return Err("it passes a list of fixed length".to_owned()),
            Type::Future(_) => return Err("it passes a future".to_owned()),
            Type::Stream(_) => return Err("it passes a stream".to_owned()),
            Type::ErrorContext => return Err("it passes an error-context".to_owned()),
        };
        self.text.push_str(word);
        Ok(())
    }
}

/// The way along which `start` would wait for itself, where each of these containers waits for those that export what
/// it wants.
pub fn cycle(start: usize, artifacts: &[Option<Arc<Artifact>>]) -> Option<Vec<usize>> {
    let mut way = vec![start];
    let mut visited = vec![false; artifacts.len()];
    walk(start, start, artifacts, &mut visited, &mut way).then_some(way)
}

fn walk(
    from: usize,
    start: usize,
    artifacts: &[Option<Arc<Artifact>>],
    visited: &mut [bool],
    way: &mut Vec<usize>,
) -> bool {
    let Some(artifact) = artifacts.get(from).and_then(Option::as_ref) else { return false };
    for (next, other) in artifacts.iter().enumerate() {
        let gives = |other: &Arc<Artifact>| artifact.wants().iter().any(|want| other.gives(want));
        if next == from || !other.as_ref().is_some_and(gives) {
            continue;
        }
        if next == start {
            return true;
        }
        if !std::mem::replace(&mut visited[next], true) {
            way.push(next);
            if walk(next, start, artifacts, visited, way) {
                return true;
            }
            way.pop();
        }
    }
    false
}
