//! HTTP in and out. In: each request gets an instance of its own, dropped when the guest returns, or put to rest until the
//! next one where it may serve again (`reuse.rs`); how one of WASI 0.3 is called stands in `http/service.rs`. Out:
//! `wasi:http` over the sandbox's dialer; a request to an HTTP component in the switch is a direct call, without a
//! connection.

mod service;

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::uri::{PathAndQuery, Scheme};
use http::{Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::Sleep;
use tokio_rustls::client::TlsStream;
use tracing::Instrument;
use wasmtime::Store;
use wasmtime_wasi::I32Exit;
use wasmtime_wasi_http::io::TokioIo;
use wasmtime_wasi_http::p2::bindings::Proxy;
use wasmtime_wasi_http::p2::bindings::http::types as wasi;
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;
use wasmtime_wasi_http::{RequestOptions, WasiHttpHooks, WasiHttpView};

use crate::activity::Open;
use crate::artifact::Instance;
use crate::container::{self, Exit};
use crate::context::Ctx;
use crate::limits::{Account, Metered, Place};
use crate::net::{Dialer, Reached, Stream};
use crate::reuse::{Reuse, Used, Warm};
use crate::tls;
use crate::trace::Trace;
use service::{Reader, Reading};

/// A request's or response's body.
pub type Body = wasmtime_wasi_http::WasiBody;
/// Why a request had no response.
pub type HttpError = wasmtime_wasi_http::Error;

/// Most bytes of a body that a guest writes at a time; the host holds up to three such parts.
const BODY_CHUNK: usize = 64 * 1024;
/// How long a client may take to send a request's head, its silence before it included; as nginx.
pub const HEAD_WITHIN: Duration = Duration::from_secs(75);
/// What is read of a request's body that its component did not want; Go's server reads as much.
const REST_MAX: usize = 256 * 1024;
/// Where a guest sets no time-out of its own.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(600);

/// An HTTP component at its port. Cheap to clone; calls fail once its container stops.
#[derive(Clone)]
pub struct HttpHandler(Arc<Inner>);

struct Inner {
    container: Arc<container::Inner>,
    guests: Handle,
    /// For requests that name no host.
    authority: String,
    /// Where instances may serve again.
    warm: Option<Warm<(Store<Ctx>, Instance)>>,
}

/// A place for one request at an [`HttpHandler`].
pub struct Reserved {
    handler: HttpHandler,
    open: Open,
}

impl Reserved {
    /// Runs the request in an instance of its own. Returns as soon as the guest gives its response; the body follows.
    /// A guest that fails before is answered 500, one that its container's end cuts off 503.
    pub async fn call(self, request: Request<Body>) -> Result<Response<Body>, HttpError> {
        self.handler.answer(request, self.open).await
    }
}

/// Ends the instance of a caller that went away before the response.
pub(crate) struct AbortOnDrop(pub(crate) Option<tokio::task::AbortHandle>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}

/// How a request's instance ended.
enum Ran {
    Returned,
    /// Told to the operator already.
    Failed,
    /// With its container.
    Ended,
    /// It took longer than a request may.
    Late,
}

/// The guest called `exit` to say that it is done.
fn is_success(error: &wasmtime::Error) -> bool {
    matches!(error.downcast_ref(), Some(I32Exit(0)))
}

impl HttpHandler {
    pub(crate) fn new(
        container: Arc<container::Inner>,
        guests: Handle,
        port: u16,
        reuse: Option<Reuse>,
    ) -> Self {
        let authority = container.authority(port);
        HttpHandler(Arc::new(Inner { container, guests, authority, warm: reuse.map(Warm::new) }))
    }

    /// A place for one request, or `None` once the container stops: then another replica can be asked, with the
    /// request still in hand. A container that begins to stop waits for the places given before.
    pub fn reserve(&self) -> Option<Reserved> {
        // Entered before the look, so that a stop either sees this request or is seen by it.
        let open = self.0.container.activity.enter();
        let stops = self.0.container.draining.is_cancelled();
        (!stops).then(|| Reserved { handler: self.clone(), open })
    }

    /// [`HttpHandler::reserve`] and [`Reserved::call`] in one; `ConnectionRefused` once the container stops.
    pub async fn call(&self, request: Request<Body>) -> Result<Response<Body>, HttpError> {
        self.reserve().ok_or(HttpError::ConnectionRefused)?.call(request).await
    }

    /// Measured, and in a span of its own where one is listened to.
    async fn answer(
        &self,
        request: Request<Body>,
        open: Open,
    ) -> Result<Response<Body>, HttpError> {
        let begun = Instant::now();
        let span = tracing::debug_span!(
            "request",
            container = self.0.container.name(),
            method = %request.method(),
            path = request.uri().path(),
            traceparent = request.headers().get("traceparent").and_then(|value| value.to_str().ok()),
            status = tracing::field::Empty,
        );
        let answer = self.respond_to(request, open).instrument(span.clone()).await;
        if let Ok(response) = &answer {
            span.record("status", response.status().as_u16());
        }
        self.0.container.activity.latency.add(begun.elapsed());
        answer
    }

    async fn respond_to(
        &self,
        request: Request<Body>,
        open: Open,
    ) -> Result<Response<Body>, HttpError> {
        let container = &self.0.container;
        let open = Arc::new(open);
        let broken = Arc::new(AtomicBool::new(false));
        container.activity.requests.fetch_add(1, Ordering::Relaxed);
        let limit = container.account.limits.time.request;
        let deadline = limit.map(|limit| tokio::time::Instant::now() + limit);
        let running = match until(deadline, container.gate.enter()).await {
            Some(Some(running)) => running,
            Some(None) => return Ok(status(StatusCode::SERVICE_UNAVAILABLE)),
            None => return Ok(self.late()),
        };
        let mut rest = None;
        let request = self.complete(request).map(|body| {
            let (body, its_rest) = Patient::around(body);
            rest = its_rest;
            body
        });
        let (respond, response) = oneshot::channel();
        let handler = self.clone();
        let task = self.0.guests.spawn({
            let (open, broken) = (open.clone(), broken.clone());
            async move {
                let ran = handler.run(request, rest, respond, &broken, deadline).await;
                drop((open, running));
                ran
            }
            .instrument(tracing::debug_span!("guest"))
        });
        let mut abort = AbortOnDrop(Some(task.abort_handle()));
        let response = response.await;
        abort.0 = None;
        match response {
            Ok(Ok(mut response)) => {
                let reader = response.extensions_mut().remove();
                let container = container.clone();
                let answer = |body| Answer { body, broken, container, reader, _open: open };
                Ok(response.map(|body| answer(body).boxed_unsync()))
            }
            Ok(Err(code)) => {
                self.failed(&wasmtime::format_err!("the response was an error: {code:?}"));
                Ok(status(StatusCode::INTERNAL_SERVER_ERROR))
            }
            Err(_) => Ok(status(match task.await {
                Ok(Ran::Returned) => {
                    self.failed(&wasmtime::format_err!("the component gave no response"));
                    StatusCode::INTERNAL_SERVER_ERROR
                }
                Ok(Ran::Failed) => StatusCode::INTERNAL_SERVER_ERROR,
                Ok(Ran::Late) => return Ok(self.late()),
                // Cut off with its container, through no fault of its own.
                Ok(Ran::Ended) => StatusCode::SERVICE_UNAVAILABLE,
                Err(torn) if torn.is_cancelled() => StatusCode::SERVICE_UNAVAILABLE,
                Err(_) => StatusCode::INTERNAL_SERVER_ERROR,
            })),
        }
    }

    /// The answer to a request that took too long.
    fn late(&self) -> Response<Body> {
        self.0.container.activity.errors.fetch_add(1, Ordering::Relaxed);
        status(StatusCode::GATEWAY_TIMEOUT)
    }

    fn failed(&self, error: &wasmtime::Error) {
        let container = &self.0.container;
        container.activity.errors.fetch_add(1, Ordering::Relaxed);
        container.complain(error);
    }

    /// Gives a request without a host one: WASI demands an authority.
    fn complete(&self, mut request: Request<Body>) -> Request<Body> {
        let named = request.uri().authority().is_some()
            || request.headers().get(header::HOST).is_some_and(|host| host.to_str().is_ok());
        if !named && let Ok(host) = self.0.authority.parse() {
            request.headers_mut().insert(header::HOST, host);
        }
        request
    }

    async fn run(
        &self,
        request: Request<Body>,
        rest: Option<Rest>,
        respond: Respond,
        broken: &AtomicBool,
        deadline: Option<tokio::time::Instant>,
    ) -> Ran {
        let container = &self.0.container;
        let guest = async {
            let warm = self.0.warm.as_ref();
            let mut used = match warm.and_then(Warm::take) {
                Some(used) => used,
                None => Used::new(container.artifact.instance(|| container.ctx(None)).await?),
            };
            let (store, instance) = &mut used.what;
            store.data_mut().carry(Trace::of(request.headers()));
            let called = match instance {
                Instance::Http(proxy) => call(store, proxy, request, respond).await,
                Instance::AsyncHttp(service) => {
                    service::call(store, service, request, respond).await
                }
                Instance::Command(_) | Instance::AsyncCommand(_) => {
                    Err(wasmtime::format_err!("not an HTTP component"))
                }
            };
            // Said before the store drops: that ends the body, which must not pass for whole.
            broken.store(called.as_ref().is_err_and(|error| !is_success(error)), Ordering::Release);
            if called.is_ok()
                && let Some(warm) = warm
            {
                if let Some(rest) = rest {
                    rest.end();
                }
                warm.put(used, &self.0.guests, &container.ended);
            }
            called
        };
        let late = async {
            until(deadline, std::future::pending::<Infallible>()).await;
            // As above: before the store drops.
            broken.store(true, Ordering::Release);
        };
        let result = tokio::select! {
            biased;
            () = container.ended.cancelled() => return Ran::Ended,
            () = late => return Ran::Late,
            result = Metered::new(guest, container.account.clone()) => result,
        };
        let Err(error) = result else { return Ran::Returned };
        if is_success(&error) {
            return Ran::Returned;
        }
        self.failed(&error);
        if container.account.is_out_of_memory() {
            container.finish(Exit::out_of_memory());
        }
        Ran::Failed
    }

    /// Serves HTTP/1 on a connection from the switch; false once the container stops.
    pub(crate) fn serve(&self, stream: Stream) -> bool {
        // Until the last byte is written a stopping container waits for the connection, not for its requests alone.
        let Some(Reserved { handler, open }) = self.reserve() else { return false };
        let (ended, draining) = {
            let container = &self.0.container;
            (container.ended.clone(), container.draining.clone())
        };
        self.0.guests.spawn(async move {
            let _open = open;
            let service =
                hyper::service::service_fn(move |request: Request<hyper::body::Incoming>| {
                    let handler = handler.clone();
                    let request = request.map(|body| body.map_err(HttpError::from).boxed_unsync());
                    // The connection was taken: its request is too, even if the container stops since.
                    let open = handler.0.container.activity.enter();
                    async move {
                        Ok::<_, Infallible>(
                            handler.answer(request, open).await.unwrap_or_else(gone),
                        )
                    }
                });
            let connection = hyper::server::conn::http1::Builder::new()
                // A client may shut its sending side down and still wait for the answer.
                .half_close(true)
                .timer(hyper_util::rt::TokioTimer::new())
                .header_read_timeout(HEAD_WITHIN)
                .serve_connection(TokioIo::new(stream), service);
            tokio::pin!(connection);
            tokio::select! {
                biased;
                () = ended.cancelled() => return,
                // A client that went away, or spoke no HTTP: its own affair.
                _ = connection.as_mut() => return,
                () = draining.cancelled() => connection.as_mut().graceful_shutdown(),
            }
            tokio::select! {
                biased;
                () = ended.cancelled() => {}
                _ = connection => {}
            }
        });
        true
    }
}

/// The outcome of `work`; `None` where the deadline comes first.
pub(crate) async fn until<T>(
    deadline: Option<tokio::time::Instant>,
    work: impl Future<Output = T>,
) -> Option<T> {
    match deadline {
        Some(deadline) => tokio::time::timeout_at(deadline, work).await.ok(),
        None => Some(work.await),
    }
}

/// Calls a handler of WASI 0.2, to its return.
async fn call(
    store: &mut Store<Ctx>,
    proxy: &Proxy,
    request: Request<Body>,
    respond: Respond,
) -> wasmtime::Result<()> {
    let scheme = match request.uri().scheme() {
        Some(scheme) if *scheme == Scheme::HTTPS => wasi::Scheme::Https,
        _ => wasi::Scheme::Http,
    };
    let mut http = store.data_mut().http();
    let request = http.new_incoming_request(scheme, request)?;
    let response = http.new_response_outparam(respond)?;
    proxy.wasi_http_incoming_handler().call_handle(store, request, response).await
}

type Respond = oneshot::Sender<Result<Response<HyperOutgoingBody>, wasi::ErrorCode>>;

fn gone(_: HttpError) -> Response<Body> {
    status(StatusCode::SERVICE_UNAVAILABLE)
}

fn status(status: StatusCode) -> Response<Body> {
    let text = format!("{status}\n");
    let body = Full::new(Bytes::from(text)).map_err(HttpError::from);
    let mut response = Response::new(body.boxed_unsync());
    *response.status_mut() = status;
    response
}

/// The HTTP client of a guest.
pub(crate) struct Client {
    dialer: Dialer,
    account: Arc<Account>,
    /// That of the request which the guest is serving.
    trace: Option<Trace>,
}

type Io = Box<dyn Future<Output = Result<(), HttpError>> + Send>;
type Sent = Result<(Response<Body>, Io), HttpError>;

impl Client {
    pub(crate) fn new(dialer: Dialer, account: Arc<Account>) -> Self {
        Client { dialer, account, trace: None }
    }

    pub(crate) fn carry(&mut self, trace: Option<Trace>) {
        self.trace = trace;
    }
}

impl WasiHttpHooks for Client {
    fn send_request(
        &mut self,
        mut request: Request<Body>,
        options: Option<RequestOptions>,
        // Tells a WASI 0.3 guest how its response fared; a 0.2 guest's is empty.
        _: Box<dyn Future<Output = Result<(), HttpError>> + Send>,
    ) -> Box<dyn Future<Output = Sent> + Send> {
        // Refused for its number or its memory, it is the same to the guest.
        let Ok(place) = self.account.socket() else {
            return Box::new(std::future::ready(Err(HttpError::ConnectionLimitReached)));
        };
        if let Some(trace) = &self.trace {
            trace.carry_into(request.headers_mut(), rand::random());
        }
        let dialer = self.dialer.clone();
        Box::new(send(dialer, place, request, options))
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        BODY_CHUNK
    }

    fn p3_outgoing_body_chunk_size(&mut self) -> usize {
        BODY_CHUNK
    }
}

async fn send(
    dialer: Dialer,
    connection: Place,
    request: Request<Body>,
    options: Option<RequestOptions>,
) -> Sent {
    let uri = request.uri();
    let is_tls = uri.scheme() == Some(&Scheme::HTTPS);
    let host = uri.host().ok_or(HttpError::HttpRequestUriInvalid)?.to_owned();
    let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
    let connect_within =
        options.and_then(|options| options.connect_timeout).unwrap_or(TIMEOUT_DEFAULT);
    let first_byte_within =
        options.and_then(|options| options.first_byte_timeout).unwrap_or(TIMEOUT_DEFAULT);
    let between_bytes_within = options.and_then(|options| options.between_bytes_timeout);

    let way = async {
        let reached = reach(&dialer, &host, port, is_tls).await?;
        Ok(match reached {
            Reached::Handler(place) => Way::Handler(place),
            Reached::Stream(stream) if is_tls => {
                Way::Tls(Box::new(tls::connect(tls::web(), &host, stream).await?))
            }
            Reached::Stream(stream) => Way::Plain(stream),
        })
    };
    let way = tokio::time::timeout(connect_within, way).await;
    let (response, io) = match way.unwrap_or(Err(HttpError::ConnectionTimeout))? {
        Way::Handler(place) => {
            let response = within(first_byte_within, place.call(request)).await?;
            let io: Io = Box::new(std::future::ready(Ok(())));
            (response, io)
        }
        Way::Plain(stream) => speak(stream, connection, request, first_byte_within).await?,
        Way::Tls(stream) => speak(stream, connection, request, first_byte_within).await?,
    };
    let response = match between_bytes_within {
        Some(within) => response.map(|body| Timed::new(body, within).boxed_unsync()),
        None => response,
    };
    Ok((response, io))
}

/// What a request is given to.
enum Way {
    Handler(Reserved),
    Plain(Stream),
    Tls(Box<TlsStream<Stream>>),
}

/// Sends a request over a connection of its own.
async fn speak<S>(
    stream: S,
    place: Place,
    request: Request<Body>,
    first_byte_within: Duration,
) -> Sent
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let connection = hyper::client::conn::http1::handshake(TokioIo::new(stream));
    let (mut sender, connection) = connection.await?;
    let connection = wasmtime_wasi::runtime::spawn(async move {
        let done = connection.await;
        drop(place);
        done
    });
    let request = origin_form(request);
    let sending = async { Ok(sender.send_request(request).await?) };
    let response: Response<hyper::body::Incoming> = within(first_byte_within, sending).await?;
    let response = response.map(|body| body.map_err(HttpError::from).boxed_unsync());
    Ok((response, Box::new(async move { Ok(connection.await?) })))
}

