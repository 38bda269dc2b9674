//! What is said of texts that are no expressions, in full.

use super::compile;

fn check(cases: &[(&str, &str)]) {
    for (text, expected) in cases {
        let answer = compile(text).map_or_else(|why| why, |compiled| compiled.result.to_string());
        assert_eq!(answer, *expected, "{text:?}");
    }
}

#[test]
fn broken_texts_are_told_as_the_parser_tells_them() {
    check(&[
        (
            "",
            "compilation failed: ERROR: <input>:1:0: Syntax error: mismatched input '<EOF>' expecting {'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}",
        ),
        (
            "  ",
            "compilation failed: ERROR: <input>:1:3: Syntax error: mismatched input '<EOF>' expecting {'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}\n |   \n | ..^",
        ),
        (
            "1 +",
            "compilation failed: ERROR: <input>:1:4: Syntax error: mismatched input '<EOF>' expecting {'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}\n | 1 +\n | ...^",
        ),
        (
            "1 + + 2",
            "compilation failed: ERROR: <input>:1:5: Syntax error: extraneous input '+' expecting {'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}\n | 1 + + 2\n | ....^",
        ),
        (
            "+ 1",
            "compilation failed: ERROR: <input>:1:1: Syntax error: extraneous input '+' expecting {'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}\n | + 1\n | ^",
        ),
        (
            "1 1",
            "compilation failed: ERROR: <input>:1:3: Syntax error: extraneous input '1' expecting <EOF>\n | 1 1\n | ..^",
        ),
        (
            "(1",
            "compilation failed: ERROR: <input>:1:3: Syntax error: missing ')' at '<EOF>'\n | (1\n | ..^",
        ),
        (
            "1)",
            "compilation failed: ERROR: <input>:1:2: Syntax error: extraneous input ')' expecting <EOF>\n | 1)\n | .^",
        ),
        (
            "[1",
            "compilation failed: ERROR: <input>:1:3: Syntax error: mismatched input '<EOF>' expecting {']', ','}\n | [1\n | ..^",
        ),
        ("[1,]", "list(int)"),
        ("[,]", "list(dyn)"),
        (
            "[1,,2]",
            "compilation failed: ERROR: <input>:1:4: Syntax error: mismatched input ',' expecting ']'\n | [1,,2]\n | ...^",
        ),
        (
            "{'a'}",
            "compilation failed: ERROR: <input>:1:5: Syntax error: mismatched input '}' expecting ':'\n | {'a'}\n | ....^",
        ),
        ("{'a': 1,}", "map(string, int)"),
        (
            "foo(a,)",
            "compilation failed: ERROR: <input>:1:7: Syntax error: mismatched input ')' expecting {'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}\n | foo(a,)\n | ......^",
        ),
        (
            "a.",
            "compilation failed: ERROR: <input>:1:3: Syntax error: no viable alternative at input '.'\n | a.\n | ..^",
        ),
        (
            "a..b",
            "compilation failed: ERROR: <input>:1:3: Syntax error: no viable alternative at input '..'\n | a..b\n | ..^",
        ),
        (
            "a.?",
            "compilation failed: ERROR: <input>:1:4: Syntax error: mismatched input '<EOF>' expecting {IDENTIFIER, ESC_IDENTIFIER}\n | a.?\n | ...^\nERROR: <input>:1:4: unsupported ident kind\n | a.?\n | ...^",
        ),
        (
            "a[?",
            "compilation failed: ERROR: <input>:1:4: Syntax error: mismatched input '<EOF>' expecting {'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}\n | a[?\n | ...^",
        ),
        (
            "a[]",
            "compilation failed: ERROR: <input>:1:3: Syntax error: mismatched input ']' expecting {'[', '{', '(', '.', '-', '!', '?', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}\n | a[]\n | ..^",
        ),
        (
            "a ? b",
            "compilation failed: ERROR: <input>:1:6: Syntax error: mismatched input '<EOF>' expecting ':'\n | a ? b\n | .....^",
        ),
        (
            "a : b",
            "compilation failed: ERROR: <input>:1:3: Syntax error: mismatched input ':' expecting <EOF>\n | a : b\n | ..^",
        ),
        (
            "Foo{a}",
            "compilation failed: ERROR: <input>:1:6: Syntax error: mismatched input '}' expecting ':'\n | Foo{a}\n | .....^",
        ),
        (
            "a = b",
            "compilation failed: ERROR: <input>:1:3: Syntax error: token recognition error at: '= '\n | a = b\n | ..^\nERROR: <input>:1:5: Syntax error: extraneous input 'b' expecting <EOF>\n | a = b\n | ....^",
        ),
        (
            "a & b",
            "compilation failed: ERROR: <input>:1:3: Syntax error: token recognition error at: '& '\n | a & b\n | ..^\nERROR: <input>:1:5: Syntax error: extraneous input 'b' expecting <EOF>\n | a & b\n | ....^",
        ),
        (
            "a @ b",
            "compilation failed: ERROR: <input>:1:3: Syntax error: token recognition error at: '@'\n | a @ b\n | ..^\nERROR: <input>:1:5: Syntax error: extraneous input 'b' expecting <EOF>\n | a @ b\n | ....^",
        ),
        (
            "'abc",
            "compilation failed: ERROR: <input>:1:1: Syntax error: token recognition error at: ''abc'\n | 'abc\n | ^\nERROR: <input>:1:5: Syntax error: mismatched input '<EOF>' expecting {'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}\n | 'abc\n | ....^",
        ),
        (
            r#""\q""#,
            "compilation failed: ERROR: <input>:1:1: Syntax error: token recognition error at: '\"\\q'\n | \"\\q\"\n | ^\nERROR: <input>:1:4: Syntax error: token recognition error at: '\"'\n | \"\\q\"\n | ...^\nERROR: <input>:1:5: Syntax error: mismatched input '<EOF>' expecting {'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}\n | \"\\q\"\n | ....^",
        ),
        (
            r"'\ud800'",
            "compilation failed: ERROR: <input>:1:1: invalid unicode code point\n | '\\ud800'\n | ^",
        ),
        (
            r"b'\u0041'",
            "compilation failed: ERROR: <input>:1:1: unable to unescape string\n | b'\\u0041'\n | ^",
        ),
        (
            "0x",
            "compilation failed: ERROR: <input>:1:2: Syntax error: extraneous input 'x' expecting <EOF>\n | 0x\n | .^",
        ),
        (
            "1.",
            "compilation failed: ERROR: <input>:1:3: Syntax error: no viable alternative at input '.'\n | 1.\n | ..^",
        ),
        (
            "9223372036854775808",
            "compilation failed: ERROR: <input>:1:1: invalid int literal\n | 9223372036854775808\n | ^",
        ),
        (
            "18446744073709551616u",
            "compilation failed: ERROR: <input>:1:1: invalid uint literal\n | 18446744073709551616u\n | ^",
        ),
        ("1e400", "compilation failed: ERROR: <input>:1:1: invalid double literal\n | 1e400\n | ^"),
        ("for", "compilation failed: ERROR: <input>:1:1: reserved identifier: for\n | for\n | ^"),
        (
            "a.for",
            "compilation failed: ERROR: <input>:1:1: undeclared reference to 'a' (in container '')\n | a.for\n | ^",
        ),
        (
            "package.x",
            "compilation failed: ERROR: <input>:1:1: reserved identifier: package\n | package.x\n | ^",
        ),
        (
            "true.x",
            "compilation failed: ERROR: <input>:1:5: type 'bool' does not support field selection\n | true.x\n | ....^",
        ),
        (
            "a.true",
            "compilation failed: ERROR: <input>:1:3: Syntax error: mismatched input 'true' expecting IDENTIFIER\n | a.true\n | ..^",
        ),
        (
            "in 1",
            "compilation failed: ERROR: <input>:1:1: Syntax error: extraneous input 'in' expecting {'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}\n | in 1\n | ^",
        ),
        (
            "a.`b`",
            "compilation failed: ERROR: <input>:1:3: unsupported syntax: '`'\n | a.`b`\n | ..^",
        ),
        (
            "Foo{`a`: 1}",
            "compilation failed: ERROR: <input>:1:5: unsupported syntax: '`'\n | Foo{`a`: 1}\n | ....^",
        ),
        (
            "é",
            "compilation failed: ERROR: <input>:1:1: Syntax error: token recognition error at: 'é'\n | é\n | ＾\nERROR: <input>:1:2: Syntax error: mismatched input '<EOF>' expecting {'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}\n | é\n | ．^",
        ),
        (
            "'é' + x",
            "compilation failed: ERROR: <input>:1:7: undeclared reference to 'x' (in container '')\n | 'é' + x\n | .．....^",
        ),
        (
            "日本 + x",
            "compilation failed: ERROR: <input>:1:1: Syntax error: token recognition error at: '日'\n | 日本 + x\n | ＾\nERROR: <input>:1:2: Syntax error: token recognition error at: '本'\n | 日本 + x\n | ．＾\nERROR: <input>:1:4: Syntax error: extraneous input '+' expecting {'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}\n | 日本 + x\n | ．．.^",
        ),
        (
            "\tx\t+ y",
            "compilation failed: ERROR: <input>:1:2: undeclared reference to 'x' (in container '')\n |  x + y\n | .^\nERROR: <input>:1:6: undeclared reference to 'y' (in container '')\n |  x + y\n | .....^",
        ),
        (
            "x +\n y",
            "compilation failed: ERROR: <input>:1:1: undeclared reference to 'x' (in container '')\n | x +\n | ^\nERROR: <input>:2:2: undeclared reference to 'y' (in container '')\n |  y\n | .^",
        ),
        (
            "'''a\nb''' + x",
            "compilation failed: ERROR: <input>:2:8: undeclared reference to 'x' (in container '')\n | b''' + x\n | .......^",
        ),
        (
            "a // comment",
            "compilation failed: ERROR: <input>:1:1: undeclared reference to 'a' (in container '')\n | a // comment\n | ^",
        ),
        (
            "// comment",
            "compilation failed: ERROR: <input>:1:11: Syntax error: mismatched input '<EOF>' expecting {'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}\n | // comment\n | ..........^",
        ),
        (
            "has(a)",
            "compilation failed: ERROR: <input>:1:5: invalid argument to has() macro\n | has(a)\n | ....^",
        ),
        (
            "has(1)",
            "compilation failed: ERROR: <input>:1:5: invalid argument to has() macro\n | has(1)\n | ....^",
        ),
        (
            "[1].all(1, true)",
            "compilation failed: ERROR: <input>:1:9: argument must be a simple name\n | [1].all(1, true)\n | ........^",
        ),
        (
            "[1].map(1, true)",
            "compilation failed: ERROR: <input>:1:9: argument is not an identifier\n | [1].map(1, true)\n | ........^",
        ),
        (
            "[1].all(__result__, true)",
            "compilation failed: ERROR: <input>:1:9: iteration variable overwrites accumulator variable\n | [1].all(__result__, true)\n | ........^",
        ),
        (
            "[1].all(i, i, true)",
            "compilation failed: ERROR: <input>:1:12: duplicate variable name: i\n | [1].all(i, i, true)\n | ...........^",
        ),
        (
            "optional.of(1).optMap(1, 1)",
            "compilation failed: ERROR: <input>:1:23: optMap() variable name must be a simple identifier\n | optional.of(1).optMap(1, 1)\n | ......................^",
        ),
        (
            "1.sortBy(x, x)",
            "compilation failed: ERROR: <input>:1:1: sortBy can only be applied to a list, identifier, comprehension, call or select expression\n | 1.sortBy(x, x)\n | ^",
        ),
        ("--1", "int"),
        ("!!true", "bool"),
        ("- -1", "int"),
        (
            "Bad_Value!",
            "compilation failed: ERROR: <input>:1:10: Syntax error: extraneous input '!' expecting <EOF>\n | Bad_Value!\n | .........^",
        ),
    ]);
}

