//! Lists, watches and load: the forms of answers, their sizes, their ends.

use std::io::Read as _;

use bytes::Bytes;

use super::*;
use crate::schema::protobuf;

const PIECE_MAX: usize = 80 * 1024;
const PARTIAL_LIST: &str = "as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
const PARTIAL_ONE: &str = "as=PartialObjectMetadata;g=meta.k8s.io;v=v1";

/// So many config maps of some 4 KB each, in two namespaces by turns.
async fn fill(server: &Server, count: usize) {
    for index in 0..count {
        let namespace = ["default", "kube-system"][index % 2];
        let path = format!("/api/v1/namespaces/{namespace}/configmaps");
        let text = format!("{index}\n  \"x\"\n").repeat(400);
        let mut map = map(&format!("m{index:04}"), &json!({ "k": text }));
        map["metadata"]["labels"] = json!({ "third": (index % 3).to_string() });
        server.post(&path, map).await.ok();
    }
}

/// The pieces of an answer.
async fn pieces(server: &Server, path: &str, accept: &str) -> Vec<Bytes> {
    let request = Request::get(path).header("accept", accept).body(Body::empty());
    let response = server.raw(request.expect("a request")).await;
    assert_eq!(response.status(), StatusCode::OK);
    let stream = response.into_body().into_data_stream();
    stream.map(|piece| piece.expect("a piece")).collect().await
}

fn items<'a>(list: &'a Value, field: &str) -> &'a Vec<Value> {
    list[field].as_array().expect("items")
}

#[tokio::test]
async fn a_large_list_goes_out_in_pieces_whatever_its_form() {
    let server = Server::start().await;
    fill(&server, 420).await;
    let path = "/api/v1/configmaps";
    let expected = server.get(path).await.ok();
    assert_eq!(items(&expected, "items").len(), 420);
    let forms = [
        "application/json",
        "application/json;pretty=1",
        "application/yaml",
        "application/vnd.kubernetes.protobuf",
    ];
    for form in forms {
        let pieces = pieces(&server, path, form).await;
        assert!(pieces.len() > 10, "{form}");
        let longest = pieces.iter().map(Bytes::len).max().unwrap_or_default();
        assert!(longest < PIECE_MAX, "{form}: {longest}");
        let text = pieces.concat();
        let list = match form {
            "application/yaml" => serde_yaml::from_slice(&text).expect("YAML"),
            "application/vnd.kubernetes.protobuf" => {
                let (version, kind, mut list) = protobuf::decode(&text).expect("protobuf");
                assert_eq!((version.as_str(), kind.as_str()), ("v1", "ConfigMapList"));
                (list["apiVersion"], list["kind"]) = (version.into(), kind.into());
                list
            }
            _ => serde_json::from_slice(&text).expect("JSON"),
        };
        assert_eq!(list["metadata"], expected["metadata"], "{form}");
        assert_eq!(items(&list, "items").len(), 420, "{form}");
        assert_eq!(list, expected, "{form}");
    }
    let first = &expected["items"][0];
    assert_eq!((first.get("kind"), first.get("apiVersion")), (None, None));
    for (media, parse) in [
        ("application/json", true),
        ("application/yaml", true),
        ("application/vnd.kubernetes.protobuf", false),
    ] {
        let text = pieces(&server, path, &format!("{media};{PARTIAL_LIST}")).await.concat();
        let list: Value = if parse {
            serde_yaml::from_slice(&text).expect("YAML, or JSON, which is YAML")
        } else {
            let (version, kind, list) = protobuf::decode(&text).expect("protobuf");
            assert_eq!(
                (version.as_str(), kind.as_str()),
                ("meta.k8s.io/v1", "PartialObjectMetadataList")
            );
            list
        };
        assert_eq!(items(&list, "items").len(), 420, "{media}");
        for (partial, whole) in items(&list, "items").iter().zip(items(&expected, "items")) {
            assert_eq!((&partial["metadata"], partial.get("data")), (&whole["metadata"], None));
        }
    }
    for media in ["application/json", "application/yaml"] {
        let accept = format!("{media};as=Table;g=meta.k8s.io;v=v1");
        let text = pieces(&server, path, &accept).await.concat();
        let table: Value = serde_yaml::from_slice(&text).expect("YAML, or JSON");
        assert_eq!((&table["kind"], items(&table, "rows").len()), (&json!("Table"), 420));
        assert_eq!(table["columnDefinitions"][0]["name"], "Name");
        assert_eq!(table["metadata"], expected["metadata"]);
    }
}