/// The first of the host's addresses that answers.
async fn reach(dialer: &Dialer, host: &str, port: u16, is_tls: bool) -> Result<Reached, HttpError> {
    let addresses = dialer.resolve(host).await.map_err(|error| dns_error(&error))?;
    let mut failure = HttpError::DestinationNotFound;
    for ip in addresses {
        let to = SocketAddr::new(ip, port);
        let reached = match is_tls {
            // A component speaks no TLS: https asks for a server that does.
            true => {
                let from_port = dialer.interface.ephemeral_port();
                dialer.connect(to, from_port).await.map(Reached::Stream)
            }
            false => dialer.reach_http(to).await,
        };
        match reached {
            Ok(reached) => return Ok(reached),
            Err(error) => failure = connect_error(error),
        }
    }
    Err(failure)
}

fn dns_error(error: &io::Error) -> HttpError {
    if error.kind() == io::ErrorKind::TimedOut {
        return HttpError::DnsTimeout;
    }
    let rcode = match error.kind() {
        io::ErrorKind::NotFound => "NXDOMAIN".to_owned(),
        _ => error.to_string(),
    };
    HttpError::DnsError { rcode: Some(rcode), info_code: None }
}

fn connect_error(error: io::Error) -> HttpError {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => HttpError::ConnectionRefused,
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
            HttpError::DestinationIpUnroutable
        }
        io::ErrorKind::PermissionDenied => HttpError::DestinationIpProhibited,
        io::ErrorKind::TimedOut => HttpError::ConnectionTimeout,
        _ => HttpError::Connect(error),
    }
}

