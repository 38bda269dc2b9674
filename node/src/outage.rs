//! Whether the API server answers: said once when it no longer does, and once when it does again.
//!
//! Every call that finds out tells this module, so that an outage is one line in the log, not one for
//! each pod, lease and watch.

use jiff::Timestamp;
use parking_lot::Mutex;

use crate::ambient::Ambient;
use crate::pods::effects::chain;

pub struct Outage {
    ambient: Ambient,
    since: Mutex<Option<Timestamp>>,
}

impl Outage {
    pub fn new(ambient: Ambient) -> Self {
        Self { ambient, since: Mutex::default() }
    }

    /// Takes note of how a call went; false where nobody answered it.
    pub fn note<T>(&self, result: &Result<T, kube::Error>) -> bool {
        match result {
            Err(error) if is_silence(error) => {
                self.begins(error);
                false
            }
            Ok(_) | Err(_) => {
                self.ends();
                true
            }
        }
    }

    fn begins(&self, error: &kube::Error) {
        let mut since = self.since.lock();
        if since.is_none() {
            *since = Some(self.ambient.now());
            tracing::warn!(
                "the API server cannot be reached, its pods here go on and it is tried again: {}",
                chain(error)
            );
        }
    }

    fn ends(&self) {
        if let Some(since) = self.since.lock().take() {
            let seconds = self.ambient.now().duration_since(since).as_secs();
            tracing::warn!("the API server answers again, after {seconds} s");
        }
    }
}

/// Nobody answered: the connection failed, or broke.
fn is_silence(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Service(_) | kube::Error::HyperError(_))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_of_any_kind_ends_an_outage_and_silence_begins_one() {
        let outage = Outage::new(Ambient::default());
        let silence = || Err::<(), _>(kube::Error::Service("connection refused".into()));
        let status = kube::core::Status::failure("no", "NotFound").with_code(404);
        assert!(outage.note(&Ok(())));
        assert!(!outage.note(&silence()));
        let since = *outage.since.lock();
        assert!(since.is_some());
        assert!(!outage.note(&silence()));
        assert_eq!(*outage.since.lock(), since);
        assert!(outage.note(&Err::<(), _>(kube::Error::Api(status.boxed()))));
        assert_eq!(*outage.since.lock(), None);
    }
}
