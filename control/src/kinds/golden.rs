//! A golden file for each kind, in `control/testdata/kinds`: what a user writes, what becomes of it,
//! and what is wrong with variants of it.
//!
//! A file holds, in YAML:
//! - `object`: a sound object as a user writes it; `stored` (defaults filled in), `row` (the cells of
//!   its table) and `warnings` are what comes of it;
//! - `creates`: each with a `change` (a merge patch on `object`) and the `errors` of creating that;
//!   one that has `stored`, be it empty, shows what is stored of it;
//! - `updates`: each with a `change` (a merge patch on `stored`), the `part` that is written where it
//!   is not the main one, and the `errors`, or `ignored: true` where the change is put back.
//!
//! `control/testdata/forms` holds files of the same form for a kind's other shapes, such as
//! `services.v1.headless.yaml`, and for objects that use every field (`full`).
//!
//! `UPDATE_EXPECT=1 cargo test golden` writes all but `object`, `change` and `part` anew.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::testing::{context, now, texts};
use super::{AnyKind, Old, Part, Storage, Subresource, meta, registry};
use crate::patch;
use crate::schema::{prune, schema};

/// Where the golden file of a kind stands.
fn path(kind: &dyn AnyKind) -> PathBuf {
    let info = kind.info();
    let name = format!("{}.{}.yaml", info.group_resource(), info.version);
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata/kinds").join(name)
}

/// The golden files of a kind's other shapes.
fn more_paths(kind: &dyn AnyKind) -> Vec<PathBuf> {
    let info = kind.info();
    let stem = format!("{}.{}.", info.group_resource(), info.version);
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata/forms");
    let files = folder.read_dir().expect("the folder can be read");
    let is_its = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.starts_with(&stem)
    };
    let mut paths: Vec<PathBuf> =
        files.map(|entry| entry.expect("an entry").path()).filter(is_its).collect();
    paths.sort();
    paths
}

/// The object of a kind's golden file.
pub fn object(kind: &dyn AnyKind) -> Value {
    let path = path(kind);
    let text = std::fs::read_to_string(&path)
        .unwrap_or_else(|why| panic!("{} has no golden file: {why}", path.display()));
    let golden: Value = serde_yaml::from_str(&text).expect("a golden file is YAML");
    golden["object"].clone()
}

