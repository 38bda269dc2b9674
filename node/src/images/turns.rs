//! Work on one image at a time, where many pods want it at once: each would hold its bytes while the first compiles it.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Mutex as Gate;

/// Who is at work, by image. Work on different images goes on side by side.
#[derive(Default)]
pub struct Turns {
    gates: Mutex<HashMap<String, Arc<Gate<()>>>>,
}

impl Turns {
    /// Does the work when nobody else is at work on the image.
    pub async fn take<T>(&self, image: &str, work: impl Future<Output = T>) -> T {
        let gate = self.gates.lock().entry(image.to_owned()).or_default().clone();
        let turn = gate.lock().await;
        let done = work.await;
        drop(turn);
        drop(gate);
        // Those that nobody holds or waits for, whoever left early included.
        self.gates.lock().retain(|_, gate| Arc::strong_count(gate) > 1);
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::future::{join, join_all};

    #[tokio::test]
    async fn one_image_is_worked_on_once_at_a_time() {
        let (turns, at_work) = (Turns::default(), AtomicUsize::new(0));
        let work = async || {
            assert_eq!(at_work.fetch_add(1, Ordering::SeqCst), 0);
            tokio::task::yield_now().await;
            at_work.fetch_sub(1, Ordering::SeqCst);
        };
        join_all((0..100).map(|_| turns.take("a", work()))).await;
        assert!(turns.gates.lock().is_empty());
    }

    #[tokio::test]
    async fn images_do_not_wait_for_each_other() {
        let turns = Turns::default();
        let (done, wait) = tokio::sync::oneshot::channel();
        let slow = turns.take("a", async { wait.await.is_ok() });
        let quick = turns.take("b", async { done.send(()).is_ok() });
        assert_eq!(join(slow, quick).await, (true, true));
        assert!(turns.gates.lock().is_empty());
    }
}
