//! Acting as another user (`kubectl --as`).
//!
//! Source: `k8s.io/apiserver/pkg/endpoints/filters/impersonation`.

use http::HeaderMap;

use super::{AUTHENTICATED, MASTERS, UserInfo};
use crate::status::ApiError;

const USER: &str = "impersonate-user";
const GROUP: &str = "impersonate-group";
const UID: &str = "impersonate-uid";
const EXTRA: &str = "impersonate-extra-";

/// The user that the headers ask to be; `None` where they ask nothing.
pub fn impersonated(headers: &HeaderMap, user: &UserInfo) -> Result<Option<UserInfo>, ApiError> {
    let name = first(headers, USER);
    let asked = headers.contains_key(GROUP)
        || headers.contains_key(UID)
        || headers.keys().any(|key| key.as_str().starts_with(EXTRA));
    let Some(name) = name else {
        return if asked {
            Err(ApiError::internal("requested impersonation without impersonating a user"))
        } else {
            Ok(None)
        };
    };
    if !user.groups.iter().any(|group| group == MASTERS) {
        let why = format!(
            "users {name:?} is forbidden: User {:?} cannot impersonate resource \"users\" in API group \"\" at the cluster scope",
            user.name
        );
        return Err(ApiError::new(403, "Forbidden", why));
    }
    let groups: Vec<&str> =
        headers.get_all(GROUP).iter().filter_map(|value| value.to_str().ok()).collect();
    let mut wanted =
        UserInfo { name, uid: first(headers, UID).unwrap_or_default(), ..<_>::default() };
    wanted.groups = groups.into_iter().map(str::to_owned).collect();
    if wanted.name != "system:anonymous"
        && !wanted.groups.iter().any(|group| group == AUTHENTICATED)
    {
        wanted.groups.push(AUTHENTICATED.to_owned());
    }
    for (key, value) in headers {
        if let (Some(key), Ok(value)) = (key.as_str().strip_prefix(EXTRA), value.to_str()) {
            wanted.extra.entry(key.to_owned()).or_default().push(value.to_owned());
        }
    }
    Ok(Some(wanted))
}

fn first(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().expect("a header value"));
        }
        headers
    }

    #[test]
    fn only_masters_may_act_as_another_user() {
        let asked = headers(&[(USER, "jane"), (GROUP, "dev")]);
        let nobody = UserInfo::authenticated("bob", &[]);
        assert_eq!(impersonated(&asked, &nobody).expect_err("refused").code, 403);
        let admin = UserInfo::authenticated("root", &[MASTERS]);
        let jane = impersonated(&asked, &admin).expect("allowed").expect("someone");
        assert_eq!(jane, UserInfo::authenticated("jane", &["dev"]));
    }

    #[test]
    fn without_headers_nobody_is_impersonated() {
        assert_eq!(impersonated(&HeaderMap::new(), &UserInfo::default()), Ok(None));
    }
}
