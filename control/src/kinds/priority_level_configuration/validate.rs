//! Source: `pkg/apis/flowcontrol/validation/validation.go`.

use k8s_openapi::api::flowcontrol::v1::{
    ExemptPriorityLevelConfiguration, LimitResponse, LimitedPriorityLevelConfiguration,
    PriorityLevelConfiguration, PriorityLevelConfigurationSpec, QueuingConfiguration,
};
use serde_json::json;

use super::super::{FieldError, semantic};
use crate::fair::objects::{EXEMPT, PRIORITY_LEVELS};
use crate::fair::shuffle;

/// Older versions kept zero shares by it.
const PRESERVE_ZERO: &str = "flowcontrol.k8s.io/v1beta3-preserve-zero-concurrency-shares";
const QUEUES_MAX: i32 = 10_000_000;

pub fn spec(level: &PriorityLevelConfiguration) -> Vec<FieldError> {
    let name = level.metadata.name.as_deref().unwrap_or_default();
    let mut errors = Vec::new();
    let annotations = level.metadata.annotations.as_ref();
    if annotations.is_some_and(|annotations| annotations.contains_key(PRESERVE_ZERO)) {
        let detail = format!("annotation '{PRESERVE_ZERO}' is forbidden");
        errors.push(FieldError::forbidden("metadata.annotations", detail));
    }
    let spec = level.spec.clone().unwrap_or_default();
    errors.extend(validate_spec(&spec, name));
    errors.extend(fixed(&spec, name));
    errors
}

fn validate_spec(spec: &PriorityLevelConfigurationSpec, name: &str) -> Vec<FieldError> {
    let ty = spec.type_.as_str();
    let mut errors = Vec::new();
    if (name == EXEMPT) != (ty == "Exempt") {
        let detail = "must be 'Exempt' if and only if `name` is 'exempt'";
        errors.push(FieldError::invalid("spec.type", ty, detail));
    }
    match (ty, &spec.limited, &spec.exempt) {
        ("Exempt", limited, exempt) => {
            if limited.is_some() {
                let detail = "must be nil if the type is not Limited";
                errors.push(FieldError::forbidden("spec.limited", detail));
            }
            errors.extend(exempt.as_ref().map(validate_exempt).unwrap_or_default());
        }
        ("Limited", limited, exempt) => {
            if exempt.is_some() {
                let detail = "must be nil if the type is Limited";
                errors.push(FieldError::forbidden("spec.exempt", detail));
            }
            match limited {
                Some(limited) => errors.extend(validate_limited(limited)),
                None => {
                    let detail = "must not be empty when type is Limited";
                    errors.push(FieldError::required("spec.limited", detail));
                }
            }
        }
        _ => errors.push(FieldError::not_supported("spec.type", ty, &["Exempt", "Limited"])),
    }
    errors
}

/// The mandatory levels are as they are, but for the shares of the exempt one.
fn fixed(spec: &PriorityLevelConfigurationSpec, name: &str) -> Option<FieldError> {
    let named =
        |known: &&PriorityLevelConfiguration| known.metadata.name.as_deref() == Some(name);
    let wanted = PRIORITY_LEVELS.mandatory.iter().find(named)?.spec.clone().unwrap_or_default();
    let mut compared = spec.clone();
    let mut except = "";
    if name == EXEMPT {
        compared.exempt.clone_from(&wanted.exempt);
        except = " except the 'spec.exempt' field";
    }
    let detail = format!("spec of '{name}'{except} must equal the fixed value");
    (!semantic::equal(&json!(compared), &json!(wanted)))
        .then(|| FieldError::invalid("spec", json!(spec), detail))
}

fn not_negative(shares: Option<i32>, path: &str) -> Option<FieldError> {
    let shares = shares.filter(|shares| *shares < 0)?;
    let path = format!("{path}.nominalConcurrencyShares");
    Some(FieldError::invalid(path, shares, "must be a non-negative integer"))
}

fn percentage(percent: Option<i32>, path: &str) -> Option<FieldError> {
    let percent = percent.filter(|percent| !(0..=100).contains(percent))?;
    let path = format!("{path}.lendablePercent");
    Some(FieldError::invalid(path, percent, "must be between 0 and 100, inclusive"))
}

