"""Drives a cluster with the Python client as its users do: typed and dynamic, each kind of write.

Usage: drive.py KUBECONFIG. Exits with 0 when everything was as expected.
"""

import sys
import threading

from kubernetes import client, config, dynamic, utils, watch
from kubernetes.client.exceptions import ApiException
from kubernetes.dynamic.exceptions import ConflictError

DEPLOYMENT = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "web", "labels": {"app": "web"}},
    "spec": {
        "replicas": 2,
        "selector": {"matchLabels": {"app": "web"}},
        "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "web", "image": "web:1"}]},
        },
    },
}


def typed(core, apps):
    """Create, read, list, watch, patch in three forms, replace, delete."""
    body = client.V1ConfigMap(metadata=client.V1ObjectMeta(name="sea", labels={"of": "python"}), data={"colour": "blue"})
    created = core.create_namespaced_config_map("default", body)
    assert created.metadata.uid, created
    try:
        core.create_namespaced_config_map("default", body)
        raise AssertionError("a name was given twice")
    except ApiException as refused:
        assert refused.status == 409 and "AlreadyExists" in refused.body, refused

    events = []
    seen = threading.Event()

    def follow():
        stream = watch.Watch().stream(
            core.list_namespaced_config_map, "default", label_selector="of=python", timeout_seconds=30
        )
        for event in stream:
            events.append((event["type"], (event["object"].data or {}).get("colour")))
            if event["type"] == "DELETED":
                seen.set()
                return

    follower = threading.Thread(target=follow)
    follower.start()

    patched = core.patch_namespaced_config_map("sea", "default", {"data": {"colour": "green"}})
    assert patched.data == {"colour": "green"}, patched
    patch = [{"op": "replace", "path": "/data/colour", "value": "red"}]
    patched = core.patch_namespaced_config_map("sea", "default", patch)
    assert patched.data == {"colour": "red"}, patched
    patched.data["depth"] = "3"
    replaced = core.replace_namespaced_config_map("sea", "default", patched)
    assert replaced.data == {"colour": "red", "depth": "3"}, replaced
    try:
        core.replace_namespaced_config_map("sea", "default", patched)
        raise AssertionError("a stale object was written")
    except ApiException as refused:
        assert refused.status == 409 and '"Conflict"' in refused.body, refused
    found = core.list_namespaced_config_map("default", label_selector="of=python", limit=1)
    assert [item.metadata.name for item in found.items] == ["sea"], found
    core.delete_namespaced_config_map("sea", "default")
    assert seen.wait(30), events
    follower.join()
    assert events[0][0] == "ADDED" and events[-1] == ("DELETED", "red"), events

    utils.create_from_dict(client.ApiClient(), DEPLOYMENT)
    scale = apps.patch_namespaced_deployment_scale("web", "default", {"spec": {"replicas": 3}})
    assert scale.spec.replicas == 3, scale
    container = [{"name": "web", "env": [{"name": "A", "value": "b"}]}]
    patch = {"spec": {"template": {"spec": {"containers": container}}}}
    patched = apps.patch_namespaced_deployment("web", "default", patch)
    assert patched.spec.template.spec.containers[0].image == "web:1", "a strategic merge keeps what it does not name"
    dry = apps.delete_namespaced_deployment("web", "default", dry_run="All")
    told = dry if isinstance(dry, dict) else dry.to_dict()
    assert told["status"] == "Success", told
    apps.delete_namespaced_deployment("web", "default")


def applied(api):
    """Server-side apply: managers, conflicts, force."""
    maps = dynamic.DynamicClient(api).resources.get(api_version="v1", kind="ConfigMap")

    def body(**data):
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "shared", "namespace": "default"}, "data": data}

    first = maps.server_side_apply(body(colour="blue", depth="3"), field_manager="one")
    again = maps.server_side_apply(body(colour="blue", depth="3"), field_manager="one")
    assert first.metadata.resourceVersion == again.metadata.resourceVersion, "the same apply writes nothing"
    try:
        maps.server_side_apply(body(colour="red"), field_manager="two")
        raise AssertionError("another manager's field was overwritten")
    except ConflictError as refused:
        assert "FieldManagerConflict" in str(refused.body) and ".data.colour" in str(refused.body), refused.body
    forced = maps.server_side_apply(body(colour="red"), field_manager="two", force_conflicts=True)
    assert forced.data.to_dict() == {"colour": "red", "depth": "3"}, forced
    given_up = maps.server_side_apply(body(), field_manager="one")
    assert given_up.data.to_dict() == {"colour": "red"}, given_up
    owners = [(entry.manager, entry.operation) for entry in given_up.metadata.managedFields]
    assert owners == [("two", "Apply")] or ("two", "Apply") in owners, owners
    maps.delete(name="shared", namespace="default")


def listed(api):
    """Discovery finds every kind, and every list can be read."""
    found = 0
    for resource in dynamic.DynamicClient(api).resources.search():
        listable = "list" in (resource.verbs or []) and "/" not in resource.name and not resource.kind.endswith("List")
        if listable:
            resource.get(limit=5)
            found += 1
    assert found > 10, found


def main():
    config.load_kube_config(sys.argv[1])
    api = client.ApiClient()
    typed(client.CoreV1Api(), client.AppsV1Api())
    applied(api)
    listed(api)
    assert client.VersionApi().get_code().minor == "36"
    print("everything was as expected")


main()
