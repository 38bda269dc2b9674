//! What a kind is called, and what holds for it always.

use std::time::Duration;

use serde_json::Value;

use super::Subresource;

/// Whether objects live in a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    Namespaced,
    Cluster,
}

/// What names a kind may bear. Source: `k8s.io/apimachinery/pkg/api/validation`.
#[derive(Clone, Copy, Debug)]
pub enum NameRule {
    /// RFC 1123 subdomain, at most 253 characters: most kinds.
    Subdomain,
    /// RFC 1123 label, at most 63 characters: namespaces.
    Label,
    /// A service's name: a DNS label (1.36 admits a leading digit).
    ServiceLabel,
    /// Anything that is one path segment: RBAC.
    PathSegment,
    /// A rule of the kind's own: the problems of a name, in upstream's words.
    Custom(fn(&str) -> Vec<String>),
}

/// How a kind is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storage {
    /// In the store, under its own resource.
    Own,
    /// In the store, under another resource's keys and in that kind's form (`to_stored`):
    /// `events.k8s.io` events are stored as core events.
    As { resource: &'static str },
    /// Not kept: a create computes an answer (`review`), or all objects are (`computed`).
    Virtual,
}

/// What may be done with a collection and its objects, as discovery lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verbs {
    All,
    /// Namespaces go one by one.
    AllButDeleteCollection,
    /// Component statuses.
    ReadOnly,
    /// What is not kept.
    Create,
}

impl Verbs {
    /// Their names, in alphabetical order.
    pub const fn names(self) -> &'static [&'static str] {
        match self {
            Self::All => {
                &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
            }
            Self::AllButDeleteCollection => {
                &["create", "delete", "get", "list", "patch", "update", "watch"]
            }
            Self::ReadOnly => &["get", "list"],
            Self::Create => &["create"],
        }
    }
}

/// How `metadata.generation` moves. Source: each strategy's PrepareForCreate and PrepareForUpdate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generation {
    /// The kind has none.
    None,
    /// 1 at the start, one more with each change of anything but metadata and status.
    Raised,
    /// 1 for ever: priority classes.
    Once,
    /// Absent at the start, raised as the others: CSI drivers.
    RaisedFromNothing,
}

/// What becomes of the dependents when a deletion does not say (DefaultGarbageCollectionPolicy).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dependents {
    /// They are deleted in the background.
    Deleted,
    /// They are orphaned: jobs and replication controllers.
    Orphaned,
    /// The garbage collector leaves the kind alone: events.
    Ignored,
}

/// Fields that a write of one part may not set and never owns (upstream's GetResetFields).
#[derive(Clone, Copy, Debug)]
pub struct Reset {
    pub part: Part,
    /// Such as `status` or `metadata.labels`.
    pub paths: &'static [&'static str],
}

/// The names and the constant properties of a kind.
#[derive(Clone, Copy, Debug)]
pub struct KindInfo {
    pub group: &'static str,
    pub version: &'static str,
    pub kind: &'static str,
    /// The plural, as in the path.
    pub resource: &'static str,
    pub singular: &'static str,
    pub short_names: &'static [&'static str],
    pub categories: &'static [&'static str],
    pub scope: Scope,
    pub names: NameRule,
    pub storage: Storage,
    pub subresources: &'static [Subresource],
    /// The name in upstream's OpenAPI, such as `io.k8s.api.core.v1.Pod`: the key to its schema.
    pub schema: &'static str,
    pub verbs: Verbs,
    pub generation: Generation,
    /// Whether updates without a resourceVersion are allowed (upstream's AllowUnconditionalUpdate).
    pub unconditional_update: bool,
    /// Whether a PUT to a name that does not exist creates it (leases, events, endpoints: upstream's AllowCreateOnUpdate).
    pub create_on_update: bool,
    /// Grace in seconds that a graceful deletion gets without an option; only pods have one.
    pub graceful_deletion: bool,
    /// Whether the problems of an update's changes are told before those of the new object.
    pub change_first: bool,
    /// Whether a deletion answers the object instead of a `Status` (ReturnDeletedObject).
    pub returns_deleted: bool,
    pub dependents: Dependents,
    /// Whether a create keeps the status that was sent: a node registers with its status.
    pub keeps_status_on_create: bool,
    /// Whether a write has fields whose managers are found before it is prepared: what is filled in
    /// then belongs to nobody, what is dropped to whoever sent it.
    pub managed_as_sent: bool,
    /// Metadata that a write of the status may not change.
    pub fixed_by_status: &'static [&'static str],
    /// Where the rule that status and the rest are written apart does not say it all.
    pub resets: &'static [Reset],
    /// How long an object lives after its last write.
    pub time_to_live: Option<Duration>,
    /// Names that selectable fields bore once, and bear today (AddFieldLabelConversionFunc).
    pub field_aliases: &'static [(&'static str, &'static str)],
    /// What is missing of the kind besides its API: whoever creates one is told.
    pub not_yet: Option<&'static str>,
    /// What everyone is told who uses the kind: it has a successor (APILifecycleDeprecated).
    pub deprecation: Option<&'static str>,
    /// What everyone is told who deletes one without saying what becomes of its dependents.
    pub deletion_warning: Option<&'static str>,
    /// What the rows of its table are sorted by before the name.
    pub row_order: Option<fn(&Value) -> i64>,
}

