use super::*;

#[test]
fn expressions_of_go_are_taken() {
    for pattern in [
        "",
        "^\\S+$",
        "a{",
        "a{,2}",
        "a{1000}",
        "(?i)a",
        "(?P<n>a)(?<m>b)",
        "(?i-s:a)",
        "[]a]",
        "[^]-]",
        "[a-]",
        "[[:alpha:]_]",
        "\\pL\\p{Greek}\\p{^Lu}",
        "\\Qa**\\E",
        "\\Q",
        "\\x41",
        "\\x{10FFFF}",
        "\\012",
        "a*?",
        "(a*)*",
        "\\_\\-",
        "[\\d\\-z]",
    ] {
        assert_eq!(compile(pattern).err(), None, "{pattern}");
    }
}

#[test]
fn others_are_refused_in_gos_words() {
    for (pattern, why) in [
        ("(", "missing closing ): `(`"),
        ("a)", "unexpected ): `a)`"),
        ("[a", "missing closing ]: `[a`"),
        ("b[", "missing closing ]: `[`"),
        ("[z-a]", "invalid character class range: `z-a`"),
        ("[[:foo:]]", "invalid character class range: `[:foo:]`"),
        ("\\p{Foo}", "invalid character class range: `\\p{Foo}`"),
        ("*", "missing argument to repetition operator: `*`"),
        ("a|+?", "missing argument to repetition operator: `+?`"),
        ("a**", "invalid nested repetition operator: `**`"),
        ("a{2}{3}", "invalid nested repetition operator: `{2}{3}`"),
        ("a{2,1}", "invalid repeat count: `{2,1}`"),
        ("a{1001}", "invalid repeat count: `{1001}`"),
        ("(?!a)", "invalid or unsupported Perl syntax: `(?!`"),
        ("(?P<n", "invalid named capture: `(?P<n`"),
        ("(?P<n->a)", "invalid named capture: `(?P<n->`"),
        ("\\", "trailing backslash at end of expression: ``"),
        ("\\1", "invalid escape sequence: `\\1`"),
        ("\\y", "invalid escape sequence: `\\y`"),
        ("\\xZ", "invalid escape sequence: `\\xZ`"),
    ] {
        let why = format!("error parsing regexp: {why}");
        assert_eq!(compile(pattern).err(), Some(why), "{pattern}");
    }
}

#[test]
fn what_is_too_much_for_go_is_refused() {
    let nested = |depth: usize| format!("{}a{}", "(".repeat(depth), ")".repeat(depth));
    for (pattern, code) in [
        (nested(1000), "expression nests too deeply"),
        ("(?:|b".repeat(1000) + &")".repeat(1000), "expression nests too deeply"),
        ("((a{100}){11})".to_owned(), "invalid repeat count: `{11}`"),
        ("(a{2,}){501}".to_owned(), "invalid repeat count: `{501}`"),
        (format!("({}){{1000}}", "a".repeat(4000)), "expression too large"),
    ] {
        let why = compile(&pattern).expect_err(code);
        assert!(why.starts_with(&format!("error parsing regexp: {code}")), "{why}");
    }
    for pattern in [nested(200), "((a{100}){10})*".to_owned(), "((a{1000}){0})".to_owned()] {
        assert_eq!(compile(&pattern).err(), None, "{pattern}");
    }
    // Go takes it.
    assert!(compile(&nested(999)).is_err_and(|why| why.contains("this server")));
}

#[test]
fn texts_match_as_in_go() {
    for (pattern, text, matches) in [
        ("^a{$", "a{", true),
        ("^a{,2}$", "a{,2}", true),
        ("^]}$", "]}", true),
        ("^[[a&&b]+$", "[a&b", true),
        ("^[a-c--]$", "-", true),
        ("^[a~~b]$", "~", true),
        (r"^\Qa.b\E+$", "a.bb", true),
        (r"^\Qa.b\E+$", "axb", false),
        (r"^\<$", "<", true),
        (r"^\012$", "\n", true),
        (r"^\x41\x{42}$", "AB", true),
        (r"^[\d\-z]$", "-", true),
        // Of ASCII alone, unlike those of the `regex` crate.
        (r"^\d$", "\u{663}", false),
        (r"^\D$", "\u{663}", true),
        (r"^\w$", "\u{e9}", false),
        (r"^[\W]$", "\u{e9}", true),
        (r"\bb", "\u{e9}b", true),
        (r"^\B\pL", "\u{e9}", true),
        (r"^\pL$", "\u{e9}", true),
        (r"^\p{^L}$", "\u{e9}", false),
        (r"^[\P{^L}]$", "\u{e9}", true),
        ("^(?P<_1>a)(?<2>b)$", "ab", true),
        ("^(?i)A$", "a", true),
        ("^A(?i)+A$", "AAa", true),
        ("^A(?i)+$", "a", false),
        ("^A{2}(?i)?$", "", true),
        ("a$", "a\n", false),
    ] {
        let regex = compile(pattern).expect(pattern);
        assert_eq!(regex.is_match(text.as_bytes()), matches, "{pattern} on {text:?}");
    }
}
