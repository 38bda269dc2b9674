//! Does what a plan says: requests over the in-process client, in order, side by side where allowed.
//!
//! This module makes no choices.

use std::collections::HashMap;
use std::sync::Arc;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use http::{Method, Request};
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::{Value, json};

use super::events::Recorder;
use super::plan::{Action, Create, Delete, Failure, Key, Message, Note, Plan, Update};
use super::reader::Reader;
use crate::store::Revision;

/// So many writes of one plan run side by side.
const PARALLEL: usize = 64;

/// The name under which controllers' writes are recorded.
const FIELD_MANAGER: &str = "kube-controller-manager";

/// What of an answer matters.
#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    metadata: AnswerMetadata,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct AnswerMetadata {
    #[serde(default)]
    name: String,
    #[serde(default)]
    resource_version: String,
}

/// The traces that a plan's writes leave, to be waited for.
#[derive(Default)]
pub(super) struct Traces {
    /// The highest revision written, by resource.
    revisions: Mutex<HashMap<Arc<str>, Revision>>,
    deleted: Mutex<Vec<(Key, String)>>,
    /// An object's resourceVersion before and after our write: a later write of the same plan goes on from there.
    chain: Mutex<HashMap<Key, (String, String)>>,
}

impl Traces {
    fn wrote(&self, key: &Key, before: Option<&str>, after: &str) {
        if let Ok(revision) = after.parse() {
            let mut revisions = self.revisions.lock();
            let highest = revisions.entry(key.resource.clone()).or_default();
            *highest = (*highest).max(Revision(revision));
        }
        if let Some(before) = before {
            let mut chain = self.chain.lock();
            let first = chain.get(key).map_or(before.to_owned(), |(first, _)| first.clone());
            chain.insert(key.clone(), (first, after.to_owned()));
        }
    }

    /// Replaces the observed resourceVersion by that of our own last write.
    fn go_on(&self, key: &Key, object: &mut Value) {
        let Some(version) = object.pointer_mut("/metadata/resourceVersion") else { return };
        if let Some((before, after)) = self.chain.lock().get(key)
            && version.as_str() == Some(before)
        {
            *version = after.clone().into();
        }
    }

    /// Waits until the informers have seen every write.
    pub(super) async fn seen(self, reader: &Reader) {
        for (resource, revision) in self.revisions.into_inner() {
            if let Some(informer) = reader.informer(&resource) {
                informer.seen(revision).await;
            }
        }
        for (key, uid) in self.deleted.into_inner() {
            if let Some(informer) = reader.informer(&key.resource) {
                informer.seen_leaving(&key.namespace, &key.name, &uid).await;
            }
        }
    }
}

/// Writes for one controller.
pub(super) struct Executor {
    client: kube::Client,
    reader: Reader,
    recorder: Recorder,
}

impl Executor {
    pub(super) fn new(client: kube::Client, reader: Reader, recorder: Recorder) -> Self {
        Self { client, reader, recorder }
    }

    /// Runs the actions, then the status. The first failure ends it; but a plan that knows of a
    /// failure already has it in its status, which is then written all the same.
    pub(super) async fn execute(
        &self,
        plan: Plan,
        knows_failure: bool,
        traces: &Traces,
    ) -> Result<(), Failure> {
        let result = self.act(plan.actions, traces).await;
        match plan.status {
            Some(status) if result.is_ok() || knows_failure => {
                result.and(self.update(status, traces).await)
            }
            _ => result,
        }
    }

    async fn act(&self, actions: Vec<Action>, traces: &Traces) -> Result<(), Failure> {
        let mut actions = actions.into_iter().peekable();
        while let Some(action) = actions.next() {
            match action {
                Action::Create(create) if create.count > 1 => {
                    self.create_many(&create, traces).await?;
                }
                Action::Update(update) => self.update(update, traces).await?,
                Action::Event(note) => self.record(&note, "", None),
                first => {
                    let mut batch = vec![first];
                    while let Some(next) = actions.next_if(|next| side_by_side(&batch[0], next)) {
                        batch.push(next);
                    }
                    self.all(batch, traces).await?;
                }
            }
        }
        Ok(())
    }

    async fn all(&self, batch: Vec<Action>, traces: &Traces) -> Result<(), Failure> {
        let mut running =
            futures::stream::iter(batch.into_iter().map(|action| self.one(action, traces)))
                .buffer_unordered(PARALLEL);
        let mut result = Ok(());
        while let Some(done) = running.next().await {
            result = result.and(done);
        }
        result
    }