/// What ResetObjectMetaForStatus puts back: for `fixed_by_status`.
pub const USER_METADATA: &[&str] = &["annotations", "finalizers", "labels", "ownerReferences"];

impl KindInfo {
    /// A namespaced, stored kind with nothing special: name what differs with `..`.
    pub const fn namespaced(
        group: &'static str,
        version: &'static str,
        kind: &'static str,
        resource: &'static str,
        singular: &'static str,
        schema: &'static str,
    ) -> Self {
        Self {
            group,
            version,
            kind,
            resource,
            singular,
            short_names: &[],
            categories: &[],
            scope: Scope::Namespaced,
            names: NameRule::Subdomain,
            storage: Storage::Own,
            subresources: &[],
            schema,
            verbs: Verbs::All,
            generation: Generation::None,
            unconditional_update: true,
            create_on_update: false,
            graceful_deletion: false,
            change_first: false,
            managed_as_sent: false,
            returns_deleted: false,
            dependents: Dependents::Deleted,
            keeps_status_on_create: false,
            fixed_by_status: &[],
            resets: &[],
            time_to_live: None,
            field_aliases: &[],
            not_yet: None,
            deprecation: None,
            deletion_warning: None,
            row_order: None,
        }
    }

    /// The same for a kind without namespaces.
    pub const fn cluster(
        group: &'static str,
        version: &'static str,
        kind: &'static str,
        resource: &'static str,
        singular: &'static str,
        schema: &'static str,
    ) -> Self {
        Self {
            scope: Scope::Cluster,
            ..Self::namespaced(group, version, kind, resource, singular, schema)
        }
    }

    /// A namespaced kind that is not kept: a create computes an answer.
    pub const fn computed(
        group: &'static str,
        version: &'static str,
        kind: &'static str,
        resource: &'static str,
        singular: &'static str,
        schema: &'static str,
    ) -> Self {
        Self {
            storage: Storage::Virtual,
            verbs: Verbs::Create,
            ..Self::namespaced(group, version, kind, resource, singular, schema)
        }
    }

    /// `v1`, or `apps/v1`.
    pub fn api_version(&self) -> String {
        match self.group {
            "" => self.version.to_owned(),
            group => format!("{group}/{}", self.version),
        }
    }

    /// `pods`, or `deployments.apps`: the first part of its store keys.
    pub fn group_resource(&self) -> String {
        match self.group {
            "" => self.resource.to_owned(),
            group => format!("{}.{group}", self.resource),
        }
    }

    /// Where its objects are stored: its own resource unless it shares another's.
    pub fn stored_resource(&self) -> String {
        match self.storage {
            Storage::As { resource } => resource.to_owned(),
            Storage::Own | Storage::Virtual => self.group_resource(),
        }
    }

    pub fn has(&self, subresource: Subresource) -> bool {
        self.subresources.contains(&subresource)
    }

    pub fn is_namespaced(&self) -> bool {
        self.scope == Scope::Namespaced
    }

    /// The paths that a write of this part neither sets nor owns.
    pub fn reset_paths(&self, part: Part) -> Vec<String> {
        if let Some(reset) = self.resets.iter().find(|reset| reset.part == part) {
            return reset.paths.iter().map(|path| (*path).to_owned()).collect();
        }
        match part {
            Part::Main if self.has(Subresource::Status) => vec!["status".to_owned()],
            Part::Status if self.fixed_by_status == USER_METADATA => {
                vec!["metadata".to_owned(), "spec".to_owned()]
            }
            Part::Status => {
                let fixed = self.fixed_by_status.iter().map(|field| format!("metadata.{field}"));
                fixed.chain(["spec".to_owned()]).collect()
            }
            Part::Main | Part::Sub(_) => Vec::new(),
        }
    }

    /// The name that a selectable field bears today.
    pub fn field<'a>(&self, label: &'a str) -> &'a str {
        let known = self.field_aliases.iter().find(|(old, _)| *old == label);
        known.map_or(label, |(_, new)| *new)
    }
}

/// Which part of an object a request writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Main,
    Status,
    /// Another subresource that writes a part of the object: approval, resize.
    Sub(Subresource),
}

/// A column of the Table form. `priority` 0 is shown always, 1 with `-o wide`.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    pub name: &'static str,
    /// `string`, `integer`, `date`, `boolean` or `number`.
    pub kind: &'static str,
    /// `name` for the name column, else empty.
    pub format: &'static str,
    pub priority: u8,
    pub description: &'static str,
}

impl Column {
    pub const NAME: Self = Self {
        name: "Name",
        kind: "string",
        format: "name",
        priority: 0,
        description: "The object's name, unique among its kind within the namespace.",
    };
    pub const AGE: Self = Self::new("Age", "string", 0, "Time since the object was created.");

    /// What upstream shows of kinds without columns of their own.
    pub const CREATED_AT: Self = Self::new("Created At", "date", 0, "When the object was created.");

    pub const fn new(
        name: &'static str,
        kind: &'static str,
        priority: u8,
        description: &'static str,
    ) -> Self {
        Self { name, kind, format: "", priority, description }
    }
}
