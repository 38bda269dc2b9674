//! Which operations the kinds offer: from the registry alone, in no version of OpenAPI yet.

use super::components::{PATCH, meta};
use crate::kinds::{KindInfo, Scope, Subresource, Verbs};

/// One method of one path.
#[derive(Clone, Debug)]
pub(super) struct Operation {
    pub path: String,
    /// Of the whole path: its place-holders.
    pub place_holders: Vec<Parameter>,
    pub method: &'static str,
    /// `x-kubernetes-action`.
    pub action: &'static str,
    pub id: String,
    pub tag: String,
    pub description: String,
    /// `x-kubernetes-group-version-kind`: group, version, kind.
    pub gvk: [String; 3],
    pub parameters: Vec<Parameter>,
    pub body: Option<Body>,
    pub answers: Vec<u16>,
    /// The schema of the answers; `None` is plain text.
    pub answer: Option<String>,
}

impl Operation {
    /// The names of the types that it reads and writes.
    pub fn schemas(&self) -> impl Iterator<Item = &str> {
        let body = self.body.as_ref().map(Body::schema);
        body.into_iter().chain(self.answer.as_deref())
    }
}

#[derive(Clone, Debug)]
pub(super) enum Body {
    Object(String),
    /// `DeleteOptions`, which may be left out.
    Options(String),
    Patch,
}

impl Body {
    pub fn schema(&self) -> &str {
        match self {
            Self::Object(name) | Self::Options(name) => name,
            Self::Patch => PATCH,
        }
    }
}

/// A parameter in the path or in the query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Parameter {
    pub name: &'static str,
    pub kind: &'static str,
    pub in_path: bool,
    pub description: &'static str,
}

const fn query(name: &'static str, kind: &'static str, description: &'static str) -> Parameter {
    Parameter { name, kind, in_path: false, description }
}

const fn in_path(name: &'static str, description: &'static str) -> Parameter {
    Parameter { name, kind: "string", in_path: true, description }
}

const PRETTY: Parameter = query("pretty", "string", "If 'true', the output is pretty printed.");
const DRY_RUN: Parameter = query(
    "dryRun",
    "string",
    "When present, modifications are not persisted. Valid values are: All (all dry run stages are processed).",
);
const FIELD_MANAGER: Parameter =
    query("fieldManager", "string", "The name of the actor that makes these changes.");
const FIELD_VALIDATION: Parameter = query(
    "fieldValidation",
    "string",
    "What to do with unknown and duplicate fields: Ignore, Warn or Strict.",
);
const FORCE: Parameter =
    query("force", "boolean", "Whether an apply takes fields over from other managers.");
const NAMESPACE: Parameter = in_path("namespace", "The namespace of the object.");
const NAME: Parameter = in_path("name", "The name of the object.");
const METHODS: [&str; 7] = ["delete", "get", "head", "options", "patch", "post", "put"];
const PROXY_PATH: Parameter = in_path("path", "The path to the resource behind the proxy.");

const WRITE: [Parameter; 3] = [DRY_RUN, FIELD_MANAGER, FIELD_VALIDATION];
const APPLY: [Parameter; 4] = [DRY_RUN, FIELD_MANAGER, FIELD_VALIDATION, FORCE];
const DELETE: [Parameter; 5] = [
    DRY_RUN,
    query("gracePeriodSeconds", "integer", "The seconds that the object has before it is deleted."),
    query(
        "ignoreStoreReadErrorWithClusterBreakingPotential",
        "boolean",
        "Whether to delete an object that cannot be read.",
    ),
    query("orphanDependents", "boolean", "Deprecated: use propagationPolicy."),
    query(
        "propagationPolicy",
        "string",
        "What becomes of dependents: Orphan, Background or Foreground.",
    ),
];
const SELECT: [Parameter; 10] = [
    query("allowWatchBookmarks", "boolean", "Whether a watch gets events of type BOOKMARK."),
    query("continue", "string", "Where to go on with a list that came in chunks."),
    query("fieldSelector", "string", "Selects objects by their fields."),
    query("labelSelector", "string", "Selects objects by their labels."),
    query("limit", "integer", "The most objects that one answer holds."),
    query("resourceVersion", "string", "How recent the answer must be."),
    query("resourceVersionMatch", "string", "How resourceVersion is applied to lists."),
    query("sendInitialEvents", "boolean", "Whether a watch begins with the objects that exist."),
    query("timeoutSeconds", "integer", "How long a list or watch may last."),
    query("watch", "boolean", "Whether to watch for changes instead of listing."),
];
const LOG: [Parameter; 9] = [
    query("container", "string", "The container; may be left out where there is one only."),
    query("follow", "boolean", "Whether to follow the log."),
    query(
        "insecureSkipTLSVerifyBackend",
        "boolean",
        "Whether to skip the verification of the node's certificate.",
    ),
    query("limitBytes", "integer", "The most bytes to return."),
    query("previous", "boolean", "Whether to return the log of the container that ran before."),
    query("sinceSeconds", "integer", "Only lines of the last so many seconds."),
    query("stream", "string", "All, Stdout or Stderr."),
    query("tailLines", "integer", "Only so many lines from the end."),
    query("timestamps", "boolean", "Whether each line begins with its time."),
];

