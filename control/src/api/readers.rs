//! Readers that do not read.
//!
//! A stream's bytes are made when its reader asks for them; what they are made of is held until then.
//! A reader that was given a piece and does not come back for the next is cut after a while, and so
//! is every answer at its deadline: whatever the stream held goes at once, whether or not anybody
//! ever reads the rest.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures::Stream;
use futures::stream::BoxStream;
use parking_lot::Mutex;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::ambient::Ambient;

const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Closes the connection that a request came by. Among the request's extensions.
#[derive(Clone, Debug)]
pub struct Hangup(pub CancellationToken);

/// All streams that are read from now.
pub struct Readers {
    /// How long a reader may leave a piece that it was given.
    patience: Duration,
    reading: Mutex<Vec<Weak<Mutex<Reading>>>>,
}

/// When a stream ends though it has not come to its end.
#[derive(Default)]
pub struct Bounds {
    pub deadline: Option<Instant>,
    /// What a reader that was cut finds if it reads on; where there is none, an error.
    pub farewell: Option<Bytes>,
    /// Called where a reader that was cut does not even come for that.
    pub hangup: Option<Hangup>,
}

type Piece = Result<Bytes, axum::Error>;

struct Reading {
    /// `None`: cut.
    source: Option<BoxStream<'static, Piece>>,
    /// When the piece was given out that the reader has not come back from.
    given: Option<Instant>,
    bounds: Bounds,
    farewell_said: bool,
}

impl Readers {
    pub fn start(ambient: &Ambient, patience: Duration) -> Arc<Self> {
        let readers = Arc::new(Self { patience, reading: Mutex::default() });
        ambient.spawn(watch_over(Arc::downgrade(&readers), LOOK_EVERY.min(patience / 2)));
        readers
    }

    /// A body of this stream within these bounds.
    pub fn body(&self, source: impl Stream<Item = Piece> + Send + 'static, bounds: Bounds) -> Body {
        let reading =
            Reading { source: Some(Box::pin(source)), given: None, bounds, farewell_said: false };
        let reading = Arc::new(Mutex::new(reading));
        self.reading.lock().push(Arc::downgrade(&reading));
        Body::from_stream(Reader(reading))
    }

    fn look(&self, now: Instant) {
        self.reading.lock().retain(|reading| match reading.upgrade() {
            Some(reading) => reading.lock().look(now, self.patience),
            None => false,
        });
    }
}

async fn watch_over(readers: Weak<Readers>, every: Duration) {
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let now = ticks.tick().await;
        let Some(readers) = readers.upgrade() else { return };
        readers.look(now);
    }
}

impl Reading {
    /// Cuts it where it is time. Whether it is to be looked at again.
    fn look(&mut self, now: Instant, patience: Duration) -> bool {
        let left = |given: Instant| now.duration_since(given) >= patience;
        let is_left = self.given.is_some_and(left);
        if self.source.is_some() {
            if is_left || self.bounds.deadline.is_some_and(|deadline| now >= deadline) {
                self.source = None;
                self.given = Some(now);
            }
            return true;
        }
        if is_left && let Some(hangup) = self.bounds.hangup.take() {
            hangup.0.cancel();
        }
        !is_left
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Piece>> {
        self.given = None;
        if let Some(source) = &mut self.source {
            let polled = source.as_mut().poll_next(cx);
            if let Poll::Ready(Some(_)) = &polled {
                self.given = Some(Instant::now());
            }
            return polled;
        }
        if std::mem::replace(&mut self.farewell_said, true) {
            return Poll::Ready(None);
        }
        Poll::Ready(Some(self.bounds.farewell.take().ok_or_else(|| {
            let why = "the reader was too slow";
            axum::Error::new(io::Error::new(io::ErrorKind::TimedOut, why))
        })))
    }
}

struct Reader(Arc<Mutex<Reading>>);

impl Stream for Reader {
    type Item = Piece;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.lock().poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt as _;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);
    const MOMENT: Duration = Duration::from_secs(1);

    /// A stream without an end, and a hold on what it holds.
    fn endless() -> (impl Stream<Item = Piece> + Send + 'static, Weak<()>) {
        let held = Arc::new(());
        let weak = Arc::downgrade(&held);
        let stream = futures::stream::repeat_with(move || {
            let _ = &held;
            Ok(Bytes::from_static(b"piece"))
        });
        (stream, weak)
    }

    /// Nobody but the test looks at these.
    fn readers() -> Readers {
        Readers { patience: PATIENCE, reading: Mutex::default() }
    }

    fn farewell() -> Bounds {
        Bounds { farewell: Some(Bytes::from_static(b"bye")), ..Bounds::default() }
    }

    #[tokio::test]
    async fn who_leaves_a_piece_is_cut_and_what_it_held_is_let_go() {
        let readers = readers();
        let (stream, held) = endless();
        let mut body = readers.body(stream, farewell()).into_data_stream();
        assert_eq!(body.next().await.expect("a piece").expect("fine"), "piece");
        let read = Instant::now();
        readers.look(read + PATIENCE - MOMENT);
        assert!(held.upgrade().is_some());
        readers.look(read + PATIENCE + MOMENT);
        assert!(held.upgrade().is_none());
        assert_eq!(body.next().await.expect("a piece").expect("fine"), "bye");
        assert!(body.next().await.is_none());
    }

    #[tokio::test]
    async fn who_waits_for_a_piece_waits_as_long_as_it_takes() {
        let readers = readers();
        let (late, pieces) = futures::channel::mpsc::unbounded();
        let mut body = readers.body(pieces, farewell()).into_data_stream();
        assert!(futures::poll!(body.next()).is_pending());
        readers.look(Instant::now() + PATIENCE * 10);
        late.unbounded_send(Ok(Bytes::from_static(b"late"))).expect("it is waited for");
        assert_eq!(body.next().await.expect("a piece").expect("fine"), "late");
        drop(late);
        assert!(body.next().await.is_none());
    }

    #[tokio::test]
    async fn an_answer_ends_in_an_error_at_its_deadline() {
        let readers = readers();
        let (stream, held) = endless();
        let deadline = Instant::now() + MOMENT * 5;
        let bounds = Bounds { deadline: Some(deadline), ..Bounds::default() };
        let mut body = readers.body(stream, bounds).into_data_stream();
        readers.look(deadline - MOMENT);
        assert!(body.next().await.expect("a piece").is_ok());
        readers.look(deadline);
        assert!(held.upgrade().is_none());
        assert!(body.next().await.expect("an error").is_err());
        assert!(body.next().await.is_none());
    }

    #[tokio::test]
    async fn the_connection_of_one_that_never_reads_is_closed() {
        let readers = readers();
        let (stream, _) = endless();
        let hangup = CancellationToken::new();
        let bounds = Bounds { hangup: Some(Hangup(hangup.clone())), ..farewell() };
        let mut body = readers.body(stream, bounds).into_data_stream();
        body.next().await.expect("a piece").expect("fine");
        let cut = Instant::now() + PATIENCE + MOMENT;
        readers.look(cut);
        readers.look(cut + PATIENCE - MOMENT);
        assert!(!hangup.is_cancelled());
        readers.look(cut + PATIENCE);
        assert!(hangup.is_cancelled());
    }

    #[tokio::test]
    async fn streams_that_have_ended_are_forgotten() {
        let readers = readers();
        let body = readers.body(futures::stream::empty(), farewell());
        readers.look(Instant::now());
        assert_eq!(readers.reading.lock().len(), 1);
        drop(body);
        readers.look(Instant::now());
        assert!(readers.reading.lock().is_empty());
    }
}
