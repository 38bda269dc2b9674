use serde_json::{Value, json};

use super::containers::go_duration;
use super::*;

/// A machine and the clock that goes with it.
struct Case {
    machine: PodMachine,
    now: Timestamp,
}

fn pod(spec: Value) -> Arc<Pod> {
    pod_with(spec, json!({}), json!({}))
}

fn pod_with(spec: Value, meta: Value, status: Value) -> Arc<Pod> {
    let mut object = json!({
        "metadata": { "name": "web", "namespace": "ns", "uid": "u1", "generation": 1 },
        "spec": { "nodeName": "n1", "containers": [{ "name": "c", "image": "hello" }] },
        "status": status
    });
    for (key, value) in meta.as_object().unwrap() {
        object["metadata"][key] = value.clone();
    }
    for (key, value) in spec.as_object().unwrap() {
        object["spec"][key] = value.clone();
    }
    Arc::new(serde_json::from_value(object).unwrap())
}

impl Case {
    fn new(pod: &Arc<Pod>) -> Self {
        let now = Timestamp::from_second(1_700_000_000).unwrap();
        Self { machine: PodMachine::new(pod.clone(), now, Backoffs::default()), now }
    }

    fn running(spec: Value) -> Self {
        let pod = pod(spec);
        let mut case = Self::new(&pod);
        case.step(Event::Seen(pod));
        case.step(Event::Sandbox(Ok("10.1.0.2".parse().unwrap())));
        for index in 0..case.machine.containers.len() {
            case.start(index);
        }
        case
    }

    fn step(&mut self, event: Event) -> Vec<String> {
        self.machine.step(self.now, event).iter().map(word).collect()
    }

    fn wait(&mut self, seconds: u64) -> Vec<String> {
        self.now = later(self.now, Duration::from_secs(seconds));
        self.step(Event::Timer)
    }

    fn start(&mut self, container: usize) -> Vec<String> {
        let attempt = self.machine.containers[container].attempt;
        let mut seen =
            self.step(Event::Image { container, attempt, result: Ok("sha256:1".into()) });
        let id = format!("id{attempt}").into();
        seen.extend(self.step(Event::Started { container, attempt, result: Ok(id) }));
        seen
    }

    fn exit(&mut self, container: usize, code: i32) -> Vec<String> {
        let attempt = self.machine.containers[container].attempt;
        let reason = if code == 0 { "Completed" } else { "Error" };
        let exit = ExitSeen { code, reason, message: None };
        self.step(Event::Exited { container, attempt, exit })
    }

    fn status(&self) -> k8s_openapi::api::core::v1::PodStatus {
        let before = self.machine.pod.status.clone().unwrap_or_default();
        let host = "127.0.0.1".parse().unwrap();
        super::super::status::compute(&self.machine, host, &before, self.now)
    }

    /// Phase, then each container's state.
    fn shown(&self) -> String {
        let status = self.status();
        let mut text = status.phase.unwrap();
        for container in status.container_statuses.unwrap_or_default() {
            let state = container.state.unwrap();
            let what = if let Some(waiting) = state.waiting {
                waiting.reason.unwrap()
            } else if let Some(ended) = state.terminated {
                format!("{}({})", ended.reason.unwrap(), ended.exit_code)
            } else {
                format!("running{}", if container.ready { "+ready" } else { "" })
            };
            text.push_str(&format!(" {what} x{}", container.restart_count));
        }
        text
    }
}

fn word(effect: &Effect) -> String {
    match effect {
        Effect::MakeVolumes => "volumes".into(),
        Effect::StartSandbox => "sandbox".into(),
        Effect::PullImage { attempt, .. } => format!("pull {attempt}"),
        Effect::StartContainer { attempt, .. } => format!("start {attempt}"),
        Effect::Probe { kind, .. } => format!("probe {}", kind.word()),
        Effect::StopContainer { grace, .. } => format!("stop {}s", grace.as_secs()),
        Effect::KillContainer { .. } => "kill".into(),
        Effect::CloseSandbox => "close".into(),
        Effect::WriteStatus(urgency) => format!("status {urgency:?}"),
        Effect::Event(event) => {
            let mark = if event.warning { "!" } else { "" };
            format!("{mark}{}: {}", event.reason, event.message)
        }
        Effect::DeletePodObject => "delete".into(),
        Effect::RemoveFiles => "remove files".into(),
        Effect::Timer(_) => "timer".into(),
    }
}