    async fn one(&self, action: Action, traces: &Traces) -> Result<(), Failure> {
        match action {
            Action::Create(create) => self.create(&create, &body(&create.object), traces).await,
            Action::Update(update) => self.update(update, traces).await,
            Action::Patch { key, subresource, patch, done } => {
                self.patch(key, subresource, patch, done.as_ref(), traces).await
            }
            Action::Delete(delete) => self.delete(delete, traces).await,
            Action::Event(note) => {
                self.record(&note, "", None);
                Ok(())
            }
        }
    }

    /// Slow start: 1, 2, 4 … at once while all succeed, so that what fails fails few times.
    ///
    /// Source: `slowStartBatch` of the ReplicaSet controller.
    async fn create_many(&self, create: &Create, traces: &Traces) -> Result<(), Failure> {
        let body = body(&create.object);
        let mut left = create.count;
        let mut width = 1;
        while left > 0 && width < PARALLEL {
            let batch = width.min(left);
            let results =
                futures::future::join_all((0..batch).map(|_| self.create(create, &body, traces)))
                    .await;
            results.into_iter().collect::<Result<Vec<()>, Failure>>()?;
            left -= batch;
            width *= 2;
        }
        let mut running = FuturesUnordered::new();
        let mut result = Ok(());
        while left > 0 || !running.is_empty() {
            while left > 0 && running.len() < PARALLEL && result.is_ok() {
                running.push(self.create(create, &body, traces));
                left -= 1;
            }
            match running.next().await {
                Some(done) => result = result.and(done),
                None => break,
            }
        }
        result
    }

    async fn create(&self, create: &Create, body: &[u8], traces: &Traces) -> Result<(), Failure> {
        let Some(resource) = self.reader.resources().get(&create.resource) else {
            return Err(unknown(&create.resource));
        };
        let path = resource.path(&create.namespace, None, None);
        let sent = self.send(Method::POST, &path, "application/json", body.to_vec()).await;
        match sent {
            Ok(answer) => {
                let key = Key {
                    resource: create.resource.clone(),
                    namespace: create.namespace.clone(),
                    name: answer.name.as_str().into(),
                };
                traces.wrote(&key, None, &answer.resource_version);
                if let Some(done) = &create.done {
                    self.record(done, &answer.name, None);
                }
                Ok(())
            }
            // Nothing can be created where everything is about to go.
            Err(error) if error.namespace_terminating => Ok(()),
            Err(error) => {
                if let Some(failed) = &create.failed {
                    self.record(failed, "", Some(&error.failure.message));
                }
                Err(error.failure)
            }
        }
    }

    async fn update(&self, mut update: Update, traces: &Traces) -> Result<(), Failure> {
        let path = self.path(&update.key, update.subresource)?;
        let observed = update.object.pointer("/metadata/resourceVersion").and_then(Value::as_str);
        let observed = observed.map(str::to_owned);
        traces.go_on(&update.key, &mut update.object);
        let body = body(&update.object);
        let answer = match self.send(Method::PUT, &path, "application/json", body).await {
            Ok(answer) => answer,
            // What is gone needs no update.
            Err(error) if error.failure.reason == "NotFound" => return Ok(()),
            Err(error) => return Err(error.failure),
        };
        traces.wrote(&update.key, observed.as_deref(), &answer.resource_version);
        if let Some(done) = &update.done {
            self.record(done, &answer.name, None);
        }
        Ok(())
    }

    async fn patch(
        &self,
        key: Key,
        subresource: Option<&'static str>,
        mut patch: Value,
        done: Option<&Note>,
        traces: &Traces,
    ) -> Result<(), Failure> {
        let path = self.path(&key, subresource)?;
        let observed = patch.pointer("/metadata/resourceVersion").and_then(Value::as_str);
        let observed = observed.map(str::to_owned);
        traces.go_on(&key, &mut patch);
        let sent =
            self.send(Method::PATCH, &path, "application/merge-patch+json", body(&patch)).await;
        match sent {
            Ok(answer) => traces.wrote(&key, observed.as_deref(), &answer.resource_version),
            // What is gone needs no patch.
            Err(error) if error.failure.reason == "NotFound" => return Ok(()),
            Err(error) => return Err(error.failure),
        }
        if let Some(done) = done {
            self.record(done, &key.name, None);
        }
        Ok(())
    }

