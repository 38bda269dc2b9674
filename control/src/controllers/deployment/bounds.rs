//! How far a rolling update may go: maxSurge and maxUnavailable in pods.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

pub(super) fn replicas(deployment: &Deployment) -> i32 {
    deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
}

pub(super) fn is_rolling(deployment: &Deployment) -> bool {
    let strategy = deployment.spec.as_ref().and_then(|spec| spec.strategy.as_ref());
    strategy.and_then(|strategy| strategy.type_.as_deref()) != Some("Recreate")
}

/// How many pods may exist beyond the number asked for.
pub(super) fn max_surge(deployment: &Deployment) -> i32 {
    if is_rolling(deployment) { fenceposts(deployment).0 } else { 0 }
}

/// How many of the pods asked for may be unavailable.
pub(super) fn max_unavailable(deployment: &Deployment) -> i32 {
    let replicas = replicas(deployment);
    if !is_rolling(deployment) || replicas == 0 {
        return 0;
    }
    fenceposts(deployment).1.min(replicas)
}

/// Surge rounds up, unavailability down; where both come to nothing, one pod may be unavailable,
/// or nothing could ever move.
fn fenceposts(deployment: &Deployment) -> (i32, i32) {
    let strategy = deployment.spec.as_ref().and_then(|spec| spec.strategy.as_ref());
    let rolling = strategy.and_then(|strategy| strategy.rolling_update.as_ref());
    let replicas = replicas(deployment);
    let surge = rolling.and_then(|rolling| rolling.max_surge.as_ref());
    let unavailable = rolling.and_then(|rolling| rolling.max_unavailable.as_ref());
    let surge = surge.map_or(0, |bound| scaled(bound, replicas, true));
    let unavailable = unavailable.map_or(0, |bound| scaled(bound, replicas, false));
    if surge == 0 && unavailable == 0 { (0, 1) } else { (surge, unavailable) }
}

/// A number, or a percentage of the total. Validation admits nothing else.
fn scaled(bound: &IntOrString, total: i32, up: bool) -> i32 {
    match bound {
        IntOrString::Int(count) => *count,
        IntOrString::String(text) => {
            let percent: i64 =
                text.strip_suffix('%').and_then(|number| number.parse().ok()).unwrap_or(0);
            let hundredths = percent * i64::from(total);
            let rounded = if up { (hundredths + 99).div_euclid(100) } else { hundredths / 100 };
            i32::try_from(rounded).unwrap_or(i32::MAX)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(replicas: i32, surge: &str, unavailable: &str) -> (i32, i32) {
        let deployment = serde_yaml::from_str(&format!(
            "spec: {{replicas: {replicas}, selector: {{}}, template: {{}}, strategy: {{type: RollingUpdate, \
             rollingUpdate: {{maxSurge: {surge}, maxUnavailable: {unavailable}}}}}}}"
        ))
        .unwrap();
        (max_surge(&deployment), max_unavailable(&deployment))
    }

    #[test]
    fn surge_rounds_up_and_unavailability_down() {
        assert_eq!(check(10, "25%", "25%"), (3, 2));
        assert_eq!(check(1, "25%", "25%"), (1, 0));
        assert_eq!(check(3, "0", "1%"), (0, 1));
        assert_eq!(check(2, "0%", "1%"), (0, 1));
        assert_eq!(check(2, "5", "7"), (5, 2));
        assert_eq!(check(0, "25%", "25%"), (0, 0));
    }
}
