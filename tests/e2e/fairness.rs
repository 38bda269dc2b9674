//! API priority and fairness over HTTPS: who overloads a level is told to come again, others go on.

use copepod_sdk::Cluster;
use hyper::{Request, Response};
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};

use super::support::{Fixture, get_ok, web};

/// A level without a seat, and the schema of a user who is sent to it.
const JAIL: &str = r#"
apiVersion: flowcontrol.apiserver.k8s.io/v1
kind: PriorityLevelConfiguration
metadata: {name: jail}
spec:
  type: Limited
  limited:
    nominalConcurrencyShares: 0
    borrowingLimitPercent: 0
    limitResponse: {type: Queue, queuing: {queues: 2, handSize: 1, queueLengthLimit: 2}}
---
apiVersion: flowcontrol.apiserver.k8s.io/v1
kind: FlowSchema
metadata: {name: jail}
spec:
  priorityLevelConfiguration: {name: jail}
  matchingPrecedence: 40
  distinguisherMethod: {type: ByUser}
  rules:
  - subjects: [{kind: User, user: {name: heavy}}]
    resourceRules:
    - {verbs: ['*'], apiGroups: ['*'], resources: ['*'], namespaces: ['*'], clusterScope: true}
"#;

/// A client that does not come again by itself.
async fn client(cluster: &Cluster, user: &str) -> kube::Client {
    let kubeconfig = Kubeconfig::from_yaml(&cluster.kubeconfig()).expect("YAML");
    let options = KubeConfigOptions::default();
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await;
    let mut config = config.expect("a configuration");
    config.default_retry = false;
    config.auth_info.impersonate = Some(user.to_owned());
    kube::Client::try_from(config).expect("a client")
}

async fn get(client: &kube::Client, path: &str) -> Response<Body> {
    let request = Request::get(path).body(Body::empty()).expect("a request");
    client.send(request).await.expect("an answer")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_overloaded_flow_is_sent_away_while_others_and_the_system_go_on() {
    let fixture = Fixture::start().await;
    let kubectl = &fixture.kubectl;
    let schemas = kubectl
        .until("get flowschemas --no-headers", |schemas| {
            schemas.lines().count() == 11 && schemas.lines().all(|line| line.ends_with("False"))
        })
        .await;
    let names: Vec<_> = schemas.lines().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(names[..3], ["exempt", "probes", "system-leader-election"], "by precedence");
    assert_eq!(names[10], "catch-all");
    let levels = kubectl.ok("get prioritylevelconfigurations").await;
    assert_eq!(levels.lines().count(), 9, "{levels}");
    assert!(levels.starts_with("NAME              TYPE      NOMINALCONCURRENCYSHARES"), "{levels}");

    kubectl.apply(JAIL).await;
    kubectl
        .until("get flowschema jail --no-headers", |jail| jail.trim_end().ends_with("False"))
        .await;
    let (heavy, light) =
        (client(&fixture.cluster, "heavy").await, client(&fixture.cluster, "light").await);
    let path = "/api/v1/namespaces/default/configmaps";
    let refused = get(&heavy, &format!("{path}?timeout=200ms")).await;
    assert_eq!(refused.status(), 429);
    for (header, value) in [
        ("retry-after", Some("1".to_owned())),
        ("x-kubernetes-pf-flowschema-uid", Some(uid(&fixture, "flowschema").await)),
        (
            "x-kubernetes-pf-prioritylevel-uid",
            Some(uid(&fixture, "prioritylevelconfiguration").await),
        ),
    ] {
        let found =
            refused.headers().get(header).map(|found| found.to_str().expect("text").to_owned());
        assert_eq!(found, value, "{header}");
    }
    let (_, body) = refused.into_parts();
    let text = http_body_util::BodyExt::collect(body).await.expect("a body").to_bytes();
    assert_eq!(&text[..], b"Too many requests, please try again later.\n");

    // Two may wait for two seconds, further ones do not even wait.
    let waiting: Vec<_> = (0..6)
        .map(|_| {
            let (heavy, path) = (heavy.clone(), format!("{path}?timeout=8s"));
            tokio::spawn(async move { get(&heavy, &path).await.status() })
        })
        .collect();
    assert_eq!(get(&light, path).await.status(), 200);
    kubectl.apply(&web("web", 2, 30140)).await;
    kubectl.ok("rollout status deployment/web --timeout=60s").await;
    get_ok(&format!("http://{}:30140/", fixture.address)).await;

    let dump = kubectl.ok("get --raw /debug/api_priority_and_fairness/dump_priority_levels").await;
    let jail = dump.lines().find(|line| line.starts_with("jail,")).expect("the level");
    let rejected = jail.split(',').nth(7).expect("a column").trim().to_owned();
    assert_ne!(rejected, "0", "{dump}");
    let metrics = kubectl.ok("get --raw /metrics").await;
    assert!(
        metrics.contains(r#"apiserver_flowcontrol_rejected_requests_total{priority_level="jail",flow_schema="jail",reason="#),
        "{metrics}"
    );

    for status in futures::future::join_all(waiting).await {
        assert_eq!(status.expect("no panic"), 429);
    }

    // With seats it is served again.
    kubectl.ok("patch prioritylevelconfiguration jail --type=merge -p '{\"spec\":{\"limited\":{\"nominalConcurrencyShares\":10}}}'").await;
    let mut served = 0;
    while served != 200 {
        served = get(&heavy, &format!("{path}?timeout=4s")).await.status().as_u16();
    }
    fixture.stop().await;
}

async fn uid(fixture: &Fixture, kind: &str) -> String {
    fixture.kubectl.ok(&format!("get {kind} jail -o jsonpath={{.metadata.uid}}")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_last_resort_the_server_goes_on_as_if_it_were_there() {
    let fixture = Fixture::start().await;
    let kubectl = &fixture.kubectl;
    kubectl.until("get flowschemas -o name", |names| names.lines().count() == 11).await;
    let refused = kubectl
        .fails("patch flowschema catch-all --type=merge -p '{\"spec\":{\"matchingPrecedence\":9}}'")
        .await;
    assert!(refused.contains("spec of 'catch-all' must equal the fixed value"), "{refused}");
    kubectl.ok("delete flowschema catch-all global-default").await;
    let anybody = client(&fixture.cluster, "anybody").await;
    assert_eq!(get(&anybody, "/api/v1/namespaces").await.status(), 200);
    fixture.stop().await;
}
