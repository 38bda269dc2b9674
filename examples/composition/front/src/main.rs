//! Answers HTTP requests with a greeting, `/LANGUAGE/NAME`. Which greetings there are it does not
//! know: it imports an interface, and another container of the pod exports it.

mod bindings {
    wit_bindgen::generate!({ path: "../wit", world: "front" });
}

use bindings::example::phrases::greet;
use wstd::http::{Body, Error, Request, Response};

#[wstd::http_server]
async fn main(request: Request<Body>) -> Result<Response<Body>, Error> {
    let path = request.uri().path().trim_start_matches('/');
    let (language, name) = path.split_once('/').unwrap_or((path, "world"));
    let (status, text) = match greet::greeting(language, name) {
        Ok(greeting) => (200, greeting),
        Err(why) => (404, why),
    };
    Ok(Response::builder().status(status).body(format!("{text}\n").into())?)
}
