//! Who manages the fields of an object, as a request has it: the pure rules of `patch::managers` get
//! their kind, their versions and their manager's name.

use std::borrow::Cow;

use http::header::USER_AGENT;
use jiff::Timestamp;
use serde_json::Value;

use crate::kinds::{AnyKind, KindInfo, Part, Registry, Subresource};
use crate::patch::apply::{Keep, Setting, Shape, Versions};
use crate::patch::managers::{self, Given, Write};
use crate::schema::schema;

use super::call::Call;
use super::write::{Current, Rules};

/// What a write of the containers for debugging may set.
const EPHEMERAL: &[&str] = &["spec.ephemeralContainers"];
/// What a resize may set.
const RESIZED: &[&str] = &[
    "spec.containers.*.resizePolicy",
    "spec.containers.*.resources",
    "spec.initContainers.*.resizePolicy",
    "spec.initContainers.*.resources",
    "spec.resources",
];

/// Who manages an object that is created.
pub fn created(call: &Call, new: &Value, given: &Given) -> Option<String> {
    let manager = manager(call);
    of_part(call, Part::Main, &manager, |write| managers::created(write, new, given)).flatten()
}

/// Who manages an object after an update. What others set past the rules has no manager.
pub fn updated(
    call: &Call,
    rules: Rules,
    current: &Current,
    given: &Given,
    new: &Value,
) -> Option<String> {
    let part = match rules {
        Rules::Main => Part::Main,
        Rules::Status => Part::Status,
        Rules::Sub(subresource) => Part::Sub(subresource),
        Rules::Raw if call.subresource() == Some(Subresource::Finalize.name()) => {
            Part::Sub(Subresource::Finalize)
        }
        Rules::Raw => return current.managers().map(str::to_owned),
    };
    // Managers are given with the main part alone.
    let given = if part == Part::Main { given } else { &Given::Nothing };
    let manager = manager(call);
    let live = current.managers();
    of_part(call, part, &manager, |write| {
        managers::updated(write, live, given, &current.value, new)
    })
    .flatten()
}

/// The manager's name: as the request gives it, or as its client is called.
pub fn manager(call: &Call) -> Cow<'_, str> {
    match call.query.text("fieldManager") {
        Some(name) => name.into(),
        None => {
            let agent = call.headers.get(USER_AGENT).map(|agent| agent.as_bytes());
            managers::of_user_agent(&String::from_utf8_lossy(agent.unwrap_or_default())).into()
        }
    }
}

/// Who manages an object that is written past the handlers: it has a manager as any other.
pub fn of_seed(
    kinds: &Registry,
    info: &KindInfo,
    manager: &str,
    now: Timestamp,
    new: &Value,
) -> Option<String> {
    let served = Served { kinds, info };
    served
        .write(Part::Main, manager, now, |write| managers::created(write, new, &Given::Nothing))
        .flatten()
}

/// Calls `make` with what a write of this part is. `None` where the schema does not know the kind.
pub fn of_part<T>(
    call: &Call,
    part: Part,
    manager: &str,
    make: impl FnOnce(Write<'_>) -> T,
) -> Option<T> {
    Served::of(call).write(part, manager, call.api.ambient().now(), make)
}

/// The same of a write of the scale.
pub fn of_scale<T>(call: &Call, manager: &str, make: impl FnOnce(Write<'_>) -> T) -> Option<T> {
    let form = Subresource::Scale.form(call.info());
    let setting = Setting {
        api_version: &format!("{}/{}", form.group, form.version),
        shape: Shape::of(schema().by_name(form.schema)?),
        versions: &Served::of(call),
        keep: Keep::AllBut(&[]),
    };
    let subresource = Subresource::Scale.name();
    Some(make(Write { setting, manager, subresource, now: call.api.ambient().now() }))
}

/// The versions of a kind that are served.
struct Served<'a> {
    kinds: &'a Registry,
    info: &'a KindInfo,
}

impl<'a> Served<'a> {
    fn of(call: &'a Call) -> Self {
        Self { kinds: &call.api.kinds, info: call.info() }
    }

    fn kind(&self, api_version: &str) -> Option<&'a dyn AnyKind> {
        let kind = self.kinds.of(api_version, self.info.kind)?;
        let same = kind.info().stored_resource() == self.info.stored_resource();
        same.then_some(kind.as_ref())
    }

    fn write<T>(
        &self,
        part: Part,
        manager: &str,
        now: Timestamp,
        make: impl FnOnce(Write<'_>) -> T,
    ) -> Option<T> {
        let paths = self.info.reset_paths(part);
        let (keep, subresource) = match part {
            Part::Main => (Keep::AllBut(&paths), ""),
            Part::Status => (Keep::AllBut(&paths), Subresource::Status.name()),
            Part::Sub(subresource) => {
                let keep = match subresource {
                    Subresource::EphemeralContainers => Keep::Only(EPHEMERAL),
                    Subresource::Resize => Keep::Only(RESIZED),
                    _ => Keep::AllBut(&paths),
                };
                (keep, subresource.name())
            }
        };
        let setting = Setting {
            api_version: &self.info.api_version(),
            shape: Shape::of(schema().by_name(self.info.schema)?),
            versions: self,
            keep,
        };
        Some(make(Write { setting, manager, subresource, now }))
    }
}

impl Versions for Served<'_> {
    fn shape(&self, api_version: &str) -> Option<Shape> {
        schema().by_name(self.kind(api_version)?.info().schema).map(Shape::of)
    }

    fn convert<'v>(&self, value: &'v Value, from: &str, to: &str) -> Option<Cow<'v, Value>> {
        if from == to {
            return Some(Cow::Borrowed(value));
        }
        let (from, to) = (self.kind(from)?, self.kind(to)?);
        Some(Cow::Owned(to.restore(from.to_stored(value.clone()))))
    }
}
