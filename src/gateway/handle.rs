//! What all clones of a gateway share. Its drop is the last drop.

use crate::sync::Arc;
use crate::watcher::Worker;

use super::shared::{LAST_STATUS_TIMEOUT, Shared};
#[cfg(feature = "systemd")]
use super::view::View;

#[derive(Debug)]
pub(super) struct Handle {
    pub(super) shared: Arc<Shared>,
    pub(super) timer: Worker,
    /// Absent when the author drives the gateway by hand.
    pub(super) watcher: Option<Worker>,
}

impl Handle {
    /// A view of the gateway that does not keep it alive.
    #[cfg(feature = "systemd")]
    pub(super) fn view(&self) -> View {
        let threads = std::iter::once(&self.timer).chain(&self.watcher);
        View::of(Arc::clone(&self.shared), threads.map(Worker::pulse).collect())
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.abandon();
        match &mut self.watcher {
            Some(watcher) => watcher.join(LAST_STATUS_TIMEOUT),
            None => self.shared.publish(),
        }
        self.timer.join(LAST_STATUS_TIMEOUT);
    }
}