/// Every operation of a kind.
pub(super) fn operations(info: &KindInfo) -> Vec<Operation> {
    let of = Maker { info };
    let mut out = Vec::new();
    match info.verbs {
        Verbs::Create => return vec![of.create()],
        Verbs::ReadOnly => return vec![of.list(false), of.read()],
        Verbs::All | Verbs::AllButDeleteCollection => {}
    }
    if info.scope == Scope::Namespaced {
        out.push(of.list(true));
    }
    out.extend([of.list(false), of.create(), of.delete_collection()]);
    out.extend([of.read(), of.replace(), of.patch(), of.delete()]);
    for subresource in info.subresources {
        out.extend(of.subresource(*subresource));
    }
    out
}

struct Maker<'a> {
    info: &'a KindInfo,
}

/// What differs between operations, before the names are worked out.
struct Draft {
    verb: &'static str,
    method: &'static str,
    action: &'static str,
    does: &'static str,
    body: Option<Body>,
    answers: &'static [u16],
    answer: Option<String>,
}

impl Maker<'_> {
    fn schema(&self) -> String {
        self.info.schema.to_owned()
    }

    fn list(&self, everywhere: bool) -> Operation {
        let mut operation = self.make(
            self.collection(everywhere),
            "",
            Draft {
                verb: "list",
                action: "list",
                does: "list or watch objects of kind",
                ..get(format!("{}List", self.info.schema))
            },
            &SELECT,
        );
        if everywhere {
            operation.id = format!("list{}{}ForAllNamespaces", self.group_word(), self.info.kind);
            operation.place_holders.clear();
        }
        operation
    }

    fn create(&self) -> Operation {
        self.make(self.collection(false), "", post(self.schema()), &WRITE)
    }

    fn delete_collection(&self) -> Operation {
        let draft = Draft {
            verb: "deleteCollection",
            action: "deletecollection",
            does: "delete collection of",
            answers: &[200],
            ..delete()
        };
        let parameters = [&DELETE[..], &SELECT[1..9]].concat();
        self.make(self.collection(false), "", draft, &parameters)
    }

    fn read(&self) -> Operation {
        self.make(self.object(), "", get(self.schema()), &[])
    }

    fn replace(&self) -> Operation {
        self.make(self.object(), "", put(self.schema()), &WRITE)
    }

    fn patch(&self) -> Operation {
        self.make(self.object(), "", patch(self.schema()), &APPLY)
    }

    fn delete(&self) -> Operation {
        self.make(self.object(), "", delete(), &DELETE)
    }

    fn subresource(&self, subresource: Subresource) -> Vec<Operation> {
        let path = format!("{}/{}", self.object(), subresource.name());
        match subresource {
            Subresource::Status => self.three(&path, "Status", &self.schema()),
            Subresource::Approval => self.three(&path, "Approval", &self.schema()),
            Subresource::EphemeralContainers => {
                self.three(&path, "Ephemeralcontainers", &self.schema())
            }
            Subresource::Resize => self.three(&path, "Resize", &self.schema()),
            Subresource::Attach => self.connect(&path, subresource, &["get", "post"], false),
            Subresource::Exec => self.connect(&path, subresource, &["get", "post"], false),
            Subresource::PortForward => self.connect(&path, subresource, &["get", "post"], false),
            Subresource::Token => {
                let form = subresource.form(self.info);
                let of = gvk(form.group, form.version, form.kind);
                vec![self.post(path, "Token", form.schema, of)]
            }
            Subresource::Scale => {
                let mut three = self.three(&path, "Scale", "io.k8s.api.autoscaling.v1.Scale");
                for operation in &mut three {
                    operation.gvk = gvk("autoscaling", "v1", "Scale");
                }
                three
            }
            Subresource::Log => {
                let does = "read log of the specified";
                let draft = Draft { does, answer: None, ..get(self.schema()) };
                vec![self.make(path, "Log", draft, &LOG)]
            }
            Subresource::Binding => {
                let of = gvk("", "v1", "Binding");
                vec![self.post(path, "Binding", "io.k8s.api.core.v1.Binding", of)]
            }
            Subresource::Eviction => {
                let of = gvk("policy", "v1", "Eviction");
                vec![self.post(path, "Eviction", "io.k8s.api.policy.v1.Eviction", of)]
            }
            Subresource::Finalize => vec![self.make(path, "Finalize", put(self.schema()), &WRITE)],
            Subresource::Proxy => self.connect(&path, subresource, &METHODS, true),
        }
    }

    fn three(&self, path: &str, suffix: &'static str, schema: &str) -> Vec<Operation> {
        let schema = || schema.to_owned();
        vec![
            self.make(path.to_owned(), suffix, get(schema()), &[]),
            self.make(path.to_owned(), suffix, put(schema()), &WRITE),
            self.make(path.to_owned(), suffix, patch(schema()), &APPLY),
        ]
    }

    fn post(&self, path: String, suffix: &'static str, schema: &str, of: [String; 3]) -> Operation {
        Operation { gvk: of, ..self.make(path, suffix, post(schema.to_owned()), &WRITE) }
    }

    /// Each method, to the subresource's own address and, of a proxy, to any path behind it.
    fn connect(
        &self,
        path: &str,
        subresource: Subresource,
        methods: &[&'static str],
        paths: bool,
    ) -> Vec<Operation> {
        let mut out = Vec::new();
        let name = capital(subresource.name());
        let kind = subresource.form(self.info).kind;
        for method in methods {
            for deep in [false, true].into_iter().filter(|deep| paths || !deep) {
                let (path, suffix) = if deep {
                    (format!("{path}/{{path}}"), format!("{name}WithPath"))
                } else {
                    (path.to_owned(), name.clone())
                };
                let draft = Draft {
                    verb: "connect",
                    method,
                    action: "connect",
                    does: "connect requests to",
                    body: None,
                    answers: &[200],
                    answer: None,
                };
                let mut operation = self.make(path, &suffix, draft, &[]);
                operation.id =
                    operation.id.replacen("connect", &format!("connect{}", capital(method)), 1);
                kind.clone_into(&mut operation.gvk[2]);
                if deep {
                    operation.place_holders.push(PROXY_PATH);
                }
                out.push(operation);
            }
        }
        out
    }

    fn make(
        &self,
        path: String,
        suffix: &str,
        draft: Draft,
        parameters: &[Parameter],
    ) -> Operation {
        let info = self.info;
        let scope = if info.is_namespaced() { "Namespaced" } else { "" };
        let mut place_holders = Vec::new();
        if path.contains("{namespace}") {
            place_holders.push(NAMESPACE);
        }
        if path.contains("{name}") {
            place_holders.push(NAME);
        }
        let parameters = [&[PRETTY], parameters].concat();
        Operation {
            place_holders,
            method: draft.method,
            action: draft.action,
            id: format!("{}{}{scope}{}{suffix}", draft.verb, self.group_word(), info.kind),
            tag: self.tag(),
            description: match suffix {
                "" => format!("{} {}", draft.does, info.kind),
                suffix => format!("{} {} ({})", draft.does, info.kind, suffix.to_lowercase()),
            },
            gvk: gvk(info.group, info.version, info.kind),
            parameters,
            body: draft.body,
            answers: draft.answers.to_vec(),
            answer: draft.answer,
            path,
        }
    }

    fn collection(&self, everywhere: bool) -> String {
        let info = self.info;
        let base = match info.group {
            "" => format!("/api/{}", info.version),
            group => format!("/apis/{group}/{}", info.version),
        };
        if info.is_namespaced() && !everywhere {
            format!("{base}/namespaces/{{namespace}}/{}", info.resource)
        } else {
            format!("{base}/{}", info.resource)
        }
    }

    fn object(&self) -> String {
        format!("{}/{{name}}", self.collection(false))
    }

    /// `core`, `apps`, `rbacAuthorization`: the group as upstream names it in tags and ids.
    fn group(&self) -> String {
        let group = match self.info.group {
            "" => "core",
            group => group.strip_suffix(".k8s.io").unwrap_or(group),
        };
        let mut words = group.split('.');
        let first = words.next().unwrap_or_default().to_owned();
        words.fold(first, |group, word| group + &capital(word))
    }

    fn group_word(&self) -> String {
        capital(&self.group()) + &capital(self.info.version)
    }

    fn tag(&self) -> String {
        format!("{}_{}", self.group(), self.info.version)
    }
}

