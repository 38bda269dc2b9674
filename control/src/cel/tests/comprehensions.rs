//! Macros: what they become, and what their variables are.

use super::check;

#[test]
fn quantifiers_are_about_items_and_keys() {
    check(&[
        ("[1, 2].all(x, x > 1)", "bool"),
        ("[1, 2].all(x, x)", "1:15: expected type 'bool' but found 'int'"),
        ("[1, 2].all(x, y > 1)", "1:15: undeclared reference to 'y' (in container '')"),
        (
            "[1, 2].exists(x, x == 'a')",
            "1:20: found no matching overload for '_==_' applied to '(int, string)'",
        ),
        (
            "[1, 2].exists_one(x, x)",
            "1:18: found no matching overload for '_?_:_' applied to '(int, int, int)'",
        ),
        (
            "[1, 2].existsOne(x, x > 1)",
            "1:17: undeclared reference to 'existsOne' (in container ''); 1:18: undeclared reference to 'x' (in container ''); 1:21: undeclared reference to 'x' (in container '')",
        ),
        (
            "{'a': 1}.all(k, k > 1)",
            "1:19: found no matching overload for '_>_' applied to '(string, int)'",
        ),
        (
            "1.all(x, true)",
            "1:1: expression of type 'int' cannot be range of a comprehension (must be list, map, or dynamic)",
        ),
        (
            "'abc'.all(x, true)",
            "1:1: expression of type 'string' cannot be range of a comprehension (must be list, map, or dynamic)",
        ),
        ("object.all(x, x.foo)", "bool"),
        ("[].all(x, x > 1)", "bool"),
        ("[1].all(object, object.foo)", "1:23: type 'int' does not support field selection"),
        (
            "[1].all(x, [2].all(x, x > 'a'))",
            "1:25: found no matching overload for '_>_' applied to '(int, string)'",
        ),
        ("[1].all(x, true) && x", "1:21: undeclared reference to 'x' (in container '')"),
    ]);
}

#[test]
fn pairs_are_indices_or_keys_with_values() {
    check(&[
        ("{'a': 1}.all(k, v, v > 1)", "bool"),
        (
            "{'a': 1}.all(k, v, k > 1)",
            "1:22: found no matching overload for '_>_' applied to '(string, int)'",
        ),
        ("[1].all(i, v, i == v)", "bool"),
        (
            "['a'].exists(i, v, i == v)",
            "1:22: found no matching overload for '_==_' applied to '(int, string)'",
        ),
        ("[1].existsOne(i, v, i == v)", "bool"),
        ("[1].transformList(i, v, i + v)", "list(int)"),
        ("[1].transformList(i, v, i > 0, i + v)", "list(int)"),
        (
            "[1].transformList(i, v, i, i + v)",
            "1:18: found no matching overload for '_?_:_' applied to '(int, list(int), list(int))'",
        ),
        ("[1].transformMap(i, v, string(v))", "map(int, string)"),
        ("{'a': 1}.transformMapEntry(k, v, {v: k})", "map(int, string)"),
        ("{'a': 1}.transformMapEntry(k, v, v > 1, {v: k})", "map(int, string)"),
        (
            "{'a': 1}.transformMapEntry(k, v, v)",
            "1:27: found no matching overload for 'cel.@mapInsert' applied to '(map(dyn, dyn), int)'",
        ),
    ]);
}

#[test]
fn lists_are_made_of_lists() {
    check(&[
        ("[1, 2].map(x, x + 1)", "list(int)"),
        (
            "[1, 2].map(x, x + 'a')",
            "1:17: found no matching overload for '_+_' applied to '(int, string)'",
        ),
        ("[1, 2].map(x, x > 1, x + 1)", "list(int)"),
        (
            "[1, 2].map(x, x, x + 1)",
            "1:11: found no matching overload for '_?_:_' applied to '(int, list(int), list(int))'",
        ),
        ("[1, 2].filter(x, x > 1)", "list(int)"),
        (
            "[1, 2].filter(x, x)",
            "1:14: found no matching overload for '_?_:_' applied to '(int, list(int), list(int))'",
        ),
        (
            "{'a': [1]}.map(k, k + 1)",
            "1:21: found no matching overload for '_+_' applied to '(string, int)'",
        ),
        ("[[1]].map(x, x.map(y, string(y)))", "list(list(string))"),
        ("[].map(x, x)", "list(dyn)"),
        ("[1].map(x, []).map(y, y + [1])", "list(list(int))"),
        ("[1, 2].sortBy(x, -x)", "list(int)"),
        (
            "[1, 2].sortBy(x, [x])",
            "1:14: found no matching overload for '@sortByAssociatedKeys' applied to 'list(int).(list(list(int)))'",
        ),
        (
            "object.items.map(x, x.name).join(',') + 1",
            "1:39: found no matching overload for '_+_' applied to '(string, int)'",
        ),
    ]);
}

#[test]
fn optionals_are_mapped() {
    check(&[
        ("optional.of(1).optMap(x, x + 1)", "optional_type(int)"),
        (
            "optional.of(1).optMap(x, x + 'a')",
            "1:28: found no matching overload for '_+_' applied to '(int, string)'",
        ),
        ("optional.of('a').optFlatMap(x, optional.of(1))", "optional_type(int)"),
        (
            "optional.of('a').optFlatMap(x, 1)",
            "1:28: found no matching overload for '_?_:_' applied to '(bool, int, optional_type(dyn))'",
        ),
        ("object.?a.optMap(x, x.b)", "optional_type(dyn)"),
        (
            "1.optMap(x, x)",
            "1:9: found no matching overload for 'hasValue' applied to 'int.()'; 1:9: found no matching overload for 'value' applied to 'int.()'",
        ),
    ]);
}

#[test]
fn presence_is_tested_of_fields() {
    check(&[
        ("has(object.a)", "bool"),
        ("has(object.a.b)", "bool"),
        ("has(request.foo)", "1:4: undefined field 'foo'"),
        ("has({}.a)", "bool"),
        ("has(request.name)", "bool"),
        ("has(1.a)", "1:4: type 'int' does not support field selection"),
    ]);
}