async fn within<T>(
    time: Duration,
    work: impl Future<Output = Result<T, HttpError>>,
) -> Result<T, HttpError> {
    let done = tokio::time::timeout(time, work).await;
    done.unwrap_or(Err(HttpError::ConnectionReadTimeout))
}

/// On a connection the request line names the path alone; the host is in its header.
fn origin_form(mut request: Request<Body>) -> Request<Body> {
    let path = request.uri().path_and_query().cloned();
    *request.uri_mut() = Uri::from(path.unwrap_or_else(|| PathAndQuery::from_static("/")));
    request
}

/// A response's body: open work of its container until it has been read, even if the instance has ended before.
/// Where the instance broke off, so does the body: wasmtime's own would end as if it were whole. A guest of WASI 0.3 is
/// told how its reading ended.
struct Answer {
    body: HyperOutgoingBody,
    broken: Arc<AtomicBool>,
    container: Arc<container::Inner>,
    reader: Option<Reader>,
    _open: Arc<Open>,
}

impl Answer {
    fn end(&mut self, reading: Reading) {
        if let Some(reader) = self.reader.take() {
            reader.tell(reading);
        }
    }
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, HttpError>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(cx));
        let broken = self.broken.load(Ordering::Acquire) || self.container.ended.is_cancelled();
        let frame = match frame {
            None if broken => Some(Err(HttpError::HttpResponseIncomplete)),
            frame => frame,
        };
        match &frame {
            None => self.end(Reading::Whole),
            Some(Err(_)) => self.end(Reading::Cut),
            Some(Ok(_)) => {}
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        // A body that is known to be at its end is not always asked for it.
        let whole = http_body::Body::is_end_stream(&self.body);
        self.end(if whole { Reading::Whole } else { Reading::Cut });
    }
}

