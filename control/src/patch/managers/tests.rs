//! Who manages what after each sort of write.

use std::borrow::Cow;

use serde_json::{Value, json};

use proptest::prelude::*;

use super::super::apply::{Keep, OneVersion, Shape, Versions, check};
use super::*;
use crate::schema::sample::{self, Chooser};
use crate::schema::{prune, schema};

/// `apps/v1` and a `v0` that is the same but for its name.
struct Two(Shape);

impl Versions for Two {
    fn shape(&self, api_version: &str) -> Option<Shape> {
        matches!(api_version, "apps/v1" | "apps/v0").then_some(self.0)
    }

    fn convert<'v>(&self, value: &'v Value, from: &str, to: &str) -> Option<Cow<'v, Value>> {
        (self.shape(from).is_some() && self.shape(to).is_some()).then_some(Cow::Borrowed(value))
    }
}

fn deployments() -> Shape {
    Shape::of(schema().by_api_version("apps/v1", "Deployment").expect("kind"))
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_767_323_045 + seconds).expect("a time")
}

/// Writes as a manager, at a second.
fn write<T>(manager: &str, second: i64, make: impl FnOnce(Write<'_>) -> T) -> T {
    let versions = Two(deployments());
    let resets = ["status".to_owned()];
    let setting = Setting {
        api_version: "apps/v1",
        shape: deployments(),
        versions: &versions,
        keep: Keep::AllBut(&resets),
    };
    make(Write { setting, manager, subresource: "", now: at(second) })
}

fn deployment(replicas: u32, image: &str) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": { "name": "web", "namespace": "default", "uid": "u", "labels": { "app": "web" } },
        "spec": {
            "replicas": replicas,
            "template": { "spec": { "containers": [{ "name": "c", "image": image }] } },
        },
        "status": { "replicas": 1 },
    })
}

fn entries(text: Option<&str>) -> Value {
    text.map_or(Value::Null, |text| serde_json::from_str(text).expect("JSON"))
}

/// The managers in their order, each with its fields.
fn told(text: Option<&str>) -> Vec<(String, Value)> {
    let entries = entries(text);
    let entries = entries.as_array().into_iter().flatten();
    entries
        .map(|entry| {
            let manager = entry["manager"].as_str().unwrap_or_default();
            (
                format!("{manager} {}", entry["operation"].as_str().unwrap_or_default()),
                entry["fieldsV1"].clone(),
            )
        })
        .collect()
}

const IMAGE: &str = r#"k:{"name":"c"}"#;

fn image() -> Value {
    json!({ "f:spec": { "f:template": { "f:spec": { "f:containers": { IMAGE: { "f:image": {} } } } } } })
}

#[test]
fn whoever_creates_an_object_manages_it() {
    let new = deployment(1, "a");
    let text = write("kubectl-create", 0, |write| created(write, &new, &Given::Nothing));
    assert_eq!(
        text.as_deref(),
        Some(
            r#"[{"manager":"kubectl-create","operation":"Update","apiVersion":"apps/v1","time":"2026-01-02T03:04:05Z","fieldsType":"FieldsV1","fieldsV1":{"f:metadata":{"f:labels":{".":{},"f:app":{}}},"f:spec":{"f:replicas":{},"f:template":{"f:spec":{"f:containers":{"k:{\"name\":\"c\"}":{".":{},"f:image":{},"f:name":{}}}}}}}}]"#
        )
    );
    let unnamed = write("", 0, |write| created(write, &new, &Given::Nothing));
    assert_eq!(entries(unnamed.as_deref())[0]["manager"], "unknown");
    // What says which object it is, is nobody's.
    let bare = json!({ "metadata": { "name": "a", "uid": "u", "generation": 1 }, "status": { "replicas": 1 } });
    assert_eq!(write("m", 0, |write| created(write, &bare, &Given::Nothing)), None);
}

