//! Which operations a kind offers: from what the registry knows of it alone, in no version of OpenAPI
//! yet.
//!
//! Source: `k8s.io/apiserver/pkg/endpoints/installer.go`.

use super::components::meta;
use super::operation::{
    Answer, Body, Media, On, Operation, base, capital, group_version_word, tag,
};
use super::parameters::{
    DELETE, NAMESPACE, PATCH, PRETTY, PROXY_PATH, Parameter, Query, SELECT, WATCH, WRITE, in_path,
    options,
};
use crate::kinds::{KindInfo, Subresource, Verbs};

/// Every operation of a kind.
pub(super) fn operations(info: &KindInfo) -> Vec<Operation> {
    let of = Maker { info };
    let may = |verb: &str| info.verbs.names().contains(&verb);
    let mut out = Vec::new();
    if may("list") {
        if info.is_namespaced() {
            out.push(of.list(true));
        }
        out.push(of.list(false));
    }
    if may("create") {
        out.push(of.create());
    }
    if may("deletecollection") {
        out.push(of.delete_collection());
    }
    if may("get") {
        out.push(of.read());
    }
    if may("update") {
        out.push(of.replace());
    }
    if may("patch") {
        out.push(of.patch());
    }
    if may("delete") {
        out.push(of.delete());
    }
    if may("watch") {
        out.extend(of.watches());
    }
    for subresource in info.subresources {
        out.extend(of.subresource(*subresource));
    }
    out
}

struct Maker<'a> {
    info: &'a KindInfo,
}

/// Methods that a proxy hands on.
const METHODS: [&str; 7] = ["delete", "get", "head", "options", "patch", "post", "put"];

/// What differs between operations, before the names are worked out.
struct Draft {
    verb: &'static str,
    method: &'static str,
    action: &'static str,
    /// Of the whole object, and of a part of it.
    does: [&'static str; 2],
    /// The end of its description.
    tail: &'static str,
    body: Option<Body>,
    codes: &'static [u16],
    answer: Answer,
    media: Media,
    query: &'static [&'static [Query]],
}

/// Where an operation stands: the object's own address, or one below it.
struct Place {
    path: String,
    /// What follows the kind in the operation's id: `Status`.
    suffix: String,
    /// What is at the path: the kind that its name is of, in the schema's words.
    gvk: [&'static str; 3],
}

impl Maker<'_> {
    fn schema(&self) -> String {
        self.info.schema.to_owned()
    }

    fn gvk(&self) -> [&'static str; 3] {
        [self.info.group, self.info.version, self.info.kind]
    }

    fn collection(&self) -> Place {
        Place { path: self.path(""), suffix: String::new(), gvk: self.gvk() }
    }

    fn object(&self) -> Place {
        Place { path: self.path("") + "/{name}", ..self.collection() }
    }

    fn list(&self, everywhere: bool) -> Operation {
        let watches = self.info.verbs.names().contains(&"watch");
        let does = if watches { "list or watch objects of kind" } else { "list objects of kind" };
        let draft = Draft {
            verb: "list",
            action: "list",
            does: [does; 2],
            media: Media::Events,
            query: &[SELECT, WATCH],
            ..get(format!("{}List", self.info.schema))
        };
        if everywhere {
            self.everywhere("", "", draft)
        } else {
            self.make(self.collection(), draft)
        }
    }

    /// Of a namespaced kind, across all namespaces.
    fn everywhere(&self, below: &str, suffix: &str, draft: Draft) -> Operation {
        let info = self.info;
        let path = format!("{}{below}/{}", base(info.group, info.version), info.resource);
        let place = Place { path, suffix: suffix.to_owned(), gvk: self.gvk() };
        let mut operation = self.make(place, draft);
        operation.id = operation.id.replacen("Namespaced", "", 1) + "ForAllNamespaces";
        operation
    }