#[test]
fn depth_and_size_are_bounded() {
    let deep = "compilation failed: ERROR: <input>:-1:0: expression recursion limit exceeded: 250";
    let long = "compilation failed: ERROR: <input>:-1:0: max recursion depth exceeded";
    let large = "compilation failed: ERROR: <input>:-1:0: expression code point size exceeds limit: size: 100001, limit 100000";
    for (text, expected) in [
        (format!("{}1{}", "(".repeat(249), ")".repeat(249)), "int"),
        (format!("{}1{}", "(".repeat(250), ")".repeat(250)), deep),
        (format!("{}1{}", "1+(".repeat(125), ")".repeat(125)), deep),
        ("(".repeat(100_000), deep),
        (format!("1{}", "+1".repeat(250)), "int"),
        (format!("1{}", "+1".repeat(251)), long),
        (format!("object{}", ".a".repeat(40_000)), long),
        (format!("object{}", ".optMap(x, x)".repeat(100)), long),
        ("a".repeat(100_001), large),
        (format!("true{}", "&&true".repeat(15_000)), "bool"),
        (format!("{}1", "-".repeat(90_000)), "int"),
        (format!("object{}", ".a".repeat(190)), "dyn"),
        (format!("1{}", "+1".repeat(190)), "int"),
    ] {
        check(&[(&text, expected)]);
    }
}

#[test]
fn types_that_grow_with_each_level_are_refused() {
    let levels = (1..120).map(|it| format!("[{{v{}: v{}}}].map(v{it}, ", it - 1, it - 1));
    let text = format!("[1].map(v0, {}1{}", levels.collect::<String>(), ")".repeat(120));
    let why = compile(&text).expect_err("it is refused");
    assert!(why.contains("max recursion depth exceeded"), "{why}");
}