/// A request's body. Where the component has done without it, the rest is read and forgotten, up to [`REST_MAX`]: a
/// caller that still writes would take a closed stream for a broken connection, and a kept connection could not go on.
struct Patient(Arc<Mutex<Option<Body>>>);

/// A way to a request's body past its instance, which may keep its handle for as long as it lives.
struct Rest(Arc<Mutex<Option<Body>>>);

impl Patient {
    fn around(body: Body) -> (Body, Option<Rest>) {
        match http_body::Body::is_end_stream(&body) {
            true => (body, None),
            false => {
                let shared = Arc::new(Mutex::new(Some(body)));
                (Patient(shared.clone()).boxed_unsync(), Some(Rest(shared)))
            }
        }
    }
}

impl Rest {
    /// The request is over: whoever still holds the body finds its end.
    fn end(self) {
        let body = self.0.lock().take();
        forget(body);
    }
}

/// Reads what is left of a body, up to [`REST_MAX`].
fn forget(body: Option<Body>) {
    let Some(mut body) = body.filter(|body| !http_body::Body::is_end_stream(body)) else { return };
    // Ends with the body, or with the caller that writes it.
    if let Ok(guests) = Handle::try_current() {
        guests.spawn(async move {
            let mut read = 0;
            while let Some(Ok(frame)) = body.frame().await {
                read += frame.data_ref().map_or(0, Bytes::len);
                if read > REST_MAX {
                    return;
                }
            }
        });
    }
}

