//! What expressions about requests may name, and what they must be.

use super::super::admission::Has;
use super::super::environment::Environment;
use super::super::types::Type;
use super::super::{Policy, match_condition};
use super::{brief, check};

#[test]
fn requests_have_fields() {
    check(&[
        ("object", "dyn"),
        ("object.foo.bar", "dyn"),
        ("objet", "1:1: undeclared reference to 'objet' (in container '')"),
        ("oldObject", "dyn"),
        ("request", "kubernetes.AdmissionRequest"),
        ("request.foo", "1:8: undefined field 'foo'"),
        ("request.kind.kind", "string"),
        ("request.userInfo.extra['a'][0]", "string"),
        (
            "request.userInfo.extra['a'] + 'b'",
            "1:29: found no matching overload for '_+_' applied to '(list(string), string)'",
        ),
        ("request.options.x", "dyn"),
        ("request.dryRun && 1", "1:19: expected type 'bool' but found 'int'"),
        ("request.namespace == namespaceObject.metadata.namespace", "bool"),
        ("namespaceObject.metadata.foo", "1:25: undefined field 'foo'"),
        ("namespaceObject.metadata.labels.x", "string"),
        (
            "namespaceObject.metadata.creationTimestamp - namespaceObject.metadata.deletionTimestamp",
            "google.protobuf.Duration",
        ),
        ("namespaceObject.status.conditions.all(c, c.status == 'True')", "bool"),
        (
            "namespaceObject.status.conditions.all(c, c.statu == 'True')",
            "1:43: undefined field 'statu'",
        ),
        ("params.x", "dyn"),
        ("authorizer", "kubernetes.authorization.Authorizer"),
        ("authorizer.requestResource", "kubernetes.authorization.ResourceCheck"),
        (
            "authorizer.requestResource.foo",
            "1:27: unexpected failed resolution of 'kubernetes.authorization.ResourceCheck'",
        ),
        ("variables.x", "1:1: undeclared reference to 'variables' (in container '')"),
        ("self", "1:1: undeclared reference to 'self' (in container '')"),
        (
            "type(request) == kubernetes.AdmissionRequest",
            "program instantiation failed: reference to undefined type: kubernetes.AdmissionRequest",
        ),
        (
            "kubernetes.UserInfo{username: 1}",
            "1:29: expected type of field 'username' is 'string' but provided type is 'int'",
        ),
        ("Object{}", "1:7: undeclared reference to 'Object' (in container '')"),
        ("Foo{}", "1:4: undeclared reference to 'Foo' (in container '')"),
        ("object{}", "1:7: 'dyn' is not a type"),
    ]);
}

#[test]
fn names_are_there_only_where_they_are_allowed() {
    for (text, expected) in [
        ("params", "1:1: undeclared reference to 'params' (in container '')"),
        ("authorizer", "1:1: undeclared reference to 'authorizer' (in container '')"),
        (
            "authorizer.requestResource",
            "1:1: undeclared reference to 'authorizer' (in container '')",
        ),
        ("object", "dyn"),
    ] {
        assert_eq!(brief(Environment::admission(Has::default()).compile(text, &[])), expected);
    }
}

#[test]
fn mutations_construct_objects_and_patches() {
    let has = Has { patches: true, ..Has::default() };
    for (text, expected) in [
        ("Object{}", "Object"),
        ("Object{spec: Object.spec{replicas: 1}}", "Object"),
        ("Object{a: b}", "1:11: undeclared reference to 'b' (in container '')"),
        ("Object.a.b.c{}", "Object.a.b.c"),
        ("Object.spec{x: 1}.x", "dyn"),
        ("JSONPatch{op: 'add', path: '/a', value: 1}", "JSONPatch"),
        (
            "JSONPatch{op: 1}",
            "1:13: expected type of field 'op' is 'string' but provided type is 'int'",
        ),
        (
            "JSONPatch{foo: 1}",
            "1:14: expected type of field 'foo' is '' but provided type is 'int'",
        ),
        ("JSONPatch{foo: object}", "JSONPatch"),
        ("[JSONPatch{}, 1]", "1:15: expected type 'JSONPatch' but found 'int'"),
        ("jsonpatch.escapeKey('a')", "string"),
        (
            "jsonpatch.escapeKey(1)",
            "1:20: found no matching overload for 'jsonpatch.escapeKey' applied to '(int)'",
        ),
        ("Foo{}", "1:4: undeclared reference to 'Foo' (in container '')"),
        ("object{}", "1:7: 'dyn' is not a type"),
    ] {
        assert_eq!(brief(Environment::admission(has).compile(text, &[])), expected, "{text}");
    }
}

#[test]
fn expressions_are_what_they_must_be() {
    let policy = Policy::new(false, false);
    let refused = |result: Result<(), String>| result.expect_err("it is refused");
    assert_eq!(policy.validation("true"), Ok(()));
    assert_eq!(refused(policy.validation("1")), "must evaluate to bool but got int");
    assert_eq!(
        refused(policy.message_expression("null")),
        "must evaluate to string but got null_type"
    );
    assert_eq!(policy.audit_annotation(" null "), Ok(()));
    assert_eq!(
        refused(policy.audit_annotation("1")),
        "must evaluate to one of [string null_type] but got int"
    );
    assert_eq!(policy.apply_configuration("Object{}"), Ok(()));
    assert_eq!(
        refused(policy.apply_configuration("Object.spec{}")),
        "must evaluate to Object but got Object.spec"
    );
    assert_eq!(policy.json_patch(" [JSONPatch{op: 'test'}] "), Ok(()));
    assert_eq!(
        refused(policy.json_patch("[]")),
        "must evaluate to list(JSONPatch) but got list(dyn)"
    );
    assert_eq!(
        match_condition("object", false).expect_err("it is refused"),
        "must evaluate to bool but got dyn"
    );
    assert!(match_condition("params.x == 1", true).is_ok());
    assert!(match_condition("params.x == 1", false).is_err());
    assert!(match_condition("variables.x == 1", true).is_err());
}

#[test]
fn variables_have_the_types_of_their_expressions() {
    let mut policy = Policy::new(true, true);
    for (name, text, is_right) in [
        ("count", "params.count == 1 ? 1 : 2", true),
        ("list", "[variables.count]", true),
        ("wrong", "1 + 'a'", false),
        ("later", "variables.next", false),
        ("next", "quantity('1')", true),
    ] {
        assert_eq!(policy.variable(name, text).is_ok(), is_right, "{name}");
    }
    let environment = policy.environment(Has::default());
    for (text, expected) in [
        ("variables", "kubernetes.variables"),
        ("variables.count", "int"),
        ("variables.list", "list(int)"),
        ("variables.wrong", "dyn"),
        ("variables.next", "dyn"),
        ("variables.other", "1:10: undefined field 'other'"),
    ] {
        assert_eq!(brief(environment.compile(text, &[])), expected, "{text}");
    }
    assert!(policy.validation("variables.count == 1").is_ok());
    assert!(Policy::new(true, false).validation("variables.count == 1").is_err());
}

#[test]
fn what_is_compiled_tells_what_it_uses() {
    let compiled = Environment::admission(Has::default())
        .compile("object.a == oldObject.b && [1].all(x, x > 0)", &[Type::Bool])
        .expect("it compiles");
    assert!(compiled.uses("oldObject"));
    assert!(!compiled.uses("request"));
}
