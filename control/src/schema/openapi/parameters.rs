//! The parameters that operations take, in the path and in the query.

use crate::kinds::Subresource;

/// A parameter in the path or in the query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Parameter {
    pub name: &'static str,
    pub kind: &'static str,
    pub in_path: bool,
    pub description: String,
}

/// The same before it has an owner.
#[derive(Clone, Copy)]
pub(super) struct Query {
    name: &'static str,
    kind: &'static str,
    description: &'static str,
}

impl From<&Query> for Parameter {
    fn from(query: &Query) -> Self {
        let Query { name, kind, description } = *query;
        Self { name, kind, in_path: false, description: description.to_owned() }
    }
}

/// A place-holder of a path.
pub(super) fn in_path(name: &'static str, description: impl Into<String>) -> Parameter {
    Parameter { name, kind: "string", in_path: true, description: description.into() }
}

const fn query(name: &'static str, kind: &'static str, description: &'static str) -> Query {
    Query { name, kind, description }
}

pub(super) const NAMESPACE: &str = "The namespace of the object.";
pub(super) const PROXY_PATH: &str = "The path to the resource behind the proxy.";
pub(super) const PRETTY: Query =
    query("pretty", "string", "If 'true', the output is pretty printed.");

const DRY_RUN: Query = query(
    "dryRun",
    "string",
    "When present, modifications are not persisted. Valid values are: All (all dry run stages are processed).",
);
const FIELD_MANAGER: Query =
    query("fieldManager", "string", "The name of the actor that makes these changes.");
const FIELD_VALIDATION: Query = query(
    "fieldValidation",
    "string",
    "What to do with unknown and duplicate fields: Ignore, Warn or Strict.",
);
const FORCE: Query =
    query("force", "boolean", "Whether an apply takes fields over from other managers.");

pub(super) const WRITE: &[Query] = &[DRY_RUN, FIELD_MANAGER, FIELD_VALIDATION];
pub(super) const PATCH: &[Query] = &[DRY_RUN, FIELD_MANAGER, FIELD_VALIDATION, FORCE];
pub(super) const DELETE: &[Query] = &[
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
/// What a list, a watch and the deletion of a collection have in common.
pub(super) const SELECT: &[Query] = &[
    query("continue", "string", "Where to go on with a list that came in chunks."),
    query("fieldSelector", "string", "Selects objects by their fields."),
    query("labelSelector", "string", "Selects objects by their labels."),
    query("limit", "integer", "The most objects that one answer holds."),
    query("resourceVersion", "string", "How recent the answer must be."),
    query("resourceVersionMatch", "string", "How resourceVersion is applied to lists."),
    query("sendInitialEvents", "boolean", "Whether a watch begins with the objects that exist."),
    query(
        "shardSelector",
        "string",
        "Selects objects by hashes of their names or UIDs. Alpha: it has no effect.",
    ),
    query("timeoutSeconds", "integer", "How long a list or watch may last."),
];
pub(super) const WATCH: &[Query] = &[
    query("allowWatchBookmarks", "boolean", "Whether a watch gets events of type BOOKMARK."),
    query("watch", "boolean", "Whether to watch for changes instead of listing."),
];

/// The options of what is connected to, and of logs.
///
/// Source: `pkg/apis/core/types.go` (PodExecOptions and its like).
pub(super) fn options(subresource: Subresource, object: &'static str) -> Vec<Parameter> {
    const CONTAINER: Query =
        query("container", "string", "The container; may be left out where there is one only.");
    const STDERR: Query = query("stderr", "boolean", "Whether standard error is streamed.");
    const STDIN: Query = query("stdin", "boolean", "Whether standard input is streamed.");
    const STDOUT: Query = query("stdout", "boolean", "Whether standard output is streamed.");
    const TTY: Query = query("tty", "boolean", "Whether the process has a terminal.");
    let list: &[Query] = match subresource {
        Subresource::Attach => &[CONTAINER, STDERR, STDIN, STDOUT, TTY],
        Subresource::Exec => &[
            query("command", "string", "The command and its arguments, one parameter each."),
            CONTAINER,
            STDERR,
            STDIN,
            STDOUT,
            TTY,
        ],
        Subresource::PortForward => {
            &[query("ports", "integer", "The ports to forward, where WebSockets are used.")]
        }
        Subresource::Log => &[
            CONTAINER,
            query("follow", "boolean", "Whether to follow the log."),
            query(
                "insecureSkipTLSVerifyBackend",
                "boolean",
                "Whether to skip the verification of the node's certificate.",
            ),
            query("limitBytes", "integer", "The most bytes to return."),
            query(
                "previous",
                "boolean",
                "Whether to return the log of the container that ran before.",
            ),
            query("sinceSeconds", "integer", "Only lines of the last so many seconds."),
            query("stream", "string", "All, Stdout or Stderr."),
            query("tailLines", "integer", "Only so many lines from the end."),
            query("timestamps", "boolean", "Whether each line begins with its time."),
        ],
        Subresource::Proxy => {
            let description = format!("The path to ask the {} for.", object.to_lowercase());
            return vec![Parameter { name: "path", kind: "string", in_path: false, description }];
        }
        Subresource::Approval
        | Subresource::Binding
        | Subresource::EphemeralContainers
        | Subresource::Eviction
        | Subresource::Finalize
        | Subresource::Resize
        | Subresource::Scale
        | Subresource::Status
        | Subresource::Token => &[],
    };
    list.iter().map(Parameter::from).collect()
}