fn validate_exempt(exempt: &ExemptPriorityLevelConfiguration) -> Vec<FieldError> {
    let shares = not_negative(exempt.nominal_concurrency_shares, "spec.exempt");
    shares.into_iter().chain(percentage(exempt.lendable_percent, "spec.exempt")).collect()
}

fn validate_limited(limited: &LimitedPriorityLevelConfiguration) -> Vec<FieldError> {
    let path = "spec.limited";
    let mut errors: Vec<FieldError> =
        not_negative(limited.nominal_concurrency_shares, path).into_iter().collect();
    errors.extend(validate_response(&limited.limit_response.clone().unwrap_or_default()));
    errors.extend(percentage(limited.lendable_percent, path));
    if let Some(percent) = limited.borrowing_limit_percent.filter(|percent| *percent < 0) {
        let path = format!("{path}.borrowingLimitPercent");
        let detail = "if specified, must be a non-negative integer";
        errors.push(FieldError::invalid(path, percent, detail));
    }
    errors
}

fn validate_response(response: &LimitResponse) -> Vec<FieldError> {
    let path = "spec.limited.limitResponse";
    match (response.type_.as_str(), &response.queuing) {
        ("Reject", None) => Vec::new(),
        ("Reject", Some(_)) => {
            let detail = "must be nil if limited.limitResponse.type is not Limited";
            vec![FieldError::forbidden(format!("{path}.queuing"), detail)]
        }
        ("Queue", None) => {
            let detail = "must not be empty if limited.limitResponse.type is Limited";
            vec![FieldError::required(format!("{path}.queuing"), detail)]
        }
        ("Queue", Some(queuing)) => validate_queuing(queuing, &format!("{path}.queuing")),
        (other, _) => {
            vec![FieldError::not_supported(format!("{path}.type"), other, &["Queue", "Reject"])]
        }
    }
}