#[test]
fn every_kind_is_as_its_golden_file_says() {
    let update = std::env::var_os("UPDATE_EXPECT").is_some();
    let mut wrong = Vec::new();
    let registry = registry();
    let files = registry.iter().flat_map(|kind| {
        let paths = [vec![path(kind.as_ref())], more_paths(kind.as_ref())].concat();
        paths.into_iter().map(move |path| (kind, path))
    });
    for (kind, path) in files {
        let Ok(text) = std::fs::read_to_string(&path) else {
            wrong.push(format!("{} is missing", path.display()));
            continue;
        };
        let known: Value = serde_yaml::from_str(&text).expect("a golden file is YAML");
        let found = golden(kind.as_ref(), &known);
        if found == known {
            continue;
        }
        let found = serde_yaml::to_string(&found).expect("a value is YAML");
        if update {
            std::fs::write(&path, found).expect("the file can be written");
        } else {
            wrong.push(format!("{}:\n{}", path.display(), difference(&text, &found)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The lines of one text that the other lacks.
fn difference(known: &str, found: &str) -> String {
    let lacks = |text: &str, line: &str| !text.lines().any(|other| other == line);
    let gone = known.lines().filter(|line| lacks(found, line)).map(|line| format!("- {line}"));
    let new = found.lines().filter(|line| lacks(known, line)).map(|line| format!("+ {line}"));
    gone.chain(new).collect::<Vec<_>>().join("\n")
}

/// The golden file as it should be for these objects and changes.
fn golden(kind: &dyn AnyKind, known: &Value) -> Value {
    let object = &known["object"];
    let info = kind.info();
    assert_eq!(object["apiVersion"], info.api_version(), "{}", info.kind);
    assert_eq!(object["kind"], info.kind);
    let (stored, errors, warnings) = create(kind, object);
    assert_eq!(errors, [""; 0], "the object of {} is not sound", info.kind);
    let mut out = json!({ "object": object, "stored": stored });
    if info.storage != Storage::Virtual {
        let cells = kind.cells(&stored, now());
        // Upstream sends one more cell of addresses than they have columns.
        let more = usize::from(info.kind == "IPAddress");
        assert_eq!(cells.len(), kind.columns().len() + more, "the row of {}", info.kind);
        out["row"] = cells.into();
    }
    if !warnings.is_empty() {
        out["warnings"] = warnings.into();
    }
    let cases = |list: &str| known[list].as_array().cloned().unwrap_or_default();
    let creates = cases("creates").into_iter().map(|case| {
        let (stored, errors, _) = create(kind, &patch::merge(object, &case["change"]));
        let mut out = json!({ "change": case["change"], "errors": errors });
        if case.get("stored").is_some() {
            out["stored"] = stored;
        }
        out
    });
    let creates: Vec<Value> = creates.collect();
    if !creates.is_empty() {
        out["creates"] = creates.into();
    }
    let updates: Vec<Value> =
        cases("updates").into_iter().map(|case| update(kind, &stored, &case)).collect();
    if !updates.is_empty() {
        out["updates"] = updates.into();
    }
    out
}

fn create(kind: &dyn AnyKind, object: &Value) -> (Value, Vec<String>, Vec<String>) {
    let object = decoded(kind, object.clone());
    let draft = kind.begin(&object, None, Part::Main, &context()).expect("it decodes");
    let (stored, findings) = kind.finish(draft, None, Part::Main).expect("it decodes");
    let mut errors = if kind.info().storage == Storage::Virtual {
        Vec::new()
    } else {
        meta::validate(&stored, kind.info())
    };
    errors.extend(findings.errors);
    (stored, texts(&errors), findings.warnings)
}

/// What the decoder makes of what a user wrote.
fn decoded(kind: &dyn AnyKind, mut object: Value) -> Value {
    let ty = schema().by_name(kind.info().schema).expect("it is in the schema");
    prune(ty, &mut object);
    object
}

fn update(kind: &dyn AnyKind, stored: &Value, case: &Value) -> Value {
    let mut stored = stored.clone();
    stored["metadata"]["resourceVersion"] = "1".into();
    let stored = &stored;
    let part = match case["part"].as_str() {
        None => Part::Main,
        Some("status") => Part::Status,
        Some(name) => Part::Sub(Subresource::named(name).expect("there is such a subresource")),
    };
    let mut new = patch::merge(stored, &case["change"]);
    match part {
        Part::Main if kind.info().has(Subresource::Status) => {
            new["status"] = stored["status"].clone();
        }
        Part::Status => {
            let status = new["status"].take();
            new = stored.clone();
            new["status"] = status;
        }
        Part::Main | Part::Sub(_) => {}
    }
    if new["status"].is_null()
        && let Some(object) = new.as_object_mut()
    {
        object.remove("status");
    }
    let old = Old::new(stored);
    let new = decoded(kind, new);
    let draft = kind.begin(&new, Some(&old), part, &context()).expect("it decodes");
    let (new, findings) = kind.finish(draft, Some(&old), part).expect("it decodes");
    let mut errors = meta::validate_update(&new, stored, kind.info());
    errors.extend(findings.errors);
    let errors = texts(&errors);
    let mut out = json!({ "change": case["change"] });
    if !case["part"].is_null() {
        out["part"] = case["part"].clone();
    }
    if errors.is_empty() && new == *stored {
        out["ignored"] = true.into();
    } else {
        out["errors"] = errors.into();
    }
    out
}
