//! The kinds of networking: addresses and their ranges, hand-written Endpoints, default classes.

use super::support::{Fixture, eventually};

fn service(name: &str, more: &str) -> String {
    format!(
        "---\n{{apiVersion: v1, kind: Service, metadata: {{name: {name}}}, spec: {{ports: [{{port: 80}}]{more}}}}}"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn every_cluster_ip_has_its_object_and_ranges_can_be_added() {
    let fixture = Fixture::start().await;
    let kubectl = &fixture.kubectl;
    let shown = kubectl.ok("get servicecidr kubernetes").await;
    assert!(shown.contains("10.96.0.0/12"), "{shown}");
    let finalizers = "get servicecidr kubernetes -o jsonpath={.metadata.finalizers}";
    kubectl.until(finalizers, |said| said.contains("service-cidr-finalizer")).await;
    let own = kubectl.until("get ip 10.96.0.1", |said| !said.is_empty()).await;
    assert!(own.contains("services/default/kubernetes"), "{own}");

    kubectl.apply(&service("a", "")).await;
    let ip = kubectl.ok("get svc a -o jsonpath={.spec.clusterIP}").await;
    let parent = format!("get ipaddress {ip} -o jsonpath={{.spec.parentRef.name}}");
    kubectl.until(&parent, |name| name == "a").await;
    kubectl.ok(&format!("delete ipaddress {ip}")).await;
    kubectl.until(&parent, |name| name == "a").await;
    kubectl.ok("delete svc a").await;
    kubectl.until(&format!("get ipaddress {ip} --ignore-not-found"), str::is_empty).await;

    let outside = service("b", ", clusterIP: 10.200.0.7");
    let (created, _, why) = kubectl.run("apply -f -", &outside).await;
    assert!(!created && why.contains("does not match the current range"), "{why}");
    let range = "---\n{apiVersion: networking.k8s.io/v1, kind: ServiceCIDR, metadata: {name: more}, spec: {cidrs: [10.200.0.0/24]}}";
    kubectl.apply(range).await;
    let status = "get servicecidr more -o jsonpath={.status.conditions[0].status}";
    kubectl.until(status, |ready| ready == "True").await;
    eventually("a Service in the new range", || async {
        kubectl.run("apply -f -", &outside).await.0.then_some(())
    })
    .await;
    kubectl.until("get ip 10.200.0.7 --ignore-not-found", |said| !said.is_empty()).await;
    kubectl.ok("delete servicecidr more --wait=false").await;
    kubectl.until(status, |ready| ready == "False").await;
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn endpoints_written_by_hand_are_mirrored_into_slices() {
    let fixture = Fixture::start().await;
    let kubectl = &fixture.kubectl;
    let endpoints = |ip: &str| {
        format!(
            "---\n{{apiVersion: v1, kind: Endpoints, metadata: {{name: db}}, subsets: [{{addresses: [{{ip: {ip}}}], ports: [{{name: sql, port: 5432}}]}}]}}"
        )
    };
    kubectl.apply(&service("db", "")).await;
    kubectl.apply(&endpoints("10.1.2.3")).await;
    let slices = "get endpointslices -l kubernetes.io/service-name=db,endpointslice.kubernetes.io/managed-by=endpointslicemirroring-controller.k8s.io";
    let addresses = format!("{slices} -o jsonpath={{.items[*].endpoints[*].addresses[*]}}");
    kubectl.until(&addresses, |said| said == "10.1.2.3").await;
    kubectl.apply(&endpoints("10.1.2.4")).await;
    kubectl.until(&addresses, |said| said == "10.1.2.4").await;
    kubectl.ok("delete endpoints db").await;
    kubectl.until(&format!("{slices} -o name"), str::is_empty).await;
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ingress_gets_the_default_class_and_components_are_well() {
    let fixture = Fixture::start().await;
    let kubectl = &fixture.kubectl;
    kubectl
        .apply(
            "
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: outer, annotations: {ingressclass.kubernetes.io/is-default-class: 'true'}}
spec: {controller: example.com/ingress}
",
        )
        .await;
    kubectl.ok("create ingress web --rule=web.example/*=web:80").await;
    let shown = kubectl.ok("get ingress,ingressclass").await;
    assert!(shown.contains("web   outer   web.example"), "{shown}");
    assert!(shown.contains("outer (default)"), "{shown}");
    let (_, shown, warned) = kubectl.run("get cs", "").await;
    let rows: Vec<Vec<&str>> =
        shown.lines().skip(1).map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(
        rows,
        [
            ["controller-manager", "Healthy", "ok"],
            ["etcd-0", "Healthy", "ok"],
            ["scheduler", "Healthy", "ok"],
        ]
    );
    assert!(warned.contains("v1 ComponentStatus is deprecated in v1.19+"), "{warned}");
    let one = kubectl.ok("get cs scheduler -o jsonpath={.conditions[0].type}").await;
    assert_eq!(one, "Healthy");
    assert!(kubectl.fails("get cs nobody").await.contains("NotFound"));
    fixture.stop().await;
}