#[test]
fn whoever_changes_a_field_takes_it() {
    let (old, new) = (deployment(1, "a"), deployment(1, "b"));
    let live = write("one", 0, |write| created(write, &old, &Given::Nothing));
    let text =
        write("two", 5, |write| updated(write, live.as_deref(), &Given::Nothing, &old, &new));
    let told = told(text.as_deref());
    assert_eq!(told.len(), 2);
    assert_eq!(told[1], ("two Update".to_owned(), image()));
    assert_eq!(
        told[0].1["f:spec"]["f:template"]["f:spec"]["f:containers"][IMAGE],
        json!({ ".": {}, "f:name": {} })
    );
    let times: Vec<Value> = entries(text.as_deref())
        .as_array()
        .expect("a list")
        .iter()
        .map(|entry| entry["time"].clone())
        .collect();
    assert_eq!(times, ["2026-01-02T03:04:05Z", "2026-01-02T03:04:10Z"]);
    // The same manager adds to what it has.
    let more = deployment(2, "b");
    let text =
        write("two", 9, |write| updated(write, text.as_deref(), &Given::Nothing, &new, &more));
    let two = &entries(text.as_deref())[1];
    assert_eq!(two["time"], "2026-01-02T03:04:14Z");
    assert_eq!(two["fieldsV1"]["f:spec"]["f:replicas"], json!({}));
    assert_eq!(two["fieldsV1"]["f:spec"]["f:template"], image()["f:spec"]["f:template"]);
}

#[test]
fn an_update_without_a_change_changes_nothing() {
    let old = deployment(1, "a");
    let live = write("one", 0, |write| created(write, &old, &Given::Nothing));
    let text =
        write("two", 5, |write| updated(write, live.as_deref(), &Given::Nothing, &old, &old));
    assert_eq!(text, live);
    // Nor does one of what its part cannot set.
    let mut new = old.clone();
    new["status"]["replicas"] = 7.into();
    let text =
        write("two", 5, |write| updated(write, live.as_deref(), &Given::Nothing, &old, &new));
    assert_eq!(text, live);
}

#[test]
fn nobody_is_tracked_where_nobody_was() {
    let (old, new) = (deployment(1, "a"), deployment(1, "b"));
    assert_eq!(write("m", 0, |write| updated(write, None, &Given::Nothing, &old, &new)), None);
    let live = write("one", 0, |write| created(write, &old, &Given::Nothing));
    assert_eq!(
        write("m", 0, |write| updated(write, live.as_deref(), &Given::Reset, &old, &new)),
        None
    );
}

#[test]
fn managers_that_a_request_gives_count_where_they_can_be_read() {
    let (old, new) = (deployment(1, "a"), deployment(1, "b"));
    let live = write("one", 0, |write| created(write, &old, &Given::Nothing));
    let given = |list: Value| {
        let mut object = json!({ "metadata": { "managedFields": list } });
        let given = Given::take(&mut object);
        assert_eq!(object, json!({ "metadata": {} }));
        given
    };
    let entry = |operation: &str, api_version: &str, ty: &str| {
        json!({ "manager": "other", "operation": operation, "apiVersion": api_version, "fieldsType": ty,
                "fieldsV1": { "f:spec": { "f:replicas": {} } } })
    };
    let after = |given: Given| {
        let text = write("two", 5, |write| updated(write, live.as_deref(), &given, &old, &new));
        told(text.as_deref()).into_iter().map(|(who, _)| who).collect::<Vec<_>>()
    };
    let of_live = ["one Update", "two Update"];
    assert_eq!(
        after(given(json!([entry("Apply", "apps/v1", "FieldsV1")]))),
        ["other Apply", "two Update"]
    );
    for bad in [
        json!([entry("Delete", "apps/v1", "FieldsV1")]),
        json!([entry("Apply", "", "FieldsV1")]),
        json!([entry("Apply", "apps/v1", "")]),
        json!([entry("Apply", "apps/v1", "FieldsV2")]),
        json!([{ "operation": "Apply", "apiVersion": "apps/v1", "fieldsType": "FieldsV1", "fieldsV1": { "x": {} } }]),
        Value::Null,
    ] {
        assert_eq!(after(given(bad.clone())), of_live, "{bad}");
    }
    assert_eq!(given(json!([])), Given::Reset);
    assert_eq!(given(json!([{}])), Given::Reset);
    // Those of a version that is not served vanish.
    assert_eq!(after(given(json!([entry("Update", "apps/v9", "FieldsV1")]))), ["two Update"]);
    assert_eq!(
        after(given(json!([entry("Update", "apps/v0", "FieldsV1")]))),
        ["other Update", "two Update"]
    );
}