    async fn delete(&self, delete: Delete, traces: &Traces) -> Result<(), Failure> {
        let path = self.path(&delete.key, None)?;
        let mut preconditions = json!({ "uid": delete.uid });
        if let Some(version) = &delete.resource_version {
            preconditions["resourceVersion"] = version.as_str().into();
            traces.go_on_precondition(&delete.key, &mut preconditions);
        }
        let mut options = json!({
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "preconditions": preconditions,
            "propagationPolicy": delete.propagation.name(),
        });
        if let Some(seconds) = delete.grace_seconds {
            options["gracePeriodSeconds"] = seconds.into();
        }
        let sent = self.send(Method::DELETE, &path, "application/json", body(&options)).await;
        match sent {
            Ok(_) => {
                traces.deleted.lock().push((delete.key.clone(), delete.uid));
                if let Some(done) = &delete.done {
                    self.record(done, &delete.key.name, None);
                }
                Ok(())
            }
            Err(error) if error.failure.reason == "NotFound" => {
                traces.deleted.lock().push((delete.key, delete.uid));
                Ok(())
            }
            Err(error) => {
                if let Some(failed) = delete.failed.filter(|_| error.failure.reason != "Conflict") {
                    self.record(&failed, "", Some(&error.failure.message));
                }
                Err(error.failure)
            }
        }
    }

    fn path(&self, key: &Key, subresource: Option<&str>) -> Result<String, Failure> {
        self.reader.resources().path(key, subresource).ok_or_else(|| unknown(&key.resource))
    }

    fn record(&self, note: &Note, name: &str, error: Option<&str>) {
        let message = match &note.message {
            Message::Text(text) => text.clone(),
            Message::Name(prefix) => format!("{prefix}{name}"),
            Message::Error(prefix) => format!("{prefix}{}", error.unwrap_or_default()),
        };
        self.recorder.record(note, message);
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        content_type: &'static str,
        body: Vec<u8>,
    ) -> Result<AnswerMetadata, SendError> {
        let query = if method == Method::DELETE {
            String::new()
        } else {
            format!("?fieldManager={FIELD_MANAGER}")
        };
        let request = Request::builder()
            .method(method)
            .uri(format!("{path}{query}"))
            .header(http::header::CONTENT_TYPE, content_type)
            .header(http::header::USER_AGENT, FIELD_MANAGER)
            .body(body)
            .map_err(|error| SendError::internal(error.to_string()))?;
        let text = self.client.request_text(request).await.map_err(SendError::of)?;
        let answer: Answer = serde_json::from_str(&text)
            .map_err(|error| SendError::internal(format!("answer not understood: {error}")))?;
        Ok(answer.metadata)
    }
}

impl Traces {
    fn go_on_precondition(&self, key: &Key, preconditions: &mut Value) {
        if let Some((before, after)) = self.chain.lock().get(key)
            && preconditions["resourceVersion"].as_str() == Some(before)
        {
            preconditions["resourceVersion"] = after.clone().into();
        }
    }
}

/// Whether two neighbouring actions need no order between them.
fn side_by_side(first: &Action, next: &Action) -> bool {
    match (first, next) {
        (Action::Create(_), Action::Create(create)) => create.count == 1,
        (Action::Delete(_), Action::Delete(_)) => true,
        (Action::Patch { key: first, .. }, Action::Patch { key: next, .. }) => first != next,
        _ => false,
    }
}

fn body(value: &Value) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

fn unknown(resource: &str) -> Failure {
    Failure { reason: "NotFound".to_owned(), message: format!("unknown resource {resource}") }
}

struct SendError {
    failure: Failure,
    namespace_terminating: bool,
}

impl SendError {
    fn internal(message: String) -> Self {
        let failure = Failure { reason: "InternalError".to_owned(), message };
        Self { failure, namespace_terminating: false }
    }

    fn of(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => {
                let causes = status.details.iter().flat_map(|details| &details.causes);
                let namespace_terminating =
                    causes.into_iter().any(|cause| cause.reason == "NamespaceTerminating");
                Self {
                    failure: Failure { reason: status.reason, message: status.message },
                    namespace_terminating,
                }
            }
            other => Self::internal(other.to_string()),
        }
    }
}
