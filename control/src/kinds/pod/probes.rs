//! The rules of probes and lifecycle hooks: exactly one handler each.
//!
//! Source: `validateProbe`, `validateLifecycle` in `pkg/apis/core/validation`.

use k8s_openapi::api::core::v1::{
    Container, ExecAction, GRPCAction, HTTPGetAction, Lifecycle, LifecycleHandler, Probe,
    SleepAction, TCPSocketAction,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::validation::{Errors, Surroundings, not_negative, text};
use crate::kinds::{FieldError, meta, names};

/// Adds all problems of a container's probes and hooks.
pub fn validate(container: &Container, around: &Surroundings<'_>, path: &str, errors: &mut Errors) {
    let grace = around.grace_seconds;
    if let Some(lifecycle) = &container.lifecycle {
        validate_lifecycle(lifecycle, around, &format!("{path}.lifecycle"), errors);
    }
    if let Some(probe) = &container.liveness_probe {
        validate_probe(probe, grace, &format!("{path}.livenessProbe"), errors);
        succeeds_at_once(probe, &format!("{path}.livenessProbe"), errors);
    }
    if let Some(probe) = &container.readiness_probe {
        let path = format!("{path}.readinessProbe");
        validate_probe(probe, grace, &path, errors);
        if let Some(seconds) = probe.termination_grace_period_seconds {
            let path = format!("{path}.terminationGracePeriodSeconds");
            let detail = "must not be set for readinessProbes";
            errors.push(FieldError::invalid(path, seconds, detail));
        }
    }
    if let Some(probe) = &container.startup_probe {
        validate_probe(probe, grace, &format!("{path}.startupProbe"), errors);
        succeeds_at_once(probe, &format!("{path}.startupProbe"), errors);
    }
}

/// One success is enough for a probe that only ever counts failures.
fn succeeds_at_once(probe: &Probe, path: &str, errors: &mut Errors) {
    let threshold = probe.success_threshold.unwrap_or_default();
    if threshold != 1 {
        let path = format!("{path}.successThreshold");
        errors.push(FieldError::invalid(path, threshold, "must be 1"));
    }
}

fn validate_probe(probe: &Probe, grace: Option<i64>, path: &str, errors: &mut Errors) {
    let handlers = Handlers {
        exec: probe.exec.as_ref(),
        http: probe.http_get.as_ref(),
        tcp: probe.tcp_socket.as_ref(),
        grpc: probe.grpc.as_ref(),
        sleep: None,
    };
    handlers.validate(grace, path, errors);
    for (field, value) in [
        ("initialDelaySeconds", probe.initial_delay_seconds),
        ("timeoutSeconds", probe.timeout_seconds),
        ("periodSeconds", probe.period_seconds),
        ("successThreshold", probe.success_threshold),
        ("failureThreshold", probe.failure_threshold),
    ] {
        not_negative(value.unwrap_or_default(), &format!("{path}.{field}"), errors);
    }
    if let Some(seconds) = probe.termination_grace_period_seconds.filter(|seconds| *seconds <= 0) {
        let path = format!("{path}.terminationGracePeriodSeconds");
        errors.push(FieldError::invalid(path, seconds, "must be greater than 0"));
    }
}

fn validate_lifecycle(
    lifecycle: &Lifecycle,
    around: &Surroundings<'_>,
    path: &str,
    errors: &mut Errors,
) {
    for (field, hook) in [("postStart", &lifecycle.post_start), ("preStop", &lifecycle.pre_stop)] {
        if let Some(hook) = hook {
            of_hook(hook).validate(around.grace_seconds, &format!("{path}.{field}"), errors);
        }
    }
    let Some(signal) = &lifecycle.stop_signal else { return };
    let path = format!("{path}.stopSignal");
    match around.os {
        None => {
            let detail = "may not be set for containers with empty `spec.os.name`";
            errors.push(FieldError::forbidden(path, detail));
        }
        Some("windows") if !matches!(signal.as_str(), "SIGKILL" | "SIGTERM") => {
            let supported = &["SIGKILL", "SIGTERM"];
            errors.push(FieldError::not_supported(path, signal.as_str(), supported));
        }
        Some("linux") if !is_linux_signal(signal) => {
            errors.push(FieldError::not_supported(path, signal.as_str(), LINUX_SIGNALS));
        }
        Some(_) => {}
    }
}

fn of_hook(hook: &LifecycleHandler) -> Handlers<'_> {
    Handlers {
        exec: hook.exec.as_ref(),
        http: hook.http_get.as_ref(),
        tcp: hook.tcp_socket.as_ref(),
        grpc: None,
        sleep: hook.sleep.as_ref(),
    }
}