#[tokio::test]
async fn an_empty_list_is_an_empty_list_in_every_form() {
    let server = Server::start().await;
    let path = "/apis/apps/v1/deployments";
    for accept in ["application/json", "application/json;pretty=1", "application/yaml"] {
        let answer = server.get_as(path, accept).await;
        let list: Value = serde_yaml::from_str(&answer.text).expect("YAML, or JSON");
        assert_eq!((&list["kind"], &list["items"]), (&json!("DeploymentList"), &json!([])));
    }
    let table = server.get_as(path, TABLE).await.ok();
    assert_eq!(table["rows"], json!([]));
    let compact = server.get(path).await.text;
    assert!(compact.starts_with(r#"{"kind":"DeploymentList","apiVersion":"apps/v1","metadata":{"#));
    assert!(compact.ends_with("\"items\":[]}\n"), "{compact}");
}

#[tokio::test]
async fn a_large_answer_is_compressed_for_those_who_take_it() {
    let server = Server::start().await;
    fill(&server, 60).await;
    let get = async |path: &str, encoding: &str| {
        let request = Request::get(path).header("accept-encoding", encoding).body(Body::empty());
        let response = server.raw(request.expect("a request")).await;
        let headers = response.headers().clone();
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        (headers, body)
    };
    let path = "/api/v1/configmaps";
    let (headers, plain) = get(path, "identity").await;
    assert_eq!(headers.get("content-encoding"), None);
    let (headers, packed) = get(path, "deflate, gzip").await;
    assert_eq!(headers["content-encoding"], "gzip");
    assert_eq!(headers["vary"], "Accept-Encoding");
    assert_eq!(headers.get("content-length"), None);
    assert!(packed.len() * 4 < plain.len());
    let mut unpacked = Vec::new();
    flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut unpacked).expect("gzip");
    assert!(unpacked == plain);
    // What is small goes out as it is.
    let (headers, small) = get(&format!("{MAPS}?limit=5"), "gzip").await;
    assert_eq!((headers.get("content-encoding"), small[0]), (None, b'{'));
    // So does a watch, whose events must not wait for one another.
    let request = Request::get(format!("{path}?watch=1&resourceVersion=0"));
    let request = request.header("accept-encoding", "gzip").body(Body::empty());
    let watch = server.raw(request.expect("a request")).await;
    assert_eq!(watch.headers().get("content-encoding"), None);
}

/// The names of all pages, and what each page says is left.
async fn pages(server: &Server, path: &str, limit: usize) -> (Vec<String>, Vec<Option<u64>>) {
    let (mut names, mut left) = (Vec::new(), Vec::new());
    let mut token = String::new();
    let joint = if path.contains('?') { '&' } else { '?' };
    let mut revision = None;
    loop {
        let page = server.get(&format!("{path}{joint}limit={limit}&continue={token}")).await.ok();
        let of_page = page["metadata"]["resourceVersion"].clone();
        assert_eq!(revision.get_or_insert(of_page.clone()), &of_page);
        for item in items(&page, "items") {
            names.push(item["metadata"]["name"].as_str().expect("a name").to_owned());
        }
        left.push(page["metadata"]["remainingItemCount"].as_u64());
        match page["metadata"]["continue"].as_str() {
            Some(next) => next.clone_into(&mut token),
            None => return (names, left),
        }
        // Nothing of what is written meanwhile is seen.
        server.post(MAPS, json!({ "metadata": { "generateName": "m0000-" } })).await.ok();
    }
}

#[tokio::test]
async fn pages_are_of_one_revision_and_count_what_is_left() {
    let server = Server::start().await;
    fill(&server, 14).await;
    let all = "/api/v1/configmaps";
    let whole = server.get(all).await.ok();
    let expected: Vec<_> = items(&whole, "items")
        .iter()
        .map(|item| item["metadata"]["name"].as_str().expect("a name").to_owned())
        .collect();
    let count = expected.len() as u64;
    let (names, left) = pages(&server, all, 4).await;
    assert_eq!(names, expected);
    let counts: Vec<_> = (1..=count / 4).map(|page| Some(count - 4 * page)).collect();
    assert_eq!(left[..left.len() - 1], counts);
    assert_eq!(left.last(), Some(&None));
    let (names, left) = pages(&server, "/api/v1/namespaces/kube-system/configmaps", 3).await;
    let theirs = [1, 3, 5, 7, 9, 11, 13].map(|index| format!("m{index:04}"));
    let others: Vec<_> = names.iter().filter(|name| !name.starts_with('m')).collect();
    let ours: Vec<_> = names.iter().filter(|name| name.starts_with('m')).cloned().collect();
    assert_eq!(ours, theirs);
    assert_eq!(left[0], Some(4 + others.len() as u64));
    // Of a selection nobody knows how much is left, and pages may look through others' objects.
    let (names, left) = pages(&server, &format!("{all}?labelSelector=third%3D1"), 2).await;
    let selected = [4, 10, 1, 7, 13].map(|index| format!("m{index:04}"));
    assert_eq!(names, selected);
    assert!(left.iter().all(Option::is_none));
    // Cluster kinds have no namespace in their keys.
    let (names, left) = pages(&server, "/api/v1/namespaces", 3).await;
    assert_eq!((names.len(), left[0]), (4, Some(1)));
}

#[tokio::test]
async fn lists_at_a_revision_that_is_to_come_say_when_to_ask_again() {
    let server = Server::start().await;
    let exact =
        server.get(&format!("{MAPS}?resourceVersion=99999&resourceVersionMatch=Exact")).await;
    let status = exact.json();
    assert_eq!((exact.status, &status["reason"]), (504, &json!("Timeout")));
    assert_eq!(status["details"]["retryAfterSeconds"], 1);
    let message = status["message"].as_str().expect("a message");
    assert!(
        message.starts_with("Timeout: Too large resource version: 99999, current: "),
        "{message}"
    );
    let newer = server.get(&format!("{MAPS}?resourceVersion=99999")).await;
    assert_eq!(newer.headers["retry-after"], "1");
    assert_eq!(newer.json()["details"]["causes"][0]["reason"], "ResourceVersionTooLarge");
    newer.refused(504);
    // A watch that wants the state at such a revision is told so in its stream.
    let query =
        "watch=1&resourceVersion=99999&sendInitialEvents=true&resourceVersionMatch=NotOlderThan";
    let mut watch = Frames::open(&server, &format!("{MAPS}?{query}")).await;
    let error = watch.next().await.expect("a frame");
    assert_eq!((&error["type"], &error["object"]["code"]), (&json!("ERROR"), &json!(504)));
    assert_eq!(watch.next().await, None);
}

#[tokio::test]
async fn options_of_lists_and_watches_are_refused_in_upstreams_words() {
    let server = Server::start().await;
    let options = |why: &str| (422, format!("ListOptions.meta.k8s.io \"\" is invalid: {why}"));
    let forbidden = |why: &str| options(&format!("resourceVersionMatch: Forbidden: {why}"));
    let unparsed =
        "resourceVersion: Invalid value: \"x\": strconv.ParseUint: parsing \"x\": invalid syntax";
    let table = [
        (
            "resourceVersionMatch=Exact",
            forbidden("resourceVersionMatch is forbidden unless resourceVersion is provided"),
        ),
        (
            "resourceVersionMatch=Exact&resourceVersion=0",
            forbidden("resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\""),
        ),
        (
            "resourceVersionMatch=Exact&resourceVersion=1&continue=x",
            forbidden("resourceVersionMatch is forbidden when continue is provided"),
        ),
        (
            "resourceVersionMatch=x&resourceVersion=1",
            options(
                "resourceVersionMatch: Unsupported value: \"x\": supported values: \"Exact\", \"NotOlderThan\", \"\"",
            ),
        ),
        (
            "sendInitialEvents=true",
            options("sendInitialEvents: Forbidden: sendInitialEvents is forbidden for list"),
        ),
        (
            "watch=1&sendInitialEvents=true",
            forbidden("sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"),
        ),
        (
            "watch=1&resourceVersionMatch=NotOlderThan&resourceVersion=1",
            forbidden(
                "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
            ),
        ),
        (
            "watch=1&sendInitialEvents=true&resourceVersionMatch=Exact",
            options(
                "[resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan, resourceVersionMatch: Unsupported value: \"Exact\": supported values: \"NotOlderThan\"]",
            ),
        ),
        (
            "watch=1&continue=x",
            forbidden("resourceVersionMatch is forbidden when continue is provided"),
        ),
        ("resourceVersion=x", (400, format!("invalid resource version: {unparsed}"))),
        ("watch=1&resourceVersion=x", (500, unparsed.to_owned())),
        ("limit=x", (400, "strconv.ParseInt: parsing \"x\": invalid syntax".to_owned())),
        (
            "continue=e30&resourceVersion=1",
            (400, "specifying resource version is not allowed when using continue".to_owned()),
        ),
        (
            "labelSelector=a%20b",
            (
                400,
                "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"
                    .to_owned(),
            ),
        ),
        ("fieldSelector=a", (400, "invalid selector: 'a'; can't understand 'a'".to_owned())),
    ];
    for (query, (code, message)) in table {
        let answer = server.get(&format!("{MAPS}?{query}")).await;
        assert_eq!((answer.status, answer.refused(code)), (code, message), "{query}");
    }
    let export = server.get(&format!("{MAPS}/none?export=true")).await.refused(400);
    assert_eq!(export, "the export parameter, deprecated since v1.14, is no longer supported");
    let none = server.get(&format!("{MAPS}/none?resourceVersion=x")).await;
    assert_eq!(none.refused(500), unparsed);
}

#[tokio::test]
async fn watchers_in_the_same_form_share_an_events_memory() {
    let server = Server::start().await;
    for (accept, what) in [
        ("application/json", "whole"),
        ("application/vnd.kubernetes.protobuf", "whole"),
        (TABLE, "whole"),
        ("application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1", "whole"),
        // Whoever selects sees another event: the object comes to him.
        ("application/json", "selected"),
    ] {
        let query = if what == "whole" { "" } else { "&labelSelector=in" };
        server.delete(&format!("{MAPS}/a"), Value::Null).await;
        let list = server.get(MAPS).await.ok();
        let revision = list["metadata"]["resourceVersion"].as_str().expect("a revision");
        let path = format!("{MAPS}?watch=1&resourceVersion={revision}{query}");
        let mut watches = Vec::new();
        for _ in 0..50 {
            let request = Request::get(&path).header("accept", accept).body(Body::empty());
            let response = server.raw(request.expect("a request")).await;
            watches.push(response.into_body().into_data_stream());
        }
        let mut labelled = map("a", &json!({ "k": "v" }));
        labelled["metadata"]["labels"] = json!({ "in": "1" });
        server.post(MAPS, labelled).await.ok();
        let mut frames = Vec::new();
        for watch in &mut watches {
            frames.push(watch.next().await.expect("a frame").expect("a piece"));
        }
        assert!(frames.iter().all(|frame| frame.as_ptr() == frames[0].as_ptr()), "{accept} {what}");
    }
}

#[tokio::test]
async fn a_watcher_that_does_not_read_is_cut_and_others_are_not() {
    let patience = Duration::from_secs(1);
    let config = ControlConfig { reader_patience: patience, ..ControlConfig::default() };
    let server = Server::start_with(config).await;
    fill(&server, 100).await;
    let query = "watch=1&allowWatchBookmarks=true";
    let mut stuck = Frames::open(&server, &format!("{MAPS}?{query}")).await;
    let mut quick = Frames::open(&server, &format!("{MAPS}?{query}")).await;
    // The first has but one piece of the state, the second all of it.
    assert_eq!(stuck.summary().await, "ADDED m0000");
    while quick.summary().await != "BOOKMARK -" {}
    let waiting = tokio::spawn(async move { (quick.summary().await, quick) });
    // Not to read takes its time.
    tokio::time::sleep(patience * 4).await;
    let mut last = stuck.next().await.expect("what had been sent");
    while let Some(frame) = stuck.next().await {
        last = frame;
    }
    assert_eq!((&last["type"], &last["object"]["code"]), (&json!("ERROR"), &json!(410)));
    assert_eq!(last["object"]["reason"], "Expired");
    server.post(MAPS, map("z", &json!({}))).await.ok();
    let (seen, _) = waiting.await.expect("it goes on");
    assert_eq!(seen, "ADDED z");
}

#[tokio::test]
async fn a_table_s_watch_names_its_columns_once_and_marks_where_the_state_ends() {
    let server = Server::start().await;
    for name in ["a", "b"] {
        server.post(MAPS, map(name, &json!({ "k": "v" }))).await.ok();
    }
    let query = "watch=1&allowWatchBookmarks=true&includeObject=None";
    let request = Request::get(format!("{MAPS}?{query}")).header("accept", TABLE);
    let response = server.raw(request.body(Body::empty()).expect("a request")).await;
    let mut watch = Frames { body: response.into_body().into_data_stream(), rest: String::new() };
    let (first, second) = (watch.next().await.expect("one"), watch.next().await.expect("two"));
    assert_eq!(first["object"]["columnDefinitions"][0]["name"], "Name");
    assert_eq!(second["object"]["columnDefinitions"], Value::Null);
    let rows = items(&second["object"], "rows");
    assert_eq!((&rows[0]["cells"][0], rows[0].get("object")), (&json!("b"), Some(&Value::Null)));
    let bookmark = watch.next().await.expect("a bookmark");
    assert_eq!(bookmark["type"], "BOOKMARK");
    let marked = &bookmark["object"]["rows"][0]["object"];
    assert_eq!(marked["kind"], "PartialObjectMetadata");
    assert_eq!(marked["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    let refused = server.get_as(&format!("{MAPS}?includeObject=x"), TABLE).await.refused(400);
    assert_eq!(
        refused,
        "Unable to convert to Table as requested: includeObject: Invalid value: \"x\": must be 'Metadata', 'Object', 'None', or empty"
    );
    // Who wants no table may say what he likes.
    server.get(&format!("{MAPS}?includeObject=x")).await.ok();
}

#[tokio::test]
async fn metadata_alone_is_had_in_both_versions_and_of_what_it_is_of() {
    let server = Server::start().await;
    server.post(MAPS, map("a", &json!({ "k": "unseen" }))).await.ok();
    server.post(DEPLOYMENTS, deployment("d")).await.ok();
    let one = format!("{MAPS}/a");
    for version in ["v1", "v1beta1"] {
        for (path, list) in [(&one, ""), (&MAPS.to_owned(), "List")] {
            let form = format!("as=PartialObjectMetadata{list};g=meta.k8s.io;v={version}");
            let json = server.get_as(path, &format!("application/json;{form}")).await.ok();
            assert_eq!(json["apiVersion"], format!("meta.k8s.io/{version}"));
            let text = pieces(&server, path, &format!("{PROTOBUF};{form}")).await.concat();
            let text = String::from_utf8_lossy(&text).into_owned();
            assert!(text.contains(&format!("meta.k8s.io/{version}")), "{text}");
            assert!(text.contains(&format!("PartialObjectMetadata{list}")), "{text}");
            assert!(!text.contains("unseen"), "{text}");
        }
    }
    let watch = Request::get(format!("{MAPS}?watch=1"));
    let watch = watch.header("accept", format!("{PROTOBUF};{PARTIAL_ONE}")).body(Body::empty());
    let response = server.raw(watch.expect("a request")).await;
    assert_eq!(response.headers()["content-type"], format!("{PROTOBUF};stream=watch"));
    let frame = response.into_body().into_data_stream().next().await.expect("a frame");
    let frame = String::from_utf8_lossy(&frame.expect("a piece")).into_owned();
    assert!(frame.contains("ADDED") && frame.contains("PartialObjectMetadata"), "{frame}");
    assert!(!frame.contains("unseen"), "{frame}");
    let accept = |form: &str| format!("application/json;{form}");
    for (path, form, message) in [
        (
            MAPS,
            PARTIAL_ONE,
            "you requested PartialObjectMetadata, but the requested object is a list (*core.ConfigMapList)",
        ),
        (
            DEPLOYMENTS,
            PARTIAL_ONE,
            "you requested PartialObjectMetadata, but the requested object is a list (*apps.DeploymentList)",
        ),
        (
            one.as_str(),
            PARTIAL_LIST,
            "you requested PartialObjectMetadataList, but the requested object is not a list (*core.ConfigMap)",
        ),
    ] {
        let refused = server.get_as(path, &accept(form)).await;
        assert_eq!(refused.json()["reason"], "NotAcceptable");
        assert_eq!(refused.refused(406), message);
    }
    let streams = "only the following media types are accepted: application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch";
    let watch = server.get_as(&format!("{MAPS}?watch=1"), "application/yaml").await;
    // Told in the form that was asked for.
    assert_eq!(watch.status, 406);
    assert!(watch.text.contains(streams), "{}", watch.text);
    let table = server.get_as(MAPS, &format!("{PROTOBUF};as=Table;g=meta.k8s.io;v=v1")).await;
    assert_eq!(
        table.refused(406),
        "only the following media types are accepted: application/json, application/yaml, application/vnd.kubernetes.protobuf"
    );
}

#[tokio::test]
async fn every_answer_bears_an_audit_id_and_none_allows_other_origins() {
    let server = Server::start().await;
    for path in [MAPS, "/readyz", "/nothing", "/api/v1/namespaces/default/configmaps/none"] {
        let request = Request::get(path).header("origin", "https://example.com");
        let response = server.raw(request.body(Body::empty()).expect("a request")).await;
        let id = response.headers()["audit-id"].to_str().expect("text").to_owned();
        assert_eq!(id.len(), 36, "{path}");
        let mut names = response.headers().keys();
        assert!(!names.any(|name| name.as_str().starts_with("access-control-")), "{path}");
    }
    let request = Request::get(MAPS).header("audit-id", "mine").body(Body::empty());
    let response = server.raw(request.expect("a request")).await;
    assert_eq!(response.headers()["audit-id"], "mine");
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_given_up() {
    let server = Server::start().await;
    // It waits for a revision that does not come.
    let slow = server.get(&format!("{MAPS}?resourceVersion=99999&timeout=20ms")).await;
    let status = slow.json();
    assert_eq!((slow.status, &status["reason"]), (504, &json!("Timeout")));
    assert_eq!(status["message"], "Timeout: request did not complete within the allotted timeout");
}

#[tokio::test]
async fn what_is_too_large_with_its_managers_does_without_unless_it_is_applied() {
    let server = Server::start().await;
    // Each key stands in the managers once more.
    let keys: serde_json::Map<String, Value> =
        (0..4500).map(|number| (format!("{number:0>220}"), "".into())).collect();
    let map = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "wide" }, "data": keys });
    let made = server.post(MAPS, map.clone()).await.ok();
    assert_eq!(made["data"].as_object().map(serde_json::Map::len), Some(4500));
    assert_eq!(made["metadata"].get("managedFields"), None);
    let patch = json!({ "metadata": { "labels": { "of": "test" } } });
    let patched = server.patch(&format!("{MAPS}/wide"), MERGE, patch).await.ok();
    assert_eq!(patched["metadata"]["labels"]["of"], "test");
    let apply = format!("{MAPS}/applied?fieldManager=me");
    let mut map = map;
    map["metadata"]["name"] = "applied".into();
    let refused = server.patch(&apply, "application/apply-patch+yaml", map).await;
    assert_eq!(refused.refused(500), "etcdserver: request is too large");
}

#[tokio::test]
async fn what_is_too_large_for_etcd_is_refused_in_etcds_words() {
    let server = Server::start().await;
    let path = "/apis/apps/v1/namespaces/default/controllerrevisions";
    let revision = |name: &str, size: usize| json!({ "metadata": { "name": name }, "revision": 1, "data": { "x": "y".repeat(size) } });
    server.post(path, revision("fits", 1024 * 1024)).await.ok();
    let refused = server.post(path, revision("large", 1700 * 1024)).await;
    assert_eq!(refused.json().get("reason"), None);
    assert_eq!(refused.refused(500), "etcdserver: request is too large");
    let grown = json!({ "metadata": { "annotations": { "a": "b".repeat(200 * 1024) } },
        "data": { "z": "y".repeat(600 * 1024) } });
    let refused = server.patch(&format!("{path}/fits"), MERGE, grown).await;
    assert!(refused.status == 500 || refused.status == 422, "{}", refused.status);
}
