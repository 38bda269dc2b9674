//! Ranges of what the pods and claims of a namespace may ask for. `admission` holds them to it.
//!
//! Source: `pkg/registry/core/limitrange/strategy.go`, `ValidateLimitRange` in
//! `pkg/apis/core/validation/validation.go`, `SetDefaults_LimitRangeItem`.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{LimitRange, LimitRangeItem};

use super::quantity::{self, Quantity, ResourceList};
use super::{Context, FieldError, Kind, KindInfo, meta, names, resources};

const TYPES: &[&str] = &["Container", "PersistentVolumeClaim", "Pod"];
/// Beyond it, thousandths would overflow.
const MILLI_VALUE_MAX: i64 = i64::MAX / 1000;

pub struct LimitRanges;

impl Kind for LimitRanges {
    type Object = LimitRange;

    const INFO: KindInfo = KindInfo {
        short_names: &["limits"],
        create_on_update: true,
        ..KindInfo::namespaced(
            "",
            "v1",
            "LimitRange",
            "limitranges",
            "limitrange",
            "io.k8s.api.core.v1.LimitRange",
        )
    };

    fn default(range: &mut LimitRange) {
        let spec = range.spec.get_or_insert_default();
        for item in &mut spec.limits {
            for list in [
                &mut item.default,
                &mut item.default_request,
                &mut item.max,
                &mut item.max_limit_request_ratio,
                &mut item.min,
            ] {
                quantity::canonicalise_list(list);
            }
            default_item(item);
        }
    }

    fn prepare_create(range: &mut LimitRange, _context: &Context<'_>) {
        // Upstream names a nameless range by a random UUID; the object's own is as good.
        if range.metadata.name.as_deref().unwrap_or_default().is_empty() {
            range.metadata.name.clone_from(&range.metadata.uid);
        }
    }

    fn validate(range: &LimitRange) -> Vec<FieldError> {
        let mut types = BTreeSet::new();
        let mut errors = Vec::new();
        let items = range.spec.iter().flat_map(|spec| &spec.limits);
        for (index, item) in items.enumerate() {
            let path = format!("spec.limits[{index}]");
            let type_path = format!("{path}.type");
            errors.extend(validate_type(&item.type_, &type_path));
            if !types.insert(item.type_.as_str()) {
                errors.push(FieldError::duplicate(type_path, item.type_.as_str()));
            }
            validate_item(item, &path, &mut errors);
        }
        errors
    }
}

/// A container's default limit is the maximum; its default request is the default limit, else the
/// minimum.
fn default_item(item: &mut LimitRangeItem) {
    if item.type_ != "Container" {
        return;
    }
    let complete = |list: &mut Option<ResourceList>, from: &Option<ResourceList>| {
        let list = list.get_or_insert_default();
        for (name, amount) in from.iter().flatten() {
            list.entry(name.clone()).or_insert_with(|| amount.clone());
        }
    };
    complete(&mut item.default, &item.max);
    complete(&mut item.default_request, &item.default);
    complete(&mut item.default_request, &item.min);
}

fn validate_type(name: &str, path: &str) -> Vec<FieldError> {
    let errors = meta::invalid_each(path, name, names::label_key(name));
    if errors.is_empty() && !name.contains('/') && !TYPES.contains(&name) {
        let detail = "must be a standard limit type or fully qualified";
        return vec![FieldError::invalid(path, name, detail)];
    }
    errors
}

fn validate_item(item: &LimitRangeItem, path: &str, errors: &mut Vec<FieldError>) {
    let is_pod = item.type_ == "Pod";
    let mut named = BTreeSet::new();
    let lists = [
        ("max", &item.max),
        ("min", &item.min),
        ("default", &item.default),
        ("defaultRequest", &item.default_request),
    ];
    for (field, list) in lists {
        let path = format!("{path}.{field}");
        if is_pod && field.starts_with("default") {
            if list.as_ref().is_some_and(|list| !list.is_empty()) {
                let detail = "may not be specified when `type` is 'Pod'";
                errors.push(FieldError::forbidden(path, detail));
            }
            continue;
        }
        validate_names(list.as_ref(), &item.type_, &path, &mut named, errors);
    }
    let has_storage = |list: &Option<ResourceList>| {
        list.as_ref().is_some_and(|list| list.contains_key("storage"))
    };
    if item.type_ == "PersistentVolumeClaim" && !has_storage(&item.min) && !has_storage(&item.max) {
        let detail = "either minimum or maximum storage value is required, but neither was provided";
        errors.push(FieldError::required(format!("{path}.limits"), detail));
    }
    let ratios = item.max_limit_request_ratio.as_ref();
    let ratio_path = format!("{path}.maxLimitRequestRatio");
    validate_names(ratios, &item.type_, &ratio_path, &mut named, errors);
    for name in named {
        errors.extend(Amounts::of(item, name, is_pod).validate(name, path));
    }
}

/// Checks the names of a list, and notes them.
fn validate_names<'a>(
    list: Option<&'a ResourceList>,
    limit_type: &str,
    path: &str,
    named: &mut BTreeSet<&'a str>,
    errors: &mut Vec<FieldError>,
) {
    for name in list.into_iter().flatten().map(|(name, _)| name) {
        let path = format!("{path}[{name}]");
        match limit_type {
            "Pod" | "Container" => resources::validate_container_name(name, &path, errors),
            _ => errors.extend(resources::validate_name(name, &path)),
        }
        named.insert(name);
    }
}

/// What is said of one resource.
struct Amounts {
    min: Option<Quantity>,
    max: Option<Quantity>,
    default: Option<Quantity>,
    request: Option<Quantity>,
    ratio: Option<Quantity>,
}