/// The ways to ask or to tell a container something.
struct Handlers<'a> {
    exec: Option<&'a ExecAction>,
    http: Option<&'a HTTPGetAction>,
    tcp: Option<&'a TCPSocketAction>,
    grpc: Option<&'a GRPCAction>,
    sleep: Option<&'a SleepAction>,
}

impl Handlers<'_> {
    fn validate(&self, grace: Option<i64>, path: &str, errors: &mut Errors) {
        let mut found = false;
        // Only the first handler is judged.
        let mut first = |name: &str, errors: &mut Errors| {
            if found {
                let detail = "may not specify more than 1 handler type";
                errors.push(FieldError::forbidden(format!("{path}.{name}"), detail));
                return false;
            }
            found = true;
            true
        };
        if let Some(exec) = self.exec
            && first("exec", errors)
            && exec.command.as_ref().is_none_or(Vec::is_empty)
        {
            errors.push(FieldError::required(format!("{path}.exec.command"), ""));
        }
        if let Some(http) = self.http
            && first("httpGet", errors)
        {
            validate_http(http, &format!("{path}.httpGet"), errors);
        }
        if let Some(tcp) = self.tcp
            && first("tcpSocket", errors)
        {
            validate_port(&tcp.port, &format!("{path}.tcpSocket.port"), errors);
        }
        if let Some(grpc) = self.grpc
            && first("grpc", errors)
        {
            validate_port(&IntOrString::Int(grpc.port), &format!("{path}.grpc.port"), errors);
        }
        if let Some(sleep) = self.sleep
            && first("sleep", errors)
        {
            validate_sleep(sleep, grace, &format!("{path}.sleep"), errors);
        }
        if !found {
            errors.push(FieldError::required(path, "must specify a handler type"));
        }
    }
}

fn validate_http(http: &HTTPGetAction, path: &str, errors: &mut Errors) {
    if text(&http.path).is_empty() {
        errors.push(FieldError::required(format!("{path}.path"), ""));
    }
    validate_port(&http.port, &format!("{path}.port"), errors);
    let scheme = text(&http.scheme);
    if !matches!(scheme, "HTTP" | "HTTPS") {
        let path = format!("{path}.scheme");
        errors.push(FieldError::not_supported(path, scheme, &["HTTP", "HTTPS"]));
    }
    for header in http.http_headers.iter().flatten() {
        let messages = names::http_header_name(&header.name);
        errors.extend(meta::invalid_each(&format!("{path}.httpHeaders"), &header.name, messages));
    }
}

/// A port by number or by name.
fn validate_port(port: &IntOrString, path: &str, errors: &mut Errors) {
    match port {
        IntOrString::Int(number) => {
            for detail in names::port_number((*number).into()) {
                errors.push(FieldError::invalid(path, *number, detail));
            }
        }
        IntOrString::String(name) => {
            errors.extend(meta::invalid_each(path, name, names::port_name(name)));
        }
    }
}

fn validate_sleep(sleep: &SleepAction, grace: Option<i64>, path: &str, errors: &mut Errors) {
    let Some(grace) = grace else { return };
    if !(0..=grace).contains(&sleep.seconds) {
        let detail =
            format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})");
        errors.push(FieldError::invalid(path, sleep.seconds, detail));
    }
}

/// Upstream lists all 65; the real-time ones are recognised by their form.
const LINUX_SIGNALS: &[&str] = &[
    "SIGABRT",
    "SIGALRM",
    "SIGBUS",
    "SIGCHLD",
    "SIGCLD",
    "SIGCONT",
    "SIGFPE",
    "SIGHUP",
    "SIGILL",
    "SIGINT",
    "SIGIO",
    "SIGIOT",
    "SIGKILL",
    "SIGPIPE",
    "SIGPOLL",
    "SIGPROF",
    "SIGPWR",
    "SIGQUIT",
    "SIGRTMAX",
    "SIGRTMIN",
    "SIGSEGV",
    "SIGSTKFLT",
    "SIGSTOP",
    "SIGSYS",
    "SIGTERM",
    "SIGTRAP",
    "SIGTSTP",
    "SIGTTIN",
    "SIGTTOU",
    "SIGURG",
    "SIGUSR1",
    "SIGUSR2",
    "SIGVTALRM",
    "SIGWINCH",
    "SIGXCPU",
    "SIGXFSZ",
];

fn is_linux_signal(signal: &str) -> bool {
    let real_time = |prefix: &str, last: u8| {
        let number = signal.strip_prefix(prefix).and_then(|number| number.parse::<u8>().ok());
        number.is_some_and(|number| (1..=last).contains(&number))
    };
    LINUX_SIGNALS.contains(&signal) || real_time("SIGRTMIN+", 15) || real_time("SIGRTMAX-", 14)
}
