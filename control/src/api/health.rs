//! `/healthz`, `/livez`, `/readyz`, with their single checks and `?verbose`.
//!
//! Source: `k8s.io/apiserver/pkg/server/healthz`.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::response::Response;
use http::header::X_CONTENT_TYPE_OPTIONS;
use http::{HeaderValue, StatusCode};

use crate::status::ApiError;

use super::answer::respond;
use super::query::Query;
use super::state::Api;

const TEXT: &str = "text/plain; charset=utf-8";

/// Set once when everything that a client relies on is there.
#[derive(Default)]
pub struct Readiness(AtomicBool);

impl Readiness {
    pub fn set(&self) {
        self.0.store(true, Ordering::Release);
    }

    fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Check {
    Ping,
    Store,
    StartUp,
    Shutdown,
}

impl Check {
    const fn name(self) -> &'static str {
        match self {
            Self::Ping => "ping",
            // Upstream's name for the store, by which probes ask for it or leave it out.
            Self::Store => "etcd",
            Self::StartUp => "poststarthook/start-control-plane",
            Self::Shutdown => "shutdown",
        }
    }

    async fn passes(self, api: &Api) -> bool {
        match self {
            Self::Ping => true,
            Self::Store => api.store.current().await.is_ok(),
            Self::StartUp => api.readiness.is_set(),
            Self::Shutdown => !api.stopping.is_cancelled(),
        }
    }
}

/// Whether the path is one of health's, which need no authentication.
pub fn is_health(path: &str) -> bool {
    checks(path).is_some()
}

/// The checks of a path, and the name that its answer bears.
fn checks(path: &str) -> Option<(&'static str, Vec<Check>)> {
    let (endpoint, single) = match path.trim_start_matches('/').split_once('/') {
        Some((endpoint, single)) => (endpoint, Some(single)),
        None => (path.trim_start_matches('/'), None),
    };
    let (name, all) = match endpoint {
        "healthz" => ("healthz", vec![Check::Ping, Check::Store, Check::StartUp]),
        "livez" => ("livez", vec![Check::Ping, Check::Store]),
        "readyz" => ("readyz", vec![Check::Ping, Check::Store, Check::StartUp, Check::Shutdown]),
        _ => return None,
    };
    let Some(single) = single else { return Some((name, all)) };
    let one: Vec<Check> = all.into_iter().filter(|check| check.name() == single).collect();
    (!one.is_empty()).then_some((name, one))
}

pub async fn answer(api: &Api, path: &str, query: &Query) -> Result<Response, ApiError> {
    let (name, checks) = checks(path).ok_or_else(ApiError::page_not_found)?;
    let mut excluded: Vec<&str> = query.all("exclude").collect();
    excluded.sort_unstable();
    excluded.dedup();
    let mut unknown = excluded.clone();
    unknown.retain(|name| !checks.iter().any(|check| check.name() == *name));
    if path.trim_start_matches('/') != name {
        return Ok(single(checks[0], api).await);
    }
    let (mut report, mut failed) = (String::new(), false);
    for check in checks {
        let check_name = check.name();
        let line = if excluded.contains(&check_name) {
            format!("[+]{check_name} excluded: ok\n")
        } else if check.passes(api).await {
            format!("[+]{check_name} ok\n")
        } else {
            failed = true;
            format!("[-]{check_name} failed: reason withheld\n")
        };
        report.push_str(&line);
    }
    if !unknown.is_empty() {
        let names: Vec<String> = unknown.iter().map(|name| format!("{name:?}")).collect();
        let _ = writeln!(
            report,
            "warn: some health checks cannot be excluded: no matches for {}",
            names.join(", ")
        );
    }
    if failed {
        let _ = writeln!(report, "{name} check failed");
        return Ok(plain(StatusCode::INTERNAL_SERVER_ERROR, report));
    }
    if query.get("verbose").is_none() {
        return Ok(plain(StatusCode::OK, "ok".to_owned()));
    }
    let _ = writeln!(report, "{name} check passed");
    Ok(plain(StatusCode::OK, report))
}

/// One check at its own path.
async fn single(check: Check, api: &Api) -> Response {
    if check.passes(api).await {
        return plain(StatusCode::OK, "ok".to_owned());
    }
    let why = format!("internal server error: {} failed: reason withheld\n", check.name());
    plain(StatusCode::INTERNAL_SERVER_ERROR, why)
}

fn plain(status: StatusCode, text: String) -> Response {
    let mut response = respond(status, TEXT, text);
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
