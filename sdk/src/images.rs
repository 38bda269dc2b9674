//! Local Wasm files onto the nodes of any Copepod cluster, through the API's node proxy.

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use k8s_openapi::api::core::v1::Node;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use serde::Deserialize;

/// Why an image could not be put, listed or removed.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    #[error("the cluster has no ready node to put the image on")]
    NoNode,
    #[error("node {node} refused the image: {message}")]
    Refused { node: String, message: String },
    #[error("the cluster does not answer: {0}")]
    Api(#[from] kube::Error),
}

/// An image on a node.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct Imported {
    pub reference: String,
    /// `sha256:` and the hash of the bytes in hex.
    pub digest: String,
    /// In bytes.
    pub size: u64,
}

/// A node's answer to a list.
#[derive(Deserialize)]
struct Images {
    images: Vec<Imported>,
}

/// Puts a Wasm binary onto every ready node under a reference.
pub async fn import(
    client: &kube::Client,
    reference: &str,
    wasm: Bytes,
) -> Result<Imported, ImageError> {
    let mut imported = None;
    for node in ready_nodes(client).await? {
        let path = images_path(&node, Some(reference));
        let answer = call(client, Method::POST, &path, wasm.to_vec(), &node).await?;
        imported = Some(decode(&node, &answer)?);
    }
    imported.ok_or(ImageError::NoNode)
}

/// The images of every ready node: the node's name beside each.
pub async fn list(client: &kube::Client) -> Result<Vec<(String, Imported)>, ImageError> {
    let mut found = Vec::new();
    for node in ready_nodes(client).await? {
        let answer =
            call(client, Method::GET, &images_path(&node, None), Vec::new(), &node).await?;
        let Images { images } = decode(&node, &answer)?;
        found.extend(images.into_iter().map(|image| (node.clone(), image)));
    }
    Ok(found)
}

/// Takes a reference off every ready node; answers how many had it.
pub async fn remove(client: &kube::Client, reference: &str) -> Result<usize, ImageError> {
    let mut removed = 0;
    for node in ready_nodes(client).await? {
        let path = images_path(&node, Some(reference));
        match call(client, Method::DELETE, &path, Vec::new(), &node).await {
            Ok(_) => removed += 1,
            Err(ImageError::Api(kube::Error::Api(status))) if status.code == 404 => {}
            Err(error) => return Err(error),
        }
    }
    Ok(removed)
}

async fn ready_nodes(client: &kube::Client) -> Result<Vec<String>, ImageError> {
    let nodes = Api::<Node>::all(client.clone()).list(&ListParams::default()).await?;
    Ok(nodes.iter().filter(|node| crate::wait::is_ready(node)).map(ResourceExt::name_any).collect())
}

fn images_path(node: &str, reference: Option<&str>) -> String {
    let path = format!("/api/v1/nodes/{node}/proxy/images");
    match reference {
        Some(reference) => format!("{path}?reference={}", percent_encode(reference)),
        None => path,
    }
}

/// Encodes what a query value may not hold as it is.
fn percent_encode(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' | b':' => {
                char::from(byte).to_string()
            }
            other => format!("%{other:02X}"),
        })
        .collect()
}

async fn call(
    client: &kube::Client,
    method: Method,
    path: &str,
    body: Vec<u8>,
    node: &str,
) -> Result<String, ImageError> {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(http::header::CONTENT_TYPE, "application/wasm")
        .body(body)
        .map_err(kube::Error::HttpError)?;
    client.request_text(request).await.map_err(|error| match error {
        kube::Error::Api(status)
            if status.code != 404 && status.code < StatusCode::INTERNAL_SERVER_ERROR.as_u16() =>
        {
            ImageError::Refused { node: node.to_owned(), message: status.message }
        }
        other => ImageError::Api(other),
    })
}

fn decode<T: serde::de::DeserializeOwned>(node: &str, answer: &str) -> Result<T, ImageError> {
    serde_json::from_str(answer).map_err(|error| ImageError::Refused {
        node: node.to_owned(),
        message: format!("the answer was not understood: {error}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_survives_the_query() {
        assert_eq!(
            images_path("n", Some("local/hello:dev@x y")),
            "/api/v1/nodes/n/proxy/images?reference=local/hello:dev%40x%20y"
        );
    }
}