    /// The old addresses of watches.
    fn watches(&self) -> Vec<Operation> {
        let below = "/watch";
        let draft = |action, does, tail| Draft {
            verb: "watch",
            action,
            does: [does; 2],
            tail,
            media: Media::Events,
            query: &[SELECT, WATCH],
            ..get(meta("WatchEvent"))
        };
        let list = || {
            let tail = ". deprecated: use the 'watch' parameter with a list operation instead.";
            draft("watchlist", "watch individual changes to a list of", tail)
        };
        let mut out = Vec::new();
        if self.info.is_namespaced() {
            out.push(self.everywhere(below, "List", list()));
        }
        let path = self.path(below);
        out.push(self.make(Place { path, suffix: "List".to_owned(), gvk: self.gvk() }, list()));
        let tail = ". deprecated: use the 'watch' parameter with a list operation instead, filtered to a single item with the 'fieldSelector' parameter.";
        let draft = draft("watch", "watch changes to an object of kind", tail);
        let path = self.path(below) + "/{name}";
        out.push(self.make(Place { path, ..self.collection() }, draft));
        out
    }

    fn create(&self) -> Operation {
        self.make(self.collection(), post(self.schema()))
    }

    fn delete_collection(&self) -> Operation {
        let draft = Draft {
            action: "deletecollection",
            does: ["delete collection of"; 2],
            codes: &[200],
            query: &[DELETE, SELECT],
            ..delete(meta("Status"))
        };
        let mut operation = self.make(self.collection(), draft);
        let word = self.group_version_word();
        operation.id = operation.id.replacen(&word, &format!("{word}Collection"), 1);
        operation
    }

    fn read(&self) -> Operation {
        self.make(self.object(), get(self.schema()))
    }

    fn replace(&self) -> Operation {
        self.make(self.object(), put(self.schema()))
    }

    fn patch(&self) -> Operation {
        self.make(self.object(), patch(self.schema()))
    }

    fn delete(&self) -> Operation {
        // Upstream's namespaces have a storage around the common one, which hides from OpenAPI that
        // it answers the object.
        let shows = self.info.returns_deleted && self.info.verbs != Verbs::AllButDeleteCollection;
        let answer = if shows { self.schema() } else { meta("Status") };
        self.make(self.object(), delete(answer))
    }

    fn subresource(&self, subresource: Subresource) -> Vec<Operation> {
        let form = subresource.form(self.info);
        let schema = || form.schema.to_owned();
        let place = || Place {
            path: format!("{}/{}", self.object().path, subresource.name()),
            suffix: capital(subresource.name()),
            gvk: [form.group, form.version, form.kind],
        };
        match subresource {
            Subresource::Approval
            | Subresource::EphemeralContainers
            | Subresource::Resize
            | Subresource::Scale
            | Subresource::Status => vec![
                self.make(place(), get(schema())),
                self.make(place(), put(schema())),
                self.make(place(), patch(schema())),
            ],
            Subresource::Binding | Subresource::Eviction | Subresource::Token => {
                vec![self.make(place(), post(schema()))]
            }
            Subresource::Finalize => vec![self.make(place(), put(schema()))],
            Subresource::Log => {
                let draft = Draft { answer: Answer::Text, media: Media::Log, ..get(schema()) };
                let mut log = self.make(place(), draft);
                log.parameters.extend(options(subresource, self.info.kind));
                vec![log]
            }
            Subresource::Attach | Subresource::Exec | Subresource::PortForward => {
                self.connect(subresource, &["get", "post"], &place)
            }
            Subresource::Proxy => {
                let deep = || {
                    let Place { path, suffix, gvk } = place();
                    Place { path: path + "/{path}", suffix: suffix + "WithPath", gvk }
                };
                let mut out = self.connect(subresource, &METHODS, &place);
                for mut operation in self.connect(subresource, &METHODS, &deep) {
                    operation.parameters.push(in_path("path", PROXY_PATH));
                    out.push(operation);
                }
                out
            }
        }
    }

