//! An HTTP component that does what the path says: `/step/value…`.

use std::time::Duration;

use wstd::http::{Body, BodyExt, Client, Error, Request, Response, StatusCode};

#[wstd::http_server]
async fn main(request: Request<Body>) -> Result<Response<Body>, Error> {
    let path = request.uri().path().to_owned();
    let (step, value) = path.trim_start_matches('/').split_once('/').unwrap_or((&path[1..], ""));
    let text = match step {
        "env" => std::env::var(value).unwrap_or_default(),
        "file" => std::fs::read_to_string(format!("/{value}"))
            .unwrap_or_else(|error| format!("error: {error}")),
        "sleep" => {
            wstd::task::sleep(Duration::from_millis(value.parse().unwrap_or(0)).into()).await;
            "slept".to_owned()
        }
        "get" => get(value).await.unwrap_or_else(|error| format!("error: {error:?}")),
        "echo" => {
            let bytes = request.into_body().into_boxed_body().collect().await?.to_bytes();
            return Ok(Response::new(bytes.to_vec().into()));
        }
        "log" => {
            println!("{value}");
            "logged".to_owned()
        }
        "status" => {
            let status = value.parse().unwrap_or(200);
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
            return Ok(Response::builder().status(status).body(Body::empty())?);
        }
        "redirect" => {
            let location = format!("/{value}");
            let response = Response::builder().status(StatusCode::FOUND);
            return Ok(response.header("location", location).body(Body::empty())?);
        }
        "trap" => std::process::abort(),
        "spin" => loop {
            std::hint::black_box(0);
        },
        _ => format!(
            "{} {}",
            std::env::var("HOSTNAME").unwrap_or_default(),
            std::env::var("VERSION").unwrap_or_default()
        ),
    };
    Ok(Response::new(text.into()))
}

async fn get(authority_and_path: &str) -> Result<String, Error> {
    let request = Request::get(format!("http://{authority_and_path}")).body(Body::empty())?;
    let response = Client::new().send(request).await?;
    let bytes = response.into_body().into_boxed_body().collect().await?.to_bytes();
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