fn deleted(seconds: i64) -> Arc<Pod> {
    let meta = json!({
        "deletionTimestamp": "2023-11-14T22:13:20Z", "deletionGracePeriodSeconds": seconds
    });
    pod_with(json!({}), meta, json!({}))
}

#[test]
fn a_plain_pod_goes_straight_to_running() {
    let pod = pod(json!({}));
    let mut case = Case::new(&pod);
    assert_eq!(case.step(Event::Seen(pod)), ["status Soon", "sandbox"]);
    assert_eq!(case.step(Event::Sandbox(Ok("10.1.0.2".parse().unwrap()))), ["pull 0"]);
    assert_eq!(case.shown(), "Pending ContainerCreating x0");
    assert_eq!(
        case.start(0),
        [
            "Pulled: Container image \"hello\" already present on machine and can be accessed by the pod",
            "start 0",
            "Created: Container created",
            "Started: Container started",
            "status Now",
        ]
    );
    assert_eq!(case.shown(), "Running running+ready x0");
}

#[test]
fn a_container_that_ends_comes_back_later_each_time() {
    let mut case = Case::running(json!({}));
    assert_eq!(case.exit(0, 1), ["pull 1", "status Now"]);
    assert_eq!(case.shown(), "Running Error(1) x0");
    case.start(0);
    assert_eq!(case.shown(), "Running running+ready x1");
    assert_eq!(
        case.exit(0, 1),
        [
            "!BackOff: Back-off restarting failed container c in pod web_ns(u1)",
            "timer",
            "status Now"
        ]
    );
    assert_eq!(case.shown(), "Running CrashLoopBackOff x1");
    let status = case.status().container_statuses.unwrap().remove(0);
    assert_eq!(
        status.state.unwrap().waiting.unwrap().message.unwrap(),
        "back-off 10s restarting failed container=c pod=web_ns(u1)"
    );
    assert!(case.wait(9).is_empty());
    assert_eq!(case.wait(1), ["pull 2"]);
}

#[test]
fn restart_policies_decide_the_phase() {
    for (policy, code, expected) in [
        ("Always", 0, "Running Completed(0) x0"),
        ("OnFailure", 0, "Succeeded Completed(0) x0"),
        ("OnFailure", 1, "Running Error(1) x0"),
        ("Never", 0, "Succeeded Completed(0) x0"),
        ("Never", 1, "Failed Error(1) x0"),
    ] {
        let mut case = Case::running(json!({ "restartPolicy": policy }));
        case.exit(0, code);
        assert_eq!(case.shown(), expected, "{policy} {code}");
    }
}

#[test]
fn the_last_container_to_end_ends_the_pod() {
    let mut case = Case::running(json!({
        "restartPolicy": "Never",
        "containers": [{ "name": "a", "image": "x" }, { "name": "b", "image": "x" }]
    }));
    case.exit(0, 0);
    assert_eq!(case.shown(), "Running Completed(0) x0 running+ready x0");
    assert_eq!(case.exit(1, 3), ["status Now", "close", "status Now"]);
    assert_eq!(case.shown(), "Failed Completed(0) x0 Error(3) x0");
    let conditions = case.status().conditions.unwrap();
    let ready = conditions.iter().find(|condition| condition.type_ == "Ready").unwrap();
    assert_eq!((ready.status.as_str(), ready.reason.as_deref()), ("False", Some("PodFailed")));
}

#[test]
fn a_missing_image_is_shown_backed_off_and_found_when_it_comes() {
    let pod = pod(json!({}));
    let mut case = Case::new(&pod);
    case.step(Event::Seen(pod));
    case.step(Event::Sandbox(Ok("10.1.0.2".parse().unwrap())));
    let missing = || ImageProblem::Pull { message: "import it".into() };
    let failed = |case: &mut Case| {
        case.step(Event::Image { container: 0, attempt: 0, result: Err(missing()) })
    };
    assert_eq!(
        failed(&mut case),
        [
            "Pulling: Pulling image \"hello\"",
            "!Failed: Failed to pull image \"hello\": import it",
            "!Failed: Error: ErrImagePull",
            "timer",
            "status Now"
        ]
    );
    assert_eq!(case.shown(), "Pending ErrImagePull x0");
    assert_eq!(
        case.wait(2),
        [
            "BackOff: Back-off pulling image \"hello\"",
            "!Failed: Error: ImagePullBackOff",
            "timer",
            "status Now"
        ]
    );
    assert_eq!(case.shown(), "Pending ImagePullBackOff x0");
    assert_eq!(case.wait(8), ["pull 0"]);
    failed(&mut case);
    assert_eq!(case.step(Event::ImagesChanged), ["pull 0"]);
    case.start(0);
    assert_eq!(case.shown(), "Running running+ready x0");
}