#[test]
fn the_names_of_managers_are_checked() {
    let entry = |manager: &str, subresource: &str| {
        let entry = json!([{ "manager": manager, "operation": "Apply", "apiVersion": "v1",
            "fieldsType": "FieldsV1", "fieldsV1": {}, "subresource": subresource }]);
        problems(&entry.to_string()).iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert!(entry("m", "status").is_empty());
    assert_eq!(
        entry(&"x".repeat(129), &"y".repeat(257)),
        [
            "metadata.managedFields[0].manager: Too long: may not be more than 128 bytes",
            "metadata.managedFields[0].subresource: Too long: may not be more than 256 bytes",
        ]
    );
    assert_eq!(entry("a\u{1}", "").len(), 1);
}

#[test]
fn a_client_is_known_by_the_first_word_of_its_agent() {
    for (agent, name) in [
        ("kubectl/v1.32.0 (linux/amd64)", "kubectl"),
        ("curl", "curl"),
        ("/x", ""),
        ("", ""),
        ("a\u{1}b/1", "ab"),
    ] {
        assert_eq!(of_user_agent(agent), name);
    }
    assert_eq!(of_user_agent(&"ä".repeat(100)).len(), 128);
}

#[test]
fn the_oldest_updaters_of_a_version_are_merged() {
    let mut object = json!({ "metadata": { "labels": {} } });
    let mut text = Some(
        r#"[{"manager":"applier","operation":"Apply","apiVersion":"apps/v1","fieldsType":"FieldsV1","fieldsV1":{"f:spec":{"f:paused":{}}}},
            {"manager":"older","operation":"Update","apiVersion":"apps/v0","time":"2020-01-01T00:00:00Z","fieldsType":"FieldsV1","fieldsV1":{"f:spec":{"f:minReadySeconds":{}}}}]"#
            .to_owned(),
    );
    for at in 0..12 {
        let old = object.clone();
        object["metadata"]["labels"][format!("l{at:02}")] = "x".into();
        let manager = format!("m{at:02}");
        text = write(&manager, at, |write| {
            updated(write, text.as_deref(), &Given::Nothing, &old, &object)
        });
    }
    let told = told(text.as_deref());
    let names: Vec<&str> = told.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        [
            "applier Apply",
            "older Update",
            "ancient-changes Update",
            "m04 Update",
            "m05 Update",
            "m06 Update",
            "m07 Update",
            "m08 Update",
            "m09 Update",
            "m10 Update",
            "m11 Update",
        ]
    );
    let labels = &told[2].1["f:metadata"]["f:labels"];
    assert_eq!(*labels, json!({ "f:l00": {}, "f:l01": {}, "f:l02": {}, "f:l03": {} }));
    assert_eq!(entries(text.as_deref())[2]["time"], "2026-01-02T03:04:08Z");
}

#[track_caller]
fn apply_as(
    manager: &str,
    live: Option<(&Value, Option<&str>)>,
    config: &Value,
    force: bool,
) -> Applied {
    write(manager, 20, |write| applied(write, live, config, force)).expect("no conflict")
}

fn config(spec: Value) -> Value {
    json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "web" }, "spec": spec })
}

#[test]
fn an_apply_of_the_same_is_the_same() {
    let wanted = config(json!({ "replicas": 3 }));
    let first = apply_as("me", None, &wanted, false);
    assert_eq!(
        first.managers.as_deref(),
        Some(
            r#"[{"manager":"me","operation":"Apply","apiVersion":"apps/v1","time":"2026-01-02T03:04:25Z","fieldsType":"FieldsV1","fieldsV1":{"f:spec":{"f:replicas":{}}}}]"#
        )
    );
    let live = Some((&first.object, first.managers.as_deref()));
    let again = write("me", 99, |write| applied(write, live, &wanted, false)).expect("no conflict");
    assert_eq!(again, first);
    // One who comes to the same owns it too, and no time is told: nothing has changed.
    let other = apply_as("other", live, &wanted, false);
    assert_eq!(other.object, first.object);
    let entries = entries(other.managers.as_deref());
    assert_eq!((&entries[0]["manager"], entries[0].get("time")), (&json!("other"), None));
    assert_eq!(entries[1]["manager"], "me");
}

#[test]
fn what_is_not_applied_any_more_goes_unless_somebody_else_has_it() {
    let first = apply_as(
        "me",
        None,
        &config(json!({ "replicas": 3, "paused": true, "minReadySeconds": 1 })),
        false,
    );
    let live = Some((&first.object, first.managers.as_deref()));
    let shared = apply_as("other", live, &config(json!({ "replicas": 3 })), false);
    let live = Some((&shared.object, shared.managers.as_deref()));
    let less = apply_as("me", live, &config(json!({ "paused": true })), false);
    let spec = &less.object["spec"];
    assert_eq!((&spec["replicas"], &spec["paused"]), (&json!(3), &json!(true)));
    assert_eq!(spec.get("minReadySeconds"), None);
    let told = told(less.managers.as_deref());
    assert_eq!(told[1].1, json!({ "f:spec": { "f:paused": {} } }));
}