    /// Each of the methods, at a place below the object.
    fn connect(
        &self,
        subresource: Subresource,
        methods: &[&'static str],
        place: &dyn Fn() -> Place,
    ) -> Vec<Operation> {
        let make = |method: &'static str| {
            let draft = Draft {
                verb: "connect",
                method,
                action: "connect",
                does: ["connect"; 2],
                tail: "",
                body: None,
                codes: &[200],
                answer: Answer::Text,
                media: Media::Anything,
                query: &[],
            };
            let mut operation = self.make(place(), draft);
            let (word, verb) = (capital(method), method.to_uppercase());
            let before = self.group_version_word();
            operation.id = operation.id.replacen(&before, &format!("{before}{word}"), 1);
            let (kind, part) = (self.info.kind, subresource.name());
            operation.description = format!("connect {verb} requests to {part} of {kind}");
            operation.parameters.extend(options(subresource, kind));
            operation
        };
        methods.iter().map(|method| make(method)).collect()
    }

    fn make(&self, place: Place, draft: Draft) -> Operation {
        let info = self.info;
        let Place { path, suffix, gvk } = place;
        let scope = if info.is_namespaced() { "Namespaced" } else { "" };
        let mut parameters = Vec::new();
        if path.contains("{name}") {
            parameters.push(in_path("name", format!("name of the {}", gvk[2])));
        }
        if path.contains("{namespace}") {
            parameters.push(in_path("namespace", NAMESPACE));
        }
        if draft.action != "connect" {
            parameters.push(Parameter::from(&PRETTY));
        }
        parameters.extend(draft.query.iter().copied().flatten().map(Parameter::from));
        let [whole, part] = draft.does;
        let kind = info.kind;
        let description = match suffix.as_str() {
            "" | "List" => format!("{whole} {kind}"),
            suffix => part.replace("PART", &suffix.to_lowercase()) + kind,
        };
        let description = description + draft.tail;
        Operation {
            method: draft.method,
            id: format!("{}{}{scope}{kind}{suffix}", draft.verb, self.group_version_word()),
            description,
            tag: tag(info.group, info.version),
            on: Some(On { action: draft.action, gvk }),
            parameters,
            body: draft.body,
            codes: draft.codes,
            answer: draft.answer,
            media: draft.media,
            path,
        }
    }

    /// Of the collection in one namespace, `below` something.
    fn path(&self, below: &str) -> String {
        let info = self.info;
        let base = base(info.group, info.version) + below;
        if info.is_namespaced() {
            format!("{base}/namespaces/{{namespace}}/{}", info.resource)
        } else {
            format!("{base}/{}", info.resource)
        }
    }

    fn group_version_word(&self) -> String {
        group_version_word(self.info.group, self.info.version)
    }
}

fn get(schema: String) -> Draft {
    Draft {
        verb: "read",
        method: "get",
        action: "get",
        does: ["read the specified", "read PART of the specified "],
        tail: "",
        body: None,
        codes: &[200],
        answer: Answer::Object(schema),
        media: Media::Objects,
        query: &[],
    }
}

fn post(schema: String) -> Draft {
    Draft {
        verb: "create",
        method: "post",
        action: "post",
        does: ["create", "create PART of a "],
        body: Some(Body::Object(schema.clone())),
        codes: &[200, 201, 202],
        query: &[WRITE],
        ..get(schema)
    }
}

fn put(schema: String) -> Draft {
    Draft {
        verb: "replace",
        method: "put",
        action: "put",
        does: ["replace the specified", "replace PART of the specified "],
        body: Some(Body::Object(schema.clone())),
        codes: &[200, 201],
        query: &[WRITE],
        ..get(schema)
    }
}

fn patch(schema: String) -> Draft {
    Draft {
        verb: "patch",
        method: "patch",
        action: "patch",
        does: ["partially update the specified", "partially update PART of the specified "],
        body: Some(Body::Patch),
        codes: &[200, 201],
        query: &[PATCH],
        ..get(schema)
    }
}

fn delete(answer: String) -> Draft {
    Draft {
        verb: "delete",
        method: "delete",
        action: "delete",
        does: ["delete"; 2],
        body: Some(Body::Options(meta("DeleteOptions"))),
        codes: &[200, 202],
        query: &[DELETE],
        ..get(answer)
    }
}
