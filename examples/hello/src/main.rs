//! Answers every HTTP request with a greeting. The node starts an instance for each request and
//! drops it afterwards, so an idle replica costs next to nothing.

use wstd::http::{Body, Error, Request, Response};

#[wstd::http_server]
async fn main(request: Request<Body>) -> Result<Response<Body>, Error> {
    let name = std::env::var("GREETED").unwrap_or_else(|_| "world".to_owned());
    let pod = std::env::var("HOSTNAME").unwrap_or_default();
    println!("{} {}", request.method(), request.uri().path());
    Ok(Response::new(format!("Hello, {name}! This is {pod}.\n").into()))
}
