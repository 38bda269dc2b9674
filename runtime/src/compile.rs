//! Where artifacts are compiled: beside the guests, never before them.
//!
//! Each compilation has threads of its own, as many as cores, at a lower priority than the guests': a slow one delays no
//! guest, and through the system's scheduler no other compilation either. A few run at a time; further ones wait for a
//! place, and whoever waited may leave.

use std::sync::Arc;

use tokio::sync::{Semaphore, oneshot};

/// Compilations at a time: each may need some hundred MiB.
const COMPILATIONS_MAX: usize = 4;
/// What is added to the niceness of the threads that compile.
const NICENESS: i32 = 10;

#[derive(Debug, Clone)]
pub(crate) struct Compiler {
    threads: usize,
    places: Arc<Semaphore>,
}

impl Compiler {
    pub(crate) fn new(threads: usize) -> Compiler {
        Compiler { threads, places: Arc::new(Semaphore::new(COMPILATIONS_MAX)) }
    }

    /// `None` where the work panicked, or no thread could be started. The work goes on where nobody waits any more.
    pub(crate) async fn run<T: Send + 'static>(
        self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let place = self.places.acquire_owned().await.ok()?;
        let (done, result) = oneshot::channel();
        let threads = self.threads;
        let compile = move || {
            let _place = place;
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .thread_name(|_| "compile".to_owned())
                .start_handler(|_| give_way())
                .build();
            match pool {
                // What wasmtime compiles in parallel stays in this pool.
                Ok(pool) => drop(done.send(pool.install(work))),
                Err(error) => tracing::warn!(%error, "cannot start threads that compile"),
            }
        };
        std::thread::Builder::new().name("compile".to_owned()).spawn(compile).ok()?;
        result.await.ok()
    }
}

fn give_way() {
    // On Linux, niceness is the calling thread's own.
    if let Err(error) = rustix::process::nice(NICENESS) {
        tracing::debug!(%error, "compiling at the guests' priority");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn a_compilation_that_takes_long_does_not_hold_up_another() {
        let compiler = Compiler::new(1);
        let (release, held) = std::sync::mpsc::channel::<()>();
        let slow = tokio::spawn(compiler.clone().run(move || held.recv().is_ok()));
        let quick = tokio::time::timeout(Duration::from_secs(60), compiler.run(|| 7)).await;
        assert_eq!(quick, Ok(Some(7)));
        release.send(()).unwrap();
        assert_eq!(slow.await.unwrap(), Some(true));
    }

    #[tokio::test]
    async fn whoever_waits_for_a_place_may_leave() {
        let compiler = Compiler::new(1);
        let (release, held) = std::sync::mpsc::channel::<()>();
        let held = Arc::new(std::sync::Mutex::new(held));
        let slow: Vec<_> = (0..COMPILATIONS_MAX)
            .map(|_| {
                let held = held.clone();
                tokio::spawn(compiler.clone().run(move || held.lock().unwrap().recv().is_ok()))
            })
            .collect();
        while compiler.places.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        let mut waiting = Box::pin(compiler.clone().run(|| ()));
        assert!(futures::poll!(&mut waiting).is_pending());
        drop(waiting);
        for _ in 0..COMPILATIONS_MAX {
            release.send(()).unwrap();
        }
        for slow in slow {
            assert_eq!(slow.await.unwrap(), Some(true));
        }
        assert_eq!(compiler.run(|| 7).await, Some(7));
    }

    #[tokio::test]
    async fn a_panic_in_the_work_is_none() {
        assert_eq!(Compiler::new(1).run(|| -> u8 { panic!("on purpose") }).await, None);
    }
}
