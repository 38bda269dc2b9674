//! A network in user space: one switch, an interface a sandbox, in-memory streams and datagrams, and the guests' sockets.
//!
//! It opens a real socket only where [`Outside::route`] says [`Route::Host`]. Addresses and names mean
//! nothing here: policy, services and name look-up belong to the embedder's [`Outside`].
//! Read `switch.rs` next, then `guest/tcp.rs`.

mod datagram;
mod dial;
pub(crate) mod guest;
mod interface;
mod outside;
mod stream;
mod switch;

pub(crate) use dial::{Destination, Dialer, Reached};
pub(crate) use interface::{Interface, PortTaken, Reservation};
pub use outside::{Outside, Protocol, Route};
pub use stream::Stream;
pub(crate) use stream::Watched;
pub use switch::Switch;
