//! Which functions there are for which types.

use super::check;

#[test]
fn operators_take_types_that_they_know() {
    check(&[
        ("1 + 1", "int"),
        ("1 + 'a'", "1:3: found no matching overload for '_+_' applied to '(int, string)'"),
        ("'a' + 1", "1:5: found no matching overload for '_+_' applied to '(string, int)'"),
        ("'a' + 'b'", "string"),
        ("1u + 1", "1:4: found no matching overload for '_+_' applied to '(uint, int)'"),
        (
            "[1] + ['a']",
            "1:5: found no matching overload for '_+_' applied to '(list(int), list(string))'",
        ),
        ("[1] + []", "list(int)"),
        ("1 - 'a'", "1:3: found no matching overload for '_-_' applied to '(int, string)'"),
        ("1.0 * 2", "1:5: found no matching overload for '_*_' applied to '(double, int)'"),
        ("1 / 0", "int"),
        ("1 % 1.0", "1:3: found no matching overload for '_%_' applied to '(int, double)'"),
        ("!1", "1:1: found no matching overload for '!_' applied to '(int)'"),
        ("-'a'", "1:1: found no matching overload for '-_' applied to '(string)'"),
        ("-duration('1s')", "1:1: found no matching overload for '-_' applied to '(duration)'"),
        ("1 && true", "1:1: expected type 'bool' but found 'int'"),
        (
            "true && 'a' || 1",
            "1:9: expected type 'bool' but found 'string'; 1:16: expected type 'bool' but found 'int'",
        ),
        ("1 ? 1 : 2", "1:3: found no matching overload for '_?_:_' applied to '(int, int, int)'"),
        (
            "true ? 1 : 'a'",
            "1:6: found no matching overload for '_?_:_' applied to '(bool, int, string)'",
        ),
        ("true ? 1 : dyn('a')", "dyn"),
        ("true ? [] : [1]", "list(int)"),
        ("true ? null : request", "null_type"),
        ("1 == 'a'", "1:3: found no matching overload for '_==_' applied to '(int, string)'"),
        ("1 == 1.0", "1:3: found no matching overload for '_==_' applied to '(int, double)'"),
        ("1 < 1.0", "bool"),
        ("1 < 2u", "bool"),
        ("1 < 'a'", "1:3: found no matching overload for '_<_' applied to '(int, string)'"),
        ("null < null", "bool"),
        (
            "[1] < [2]",
            "1:5: found no matching overload for '_<_' applied to '(list(int), list(int))'",
        ),
        ("1 in [1]", "bool"),
        (
            "1 in ['a']",
            "1:3: found no matching overload for '@in' applied to '(int, list(string))'",
        ),
        ("'a' in {'a': 1}", "bool"),
        ("1 in 1", "1:3: found no matching overload for '@in' applied to '(int, int)'"),
        ("timestamp('2024-01-01T00:00:00Z') + duration('1h')", "google.protobuf.Timestamp"),
        (
            "timestamp('2024-01-01T00:00:00Z') + 1",
            "1:35: found no matching overload for '_+_' applied to '(timestamp, int)'",
        ),
        (
            "duration('1h') > timestamp('2024-01-01T00:00:00Z')",
            "1:16: found no matching overload for '_>_' applied to '(duration, timestamp)'",
        ),
    ]);
}

#[test]
fn functions_are_found_by_name_and_form() {
    check(&[
        ("foo()", "1:4: undeclared reference to 'foo' (in container '')"),
        (
            "object.foo(1, x)",
            "1:11: undeclared reference to 'foo' (in container ''); 1:15: undeclared reference to 'x' (in container '')",
        ),
        ("'a'.size()", "int"),
        ("size('a')", "int"),
        ("'a'.size(1)", "1:9: found no matching overload for 'size' applied to 'string.(int)'"),
        (".size('a')", "int"),
        (".foo(1)", "1:5: undeclared reference to '.foo' (in container '')"),
        ("string(1)", "string"),
        ("string([1])", "1:7: found no matching overload for 'string' applied to '(list(int))'"),
        ("type(1, 2)", "1:5: found no matching overload for 'type' applied to '(int, int)'"),
        ("dyn()", "1:4: found no matching overload for 'dyn' applied to '()'"),
        ("'a'.contains('b')", "bool"),
        (
            "contains('a', 'b')",
            "1:9: found no matching overload for 'contains' applied to '(string, string)'",
        ),
        (
            "'a'.startsWith(1)",
            "1:15: found no matching overload for 'startsWith' applied to 'string.(int)'",
        ),
        ("timestamp('2024-01-01T00:00:00Z').getFullYear('UTC')", "int"),
        (
            "duration('1h').getFullYear()",
            "1:27: found no matching overload for 'getFullYear' applied to 'duration.()'",
        ),
        ("duration('1h').getHours()", "int"),
    ]);
}

