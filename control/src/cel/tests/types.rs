//! Types of literals and operators, and how they are written.

use super::check;

#[test]
fn literals_have_types() {
    check(&[
        ("1", "int"),
        ("1u", "uint"),
        ("1.5", "double"),
        ("'a'", "string"),
        ("b'a'", "bytes"),
        ("true", "bool"),
        ("null", "null_type"),
        ("[]", "list(dyn)"),
        ("[1]", "list(int)"),
        ("[1, 2]", "list(int)"),
        ("[[], [1]]", "list(list(int))"),
        ("[dyn(1)]", "list(dyn)"),
        ("{}", "map(dyn, dyn)"),
        ("{'a': 1}", "map(string, int)"),
        ("{1: [true]}", "map(int, list(bool))"),
        ("{'a': {}}", "map(string, map(dyn, dyn))"),
        ("int", "type(int)"),
        ("type(1)", "type(int)"),
        ("type(int)", "type(type(int))"),
        ("list", "type(list(dyn))"),
        ("map", "type(map(dyn, dyn))"),
        ("optional_type", "type(optional_type)"),
        ("null_type", "type(null_type)"),
        ("net.IP", "type(net.IP)"),
        ("[int, string]", "1:7: expected type 'type(int)' but found 'type(string)'"),
        ("[null, request]", "1:8: expected type 'null' but found 'kubernetes.AdmissionRequest'"),
        ("{?'a': optional.of(1)}", "map(string, int)"),
        ("[?optional.of(1), 2]", "list(int)"),
        ("google.protobuf.Int64Value{value: 1}", "wrapper(int)"),
        ("google.protobuf.Any{}", "google.protobuf.Any"),
        ("google.protobuf.Struct{}", "map(string, dyn)"),
        ("google.protobuf.Empty{}", "google.protobuf.Empty"),
        ("google.protobuf.NullValue.NULL_VALUE", "int"),
    ]);
}

#[test]
fn literals_hold_one_type() {
    check(&[
        ("[1, 'a']", "1:5: expected type 'int' but found 'string'"),
        ("[1, 2u]", "1:5: expected type 'int' but found 'uint'"),
        ("[1, null]", "1:5: expected type 'int' but found 'null'"),
        ("[1, dyn(2)]", "1:8: expected type 'int' but found 'dyn'"),
        ("[dyn(1), 2]", "1:10: expected type 'dyn' but found 'int'"),
        ("{'a': 1, 'b': 'c'}", "1:15: expected type 'int' but found 'string'"),
        ("{'a': 1, 2: 3}", "1:10: expected type 'string' but found 'int'"),
        ("{'a': 1, 'b': dyn(2)}", "1:18: expected type 'int' but found 'dyn'"),
        ("[[1], ['a']]", "1:7: expected type 'list(int)' but found 'list(string)'"),
        ("[?1]", "1:3: expected type 'optional_type(int)' but found 'int'"),
        ("{?'a': 1}", "1:8: expected type 'optional_type(int)' but found 'int'"),
        ("'%s %d'.format(['a', 1])", "string"),
    ]);
}

#[test]
fn literals_that_functions_read_are_right() {
    check(&[
        ("duration('1h')", "google.protobuf.Duration"),
        ("duration('x')", "1:10: invalid duration argument"),
        ("duration(1)", "1:10: invalid duration argument"),
        ("timestamp('2024-01-01T00:00:00Z')", "google.protobuf.Timestamp"),
        ("timestamp('2024-01-01')", "1:11: invalid timestamp argument"),
        ("timestamp(253402300800)", "1:11: invalid timestamp argument"),
        ("'a'.matches('[')", "1:13: invalid matches argument"),
        (
            "matches('a', '(')",
            "program instantiation failed: error parsing regexp: missing closing ): `(`",
        ),
        (
            "'a'.find('[')",
            "program instantiation failed: error parsing regexp: missing closing ]: `[`",
        ),
        (
            "'%d'.format(['a'])",
            "1:14: error during formatting: decimal clause can only be used on integers, was given string",
        ),
        ("'%s'.format([])", "1:12: index 0 out of range"),
        (
            "'%s'.format([1, 2])",
            "1:12: too many arguments supplied to string.format (expected 1, got 2)",
        ),
        ("'%.3f'.format([1.0])", "string"),
        (
            "'%.f'.format([1.0])",
            r#"1:13: could not parse formatting clause: error while parsing precision: error while converting precision to integer: strconv.Atoi: parsing "": invalid syntax"#,
        ),
        (
            "'%z'.format([1])",
            r#"1:12: could not parse formatting clause: unrecognized formatting clause "z""#,
        ),
        (
            "'%x'.format([1.5])",
            "1:14: error during formatting: only integers, byte buffers, and strings can be formatted as hex, was given double",
        ),
        (
            "'%s'.format([optional.of(1)])",
            "1:25: error during formatting: string clause can only be used on strings, bools, bytes, ints, doubles, maps, lists, types, durations, and timestamps, was given optional_type",
        ),
        ("int('a')", "program instantiation failed: type conversion error from 'string' to 'int'"),
        ("int(1e30)", "program instantiation failed: integer overflow"),
        ("uint(-1)", "program instantiation failed: unsigned integer overflow"),
        (
            "bool('x')",
            "program instantiation failed: type conversion error from 'string' to 'bool'",
        ),
        (
            r"string(b'\xff')",
            "program instantiation failed: invalid UTF-8 in bytes, cannot convert to string",
        ),
        ("int(dyn(true))", "program instantiation failed: no such overload: int(bool)"),
        ("int(null)", "program instantiation failed: no such overload: int(null_type)"),
        ("object[null]", "program instantiation failed: invalid qualifier type: types.Null"),
        ("object[[1]]", "program instantiation failed: invalid qualifier type: *types.baseList"),
        (
            "kubernetes.UserInfo",
            "program instantiation failed: reference to undefined type: kubernetes.UserInfo",
        ),
        ("duration", "program instantiation failed: reference to undefined type: duration"),
    ]);
}

#[test]
fn fields_are_selected_of_what_has_them() {
    check(&[
        ("'a'.b", "1:4: type 'string' does not support field selection"),
        ("1.b", "1:2: type 'int' does not support field selection"),
        ("null.b", "1:5: type 'null' does not support field selection"),
        ("[1].size", "1:4: type 'list(int)' does not support field selection"),
        ("int.foo", "1:4: type 'type(int)' does not support field selection"),
        ("{'a': 1}.b", "int"),
        (
            "{1: 1}['a']",
            "1:7: found no matching overload for '_[_]' applied to '(map(int, int), string)'",
        ),
        ("[1]['a']", "1:4: found no matching overload for '_[_]' applied to '(list(int), string)'"),
        ("[1][0]", "int"),
        ("object.a.b[0].c", "dyn"),
        ("dyn({}).x.y", "dyn"),
        ("optional.of(request).name", "optional_type(string)"),
        ("optional.of(request).foo", "1:21: undefined field 'foo'"),
        ("optional.of({'a': 1}).a", "optional_type(int)"),
        ("object.?a.b", "optional_type(dyn)"),
        ("object.?a.orValue('x')", "dyn"),
        ("request.?name", "optional_type(string)"),
        ("request.?foo", "1:8: undefined field 'foo'"),
        ("1.?a", "1:2: type 'int' does not support field selection"),
        (
            "[1][?0].orValue('a')",
            "1:16: found no matching overload for 'orValue' applied to 'optional_type(int).(string)'",
        ),
        ("{'a': 1}[?'a'].hasValue()", "bool"),
    ]);
}