#[test]
fn probes_gate_readiness_and_restart_what_is_not_alive() {
    let get = json!({ "httpGet": { "port": 80 } });
    let mut case = Case::running(json!({ "containers": [{
        "name": "c", "image": "x", "startupProbe": get, "readinessProbe": get, "livenessProbe": get
    }] }));
    let probed = |kind, healthy| Event::Probed { container: 0, attempt: 0, kind, healthy };
    assert_eq!(case.shown(), "Running running x0");
    assert_eq!(
        case.step(probed(ProbeKind::Startup, true)),
        ["probe Readiness", "probe Liveness", "status Now"]
    );
    case.step(probed(ProbeKind::Readiness, true));
    assert_eq!(case.shown(), "Running running+ready x0");
    let said = "failed: HTTP probe failed with statuscode: 500".to_owned();
    let failed = Event::ProbeFailed { container: 0, attempt: 0, kind: ProbeKind::Liveness, said };
    assert_eq!(
        case.step(failed),
        ["!Unhealthy: Liveness probe failed: HTTP probe failed with statuscode: 500"]
    );
    assert_eq!(
        case.step(probed(ProbeKind::Liveness, false)),
        ["Killing: Container c failed liveness probe, will be restarted", "stop 30s", "status Now"]
    );
    assert_eq!(case.exit(0, 143), ["pull 1", "status Now"]);
    assert!(case.step(probed(ProbeKind::Readiness, true)).is_empty(), "an old probe is no news");
}

#[test]
fn a_deleted_pod_is_stopped_told_of_and_deleted_in_this_order() {
    let mut case = Case::running(json!({}));
    let seen = case.step(Event::Seen(deleted(5)));
    assert_eq!(seen, ["timer", "Killing: Stopping container c", "stop 5s"]);
    assert_eq!(case.exit(0, 0), ["close", "status Final"]);
    assert_eq!(case.shown(), "Succeeded Completed(0) x0");
    assert_eq!(case.step(Event::FinalStatusWritten), ["delete"]);
    assert_eq!(case.step(Event::Gone), ["close", "remove files"]);
    assert_eq!(case.machine.state, State::Gone);
}

#[test]
fn a_second_deletion_may_shorten_the_grace() {
    let mut case = Case::running(json!({}));
    case.step(Event::Seen(deleted(30)));
    assert_eq!(case.step(Event::Seen(deleted(2))), ["timer"]);
    assert!(case.wait(1).is_empty());
    assert_eq!(case.wait(1), ["kill"]);
    assert!(case.wait(1).is_empty(), "once is enough");
}

#[test]
fn a_pod_that_never_ran_is_deleted_at_once() {
    let pod = pod(json!({}));
    let mut case = Case::new(&pod);
    case.step(Event::Seen(pod));
    case.step(Event::Sandbox(Ok("10.1.0.2".parse().unwrap())));
    assert_eq!(case.step(Event::Seen(deleted(30))), ["timer", "close", "status Final"]);
    assert_eq!(case.shown(), "Failed ContainerStatusUnknown(137) x0");
}

#[test]
fn a_pod_whose_object_vanished_is_stopped_and_forgotten() {
    let mut case = Case::running(json!({}));
    assert_eq!(case.step(Event::Gone), ["timer", "Killing: Stopping container c", "stop 1s"]);
    assert_eq!(case.exit(0, 137), ["close", "remove files"]);
    assert_eq!(case.machine.state, State::Gone);
}

#[test]
fn what_is_not_supported_is_refused_by_name() {
    let pod = pod(json!({ "hostNetwork": true }));
    let mut case = Case::new(&pod);
    assert_eq!(
        case.step(Event::Seen(pod)),
        ["!UnsupportedField: spec.hostNetwork is not supported by Copepod yet", "status Now"]
    );
    let status = case.status();
    assert_eq!(status.phase.as_deref(), Some("Failed"));
    assert_eq!(status.reason.as_deref(), Some("UnsupportedField"));
    let supported =
        status.conditions.unwrap().into_iter().find(|c| c.type_ == "copepod.dev/Supported");
    assert_eq!(supported.unwrap().status, "False");
}

