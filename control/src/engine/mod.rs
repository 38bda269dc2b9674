//! What runs the controllers: informers, keyed queues, writes, events. The only I/O of controllers.
//!
//! A controller says which objects concern it ([`Controller::keys`]) and what is to be done about
//! one of them ([`Controller::plan`]); the engine does it, and does not plan a key again until its
//! informers have seen its own writes. Reads never leave the process: they are `Arc` views of the
//! shared caches.
//!
//! Where to read next: `plan` for what a controller answers, `run` for the loop, `informer` for the
//! indexes, `execute` for the writes.

mod config;
mod events;
mod execute;
mod head;
mod informer;
mod plan;
mod queue;
mod reader;
mod resources;
mod run;

pub use config::EngineConfig;
pub use events::{Recorder, RecorderHandle};
pub use head::Head;
pub use informer::Change;
pub use plan::{
    Action, Create, Delete, Failure, Key, Message, Note, NoteKind, Plan, Propagation, Update,
    about, merge_patch,
};
pub use reader::Reader;
#[cfg(test)]
pub(crate) use plan::show::plan as show_plan;
pub use resources::{Resource, Resources};
pub use run::{Context, Controller, EngineHandle, Needs, start};
