//! kubectl's verbs and flags over the whole API: kinds that need no running pod.

use super::support::Fixture;

const MAP: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: sea}\ndata: {colour: blue}\n";

fn manifest(fixture: &Fixture, name: &str, text: &str) -> String {
    let folder = fixture.kubectl.kubeconfig.parent().expect("a folder");
    let path = folder.join(name);
    std::fs::write(&path, text).expect("a manifest");
    path.display().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_fields_are_refused_or_told_of() {
    let fixture = Fixture::start().await;
    let kubectl = &fixture.kubectl;
    let unknown = format!("{MAP}colour: red\n");
    let good = manifest(&fixture, "good.yaml", MAP);
    let unknown = manifest(&fixture, "unknown.yaml", &unknown);
    for verb in ["create", "apply"] {
        let refused = kubectl.fails(&format!("{verb} --validate=strict -f {unknown}")).await;
        assert!(refused.contains("unknown field \"colour\""), "{verb}: {refused}");
        let (done, _, told) =
            kubectl.run(&format!("{verb} --validate=warn -f {unknown}"), "").await;
        assert!(done && told.contains("Warning: unknown field \"colour\""), "{verb}: {told}");
        kubectl.ok("delete cm sea").await;
        let (done, _, told) =
            kubectl.run(&format!("{verb} --validate=ignore -f {unknown}"), "").await;
        assert!(done && !told.contains("unknown field"), "{verb}: {told}");
        kubectl.ok("delete cm sea").await;
    }
    kubectl.ok(&format!("create -f {good}")).await;
    let refused = kubectl.fails(&format!("replace --validate=strict -f {unknown}")).await;
    assert!(refused.contains("unknown field \"colour\""), "{refused}");
    let mut edit = kubectl.command("edit cm sea --validate=strict");
    edit.env("KUBE_EDITOR", "sed -i 's/^data:/shape: round\\ndata:/'");
    let edited = edit.output().await.expect("kubectl runs");
    let said = String::from_utf8_lossy(&edited.stderr).into_owned();
    assert!(!edited.status.success() && said.contains("configmaps \"sea\" is invalid"), "{said}");
    let refused = kubectl.fails("patch cm sea --type=merge -p '{\"data\":{\"a\":7}}'").await;
    assert!(refused.contains("cannot unmarshal number"), "{refused}");
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_on_the_server_goes_through_everything_but_the_store() {
    let fixture = Fixture::start().await;
    let kubectl = &fixture.kubectl;
    let path = manifest(&fixture, "map.yaml", MAP);
    for verb in ["create", "apply", "apply --server-side"] {
        let said = kubectl.ok(&format!("{verb} -f {path} --dry-run=server")).await;
        assert!(said.contains("(server dry run)"), "{verb}: {said}");
        assert!(kubectl.fails("get cm sea").await.contains("NotFound"));
    }
    kubectl.ok(&format!("create -f {path}")).await;
    let colour = "get cm sea -o jsonpath={.data.colour}";
    for change in [
        "patch cm sea -p '{\"data\":{\"colour\":\"red\"}}' --dry-run=server",
        "label cm sea of=test --dry-run=server",
        "annotate cm sea of=test --dry-run=server",
        "delete cm sea --dry-run=server",
    ] {
        kubectl.ok(change).await;
        assert_eq!(kubectl.ok(colour).await, "blue", "{change}");
    }
    assert_eq!(kubectl.ok("get cm -l of=test -o name").await, "");
    let service = kubectl.ok("create service clusterip a --tcp=80 --dry-run=server -o yaml").await;
    assert!(service.contains("clusterIP: 10."), "an address is given: {service}");
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn get_selects_sorts_chunks_and_shows_owners() {
    let fixture = Fixture::start().await;
    let kubectl = &fixture.kubectl;
    for number in 1..=7 {
        kubectl.ok(&format!("create cm map-{number} --from-literal=n={number}")).await;
        kubectl.ok(&format!("label cm map-{number} n={number} of=test")).await;
    }
    let names = kubectl.ok("get cm -l of=test --chunk-size=2 -o name").await;
    assert_eq!(names.lines().count(), 7, "{names}");
    let names = kubectl.ok("get cm -l 'n in (2,5),of=test' -o name").await;
    assert_eq!(names, "configmap/map-2\nconfigmap/map-5\n");
    let names = kubectl.ok("get cm --field-selector metadata.name=map-3 -o name").await;
    assert_eq!(names, "configmap/map-3\n");
    let refused = kubectl.fails("get cm --field-selector data.n=3").await;
    assert!(refused.contains("\"data.n\" is not a known field selector"), "{refused}");
    let columns =
        kubectl.ok("get cm -l of=test --sort-by=.data.n -o custom-columns=N:.data.n").await;
    assert_eq!(columns, "N\n1\n2\n3\n4\n5\n6\n7\n");
    let plain = kubectl.ok("get cm map-1 --server-print=false").await;
    assert!(plain.starts_with("NAME    AGE"), "{plain}");
    let template = kubectl.ok("get cm map-4 -o go-template={{.data.n}}").await;
    assert_eq!(template, "4");
    assert!(!kubectl.ok("get cm map-1 -o yaml").await.contains("managedFields"));
    let owned = kubectl.ok("get cm map-1 -o yaml --show-managed-fields").await;
    assert!(owned.contains("manager: kubectl-create") && owned.contains("f:data"), "{owned}");
    assert!(owned.contains("manager: kubectl-label"), "{owned}");
    assert!(kubectl.ok("get cm -A").await.starts_with("NAMESPACE"));
    let everything = kubectl.ok("get all -A").await;
    assert!(everything.contains("service/kubernetes"), "{everything}");
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn create_knows_a_generator_for_each_of_these_kinds() {
    let fixture = Fixture::start().await;
    let kubectl = &fixture.kubectl;
    let made = [
        "create namespace shop",
        "create serviceaccount robot",
        "create secret generic word --from-literal=password=x",
        "create secret docker-registry pull --docker-username=a --docker-password=b",
        "create role reader --verb=get,list --resource=pods,deployments.apps",
        "create rolebinding reads --role=reader --serviceaccount=default:robot",
        "create clusterrole viewer --verb=get --resource=nodes --non-resource-url=/metrics",
        "create clusterrolebinding views --clusterrole=viewer --user=ada",
        "create quota few --hard=pods=3,services=1",
        "create priorityclass high --value=1000 --description=first",
        "create poddisruptionbudget one --selector=app=web --min-available=1",
        "create ingress door --rule=shop.example/*=web:80 --class=nginx",
        "create job once --image=agent:1",
        "create cronjob daily --image=agent:1 '--schedule=0 5 * * *'",
        "create deployment web --image=web:1 --replicas=0",
        "create service clusterip web --tcp=80:8080",
        "create service externalname far --external-name=far.example",
        "autoscale deployment web --min=1 --max=4 --cpu-percent=70",
    ];
    for command in made {
        let said = kubectl.ok(command).await;
        assert!(said.contains("created") || said.contains("autoscaled"), "{command}: {said}");
    }
    let shown = [
        ("get role reader", "CREATED AT"),
        ("get rolebinding reads -o wide", "default/robot"),
        ("get clusterrolebinding views -o wide", "ada"),
        ("get quota few -o yaml", "pods: \"3\""),
        ("get pc high", "1000"),
        ("get pdb one", "N/A"),
        ("get ing door", "shop.example"),
        ("get cj daily", "0 5 * * *"),
        ("get job once", "0/1"),
        ("get hpa web", "Deployment/web"),
        ("describe ing door", "web:80"),
        ("describe role reader", "deployments.apps"),
        ("describe hpa web", "Max replicas"),
        ("describe cj daily", "Schedule"),
        ("describe pdb one", "Min available"),
    ];
    for (command, expected) in shown {
        let said = kubectl.ok(command).await;
        assert!(said.contains(expected), "{command}: {said}");
    }
    kubectl.ok("create job by-hand --from=cronjob/daily").await;
    kubectl.ok("set subject rolebinding reads --user=bob").await;
    assert!(kubectl.ok("get rolebinding reads -o wide").await.contains("bob"));
    kubectl.ok("set resources deploy web --limits=cpu=100m,memory=64Mi").await;
    kubectl.ok("set serviceaccount deploy web robot").await;
    kubectl.ok("set selector service web app=other").await;
    let refused =
        kubectl.fails("create job bad --image=agent:1 --dry-run=server -o yaml --from=x").await;
    assert!(!refused.is_empty());
    let refused = kubectl.fails("create cronjob bad --image=a '--schedule=61 * * * *'").await;
    assert!(refused.contains("spec.schedule: Invalid value"), "{refused}");
    assert_eq!(kubectl.ok("auth can-i create pods").await.trim(), "yes");
    assert!(kubectl.ok("auth whoami").await.contains("Username"));
    assert!(kubectl.ok("auth can-i --list").await.contains("*.*"));
    let token = kubectl.ok("create token robot --duration=10m").await;
    assert_eq!(token.trim().split('.').count(), 3, "{token}");
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn subresources_are_read_and_written_alone() {
    let fixture = Fixture::start().await;
    let kubectl = &fixture.kubectl;
    kubectl.ok("create deployment web --image=web:1 --replicas=0").await;
    let scale = kubectl.ok("get deploy web --subresource=scale -o jsonpath={.kind}").await;
    assert_eq!(scale, "Scale");
    kubectl
        .ok("patch deploy web --subresource=scale --type=merge -p '{\"spec\":{\"replicas\":1}}'")
        .await;
    assert_eq!(kubectl.ok("get deploy web -o jsonpath={.spec.replicas}").await, "1");
    kubectl.ok("create quota few --hard=pods=3").await;
    let status = "patch quota few --subresource=status --type=merge -p '{\"status\":{\"hard\":{\"pods\":\"3\"},\"used\":{\"pods\":\"2\"}}}'";
    kubectl.ok(status).await;
    assert!(kubectl.ok("get quota few").await.contains("pods: 2/3"));
    let ignored = "patch quota few --type=merge -p '{\"status\":{\"used\":{\"pods\":\"1\"}}}'";
    assert!(kubectl.ok(ignored).await.contains("no change"));
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replace_kustomize_and_prune_change_many_objects() {
    let fixture = Fixture::start().await;
    let kubectl = &fixture.kubectl;
    let path = manifest(&fixture, "map.yaml", MAP);
    kubectl.ok(&format!("create -f {path} --save-config")).await;
    let uid = kubectl.ok("get cm sea -o jsonpath={.metadata.uid}").await;
    kubectl.ok(&format!("replace --force -f {path}")).await;
    assert_ne!(kubectl.ok("get cm sea -o jsonpath={.metadata.uid}").await, uid);
    manifest(&fixture, "kustomization.yaml", "namePrefix: our-\nresources: [map.yaml]\n");
    let folder = kubectl.kubeconfig.parent().expect("a folder").display().to_string();
    kubectl.ok(&format!("apply -k {folder}")).await;
    assert_eq!(kubectl.ok("get cm our-sea -o jsonpath={.data.colour}").await, "blue");
    kubectl.ok("label cm our-sea sea prune=me --overwrite").await;
    let one = manifest(
        &fixture,
        "one.yaml",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: kept, labels: {prune: me}}\n",
    );
    kubectl
        .ok(&format!("apply --prune -l prune=me --prune-allowlist=core/v1/ConfigMap -f {one}"))
        .await;
    // What was not applied is left alone.
    assert_eq!(kubectl.ok("get cm -l prune=me -o name").await, "configmap/kept\nconfigmap/sea\n");
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_shows_every_kind_to_its_leaves() {
    let fixture = Fixture::start().await;
    let kubectl = &fixture.kubectl;
    let resources = kubectl.ok("api-resources --no-headers").await;
    for line in resources.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [resource, .., version, _, _] = words.as_slice() else { panic!("{line}") };
        let said =
            kubectl.ok(&format!("explain {resource} --api-version={version} --recursive")).await;
        assert!(said.contains("FIELDS:") && said.contains("apiVersion"), "{resource}: {said}");
    }
    let every = "api-resources --categories=all -o name";
    let all = kubectl.ok(every).await;
    for resource in ["pods", "services", "deployments.apps", "replicasets.apps"] {
        assert!(all.lines().any(|line| line == resource), "{all}");
    }
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_creates_what_nothing_acts_on_yet_is_told() {
    let fixture = Fixture::start().await;
    let kubectl = &fixture.kubectl;
    let (done, _, told) = kubectl.run("create job once --image=agent:1", "").await;
    assert!(done && told.contains("Warning: the Job is stored, but no controller"), "{told}");
    let (done, _, told) = kubectl.run("create deployment web --image=web:1", "").await;
    assert!(done && !told.contains("stored, but"), "{told}");
    fixture.stop().await;
}