#[test]
fn an_active_deadline_ends_the_pod() {
    let mut case = Case::running(json!({ "activeDeadlineSeconds": 60 }));
    assert!(case.wait(59).is_empty());
    let seen = case.wait(1);
    assert!(seen[0].starts_with("DeadlineExceeded: "), "{seen:?}");
    assert!(seen.contains(&"stop 30s".to_owned()));
    case.exit(0, 143);
    let status = case.status();
    assert_eq!(status.phase.as_deref(), Some("Failed"));
    assert_eq!(status.reason.as_deref(), Some("DeadlineExceeded"));
}

#[test]
fn a_changed_image_restarts_its_container_at_once() {
    let mut case = Case::running(json!({ "restartPolicy": "Never" }));
    let changed = pod(json!({
        "restartPolicy": "Never", "containers": [{ "name": "c", "image": "hello:v2" }]
    }));
    assert_eq!(
        case.step(Event::Seen(changed)),
        ["Killing: Container c definition changed, will be restarted", "stop 30s", "status Now"]
    );
    assert_eq!(case.exit(0, 143), ["pull 1", "status Now"]);
    assert!(case.start(0)[0].contains("hello:v2"));
}

#[test]
fn the_start_after_a_restart_of_the_node_is_the_one_without_a_wait() {
    for state in [
        json!({ "running": { "startedAt": "2023-11-14T22:00:00Z" } }),
        json!({ "terminated": { "exitCode": 1, "reason": "Error" } }),
        json!({ "waiting": { "reason": "CrashLoopBackOff" } }),
    ] {
        let status = json!({ "phase": "Running", "containerStatuses": [{
            "name": "c", "image": "hello", "imageID": "", "ready": false, "restartCount": 3,
            "state": state, "lastState": { "terminated": { "exitCode": 1, "reason": "Error" } },
        }] });
        let pod = pod_with(json!({}), json!({}), status);
        let mut case = Case::new(&pod);
        case.step(Event::Seen(pod));
        case.step(Event::Sandbox(Ok("10.1.0.2".parse().unwrap())));
        case.start(0);
        case.exit(0, 1);
        let waiting = case.status().container_statuses.unwrap().remove(0).state.unwrap().waiting;
        let message = waiting.expect("it waits").message.unwrap();
        assert!(message.starts_with("back-off 10s"), "{state}: {message}");
    }
}

#[test]
fn after_a_restart_of_the_node_pods_go_on_where_they_can() {
    let ran = json!({ "phase": "Running", "containerStatuses": [{
        "name": "c", "image": "hello", "imageID": "", "ready": true, "restartCount": 2,
        "containerID": "wasm://old", "state": { "running": { "startedAt": "2023-11-14T22:00:00Z" } }
    }] });
    for (policy, expected) in [
        ("Always", "Running running+ready x3"),
        ("OnFailure", "Running running+ready x3"),
        ("Never", "Failed ContainerStatusUnknown(137) x2"),
    ] {
        let pod = pod_with(json!({ "restartPolicy": policy }), json!({}), ran.clone());
        let mut case = Case::new(&pod);
        case.step(Event::Seen(pod));
        case.step(Event::Sandbox(Ok("10.1.0.2".parse().unwrap())));
        case.start(0);
        assert_eq!(case.shown(), expected, "{policy}");
    }
}

#[test]
fn a_pod_that_is_over_is_left_alone_until_deleted() {
    let over = json!({ "phase": "Succeeded" });
    let pod = pod_with(json!({}), json!({}), over.clone());
    let mut case = Case::new(&pod);
    assert!(case.step(Event::Seen(pod)).is_empty());
    let meta = json!({ "deletionTimestamp": "2023-11-14T22:13:20Z" });
    let deleted = pod_with(json!({}), meta, over);
    assert_eq!(case.step(Event::Seen(deleted)), ["close", "delete"]);
}