fn validate_queuing(queuing: &QueuingConfiguration, path: &str) -> Vec<FieldError> {
    let number = |number: Option<i32>| number.unwrap_or(0);
    let (length, queues, hand) = (
        number(queuing.queue_length_limit),
        number(queuing.queues),
        number(queuing.hand_size),
    );
    let mut errors = Vec::new();
    let mut invalid = |field: &str, value: i32, detail: String| {
        errors.push(FieldError::invalid(format!("{path}.{field}"), value, detail));
    };
    if length <= 0 {
        invalid("queueLengthLimit", length, "must be positive".to_owned());
    }
    if queues <= 0 {
        invalid("queues", queues, "must be positive".to_owned());
    } else if queues > QUEUES_MAX {
        invalid("queues", queues, format!("must not be greater than {QUEUES_MAX}"));
    }
    let bits_max = shuffle::HASH_BITS_MAX;
    if hand <= 0 {
        invalid("handSize", hand, "must be positive".to_owned());
    } else if hand > queues {
        invalid("handSize", hand, format!("should not be greater than queues ({queues})"));
    } else if shuffle::entropy_bits(queues as usize, hand as usize) > bits_max {
        let detail = format!(
            "required entropy bits of deckSize {queues} and handSize {hand} should not be greater than {bits_max}"
        );
        invalid("handSize", hand, detail);
    }
    errors
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::kinds::priority_level_configuration::PriorityLevelConfigurations as Levels;
    use crate::kinds::testing::{defaulted, problems, row, status_problems};

    fn limited(path: &str, value: Value) -> Value {
        let mut level = json!({
            "metadata": {"name": "mine"},
            "spec": {"type": "Limited", "limited": {
                "nominalConcurrencyShares": 5,
                "lendablePercent": 50,
                "borrowingLimitPercent": 100,
                "limitResponse": {"type": "Queue",
                    "queuing": {"queues": 64, "handSize": 6, "queueLengthLimit": 50}},
            }},
        });
        *level.pointer_mut(path).expect("it is there") = value;
        level
    }

    #[test]
    fn limited_levels_are_checked() {
        let l = "spec.limited";
        let r = "spec.limited.limitResponse";
        let q = "spec.limited.limitResponse.queuing";
        let queuing = |queues: i64, hand: i64, length: i64| {
            json!({"queues": queues, "handSize": hand, "queueLengthLimit": length})
        };
        let table: Vec<(&str, Value, Vec<String>)> = vec![
            ("/spec/limited/nominalConcurrencyShares", json!(0), vec![]),
            ("/spec/limited/nominalConcurrencyShares", json!(-1), vec![format!("{l}.nominalConcurrencyShares: Invalid value: -1: must be a non-negative integer")]),
            ("/spec/limited/lendablePercent", json!(101), vec![format!("{l}.lendablePercent: Invalid value: 101: must be between 0 and 100, inclusive")]),
            ("/spec/limited/lendablePercent", json!(-1), vec![format!("{l}.lendablePercent: Invalid value: -1: must be between 0 and 100, inclusive")]),
            ("/spec/limited/borrowingLimitPercent", json!(-1), vec![format!("{l}.borrowingLimitPercent: Invalid value: -1: if specified, must be a non-negative integer")]),
            ("/spec/limited/limitResponse/type", json!("Reject"), vec![format!("{q}: Forbidden: must be nil if limited.limitResponse.type is not Limited")]),
            ("/spec/limited/limitResponse", json!({"type": "Queue"}), vec![format!("{q}: Required value: must not be empty if limited.limitResponse.type is Limited")]),
            ("/spec/limited/limitResponse/type", json!("Ask"), vec![format!(r#"{r}.type: Unsupported value: "Ask": supported values: "Queue", "Reject""#)]),
            ("/spec/limited/limitResponse/queuing", queuing(64, 6, -1), vec![format!("{q}.queueLengthLimit: Invalid value: -1: must be positive")]),
            ("/spec/limited/limitResponse/queuing", queuing(-1, 6, 1), vec![format!("{q}.queues: Invalid value: -1: must be positive"), format!("{q}.handSize: Invalid value: 6: should not be greater than queues (-1)")]),
            ("/spec/limited/limitResponse/queuing", queuing(10_000_001, 1, 1), vec![format!("{q}.queues: Invalid value: 10000001: must not be greater than 10000000")]),
            ("/spec/limited/limitResponse/queuing", queuing(64, -1, 1), vec![format!("{q}.handSize: Invalid value: -1: must be positive")]),
            ("/spec/limited/limitResponse/queuing", queuing(8, 9, 1), vec![format!("{q}.handSize: Invalid value: 9: should not be greater than queues (8)")]),
            ("/spec/limited/limitResponse/queuing", queuing(512, 8, 1), vec![format!("{q}.handSize: Invalid value: 8: required entropy bits of deckSize 512 and handSize 8 should not be greater than 60")]),
            ("/spec/limited", Value::Null, vec!["spec.limited: Required value: must not be empty when type is Limited".into()]),
            ("/spec/type", json!("Other"), vec![r#"spec.type: Unsupported value: "Other": supported values: "Exempt", "Limited""#.into()]),
            ("/spec/type", json!("Exempt"), vec![r#"spec.type: Invalid value: "Exempt": must be 'Exempt' if and only if `name` is 'exempt'"#.into(), "spec.limited: Forbidden: must be nil if the type is not Limited".into()]),
        ];
        for (path, value, expected) in table {
            assert_eq!(problems::<Levels>(limited(path, value)), expected, "{path}");
        }
        let mut both = limited("/spec/type", json!("Limited"));
        both["spec"]["exempt"] = json!({});
        let expected = ["spec.exempt: Forbidden: must be nil if the type is Limited"];
        assert_eq!(problems::<Levels>(both), expected);
        let mut annotated = limited("/spec/type", json!("Limited"));
        let key = "flowcontrol.k8s.io/v1beta3-preserve-zero-concurrency-shares";
        annotated["metadata"]["annotations"] = json!({key: ""});
        let expected = format!("metadata.annotations: Forbidden: annotation '{key}' is forbidden");
        assert_eq!(problems::<Levels>(annotated), [expected]);
    }

    #[test]
    fn the_exempt_level_has_its_own_numbers_and_nothing_else() {
        let exempt = |spec: Value| {
            let object = json!({"metadata": {"name": "exempt"}, "spec": spec});
            problems::<Levels>(defaulted::<Levels>(object))
        };
        let none: [&str; 0] = [];
        assert_eq!(exempt(json!({"type": "Exempt"})), none);
        let own = json!({"nominalConcurrencyShares": 7, "lendablePercent": 9});
        assert_eq!(exempt(json!({"type": "Exempt", "exempt": own})), none);
        let bad = json!({"nominalConcurrencyShares": -7, "lendablePercent": 101});
        assert_eq!(
            exempt(json!({"type": "Exempt", "exempt": bad})),
            [
                "spec.exempt.nominalConcurrencyShares: Invalid value: -7: must be a non-negative integer",
                "spec.exempt.lendablePercent: Invalid value: 101: must be between 0 and 100, inclusive",
            ]
        );
        let found = exempt(json!({"type": "Limited", "limited": {"limitResponse": {"type": "Reject"}}}));
        assert_eq!(found[0], r#"spec.type: Invalid value: "Limited": must be 'Exempt' if and only if `name` is 'exempt'"#);
        assert!(found[1].starts_with(r#"spec: Invalid value: {"Type":"Limited","Limited":{"NominalConcurrencyShares":30,"#), "{found:?}");
        assert!(found[1].ends_with("spec of 'exempt' except the 'spec.exempt' field must equal the fixed value"));
    }

    #[test]
    fn the_last_resort_is_fixed() {
        let level = |shares: i64| json!({"metadata": {"name": "catch-all"}, "spec": {"type": "Limited",
            "limited": {"nominalConcurrencyShares": shares, "lendablePercent": 0,
                "limitResponse": {"type": "Reject"}}}});
        assert_eq!(problems::<Levels>(level(5)), [""; 0]);
        let found = problems::<Levels>(level(6));
        assert!(found[0].ends_with("spec of 'catch-all' must equal the fixed value"), "{found:?}");
    }

    #[test]
    fn numbers_are_filled_in_where_none_are_given() {
        let bare = json!({"metadata": {"name": "a"}, "spec": {"type": "Limited", "limited":
            {"limitResponse": {"type": "Queue", "queuing": {}}}}});
        let level = defaulted::<Levels>(bare);
        let limited = &level["spec"]["limited"];
        assert_eq!((&limited["nominalConcurrencyShares"], &limited["lendablePercent"]), (&json!(30), &json!(0)));
        let queuing = json!({"queues": 64, "handSize": 8, "queueLengthLimit": 50});
        assert_eq!(limited["limitResponse"]["queuing"], queuing);
        assert!(limited.get("borrowingLimitPercent").is_none());
        let zero = json!({"metadata": {}, "spec": {"type": "Limited", "limited": {"nominalConcurrencyShares": 0,
            "limitResponse": {"type": "Reject"}}}});
        assert_eq!(defaulted::<Levels>(zero)["spec"]["limited"]["nominalConcurrencyShares"], 0);
        let exempt = json!({"metadata": {}, "spec": {"type": "Exempt", "exempt": {}}});
        let expected = json!({"nominalConcurrencyShares": 0, "lendablePercent": 0});
        assert_eq!(defaulted::<Levels>(exempt)["spec"]["exempt"], expected);
    }

    #[test]
    fn the_row_shows_queues_where_there_are_any() {
        let level = limited("/spec/limited/nominalConcurrencyShares", json!(0));
        let cells = [json!("mine"), json!("Limited"), json!(0), json!(64), json!(6), json!(50), json!("<unknown>")];
        assert_eq!(row::<Levels>(level), cells);
        let exempt = json!({"metadata": {"name": "exempt"}, "spec": {"type": "Exempt"}});
        let none = json!("<none>");
        let row = row::<Levels>(exempt);
        assert_eq!(row[2..6], [none.clone(), none.clone(), none.clone(), none]);
    }

    #[test]
    fn conditions_have_a_type_each_of_its_own() {
        let mut level = limited("/spec/type", json!("Limited"));
        level["status"] = json!({"conditions": [{"type": "A"}, {"type": "A"}]});
        let expected = ["status.conditions[1].type: Duplicate value: \"A\""];
        assert_eq!(status_problems::<Levels>(&level, &level), expected);
    }
}
