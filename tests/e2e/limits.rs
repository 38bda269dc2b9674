//! Limits by annotation, and volumes that hostile pods try to leave.

use std::path::{Path, PathBuf};

use copepod_sdk::{Cluster, images};

use crate::support::{Fixture, agent, builder, eventually};

const STATE: &str = "{.status.phase}:{.status.containerStatuses[0].state.terminated.reason}:{.status.containerStatuses[0].state.terminated.exitCode}";

#[tokio::test(flavor = "multi_thread")]
async fn a_run_deadline_ends_a_container_and_a_bad_one_keeps_it_from_starting() {
    let fixture = Fixture::start().await;
    let kubectl = &fixture.kubectl;
    let annotated = |name: &str, deadline: &str| {
        let annotation = format!("annotations: {{copepod.dev/run-deadline: {deadline}}}, labels");
        agent(name, "Never", &["spin"]).replace("labels", &annotation)
    };
    kubectl.apply(&annotated("late", "300ms")).await;
    kubectl.apply(&annotated("odd", "soon")).await;
    kubectl
        .until(&format!("get pod late -o jsonpath={STATE}"), |said| {
            said == "Failed:DeadlineExceeded:137"
        })
        .await;
    let waiting = "get pod odd -o jsonpath={.status.containerStatuses[0].state.waiting}";
    let said = kubectl.until(waiting, |said| said.contains("CreateContainerConfigError")).await;
    for part in ["copepod.dev/run-deadline", "soon", "a time above 0, like 250ms"] {
        assert!(said.contains(part), "{said}");
    }
    fixture.stop().await;
}

/// Whatever stands in a volume, its files are all that a pod sees: of each kind there is.
#[tokio::test(flavor = "multi_thread")]
async fn no_path_and_no_link_leads_out_of_a_volume() {
    use std::os::unix::fs::symlink;
    let data = tempfile::tempdir().unwrap();
    let fixture = Fixture::start_with(builder().data_dir(data.path())).await;
    let kubectl = &fixture.kubectl;
    std::fs::write(data.path().join("outside"), "OUTSIDE").unwrap();
    kubectl.ok("create configmap files --from-literal=a.txt=alpha").await;
    kubectl.ok("create secret generic keys --from-literal=token=hidden").await;
    let climb = "../".repeat(12);
    let mut steps = Vec::new();
    for mount in ["/files", "/scratch", "/seen"] {
        for path in [
            format!("{climb}etc/passwd"),
            format!("..data/{climb}etc/passwd"),
            format!("..{}/outside", data.path().display()),
            // The neighbouring volume, which is not mounted, by its place on the host.
            "../keys/token".to_owned(),
            "../../keys/..data/token".to_owned(),
            "link".to_owned(),
            "up/keys/token".to_owned(),
            "etc".to_owned(),
        ] {
            steps.push(format!("cat={mount}/{path}"));
        }
        steps.push(format!("write={mount}/up/planted:PLANTED"));
        steps.push(format!("write={mount}/../planted:PLANTED"));
    }
    steps.push("print=done".to_owned());
    let pod = "
apiVersion: v1
kind: Pod
metadata: {name: climber}
spec:
  restartPolicy: OnFailure
  volumes:
  - {name: files, configMap: {name: files}}
  - {name: keys, secret: {secretName: keys}}
  - {name: scratch, emptyDir: {}}
  containers:
  - name: agent
    image: agent:1
    args: STEPS
    volumeMounts:
    - {name: files, mountPath: /files}
    - {name: scratch, mountPath: /scratch}
    - {name: scratch, mountPath: /seen, readOnly: true}
  - name: holder
    image: agent:1
    args: [forever]
    volumeMounts: [{name: keys, mountPath: /keys}]
";
    // It fails until the links are there: a read-only mount cannot remember that it failed once.
    steps.insert(0, "once=/seen/ready".to_owned());
    let steps = serde_json::to_string(&steps).unwrap();
    kubectl.apply(&pod.replace("STEPS", &steps)).await;
    let uid =
        kubectl.until("get pod climber -o jsonpath={.metadata.uid}", |said| !said.is_empty()).await;
    let volumes = eventually("the pod's volumes", || async {
        let volumes = find(data.path(), &uid)?.join("volumes");
        volumes.join("files").is_dir().then_some(volumes)
    })
    .await;
    for volume in ["scratch", "files"] {
        symlink("/etc/passwd", volumes.join(volume).join("link")).unwrap();
        symlink("..", volumes.join(volume).join("up")).unwrap();
        symlink("/etc", volumes.join(volume).join("etc")).unwrap();
    }
    std::fs::write(volumes.join("scratch/ready"), "").unwrap();
    let logs = "logs climber -c agent";
    let log = kubectl.until(logs, |said| said.contains("done")).await;
    for leak in ["root:", "hidden", "OUTSIDE", "wrote ", &data.path().display().to_string()] {
        assert!(!log.contains(leak), "{leak}: {log}");
    }
    assert!(find(data.path(), "planted").is_none());
    fixture.stop().await;
}

/// The first file or folder of this name.
fn find(root: &Path, name: &str) -> Option<PathBuf> {
    let entries = std::fs::read_dir(root).ok()?;
    let mut folders = Vec::new();
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy() == name {
            return Some(entry.path());
        }
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            folders.push(entry.path());
        }
    }
    folders.iter().find_map(|folder| find(folder, name))
}

/// How many files of compiled code there are.
fn compiled(folder: &Path) -> usize {
    let folders = std::fs::read_dir(folder).unwrap().flatten();
    let files = folders.flat_map(|folder| std::fs::read_dir(folder.path()).unwrap().flatten());
    files.filter(|file| file.path().extension().is_some_and(|found| found == "cwasm")).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn compiled_code_goes_with_its_image_and_with_the_version_that_compiled_it() {
    let data = tempfile::tempdir().unwrap();
    let folder = data.path().join("compiled");
    let foreign = folder.join("0123456789abcdef");
    std::fs::create_dir_all(&foreign).unwrap();
    std::fs::write(foreign.join("sha256-1.cwasm"), "old").unwrap();
    // With sandboxes of its own: what tests share is kept nowhere.
    let fixture = Fixture::start_with(Cluster::builder().data_dir(data.path())).await;
    eventually("a sweep", || async { (!foreign.exists()).then_some(()) }).await;
    let kubectl = &fixture.kubectl;
    kubectl.apply(&agent("says", "Never", &["print=hi"])).await;
    kubectl.until("get pod says -o jsonpath={.status.phase}", |p| p == "Succeeded").await;
    assert_eq!(compiled(&folder), 1);
    images::remove(&fixture.cluster.client(), "agent:1").await.expect("it was there");
    assert_eq!(compiled(&folder), 0);
    fixture.stop().await;
}
