//! The rules of Windows' own options, and of containers that are processes of a Windows host.
//!
//! Source: `validateWindowsSecurityContextOptions`, `validateWindowsHostProcessPod` in
//! `pkg/apis/core/validation`.

use k8s_openapi::api::core::v1::{PodSpec, WindowsSecurityContextOptions};

use super::validation::{Errors, visit_containers};
use crate::kinds::{FieldError, meta, names};

const CREDENTIALS_KIB_MAX: usize = 64;
/// The first length of a domain that is too long.
const DOMAIN_BYTES_END: usize = 256;
const USER_BYTES_MAX: usize = 104;
const NETBIOS_LETTERS_MAX: usize = 15;
const USER_LETTERS_BARRED: &str = "\"/\\:;|=,+*?<>@[]";

/// Adds all problems of the options of a pod or a container.
pub fn validate(options: Option<&WindowsSecurityContextOptions>, path: &str, errors: &mut Errors) {
    let Some(options) = options else { return };
    let child = |name: &str| format!("{path}.{name}");
    if let Some(name) = &options.gmsa_credential_spec_name {
        let path = child("gmsaCredentialSpecName");
        errors.extend(meta::invalid_each(&path, name, names::subdomain(name)));
    }
    if let Some(text) = &options.gmsa_credential_spec {
        let detail = match text.len() {
            0 => "gmsaCredentialSpec cannot be an empty string".to_owned(),
            length if length > CREDENTIALS_KIB_MAX * 1024 => {
                format!("gmsaCredentialSpec size must be under {CREDENTIALS_KIB_MAX} KiB")
            }
            _ => String::new(),
        };
        if !detail.is_empty() {
            errors.push(FieldError::invalid(child("gmsaCredentialSpec"), text.as_str(), detail));
        }
    }
    if let Some(name) = &options.run_as_user_name {
        let details = user_name(name);
        errors.extend(meta::invalid_each(&child("runAsUserName"), name, details));
    }
}

/// What is wrong with a user's name: `User` or `DOMAIN\User`.
fn user_name(name: &str) -> Vec<String> {
    if name.is_empty() {
        return vec!["runAsUserName cannot be an empty string".to_owned()];
    }
    if name.bytes().any(|byte| byte.is_ascii_control()) {
        return vec!["runAsUserName cannot contain control characters".to_owned()];
    }
    let (domain, user) = match name.split('\\').collect::<Vec<_>>().as_slice() {
        [user] => (None, *user),
        [domain, user] => (Some(*domain), *user),
        _ => return vec!["runAsUserName cannot contain more than one backslash".to_owned()],
    };
    let mut details = Vec::new();
    if domain.is_some_and(|domain| domain.len() >= DOMAIN_BYTES_END) {
        details.push(format!(
            "runAsUserName's Domain length must be under {DOMAIN_BYTES_END} characters"
        ));
    }
    if domain.is_some_and(|domain| !is_netbios_name(domain) && !is_dns_name(domain)) {
        details.push(
            "runAsUserName's Domain doesn't match the NetBios nor the DNS format".to_owned(),
        );
    }
    if user.is_empty() {
        details.push("runAsUserName's User cannot be empty".to_owned());
    } else if user.len() > USER_BYTES_MAX {
        details.push(format!(
            "runAsUserName's User length must not be longer than {USER_BYTES_MAX} characters"
        ));
    }
    if !user.is_empty() && user.bytes().all(|byte| matches!(byte, b'.' | b' ')) {
        details.push("runAsUserName's User cannot contain only periods or spaces".to_owned());
    }
    if user.contains(|letter| USER_LETTERS_BARRED.contains(letter)) {
        details.push(
            r#"runAsUserName's User cannot contain the following characters: "/\:;|=,+*?<>@[]"#
                .to_owned(),
        );
    }
    details
}

fn is_netbios_name(domain: &str) -> bool {
    (1..=NETBIOS_LETTERS_MAX).contains(&domain.chars().count())
        && !domain.starts_with('.')
        && !domain.contains(['\\', '/', ':', '*', '?', '"', '<', '>', '|'])
}

/// Unlike elsewhere, upper-case letters are fine.
fn is_dns_name(domain: &str) -> bool {
    domain.split('.').all(|label| names::label(&label.to_ascii_lowercase()).is_empty())
}

/// Either all containers of a pod are processes of the host, or none is.
pub fn validate_host_processes(spec: &PodSpec, path: &str, errors: &mut Errors) {
    let context = spec.security_context.as_ref();
    let of_pod = context.and_then(|context| context.windows_options.as_ref()?.host_process);
    let (mut containers, mut processes) = (0, 0);
    visit_containers(spec, path, |container, path| {
        containers += 1;
        let context = container.security_context.as_ref();
        let own = context.and_then(|context| context.windows_options.as_ref()?.host_process);
        if let (Some(of_pod), Some(own)) = (of_pod, own)
            && of_pod != own
        {
            let path = format!("{path}.securityContext.windowsOptions.hostProcess");
            let detail = format!(
                "pod hostProcess value must be identical if both are specified, was {of_pod}"
            );
            errors.push(FieldError::invalid(path, own, detail));
        }
        processes += usize::from(own.or(of_pod) == Some(true));
    });
    if processes == 0 {
        return;
    }
    if processes != containers {
        let detail = "If pod contains any hostProcess containers then all containers must be HostProcess containers";
        errors.push(FieldError::invalid(path, "", detail));
    }
    if spec.host_network != Some(true) {
        let detail = "hostNetwork must be true if pod contains any hostProcess containers";
        errors.push(FieldError::invalid(format!("{path}.hostNetwork"), false, detail));
    }
}

#[cfg(test)]
mod tests {
    use super::user_name;

    #[test]
    fn users_may_have_a_domain() {
        for name in ["user", "DOMAIN\\user", "corp.example.com\\a user"] {
            assert_eq!(user_name(name), [""; 0], "{name}");
        }
        let long = format!("{}\\u", "d.".repeat(130));
        let cases = [
            ("", "runAsUserName cannot be an empty string"),
            ("a\tb", "runAsUserName cannot contain control characters"),
            ("a\\b\\c", "runAsUserName cannot contain more than one backslash"),
            ("d\\", "runAsUserName's User cannot be empty"),
            (". .", "runAsUserName's User cannot contain only periods or spaces"),
            (
                "a@b",
                r#"runAsUserName's User cannot contain the following characters: "/\:;|=,+*?<>@[]"#,
            ),
            (".\\u", "runAsUserName's Domain doesn't match the NetBios nor the DNS format"),
            (long.as_str(), "runAsUserName's Domain length must be under 256 characters"),
        ];
        for (name, detail) in cases {
            assert_eq!(user_name(name).first().map(String::as_str), Some(detail), "{name}");
        }
    }
}