fn get(schema: String) -> Draft {
    Draft {
        verb: "read",
        method: "get",
        action: "get",
        does: "read the specified",
        body: None,
        answers: &[200],
        answer: Some(schema),
    }
}

fn post(schema: String) -> Draft {
    Draft {
        verb: "create",
        method: "post",
        action: "post",
        does: "create",
        body: Some(Body::Object(schema.clone())),
        answers: &[200, 201, 202],
        answer: Some(schema),
    }
}

fn put(schema: String) -> Draft {
    Draft {
        verb: "replace",
        method: "put",
        action: "put",
        does: "replace the specified",
        body: Some(Body::Object(schema.clone())),
        answers: &[200, 201],
        answer: Some(schema),
    }
}

fn patch(schema: String) -> Draft {
    Draft {
        verb: "patch",
        method: "patch",
        action: "patch",
        does: "partially update the specified",
        body: Some(Body::Patch),
        answers: &[200, 201],
        answer: Some(schema),
    }
}

/// Upstream answers with the object for some kinds and with a status for the rest.
fn delete() -> Draft {
    Draft {
        verb: "delete",
        method: "delete",
        action: "delete",
        does: "delete",
        body: Some(Body::Options(meta("DeleteOptions"))),
        answers: &[200, 202],
        answer: Some(meta("Status")),
    }
}

fn gvk(group: &str, version: &str, kind: &str) -> [String; 3] {
    [group.to_owned(), version.to_owned(), kind.to_owned()]
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters
        .next()
        .map_or_else(String::new, |first| first.to_ascii_uppercase().to_string() + letters.as_str())
}