#[test]
fn the_containers_of_a_pod_that_is_over_have_ended_for_good() {
    let over = json!({ "phase": "Failed", "reason": "DeadlineExceeded", "containerStatuses": [{
        "name": "c", "image": "hello", "imageID": "", "ready": false, "restartCount": 1,
        "state": { "terminated": { "exitCode": 143, "reason": "Error", "containerID": "wasm://a" } }
    }] });
    let pod = pod_with(json!({ "restartPolicy": "Always" }), json!({}), over);
    let case = Case::new(&pod);
    assert!(case.machine.containers[0].is_over());
    assert_eq!(case.machine.containers[0].last, None);
    assert_eq!(case.machine.containers[0].restarts_shown(), 1);
}

#[test]
fn volumes_that_cannot_be_made_are_tried_again() {
    let pod = pod(json!({ "volumes": [{ "name": "v", "configMap": { "name": "conf" } }] }));
    let mut case = Case::new(&pod);
    assert_eq!(case.step(Event::Seen(pod)), ["status Soon", "volumes"]);
    let problem = "MountVolume.SetUp failed for volume \"v\" : configmap \"conf\" not found";
    assert_eq!(
        case.step(Event::Volumes(Err(problem.into()))),
        [format!("!FailedMount: {problem}"), "timer".into(), "status Soon".into()]
    );
    assert_eq!(case.wait(1), ["volumes"]);
    assert_eq!(case.step(Event::Volumes(Ok(()))), ["sandbox"]);
}

#[test]
fn a_missing_reference_of_the_environment_blocks_the_container() {
    let pod = pod(json!({}));
    let mut case = Case::new(&pod);
    case.step(Event::Seen(pod));
    case.step(Event::Sandbox(Ok("10.1.0.2".parse().unwrap())));
    case.step(Event::Image { container: 0, attempt: 0, result: Ok("sha256:1".into()) });
    let problem = StartProblem::Config("configmap \"conf\" not found".into());
    let result = Err(problem);
    assert_eq!(
        case.step(Event::Started { container: 0, attempt: 0, result }),
        ["!Failed: Error: configmap \"conf\" not found", "timer", "status Now"]
    );
    assert_eq!(case.shown(), "Pending CreateContainerConfigError x0");
    assert_eq!(case.wait(1), ["pull 0"]);
}

#[test]
fn durations_read_as_in_go() {
    for (seconds, expected) in [(10, "10s"), (80, "1m20s"), (300, "5m0s"), (3600, "1h0m0s")] {
        assert_eq!(go_duration(Duration::from_secs(seconds)), expected);
    }
}

#[test]
fn a_pod_that_ends_is_as_ready_as_it_was() {
    let mut case = Case::running(json!({}));
    case.step(Event::Seen(deleted(30)));
    assert_eq!(case.shown(), "Running running+ready x0");
    let status = case.status();
    assert_eq!(status.container_statuses.unwrap()[0].started, Some(true));
    let ready = status.conditions.unwrap().into_iter().find(|c| c.type_ == "Ready").unwrap();
    assert_eq!(ready.status, "True");
}

#[test]
fn a_phase_that_the_api_calls_final_ends_the_pod() {
    let mut case = Case::running(json!({}));
    let evicted = json!({ "phase": "Failed", "reason": "Evicted", "message": "too much" });
    let seen = case.step(Event::Seen(pod_with(json!({}), json!({}), evicted)));
    assert_eq!(seen, ["timer", "Killing: Stopping container c", "stop 30s"]);
    assert_eq!(case.exit(0, 0), ["close", "status Now"]);
    let status = case.status();
    assert_eq!(status.phase.as_deref(), Some("Failed"));
    assert_eq!(status.reason.as_deref(), Some("Evicted"));
    assert_eq!(status.message.as_deref(), Some("too much"));
}

#[test]
fn a_final_phase_stays_when_the_pod_is_deleted_while_it_stops() {
    let mut case = Case::running(json!({}));
    case.step(Event::Seen(deleted(30)));
    let meta = json!({
        "deletionTimestamp": "2023-11-14T22:13:20Z", "deletionGracePeriodSeconds": 30
    });
    case.step(Event::Seen(pod_with(json!({}), meta, json!({ "phase": "Failed" }))));
    assert_eq!(case.exit(0, 0), ["close", "status Final"]);
    assert_eq!(case.status().phase.as_deref(), Some("Failed"));
}

