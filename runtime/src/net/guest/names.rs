//! `wasi:sockets/ip-name-lookup` 0.2, answered by the sandbox's dialer.

use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::vec;

use wasmtime::component::Resource;
use wasmtime_wasi::p2::bindings::sockets::ip_name_lookup::{
    Host, HostResolveAddressStream, ResolveAddressStream,
};
use wasmtime_wasi::p2::bindings::sockets::network::{ErrorCode, IpAddress, Network};
use wasmtime_wasi::p2::{DynPollable, Pollable, SocketError, subscribe};

use super::{NetView, ours, theirs};

type Lookup = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>>;

/// A look-up under way, then its answers.
enum Answers {
    Pending(Lookup),
    Ready(Result<vec::IntoIter<IpAddr>, ErrorCode>),
}

impl Answers {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Answers::Pending(lookup) = self {
            let found = std::task::ready!(lookup.as_mut().poll(cx));
            *self = Answers::Ready(found.map(Vec::into_iter).map_err(|error| code(&error)));
        }
        Poll::Ready(())
    }
}

/// Whether this can be a name at all.
pub(super) fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(|c: char| c.is_control() || c == ' ' || c == '/')
}

fn code(error: &io::Error) -> ErrorCode {
    match error.kind() {
        io::ErrorKind::NotFound => ErrorCode::NameUnresolvable,
        io::ErrorKind::InvalidInput => ErrorCode::InvalidArgument,
        io::ErrorKind::PermissionDenied => ErrorCode::AccessDenied,
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => {
            ErrorCode::TemporaryResolverFailure
        }
        _ => ErrorCode::PermanentResolverFailure,
    }
}

impl Host for NetView<'_> {
    fn resolve_addresses(
        &mut self,
        network: Resource<Network>,
        name: String,
    ) -> Result<Resource<ResolveAddressStream>, SocketError> {
        self.check_network(&network)?;
        if !is_name(&name) {
            return Err(ErrorCode::InvalidArgument.into());
        }
        let dialer = self.net.dialer.clone();
        let mut answers = Answers::Pending(Box::pin(async move { dialer.resolve(&name).await }));
        // Most names are known at once; a failure is then reported at once, too.
        let _ = answers.poll(&mut Context::from_waker(Waker::noop()));
        if let Answers::Ready(Err(error)) = answers {
            return Err(error.into());
        }
        Ok(theirs(self.table.push(answers)?))
    }
}

impl HostResolveAddressStream for NetView<'_> {
    fn resolve_next_address(
        &mut self,
        stream: Resource<ResolveAddressStream>,
    ) -> Result<Option<IpAddress>, SocketError> {
        let answers = self.table.get_mut(&ours::<_, Answers>(&stream))?;
        let _ = answers.poll(&mut Context::from_waker(Waker::noop()));
        match answers {
            Answers::Pending(_) => Err(ErrorCode::WouldBlock.into()),
            Answers::Ready(Ok(addresses)) => Ok(addresses.next().map(IpAddress::from)),
            Answers::Ready(Err(error)) => Err((*error).into()),
        }
    }

    fn subscribe(
        &mut self,
        stream: Resource<ResolveAddressStream>,
    ) -> wasmtime::Result<Resource<DynPollable>> {
        subscribe(self.table, ours::<_, Answers>(&stream))
    }

    fn drop(&mut self, stream: Resource<ResolveAddressStream>) -> wasmtime::Result<()> {
        self.table.delete(Resource::<Answers>::new_own(stream.rep()))?;
        Ok(())
    }
}

#[async_trait::async_trait]
impl Pollable for Answers {
    async fn ready(&mut self) {
        std::future::poll_fn(|cx| self.poll(cx)).await;
    }
}
