//! Local Wasm files onto the nodes of any Copepod cluster, through the API's node proxy.

use std::io;
use std::path::Path;

use bytes::Bytes;
use copepod_node::IMAGE_LIMIT;
use futures::StreamExt;
use futures::stream::Map;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::client::legacy;
use hyper_util::rt::TokioExecutor;
use k8s_openapi::api::core::v1::Node;
use kube::api::ListParams;
use kube::client::{Body, ConfigExt};
use kube::core::Status;
use kube::{Api, ResourceExt};
use serde::Deserialize;
use tokio::fs::File;
use tokio::io::{AsyncReadExt, Take};
use tokio_util::io::ReaderStream;
use tower::{BoxError, Layer, ServiceExt};

use crate::kubeconfig::{self, KubeconfigError};

/// How much of a file is read at a time.
const FILE_PIECE: usize = 256 * 1024;

/// Why an image could not be put, listed or removed.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    #[error("the cluster has no ready node to put the image on")]
    NoNode,
    #[error("node {node} refused the image: {message}")]
    Refused { node: String, message: String },
    #[error("the cluster does not answer: {0}")]
    Api(#[from] kube::Error),
    #[error("{file} cannot be read: {source}")]
    File { file: String, source: std::io::Error },
    #[error("{file} has {size} bytes, and nodes take images of up to {} MiB", IMAGE_LIMIT >> 20)]
    TooLarge { file: String, size: u64 },
}

/// Why a file was not put onto the nodes of the cluster that a kubeconfig names.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("{0}")]
    Kubeconfig(#[from] KubeconfigError),
    #[error("{0}")]
    Image(#[from] ImageError),
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
        let response = client.send(request(Method::POST, &path, Body::from(wasm.clone()))?).await?;
        imported = Some(decode(&node, &answered(&node, response).await?)?);
    }
    imported.ok_or(ImageError::NoNode)
}

/// [`import`] of a file, which is sent to each node as it is read and never held whole.
pub async fn import_file(
    kubeconfig: &Path,
    reference: &str,
    file: &Path,
) -> Result<Imported, ClientError> {
    let config = kubeconfig::config(kubeconfig).await?;
    let client = kube::Client::try_from(config.clone()).map_err(ImageError::Api)?;
    let mut imported = None;
    for node in ready_nodes(&client).await? {
        let path = images_path(&node, Some(reference));
        let request = request(Method::POST, &path, contents(file).await?)?;
        let response = send_streaming(&config, request).await?;
        imported = Some(decode(&node, &answered(&node, response).await?)?);
    }
    Ok(imported.ok_or(ImageError::NoNode)?)
}

/// A file as the body of a request.
type FileBody = StreamBody<FileFrames>;
type FileFrames = Map<ReaderStream<Take<File>>, fn(io::Result<Bytes>) -> io::Result<Frame<Bytes>>>;

async fn contents(file: &Path) -> Result<FileBody, ImageError> {
    let name = || file.display().to_string();
    let opened = async {
        let opened = File::open(file).await?;
        let metadata = opened.metadata().await?;
        if metadata.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        Ok((opened, metadata.len()))
    };
    let (opened, size) =
        opened.await.map_err(|source| ImageError::File { file: name(), source })?;
    if size > IMAGE_LIMIT {
        return Err(ImageError::TooLarge { file: name(), size });
    }
    // A file that grows meanwhile is cut where it ended.
    let pieces = ReaderStream::with_capacity(opened.take(size), FILE_PIECE);
    Ok(StreamBody::new(pieces.map(|piece| piece.map(Frame::data))))
}

/// Sends a request whose body is read as it goes; a [`kube::Client`] takes whole ones alone.
async fn send_streaming(
    config: &kube::Config,
    request: Request<FileBody>,
) -> Result<Response<Incoming>, ImageError> {
    let connector = config.rustls_https_connector()?;
    let http = legacy::Client::builder(TokioExecutor::new()).build(connector);
    let service = config.base_uri_layer().layer(http).map_err(BoxError::from);
    let sent = match config.auth_layer()? {
        Some(auth) => auth.layer(service).oneshot(request).await,
        None => service.oneshot(request).await,
    };
    sent.map_err(|error| ImageError::Api(kube::Error::Service(error)))
}

/// The images of every ready node: the node's name beside each.
pub async fn list(client: &kube::Client) -> Result<Vec<(String, Imported)>, ImageError> {
    let mut found = Vec::new();
    for node in ready_nodes(client).await? {
        let answer = call(client, Method::GET, &images_path(&node, None), &node).await?;
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
        match call(client, Method::DELETE, &path, &node).await {
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
    node: &str,
) -> Result<String, ImageError> {
    let response = client.send(request(method, path, Body::empty())?).await?;
    answered(node, response).await
}

fn request<B>(method: Method, path: &str, body: B) -> Result<Request<B>, ImageError> {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(http::header::CONTENT_TYPE, "application/wasm")
        .body(body);
    Ok(request.map_err(kube::Error::HttpError)?)
}

/// The text of an answer; one that is no success is an error.
async fn answered<B>(node: &str, response: Response<B>) -> Result<String, ImageError>
where
    B: http_body::Body,
    B::Error: Into<BoxError>,
{
    let code = response.status();
    let body = response.into_body().collect().await;
    let body = body.map_err(|error| kube::Error::Service(error.into()))?.to_bytes();
    let text = String::from_utf8_lossy(&body).into_owned();
    if code.is_success() {
        return Ok(text);
    }
    let status = serde_json::from_str::<Status>(&text)
        .unwrap_or_else(|_| Status::failure(text.trim(), "NotAStatus").with_code(code.as_u16()));
    if code != StatusCode::NOT_FOUND && code.is_client_error() {
        return Err(ImageError::Refused { node: node.to_owned(), message: status.message });
    }
    Err(kube::Error::Api(status.boxed()).into())
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