#[test]
fn extensions_are_there() {
    check(&[
        ("'a'.charAt(0)", "string"),
        ("'a'.replace('b', 'c', 1)", "string"),
        ("'a,b'.split(',')", "list(string)"),
        ("['a'].join()", "string"),
        ("[1].join()", "1:9: found no matching overload for 'join' applied to 'list(int).()'"),
        ("strings.quote('a')", "string"),
        ("'a'.reverse()", "1:12: found no matching overload for 'reverse' applied to 'string.()'"),
        (
            "sets.contains([1], ['a'])",
            "1:14: found no matching overload for 'sets.contains' applied to '(list(int), list(string))'",
        ),
        ("sets.equivalent([], [])", "bool"),
        ("lists.range(3)", "list(int)"),
        ("[1].slice(0, 1)", "list(int)"),
        ("[1].distinct()", "list(int)"),
        ("[[1], [2]].flatten()", "list(int)"),
        ("[1].reverse().first()", "optional_type(int)"),
        ("['a'].sort()", "list(string)"),
        ("optional.none()", "optional_type(dyn)"),
        (
            "optional.of(1).or(2)",
            "1:18: found no matching overload for 'or' applied to 'optional_type(int).(int)'",
        ),
        ("optional.ofNonZeroValue(1).value()", "int"),
        ("[optional.of(1)].unwrapOpt()", "list(int)"),
        (
            "cel.bind(x, 1, x + 1)",
            "1:1: undeclared reference to 'cel' (in container ''); 1:9: undeclared reference to 'bind' (in container ''); 1:10: undeclared reference to 'x' (in container ''); 1:16: undeclared reference to 'x' (in container '')",
        ),
        (
            "math.greatest(1, 2)",
            "1:1: undeclared reference to 'math' (in container ''); 1:14: undeclared reference to 'greatest' (in container '')",
        ),
        (
            "base64.encode(b'a')",
            "1:1: undeclared reference to 'base64' (in container ''); 1:14: undeclared reference to 'encode' (in container '')",
        ),
    ]);
}

#[test]
fn kubernetes_adds_functions() {
    check(&[
        ("quantity('1')", "kubernetes.Quantity"),
        ("quantity('1').add(1)", "kubernetes.Quantity"),
        (
            "quantity('1').add('1')",
            "1:18: found no matching overload for 'add' applied to 'kubernetes.Quantity.(string)'",
        ),
        (
            "quantity('1') < quantity('2')",
            "1:15: found no matching overload for '_<_' applied to '(kubernetes.Quantity, kubernetes.Quantity)'",
        ),
        ("quantity('1').isLessThan(quantity('2'))", "bool"),
        ("sign(quantity('1'))", "int"),
        (
            "quantity('1').sign()",
            "1:19: found no matching overload for 'sign' applied to 'kubernetes.Quantity.()'",
        ),
        ("isQuantity('1')", "bool"),
        ("ip('1.2.3.4').family()", "int"),
        ("ip.isCanonical('1.2.3.4')", "bool"),
        ("string(ip('1.2.3.4'))", "string"),
        ("cidr('1.2.3.0/24').containsIP('1.2.3.4')", "bool"),
        (
            "cidr('1.2.3.0/24').containsIP(1)",
            "1:30: found no matching overload for 'containsIP' applied to 'net.CIDR.(int)'",
        ),
        ("url('https://a/b').getHost()", "string"),
        ("url('https://a/b').getQuery()", "map(string, list(string))"),
        ("isURL(1)", "1:6: found no matching overload for 'isURL' applied to '(int)'"),
        ("format.dns1123Label().validate('a')", "optional_type(list(string))"),
        ("format.named('x')", "optional_type(kubernetes.NamedFormat)"),
        (
            "format.foo()",
            "1:1: undeclared reference to 'format' (in container ''); 1:11: undeclared reference to 'foo' (in container '')",
        ),
        ("semver('1.2.3').major()", "int"),
        ("semver('1.2.3', true)", "kubernetes.Semver"),
        ("'abc'.find('a')", "string"),
        ("'abc'.findAll('a', 1)", "list(string)"),
        ("[1].sum()", "int"),
        ("['a'].sum()", "1:10: found no matching overload for 'sum' applied to 'list(string).()'"),
        ("[object].min()", "dyn"),
        ("[1].isSorted()", "bool"),
        (
            "[1].indexOf('a')",
            "1:12: found no matching overload for 'indexOf' applied to 'list(int).(string)'",
        ),
        ("authorizer.group('a').resource('b').check('get').allowed()", "bool"),
        ("authorizer.serviceAccount('a', 'b').path('/x').check('get').reason()", "string"),
        (
            "authorizer.group('a').resource('b').fieldSelector('a=b').labelSelector(1)",
            "1:71: found no matching overload for 'labelSelector' applied to 'kubernetes.authorization.ResourceCheck.(int)'",
        ),
        (
            "authorizer.foo",
            "1:11: unexpected failed resolution of 'kubernetes.authorization.Authorizer'",
        ),
    ]);
}
