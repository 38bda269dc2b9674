//! What an event looks like on the wire, encoded once for all who watch in the same form.
//!
//! The forms are the API's: here a frame is bytes under a name that its maker gives it. Frames are
//! kept while their event is fresh, when its watchers take it side by side; whoever comes later
//! encodes for himself. It performs no I/O.

use std::ops::Deref;

use bytes::Bytes;
use parking_lot::Mutex;

use super::CacheEvent;

/// Names a form of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    /// The version's schema: a stored object may be served as several.
    pub schema: &'static str,
    /// What the event is to its watcher, such as `ADDED`: selections make it another.
    pub what: &'static str,
    /// The encoding, by a number of its maker's.
    pub encoding: u16,
}

/// An event with its frames; derefs to the event.
#[derive(Debug)]
pub struct Occurred {
    event: CacheEvent,
    frames: Mutex<Frames>,
}

#[derive(Debug)]
enum Frames {
    Fresh(Vec<(Form, Bytes)>),
    Past,
}

impl Occurred {
    pub fn new(event: CacheEvent) -> Self {
        Self { event, frames: Mutex::new(Frames::Fresh(Vec::new())) }
    }

    /// The frame of this form, made by `encode` where nobody has made it yet.
    pub fn frame(&self, form: Form, encode: impl FnOnce() -> Bytes) -> Bytes {
        let mut frames = self.frames.lock();
        // Encoded under the lock: whoever else wants this form waits for it.
        match &mut *frames {
            Frames::Fresh(known) => {
                if let Some((_, frame)) = known.iter().find(|(known, _)| *known == form) {
                    return frame.clone();
                }
                let frame = encode();
                known.push((form, frame.clone()));
                frame
            }
            Frames::Past => {
                drop(frames);
                encode()
            }
        }
    }

    /// Lets go of the frames, and keeps none from now on.
    pub(super) fn settle(&self) {
        *self.frames.lock() = Frames::Past;
    }
}

impl Deref for Occurred {
    type Target = CacheEvent;

    fn deref(&self) -> &CacheEvent {
        &self.event
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::store::Revision;

    #[test]
    fn a_frame_is_made_once_of_a_form_while_its_event_is_fresh() {
        let event = Occurred::new(CacheEvent::Progress { revision: Revision(1) });
        let made = Cell::new(0);
        let frame = |what, encoding| {
            let form = Form { schema: "s", what, encoding };
            event.frame(form, || {
                made.set(made.get() + 1);
                Bytes::from(format!("{what}{encoding}"))
            })
        };
        for _ in 0..3 {
            assert_eq!(frame("ADDED", 0), "ADDED0");
            assert_eq!(frame("DELETED", 0), "DELETED0");
            assert_eq!(frame("ADDED", 1), "ADDED1");
        }
        assert_eq!(made.get(), 3);
        event.settle();
        assert_eq!(frame("ADDED", 0), "ADDED0");
        assert_eq!(frame("ADDED", 0), "ADDED0");
        assert_eq!(made.get(), 5);
    }
}