#[test]
fn a_reason_that_somebody_gave_a_phase_stays_while_it_lasts() {
    let mut case = Case::running(json!({ "restartPolicy": "Never" }));
    let told = json!({ "phase": "Running", "reason": "Told", "message": "by hand" });
    case.step(Event::Seen(pod_with(json!({ "restartPolicy": "Never" }), json!({}), told)));
    let status = case.status();
    assert_eq!(
        (status.reason.as_deref(), status.message.as_deref()),
        (Some("Told"), Some("by hand"))
    );
    case.exit(0, 0);
    assert_eq!(case.status().reason, None, "another phase");
}

#[test]
fn a_node_without_room_refuses_a_pod_in_upstreams_words() {
    let pod = pod(json!({}));
    let mut case = Case::new(&pod);
    let rejection = Rejection { reason: "OutOfcpu", message: "Node didn't have enough".into() };
    case.machine.rejection = Some(Box::new(rejection));
    assert_eq!(case.step(Event::Seen(pod)), ["!OutOfcpu: Node didn't have enough", "status Now"]);
    assert!(!case.machine.takes_room());
    let status = case.status();
    assert_eq!(status.phase.as_deref(), Some("Failed"));
    assert_eq!(status.reason.as_deref(), Some("OutOfcpu"));
    assert_eq!(status.message.as_deref(), Some("Pod was rejected: Node didn't have enough"));
    assert!(status.conditions.unwrap().iter().all(|c| c.type_ != "copepod.dev/Supported"));
}

#[test]
fn container_statuses_stand_in_the_order_of_their_names() {
    let resources = json!({ "requests": { "cpu": "1" }, "limits": { "cpu": "2" } });
    let case = {
        let mut case = Case::running(json!({ "restartPolicy": "Never", "containers": [
            { "name": "b", "image": "x", "resources": resources }, { "name": "a", "image": "x" },
        ] }));
        case.exit(0, 1);
        case
    };
    let status = case.status();
    let containers = status.container_statuses.unwrap();
    assert_eq!(containers.iter().map(|c| &*c.name).collect::<Vec<_>>(), ["a", "b"]);
    // What a container was given is told of after its end, too.
    assert_eq!(containers[1].allocated_resources.as_ref().unwrap()["cpu"].0, "1");
    assert_eq!(containers[1].resources.as_ref().unwrap().limits.as_ref().unwrap()["cpu"].0, "2");
    let mut case = case;
    case.machine.containers[1].ready = false;
    let conditions = case.status().conditions.unwrap();
    let ready = conditions.iter().find(|c| c.type_ == "ContainersReady").unwrap();
    assert_eq!(ready.message.as_deref(), Some("containers with unready status: [b a]"));
}

#[test]
fn a_status_that_somebody_wrote_over_is_told_from_an_equal_one() {
    use super::super::status::is_overwritten;
    let case = Case::running(json!({}));
    let ours = case.status();
    assert!(!is_overwritten(&ours, &ours.clone()));
    let mut theirs = ours.clone();
    theirs.message = Some("theirs to give".into());
    assert!(!is_overwritten(&ours, &theirs));
    let ready = theirs.conditions.as_mut().unwrap();
    ready.iter_mut().find(|c| c.type_ == "Ready").unwrap().status = "False".into();
    assert!(is_overwritten(&ours, &theirs));
    let mut theirs = ours.clone();
    theirs.container_statuses = None;
    assert!(is_overwritten(&ours, &theirs));
}

#[test]
fn a_container_that_imports_from_another_begins_when_that_one_runs() {
    let pod = pod(json!({ "containers": [
        { "name": "web", "image": "web" }, { "name": "adapter", "image": "adapter" },
    ] }));
    let mut case = Case::new(&pod);
    case.step(Event::Seen(pod));
    case.step(Event::Sandbox(Ok("10.1.0.2".parse().unwrap())));
    case.step(Event::Image { container: 0, attempt: 0, result: Ok("sha256:1".into()) });
    let waits = StartProblem::Waits("waiting for container adapter".into());
    let seen = case.step(Event::Started { container: 0, attempt: 0, result: Err(waits) });
    assert!(!seen.iter().any(|effect| effect.contains("Failed")), "{seen:?}");
    assert_eq!(case.shown(), "Pending ContainerCreating x0 ContainerCreating x0");
    let seen = case.start(1);
    assert!(seen.contains(&"pull 0".to_owned()), "{seen:?}");
    case.start(0);
    assert_eq!(case.shown(), "Running running+ready x0 running+ready x0");

    let refused = StartProblem::Create("imports what nobody gives".into());
    case.exit(0, 1);
    case.wait(30);
    case.step(Event::Image { container: 0, attempt: 1, result: Ok("sha256:1".into()) });
    let seen = case.step(Event::Started { container: 0, attempt: 1, result: Err(refused) });
    assert!(seen.iter().any(|effect| effect.contains("Failed")), "{seen:?}");
    assert_eq!(case.shown(), "Running running+ready x0 CreateContainerError x0");
}

