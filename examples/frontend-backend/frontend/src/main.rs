//! A page made of the backend's answer. The backend is found by its Service's name; between two
//! pods on a node the call is a function call, with no socket in between.

use wstd::http::{Body, BodyExt, Client, Error, Request, Response, StatusCode};

#[wstd::http_server]
async fn main(request: Request<Body>) -> Result<Response<Body>, Error> {
    let backend = std::env::var("BACKEND_URL").unwrap_or_else(|_| "http://backend".to_owned());
    let url = format!("{backend}{}", request.uri().path());
    match fact(&url).await {
        Ok(fact) => Ok(Response::new(format!("Did you know? {fact}\n").into())),
        Err(error) => Ok(Response::builder()
            .status(StatusCode::BAD_GATEWAY)
            .body(format!("no answer from {url}: {error:?}\n").into())?),
    }
}

async fn fact(url: &str) -> Result<String, Error> {
    let response = Client::new().send(Request::get(url).body(Body::empty())?).await?;
    let bytes = response.into_body().into_boxed_body().collect().await?.to_bytes();
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