impl http_body::Body for Patient {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, HttpError>>> {
        let mut held = self.0.lock();
        let Some(body) = held.as_mut() else { return Poll::Ready(None) };
        let frame = std::task::ready!(Pin::new(body).poll_frame(cx));
        if !matches!(frame, Some(Ok(_))) {
            *held = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.0.lock().as_ref().is_none_or(http_body::Body::is_end_stream)
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.0
            .lock()
            .as_ref()
            .map_or_else(|| http_body::SizeHint::with_exact(0), http_body::Body::size_hint)
    }
}

impl Drop for Patient {
    fn drop(&mut self) {
        let body = self.0.lock().take();
        forget(body);
    }
}

/// A body whose next part must come in time.
struct Timed {
    body: Body,
    within: Duration,
    timer: Pin<Box<Sleep>>,
}

impl Timed {
    fn new(body: Body, within: Duration) -> Self {
        Timed { body, within, timer: Box::pin(tokio::time::sleep(within)) }
    }
}

impl http_body::Body for Timed {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, HttpError>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) {
            let deadline = tokio::time::Instant::now() + this.within;
            this.timer.as_mut().reset(deadline);
            return Poll::Ready(frame);
        }
        std::task::ready!(this.timer.as_mut().poll(cx));
        Poll::Ready(Some(Err(HttpError::ConnectionReadTimeout)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}
