//! Kubeconfig files.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::pki::Credential;

/// The text of a kubeconfig with one cluster, one user and one context, all embedded.
pub fn write(server: &str, ca_pem: &str, user: &str, credential: &Credential) -> String {
    let context = format!("{user}@copepod");
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{
            "name": "copepod",
            "cluster": {
                "server": server,
                "certificate-authority-data": STANDARD.encode(ca_pem),
            },
        }],
        "users": [{
            "name": user,
            "user": {
                "client-certificate-data": STANDARD.encode(&credential.certificate_pem),
                "client-key-data": STANDARD.encode(&credential.key_pem),
            },
        }],
        "contexts": [{ "name": context, "context": { "cluster": "copepod", "user": user } }],
        "current-context": context,
    });
    serde_yaml::to_string(&config).expect("a JSON value is YAML")
}
