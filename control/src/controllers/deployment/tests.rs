//! Rollouts, step by step: each plan is carried out on a model of the API, whose ReplicaSets then
//! report what their pods would.

use std::collections::BTreeMap;
use std::sync::Arc;

use expect_test::{Expect, expect};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, ReplicaSetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::plan::{Observed, plan};
use super::revisions::REVISION;
use crate::engine::{Action, Failure, Message, Plan};

/// A namespace with one Deployment.
struct Model {
    deployment: Deployment,
    sets: BTreeMap<String, ReplicaSet>,
    now: Timestamp,
    log: String,
    failure: Option<Failure>,
}

impl Model {
    fn new(spec: &str) -> Self {
        let text = format!(
            "metadata: {{name: web, namespace: shop, uid: d, generation: 1, annotations: {{kubernetes.io/change-cause: first}}}}\n\
             spec: {{selector: {{matchLabels: {{app: web}}}}, progressDeadlineSeconds: 600, revisionHistoryLimit: 10, \
             template: {{metadata: {{labels: {{app: web}}}}, spec: {{containers: [{{name: c, image: v1}}]}}}}, {spec}}}"
        );
        Self {
            deployment: serde_yaml::from_str(&text).unwrap(),
            sets: BTreeMap::new(),
            now: "2026-01-01T00:00:00Z".parse().unwrap(),
            log: String::new(),
            failure: None,
        }
    }

    fn plan(&self) -> Plan {
        let running = self
            .sets
            .values()
            .map(|set| {
                let replicas = set.status.as_ref().map_or(0, |status| status.replicas);
                (set.metadata.uid.clone().unwrap(), usize::try_from(replicas).unwrap())
            })
            .collect();
        plan(
            self.now,
            &Observed {
                deployment: Arc::new(self.deployment.clone()),
                sets: self.sets.values().cloned().map(Arc::new).collect(),
                running,
                name_taken: false,
                failure: self.failure.clone(),
            },
        )
    }

    /// Plans once and carries the plan out; says whether there was anything to do.
    fn step(&mut self) -> bool {
        let plan = self.plan();
        let busy = !plan.is_nothing();
        for action in plan.actions {
            self.act(action);
        }
        if let Some(status) = plan.status {
            let updated: Deployment = serde_json::from_value(status.object).unwrap();
            self.deployment.status = updated.status;
            self.deployment.metadata.annotations = updated.metadata.annotations;
        }
        busy
    }

    fn act(&mut self, action: Action) {
        let note = |note: Option<crate::engine::Note>| match note.map(|note| note.message) {
            Some(Message::Text(text)) => text,
            _ => "quietly".to_owned(),
        };
        match action {
            Action::Create(create) => {
                let mut set: ReplicaSet = serde_json::from_value(create.object).unwrap();
                let name = set.metadata.name.clone().unwrap();
                set.metadata.uid = Some(format!("uid-{name}"));
                set.metadata.creation_timestamp =
                    Some(Time(Timestamp::from_second(self.sets.len() as i64).unwrap()));
                set.metadata.generation = Some(1);
                self.sets.insert(name, set);
                self.say(&format!("create: {}", note(create.done)));
            }
            Action::Update(update) => {
                let set: ReplicaSet = serde_json::from_value(update.object).unwrap();
                let name = set.metadata.name.clone().unwrap();
                let old = self.sets.get_mut(&name).unwrap();
                old.spec = set.spec;
                old.metadata = set.metadata;
                self.say(&format!("update: {}", note(update.done)));
            }
            Action::Patch { key, .. } => panic!("nothing is patched: {key}"),
            Action::Delete(delete) => {
                self.sets.remove(&*delete.key.name);
                self.say(&format!("delete {}", delete.key.name));
            }
            Action::Event(event) => self.say(&format!("event {}", event.reason)),
        }
    }

    fn say(&mut self, line: &str) {
        self.log.push_str(&line.replace("replica set ", ""));
        self.log.push('\n');
    }