#[test]
fn conflicts_are_told_in_upstreams_words() {
    let live_object = deployment(1, "a");
    let managers =
        write("kubectl-create", 0, |write| created(write, &live_object, &Given::Nothing));
    let live = Some((&live_object, managers.as_deref()));
    let wanted = config(json!({ "replicas": 3 }));
    let refused = write("me", 9, |write| applied(write, live, &wanted, false));
    let Err(Rejected::Conflict(error)) = refused else { panic!("{refused:?}") };
    assert_eq!(
        error.message,
        r#"Apply failed with 1 conflict: conflict with "kubectl-create" using apps/v1: .spec.replicas"#
    );
    assert_eq!(
        error.details,
        Some(json!({ "causes": [{ "reason": "FieldManagerConflict",
            "message": r#"conflict with "kubectl-create" using apps/v1"#, "field": ".spec.replicas" }] }))
    );
    assert_eq!((error.code, error.reason), (409, "Conflict"));
    // Forced, they are taken.
    let forced = apply_as("me", live, &wanted, true);
    assert_eq!(forced.object["spec"]["replicas"], 3);
    let told = told(forced.managers.as_deref());
    assert_eq!(told[0], ("me Apply".to_owned(), json!({ "f:spec": { "f:replicas": {} } })));
    assert_eq!(told[1].1["f:spec"].get("f:replicas"), None);
    let live = Some((&forced.object, forced.managers.as_deref()));
    let mut other = config(
        json!({ "replicas": 5, "template": { "spec": { "containers": [{ "name": "c", "image": "z" }] } } }),
    );
    other["metadata"]["labels"] = json!({ "app": "other" });
    let refused = write("them", 9, |write| applied(write, live, &other, false));
    let Err(Rejected::Conflict(error)) = refused else { panic!("{refused:?}") };
    assert_eq!(
        error.message,
        "Apply failed with 3 conflicts: conflicts with \"kubectl-create\" using apps/v1:\n- .metadata.labels.app\n- .spec.template.spec.containers[name=\"c\"].image\nconflicts with \"me\":\n- .spec.replicas"
    );
}

#[test]
fn what_was_there_before_the_first_apply_has_a_manager_too() {
    let live_object = deployment(1, "a");
    let done =
        apply_as("me", Some((&live_object, None)), &config(json!({ "paused": true })), false);
    let told = told(done.managers.as_deref());
    let names: Vec<&str> = told.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["me Apply", "before-first-apply Update"]);
    assert_eq!(told[1].1["f:spec"]["f:replicas"], json!({}));
    assert_eq!(told[1].1.get("f:status"), None);
    let wanted = config(json!({ "replicas": 9 }));
    let refused =
        write("me", 9, |write| applied(write, Some((&live_object, None)), &wanted, false));
    let Err(Rejected::Conflict(error)) = refused else { panic!("{refused:?}") };
    assert!(error.message.contains(r#""before-first-apply" using apps/v1"#), "{}", error.message);
}

#[test]
fn kubectl_takes_what_it_applied_on_its_own_side() {
    const KEY: &str = "kubectl.kubernetes.io/last-applied-configuration";
    let mut live_object = deployment(1, "a");
    let last = config(json!({ "replicas": 1 })).to_string();
    live_object["metadata"]["annotations"] = json!({ KEY: last });
    let managers = write("kubectl-client-side-apply", 0, |write| {
        created(write, &live_object, &Given::Nothing)
    });
    let live = Some((&live_object, managers.as_deref()));
    let wanted = config(json!({ "replicas": 3 }));
    assert!(write("other", 9, |write| applied(write, live, &wanted, false)).is_err());
    let done = apply_as("kubectl", live, &wanted, false);
    assert_eq!(done.object["spec"]["replicas"], 3);
    // The annotation follows.
    assert_eq!(done.object["metadata"]["annotations"][KEY], format!("{wanted}\n"));
    // What was not applied then is another's.
    let mut more = wanted.clone();
    more["metadata"]["labels"] = json!({ "app": "x" });
    let refused = write("kubectl", 9, |write| applied(write, live, &more, false));
    let Err(Rejected::Conflict(error)) = refused else { panic!("{refused:?}") };
    assert!(error.message.ends_with(".metadata.labels.app"), "{}", error.message);
    assert!(error.message.starts_with("Apply failed with 1 conflict: "), "{}", error.message);
}

#[test]
fn the_managers_of_a_scale_are_those_of_the_replicas() {
    let entry = |manager: &str, operation: &str, version: &str, fields: &str, subresource: &str| {
        let subresource = if subresource.is_empty() {
            String::new()
        } else {
            format!(r#","subresource":"{subresource}""#)
        };
        format!(
            r#"{{"manager":"{manager}","operation":"{operation}","apiVersion":"{version}","fieldsType":"FieldsV1","fieldsV1":{fields}{subresource}}}"#
        )
    };
    let list = |entries: &[String]| Some(format!("[{}]", entries.join(",")));
    let replicas = r#"{"f:spec":{"f:replicas":{}}}"#;
    let both = r#"{"f:spec":{"f:replicas":{},"f:selector":{}}}"#;
    let selector = r#"{"f:spec":{"f:selector":{}}}"#;
    for operation in ["Apply", "Update"] {
        let parent = list(&[
            entry("test", operation, "apps/v1", both, ""),
            entry("z", operation, "apps/v1", selector, ""),
        ]);
        assert_eq!(
            of_parent(parent.as_deref(), "apps/v1"),
            list(&[entry("test", operation, "autoscaling/v1", replicas, "")])
        );
        // Another takes them.
        for (taker, whose) in
            [("scale", "Apply"), ("scale", "Update"), ("test", "Apply"), ("test", "Update")]
        {
            let scale = list(&[entry(taker, whose, "autoscaling/v1", replicas, "scale")]);
            let after = to_parent(parent.as_deref(), scale.as_deref(), "apps/v1");
            let after = told(after.as_deref());
            assert_eq!(after.len(), 3, "{after:?}");
            assert!(after.contains(&(
                format!("{taker} {whose}"),
                json!({ "f:spec": { "f:replicas": {} } })
            )));
            assert!(after.contains(&(
                format!("test {operation}"),
                json!({ "f:spec": { "f:selector": {} } })
            )));
        }
        // Nobody does.
        let kept = list(&[entry("test", operation, "autoscaling/v1", replicas, "")]);
        assert_eq!(to_parent(parent.as_deref(), kept.as_deref(), "apps/v1"), parent);
    }
    let timed = r#"[{"manager":"m","operation":"Update","apiVersion":"apps/v1","time":"2020-01-01T00:00:00Z","fieldsType":"FieldsV1","fieldsV1":{"f:spec":{"f:replicas":{}}},"subresource":"scale"}]"#;
    let scale = of_parent(Some(timed), "apps/v1");
    assert_eq!(entries(scale.as_deref())[0]["time"], "2020-01-01T00:00:00Z");
    assert_eq!(to_parent(Some(timed), scale.as_deref(), "apps/v1").as_deref(), Some(timed));
}

/// Leaves one element of each list, so that no key stands twice.
fn keep_firsts(value: &mut Value) {
    match value {
        Value::Array(items) => {
            items.truncate(1);
            items.iter_mut().for_each(keep_firsts);
        }
        Value::Object(fields) => fields.values_mut().for_each(keep_firsts),
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn an_apply_of_any_kind_that_is_done_again_changes_nothing(live in sample::seeds(), config in sample::seeds()) {
        let mut seen = 0;
        for kind in crate::kinds::registry().iter() {
            let info = kind.info();
            let ty = schema().by_name(info.schema).expect("a type");
            let sampled = |seed| {
                let mut object = sample::object(ty, &mut Chooser::new(seed), 0);
                object["apiVersion"] = info.api_version().into();
                object["kind"] = info.kind.into();
                prune(ty, &mut object);
                object
            };
            let (live, mut config) = (sampled(live), sampled(config));
            keep_firsts(&mut config);
            let shape = Shape::of(ty);
            // Elements without their keys are refused.
            if check(shape, &config).is_err() {
                continue;
            }
            let api_version = info.api_version();
            let versions = OneVersion(&api_version, shape);
            let keep = Keep::AllBut(&[]);
            let setting = Setting { api_version: &api_version, shape, versions: &versions, keep };
            let write = Write { setting, manager: "me", subresource: "", now: at(0) };
            let Ok(first) = applied(write, Some((&live, None)), &config, true) else { continue };
            let mut object = first.object;
            prune(ty, &mut object);
            let known = first.managers.as_deref();
            // Nobody is in the way of oneself.
            let again = applied(write, Some((&object, known)), &config, false).expect("no conflict");
            let mut after = again.object;
            prune(ty, &mut after);
            prop_assert_eq!(&after, &object, "{}", info.kind);
            prop_assert!(same_but_for_times(again.managers.as_deref(), known), "{}", info.kind);
            seen += 1;
        }
        prop_assert!(seen > 30, "only {} kinds were applied", seen);
    }
}
