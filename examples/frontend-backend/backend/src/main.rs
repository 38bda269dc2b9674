//! Tells a fact about copepods. Only the frontend calls it, by its Service's name.

use wstd::http::{Body, Error, Request, Response};

const FACTS: [&str; 3] = [
    "Copepods are the most numerous animals in the sea.",
    "A copepod can jump five hundred times its length in a second.",
    "Copepods carry more carbon to the deep than any other animal.",
];

#[wstd::http_server]
async fn main(request: Request<Body>) -> Result<Response<Body>, Error> {
    let number: usize = request.uri().path().trim_start_matches('/').parse().unwrap_or(0);
    Ok(Response::new(FACTS[number % FACTS.len()].to_owned().into()))
}