    /// Every pod asked for runs; in the ReplicaSets named here none becomes available.
    fn pods(&mut self, broken: &[&str]) {
        for (name, set) in &mut self.sets {
            let replicas = set.spec.as_ref().unwrap().replicas.unwrap();
            let image = image(set);
            let available = if broken.contains(&image.as_str()) {
                set.status.as_ref().and_then(|s| s.available_replicas).unwrap_or(0).min(replicas)
            } else {
                replicas
            };
            let _ = name;
            set.status = Some(ReplicaSetStatus {
                replicas,
                ready_replicas: Some(available),
                available_replicas: Some(available),
                terminating_replicas: Some(0),
                observed_generation: set.metadata.generation,
                ..ReplicaSetStatus::default()
            });
        }
    }

    /// Plans and lets pods come up until nothing moves.
    fn settle(&mut self, broken: &[&str]) {
        for _ in 0..50 {
            let busy = self.step();
            let before = self.sets.clone();
            self.pods(broken);
            if !busy && before == self.sets {
                self.log.push_str(&self.summary());
                return;
            }
        }
        panic!("does not settle:\n{}", self.log);
    }

    fn summary(&self) -> String {
        let sets: Vec<String> = self
            .sets
            .values()
            .filter_map(|set| {
                let replicas = set.spec.as_ref()?.replicas?;
                let revision = set.metadata.annotations.as_ref()?.get(REVISION)?;
                Some(format!("{}@{revision}={replicas}", image(set)))
            })
            .collect();
        let conditions: Vec<String> = self
            .deployment
            .status
            .iter()
            .flat_map(|status| status.conditions.iter().flatten())
            .map(|c| format!("{}={}", c.type_, c.reason.as_deref().unwrap_or_default()))
            .collect();
        let revision = &self.deployment.metadata.annotations.as_ref().unwrap()[REVISION];
        format!("= {} revision {revision} {}\n", sets.join(" "), conditions.join(" "))
    }

    fn edit(&mut self, edit: impl FnOnce(&mut k8s_openapi::api::apps::v1::DeploymentSpec)) {
        edit(self.deployment.spec.as_mut().unwrap());
        *self.deployment.metadata.generation.as_mut().unwrap() += 1;
        self.log.push_str("--\n");
    }

    fn set_image(&mut self, image: &str) {
        self.edit(|spec| {
            let pod = spec.template.spec.as_mut().unwrap();
            pod.containers[0].image = Some(image.to_owned());
        });
    }

    /// The log, with the hashes replaced by the images.
    fn check(&self, expected: Expect) {
        let mut log = self.log.clone();
        for (name, set) in &self.sets {
            log = log.replace(name.as_str(), &image(set));
        }
        expected.assert_eq(&log);
    }
}

fn image(set: &ReplicaSet) -> String {
    let template = set.spec.as_ref().unwrap().template.as_ref().unwrap();
    template.spec.as_ref().unwrap().containers[0].image.clone().unwrap()
}

const ROLLING: &str =
    "strategy: {type: RollingUpdate, rollingUpdate: {maxSurge: 25%, maxUnavailable: 25%}}";