/// Three containers whose images are being made ready.
fn three() -> Case {
    let names = ["a", "b", "c"].map(|name| json!({ "name": name, "image": name }));
    let pod = pod(json!({ "restartPolicy": "Never", "containers": names }));
    let mut case = Case::new(&pod);
    case.step(Event::Seen(pod));
    let seen = case.step(Event::Sandbox(Ok("10.1.0.2".parse().unwrap())));
    assert_eq!(seen, ["pull 0", "pull 0", "pull 0"], "side by side");
    case
}

impl Case {
    fn image(&mut self, container: usize, result: Result<Arc<str>, ImageProblem>) -> Vec<String> {
        self.step(Event::Image { container, attempt: 0, result })
    }

    /// Reports a start; answers which container is started next.
    fn started(&mut self, container: usize, result: Result<Arc<str>, StartProblem>) -> Vec<usize> {
        let event = Event::Started { container, attempt: 0, result };
        let effects = self.machine.step(self.now, event);
        let starts = effects.iter().filter_map(|effect| match effect {
            Effect::StartContainer { container, .. } => Some(*container),
            _ => None,
        });
        starts.collect()
    }
}

#[test]
fn containers_start_in_the_order_of_the_spec_whichever_image_is_ready_first() {
    let mut case = three();
    let digest = || Ok("sha256:1".into());
    for late in [2, 1] {
        let seen = case.image(late, digest());
        assert!(seen.len() == 1 && seen[0].starts_with("Pulled: "), "{seen:?}");
    }
    assert_eq!(
        case.shown(),
        "Pending ContainerCreating x0 ContainerCreating x0 ContainerCreating x0"
    );
    assert!(case.image(0, digest()).contains(&"start 0".to_owned()));
    assert_eq!(case.started(0, Ok("id".into())), [1]);
    assert_eq!(case.started(1, Ok("id".into())), [2]);
    assert!(case.started(2, Ok("id".into())).is_empty());
    assert_eq!(case.shown(), "Running running+ready x0 running+ready x0 running+ready x0");
}

#[test]
fn a_container_that_cannot_start_holds_none_back() {
    let mut case = three();
    case.image(2, Ok("sha256:1".into()));
    case.image(1, Ok("sha256:1".into()));
    let missing = ImageProblem::Pull { message: "import it".into() };
    assert!(case.image(0, Err(missing)).contains(&"start 0".to_owned()), "the second");
    let refused = StartProblem::Create("imports what nobody gives".into());
    assert_eq!(case.started(1, Err(refused)), [2]);
    case.started(2, Ok("id".into()));
    assert_eq!(case.shown(), "Pending ErrImagePull x0 CreateContainerError x0 running+ready x0");
}

#[test]
fn a_container_that_imports_from_a_later_one_stands_in_line_anew_when_that_one_runs() {
    let mut case = three();
    for index in [2, 1, 0] {
        case.image(index, Ok("sha256:1".into()));
    }
    let waits = || StartProblem::Waits("waiting for container c".into());
    assert_eq!(case.started(0, Err(waits())), [1]);
    assert!(case.started(1, Ok("id".into())).is_empty(), "the first tries once more before");
    assert!(case.image(0, Ok("sha256:1".into())).contains(&"start 0".to_owned()));
    assert_eq!(case.started(0, Err(waits())), [2]);
    case.started(2, Ok("id".into()));
    assert!(case.image(0, Ok("sha256:1".into())).contains(&"start 0".to_owned()));
    case.started(0, Ok("id".into()));
    assert_eq!(case.shown(), "Running running+ready x0 running+ready x0 running+ready x0");
}

#[test]
fn a_pod_that_is_deleted_starts_none_of_those_in_line() {
    let mut case = three();
    for index in [2, 1, 0] {
        case.image(index, Ok("sha256:1".into()));
    }
    case.step(Event::Seen(deleted(5)));
    assert!(case.started(0, Ok("id".into())).is_empty());
    assert_eq!(case.exit(0, 0), ["close", "status Final"]);
}