impl Amounts {
    fn of(item: &LimitRangeItem, name: &str, is_pod: bool) -> Self {
        let unless_pod = |list| quantity::get(list, name).filter(|_| !is_pod);
        Self {
            min: quantity::get(item.min.as_ref(), name),
            max: quantity::get(item.max.as_ref(), name),
            default: unless_pod(item.default.as_ref()),
            request: unless_pod(item.default_request.as_ref()),
            ratio: quantity::get(item.max_limit_request_ratio.as_ref(), name),
        }
    }

    fn validate(&self, name: &str, path: &str) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let mut ordered = |field: &str,
                           (low, low_name): (Option<Quantity>, &str),
                           (high, high_name): (Option<Quantity>, &str),
                           shown: Option<Quantity>| {
            if let (Some(low), Some(high), Some(shown)) = (low, high, shown)
                && low > high
            {
                let detail = format!("{low_name} value {low} is greater than {high_name} value {high}");
                let path = format!("{path}.{field}[{name}]");
                errors.push(FieldError::invalid(path, shown.to_string(), detail));
            }
        };
        let (min, max) = ((self.min, "min"), (self.max, "max"));
        let request = (self.request, "default request");
        ordered("min", min, max, self.min);
        ordered("defaultRequest", min, request, self.request);
        ordered("defaultRequest", request, max, self.request);
        ordered("defaultRequest", request, (self.default, "default limit"), self.request);
        ordered("default", min, (self.default, "default"), self.min);
        ordered("default", (self.default, "default"), max, self.max);
        errors.extend(self.validate_ratio(&format!("{path}.maxLimitRequestRatio[{name}]")));
        if let (Some(default), Some(request)) = (self.default, self.request)
            && !resources::may_overcommit(name)
            && default != request
        {
            let detail = format!(
                "default value {default} must equal to defaultRequest value {request} in {name}"
            );
            let path = format!("{path}.defaultRequest[{name}]");
            errors.push(FieldError::invalid(path, request.to_string(), detail));
        }
        errors
    }

    fn validate_ratio(&self, path: &str) -> Vec<FieldError> {
        let Some(ratio) = self.ratio else { return Vec::new() };
        let mut errors = Vec::new();
        if ratio < Quantity::whole(1) {
            let detail = format!("ratio {ratio} is less than 1");
            errors.push(FieldError::invalid(path, ratio.to_string(), detail));
        }
        let (Some(min), Some(max)) = (self.min, self.max) else { return errors };
        let small = [ratio, min, max].iter().all(|amount| amount.value() < MILLI_VALUE_MAX);
        let (asked, low, high) = if small {
            (ratio.milli_value() as f64 / 1000.0, min.milli_value(), max.milli_value())
        } else {
            (ratio.value() as f64, min.value(), max.value())
        };
        let limit = high as f64 / low as f64;
        if asked > limit {
            let detail = format!("ratio {ratio} is greater than max/min = {limit:.6}");
            errors.push(FieldError::invalid(path, ratio.to_string(), detail));
        }
        errors
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::testing::{defaulted, problems};
    use serde_json::{Value, json};

    fn range(item: Value) -> Value {
        json!({"metadata": {"name": "a"}, "spec": {"limits": [item]}})
    }

    #[test]
    fn a_container_gets_defaults_of_its_range() {
        let item = json!({"type": "Container", "max": {"cpu": "2", "memory": "1024Mi"},
            "min": {"ephemeral-storage": "1"}, "default": {"cpu": "1"}});
        let item = defaulted::<LimitRanges>(range(item))["spec"]["limits"][0].clone();
        assert_eq!(item["default"], json!({"cpu": "1", "memory": "1Gi"}));
        assert_eq!(
            item["defaultRequest"],
            json!({"cpu": "1", "memory": "1Gi", "ephemeral-storage": "1"})
        );
        let item = json!({"type": "Pod", "max": {"cpu": "2"}});
        let item = defaulted::<LimitRanges>(range(item))["spec"]["limits"][0].clone();
        assert_eq!(item.get("default"), None);
    }

    #[test]
    fn amounts_are_in_order() {
        let item = json!({"type": "Container",
            "min": {"cpu": "3"}, "max": {"cpu": "2"}, "default": {"cpu": "2500m"},
            "defaultRequest": {"cpu": "2600m"}, "maxLimitRequestRatio": {"cpu": "500m", "memory": "2"}});
        assert_eq!(
            problems::<LimitRanges>(range(item)),
            [
                "spec.limits[0].min[cpu]: Invalid value: \"3\": min value 3 is greater than max value 2",
                "spec.limits[0].defaultRequest[cpu]: Invalid value: \"2600m\": min value 3 is greater than default request value 2600m",
                "spec.limits[0].defaultRequest[cpu]: Invalid value: \"2600m\": default request value 2600m is greater than max value 2",
                "spec.limits[0].defaultRequest[cpu]: Invalid value: \"2600m\": default request value 2600m is greater than default limit value 2500m",
                "spec.limits[0].default[cpu]: Invalid value: \"3\": min value 3 is greater than default value 2500m",
                "spec.limits[0].default[cpu]: Invalid value: \"2\": default value 2500m is greater than max value 2",
                "spec.limits[0].maxLimitRequestRatio[cpu]: Invalid value: \"500m\": ratio 500m is less than 1",
            ]
        );
    }

    #[test]
    fn a_ratio_fits_its_range() {
        let item = json!({"type": "Pod", "min": {"cpu": "1"}, "max": {"cpu": "2"},
            "maxLimitRequestRatio": {"cpu": "3"}});
        assert_eq!(
            problems::<LimitRanges>(range(item)),
            [
                "spec.limits[0].maxLimitRequestRatio[cpu]: Invalid value: \"3\": ratio 3 is greater than max/min = 2.000000"
            ]
        );
    }
}
