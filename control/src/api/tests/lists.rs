//! Lists: pages, selections, forms.

use super::*;

#[tokio::test]
async fn lists_are_cut_into_pages_of_one_revision() {
    let server = Server::start().await;
    for index in 0..5 {
        server.post(MAPS, map(&format!("m{index}"), &json!({}))).await.ok();
    }
    let first = server.get(&format!("{MAPS}?limit=2")).await.ok();
    assert_eq!(first["metadata"]["remainingItemCount"], 3);
    let token = first["metadata"]["continue"].as_str().expect("a token");
    server.post(MAPS, map("m9", &json!({}))).await.ok();
    let second = server.get(&format!("{MAPS}?limit=2&continue={token}")).await.ok();
    assert_eq!(second["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);
    assert_eq!(second["items"][0]["metadata"]["name"], "m2");
    let token = second["metadata"]["continue"].as_str().expect("a token");
    let third = server.get(&format!("{MAPS}?limit=2&continue={token}")).await.ok();
    assert_eq!(third["items"].as_array().map(Vec::len), Some(1));
    assert_eq!(third["metadata"].get("continue"), None);
}

#[tokio::test]
async fn a_list_whose_revision_is_gone_can_go_on_with_what_there_is() {
    let config = ControlConfig { history: Duration::ZERO, ..ControlConfig::default() };
    let server = Server::start_with(config).await;
    for index in 0..4 {
        server.post(MAPS, map(&format!("m{index}"), &json!({}))).await.ok();
    }
    let first = server.get(&format!("{MAPS}?limit=2")).await.ok();
    let token = first["metadata"]["continue"].as_str().expect("a token");
    // Each write lets go of what came before.
    for index in 0..3 {
        server.post(MAPS, map(&format!("n{index}"), &json!({}))).await.ok();
    }
    let expired = server.get(&format!("{MAPS}?limit=2&continue={token}")).await;
    let status = expired.json();
    assert_eq!(status["reason"], "Expired");
    expired.refused(410);
    let token = status["metadata"]["continue"].as_str().expect("another token");
    let second = server.get(&format!("{MAPS}?limit=2&continue={token}")).await.ok();
    assert_ne!(second["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);
    assert_eq!(second["items"][0]["metadata"]["name"], "m2");
    assert_eq!(second["metadata"]["remainingItemCount"], 3);
}

#[tokio::test]
async fn selectors_select_and_unknown_fields_are_named() {
    let server = Server::start().await;
    with_service_account(&server).await;
    for name in ["a", "b"] {
        server.post(PODS, pod(name)).await.ok();
    }
    let names = |list: Value| {
        let items = list["items"].as_array().cloned().unwrap_or_default();
        items.iter().map(|item| item["metadata"]["name"].clone()).collect::<Value>()
    };
    let by = |query: &'static str| server.get(query);
    assert_eq!(names(by("/api/v1/pods?labelSelector=app%20in%20(a,c)").await.ok()), json!(["a"]));
    assert_eq!(names(by("/api/v1/pods?fieldSelector=metadata.name!%3Da").await.ok()), json!(["b"]));
    assert_eq!(
        names(by("/api/v1/pods?fieldSelector=spec.nodeName%3D").await.ok()),
        json!(["a", "b"])
    );
    assert_eq!(
        names(by("/api/v1/pods?fieldSelector=spec.restartPolicy%3DNever").await.ok()),
        json!([])
    );
    let unknown = by("/api/v1/pods?fieldSelector=foo%3Dbar").await;
    assert_eq!(unknown.refused(400), "field label not supported: foo");
    let unknown = by("/api/v1/configmaps?fieldSelector=foo%3Dbar").await;
    assert_eq!(
        unknown.refused(400),
        r#""foo" is not a known field selector: only "metadata.name", "metadata.namespace""#
    );
}

#[tokio::test]
async fn tables_and_partial_objects_are_made_on_demand() {
    let server = Server::start().await;
    server.post(MAPS, map("a", &json!({ "k": "v" }))).await.ok();
    let table = server.get_as(MAPS, TABLE).await.ok();
    assert_eq!((&table["kind"], &table["apiVersion"]), (&json!("Table"), &json!("meta.k8s.io/v1")));
    assert_eq!(table["columnDefinitions"][0]["name"], "Name");
    assert_eq!(table["rows"][0]["cells"][0], "a");
    assert_eq!(table["rows"][0]["object"]["kind"], "PartialObjectMetadata");
    let accept = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";
    let partial = server.get_as(MAPS, accept).await.ok();
    assert_eq!(partial["items"][0].get("data"), None);
    assert_eq!(partial["items"][0]["metadata"]["name"], "a");
    server.get_as(MAPS, "text/html").await.refused(406);
    let yaml = server.get_as(&format!("{MAPS}/a"), "application/yaml").await;
    assert!(yaml.text.contains("kind: ConfigMap\n"), "{}", yaml.text);
}

#[tokio::test]
async fn a_page_at_a_revision_is_of_that_revision() {
    let server = Server::start().await;
    for name in ["a", "b"] {
        server.post(MAPS, map(name, &json!({}))).await.ok();
    }
    let before = server.get(MAPS).await.ok();
    let revision = before["metadata"]["resourceVersion"].as_str().expect("a revision");
    server.delete(&format!("{MAPS}/a"), Value::Null).await.ok();
    // The newest list waits until the cache has seen the deletion.
    server.get(MAPS).await.ok();
    let first = async |query: &str| {
        let page = server.get(&format!("{MAPS}?resourceVersion={revision}{query}")).await.ok();
        page["items"][0]["metadata"]["name"].clone()
    };
    assert_eq!(first("&limit=1").await, "a");
    assert_eq!(first("&limit=1&resourceVersionMatch=Exact").await, "a");
    assert_eq!(first("&limit=1&resourceVersionMatch=NotOlderThan").await, "b");
    assert_eq!(first("").await, "b");
}

#[test]
fn every_stored_kind_has_a_list_type_for_protobuf() {
    for kind in crate::kinds::registry().iter() {
        if kind.info().storage != crate::kinds::Storage::Virtual {
            let ty = format!("{}List", kind.info().schema);
            assert!(crate::schema::schema().by_name(&ty).is_some(), "{ty}");
        }
    }
}

#[tokio::test]
async fn fields_are_selected_by_the_names_that_upstream_knows() {
    let server = Server::start().await;
    with_service_account(&server).await;
    let mut placed = pod("p");
    placed["spec"]["nodeName"] = "n".into();
    server.post(PODS, placed).await.ok();
    server.post(PODS, pod("q")).await.ok();
    for (field, count) in [
        ("spec.host=n", 1),
        ("spec.nodeName=n", 1),
        ("spec.hostNetwork=false", 2),
        ("status.nominatedNodeName=", 2),
        ("metadata.namespace=default", 2),
    ] {
        let list = server.get(&format!("{PODS}?fieldSelector={field}")).await.ok();
        assert_eq!(list["items"].as_array().map(Vec::len), Some(count), "{field}");
    }
    for (path, field) in [
        (PODS, "spec.hostname"),
        ("/api/v1/nodes", "metadata.namespace"),
        ("/api/v1/namespaces", "name"),
    ] {
        let refused = server.get(&format!("{path}?fieldSelector={field}%3Da")).await.refused(400);
        assert_eq!(refused, format!("field label not supported: {field}"));
    }
    let sets = "/apis/apps/v1/replicasets?fieldSelector=status.replicas%3D1";
    assert_eq!(
        server.get(sets).await.refused(400),
        r#""status.replicas" is not a known field selector: only "metadata.name", "metadata.namespace""#
    );
}