#[test]
fn a_new_deployment_creates_its_replicaset_at_once() {
    let mut model = Model::new(&format!("replicas: 3, {ROLLING}"));
    model.settle(&[]);
    model.check(expect![[r#"
        create: Scaled up v1 from 0 to 3
        = v1@1=3 revision 1 Available=MinimumReplicasAvailable Progressing=NewReplicaSetAvailable
    "#]]);
}

#[test]
fn a_rolling_update_moves_in_steps_within_surge_and_unavailability() {
    let mut model = Model::new(&format!("replicas: 10, {ROLLING}"));
    model.settle(&[]);
    model.set_image("v2");
    model.settle(&[]);
    model.check(expect![[r#"
        create: Scaled up v1 from 0 to 10
        = v1@1=10 revision 1 Available=MinimumReplicasAvailable Progressing=NewReplicaSetAvailable
        --
        create: Scaled up v2 from 0 to 3
        update: Scaled down v1 from 10 to 8
        update: Scaled up v2 from 3 to 5
        update: Scaled down v1 from 8 to 3
        update: Scaled up v2 from 5 to 10
        update: Scaled down v1 from 3 to 0
        = v1@1=0 v2@2=10 revision 2 Available=MinimumReplicasAvailable Progressing=NewReplicaSetAvailable
    "#]]);
}

#[test]
fn without_unavailability_every_new_pod_comes_before_an_old_one_goes() {
    let mut model = Model::new(
        "replicas: 2, strategy: {type: RollingUpdate, rollingUpdate: {maxSurge: 1, maxUnavailable: 0}}",
    );
    model.settle(&[]);
    model.set_image("v2");
    model.settle(&[]);
    model.check(expect![[r#"
        create: Scaled up v1 from 0 to 2
        = v1@1=2 revision 1 Available=MinimumReplicasAvailable Progressing=NewReplicaSetAvailable
        --
        create: Scaled up v2 from 0 to 1
        update: Scaled down v1 from 2 to 1
        update: Scaled up v2 from 1 to 2
        update: Scaled down v1 from 1 to 0
        = v1@1=0 v2@2=2 revision 2 Available=MinimumReplicasAvailable Progressing=NewReplicaSetAvailable
    "#]]);
}

#[test]
fn a_broken_update_stops_and_an_undo_rolls_back_to_the_old_replicaset() {
    let mut model = Model::new(&format!("replicas: 4, {ROLLING}"));
    model.settle(&[]);
    model.set_image("bad");
    model.settle(&["bad"]);
    model.set_image("v1");
    model.settle(&["bad"]);
    model.check(expect![[r#"
        create: Scaled up v1 from 0 to 4
        = v1@1=4 revision 1 Available=MinimumReplicasAvailable Progressing=NewReplicaSetAvailable
        --
        create: Scaled up bad from 0 to 1
        update: Scaled down v1 from 4 to 3
        update: Scaled up bad from 1 to 2
        = v1@1=3 bad@2=2 revision 2 Available=MinimumReplicasAvailable Progressing=ReplicaSetUpdated
        --
        update: quietly
        update: Scaled down bad from 2 to 0
        update: Scaled up v1 from 3 to 4
        = v1@3=4 bad@2=0 revision 3 Available=MinimumReplicasAvailable Progressing=NewReplicaSetAvailable
    "#]]);
}

#[test]
fn recreate_stops_all_before_it_starts_any() {
    let mut model = Model::new("replicas: 3, strategy: {type: Recreate}");
    model.settle(&[]);
    model.set_image("v2");
    model.settle(&[]);
    model.check(expect![[r#"
        create: Scaled up v1 from 0 to 3
        = v1@1=3 revision 1 Available=MinimumReplicasAvailable Progressing=NewReplicaSetAvailable
        --
        update: Scaled down v1 from 3 to 0
        create: Scaled up v2 from 0 to 3
        = v1@1=0 v2@2=3 revision 2 Available=MinimumReplicasAvailable Progressing=NewReplicaSetAvailable
    "#]]);
}

#[test]
fn a_paused_deployment_scales_but_does_not_roll() {
    let mut model = Model::new(&format!("replicas: 2, {ROLLING}"));
    model.settle(&[]);
    model.edit(|spec| spec.paused = Some(true));
    model.set_image("v2");
    model.settle(&[]);
    model.edit(|spec| spec.replicas = Some(4));
    model.settle(&[]);
    model.edit(|spec| spec.paused = None);
    model.settle(&[]);
    model.check(expect![[r#"
        create: Scaled up v1 from 0 to 2
        = v1@1=2 revision 1 Available=MinimumReplicasAvailable Progressing=NewReplicaSetAvailable
        --
        --
        = v1@1=2 revision 1 Available=MinimumReplicasAvailable Progressing=DeploymentPaused
        --
        update: Scaled up v1 from 2 to 4
        = v1@1=4 revision 1 Progressing=DeploymentPaused Available=MinimumReplicasAvailable
        --
        create: Scaled up v2 from 0 to 1
        update: Scaled down v1 from 4 to 3
        update: Scaled up v2 from 1 to 2
        update: Scaled down v1 from 3 to 1
        update: Scaled up v2 from 2 to 4
        update: Scaled down v1 from 1 to 0
        = v1@1=0 v2@2=4 revision 2 Available=MinimumReplicasAvailable Progressing=NewReplicaSetAvailable
    "#]]);
}

#[test]
fn scaling_during_a_rollout_is_shared_in_proportion() {
    let mut model = Model::new(&format!("replicas: 10, {ROLLING}"));
    model.settle(&[]);
    model.set_image("bad");
    model.settle(&["bad"]);
    model.edit(|spec| spec.replicas = Some(20));
    model.settle(&["bad"]);
    model.check(expect![[r#"
        create: Scaled up v1 from 0 to 10
        = v1@1=10 revision 1 Available=MinimumReplicasAvailable Progressing=NewReplicaSetAvailable
        --
        create: Scaled up bad from 0 to 3
        update: Scaled down v1 from 10 to 8
        update: Scaled up bad from 3 to 5
        = v1@1=8 bad@2=5 revision 2 Available=MinimumReplicasAvailable Progressing=ReplicaSetUpdated
        --
        update: Scaled up bad from 5 to 10
        update: Scaled up v1 from 8 to 15
        = v1@1=15 bad@2=10 revision 2 Available=MinimumReplicasAvailable Progressing=ReplicaSetUpdated
    "#]]);
}

#[test]
fn old_revisions_beyond_the_limit_are_deleted() {
    let mut model = Model::new(&format!("replicas: 1, {ROLLING}"));
    model.edit(|spec| spec.revision_history_limit = Some(1));
    for image in ["v1", "v2", "v3"] {
        model.set_image(image);
        model.settle(&[]);
    }
    model.check(expect![[r#"
        --
        --
        create: Scaled up web-548df6b887 from 0 to 1
        = v1@1=1 revision 1 Available=MinimumReplicasAvailable Progressing=NewReplicaSetAvailable
        --
        create: Scaled up v2 from 0 to 1
        update: Scaled down web-548df6b887 from 1 to 0
        = v1@1=0 v2@2=1 revision 2 Available=MinimumReplicasAvailable Progressing=NewReplicaSetAvailable
        --
        create: Scaled up v3 from 0 to 1
        update: Scaled down v2 from 1 to 0
        delete web-548df6b887
        = v2@2=0 v3@3=1 revision 3 Available=MinimumReplicasAvailable Progressing=NewReplicaSetAvailable
    "#]]);
}

#[test]
fn a_rollout_that_stands_still_runs_out_of_time() {
    let mut model = Model::new(&format!("replicas: 1, {ROLLING}"));
    model.settle(&["v1"]);
    let again = model.plan().again;
    assert_eq!(again.map(|again| again.as_secs()), Some(601));
    model.now = model.now.checked_add(jiff::SignedDuration::from_secs(602)).unwrap();
    model.settle(&["v1"]);
    model.check(expect![[r#"
        create: Scaled up v1 from 0 to 1
        = v1@1=1 revision 1 Available=MinimumReplicasUnavailable Progressing=ReplicaSetUpdated
        = v1@1=1 revision 1 Available=MinimumReplicasUnavailable Progressing=ProgressDeadlineExceeded
    "#]]);
}

#[test]
fn a_replicaset_that_cannot_be_created_shows_in_the_status() {
    let mut model = Model::new(&format!("replicas: 1, {ROLLING}"));
    model.failure =
        Some(Failure { reason: "Forbidden".to_owned(), message: "quota exceeded".to_owned() });
    let plan = model.plan();
    let status = &plan.status.unwrap().object["status"]["conditions"][0];
    assert_eq!(status["reason"], "ReplicaSetCreateError");
    assert!(status["message"].as_str().unwrap().ends_with(": quota exceeded"));
}

#[test]
fn a_taken_name_raises_the_collision_count() {
    let model = Model::new(&format!("replicas: 1, {ROLLING}"));
    let plan = plan(
        model.now,
        &Observed {
            deployment: Arc::new(model.deployment.clone()),
            sets: Vec::new(),
            running: Vec::new(),
            name_taken: true,
            failure: None,
        },
    );
    assert!(plan.actions.is_empty());
    assert_eq!(plan.status.unwrap().object["status"]["collisionCount"], 1);
}
