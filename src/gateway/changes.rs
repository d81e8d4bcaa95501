//! The changes of phase, for authors who tell their users. A short memory: a listener that fetches too late
//! misses the oldest, and is given their number.

use crate::gate::Wait;
use crate::machine::Phase;

use super::Gateway;
use super::change_log::Change;

/// The changes of one gateway's phase, in their order.
///
/// ```
/// use tidegate::{Gateway, machine::Phase};
/// let gateway = Gateway::in_memory().start()?;
/// let mut changes = gateway.changes();
/// gateway.begin_drain(&Default::default())?;
/// let change = changes.recv().expect("the gateway lives");
/// assert_eq!((change.from, change.to), (Phase::Running, Phase::ExternallyDraining));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Changes {
    gateway: Gateway,
    at: u64,
}

impl Changes {
    pub(super) fn from_now(gateway: Gateway) -> Changes {
        let at = gateway.handle.shared.state.lock().changes.end();
        Changes { gateway, at }
    }

    /// The next change; `None` once the gateway has stopped and all have been fetched.
    ///
    /// # Cancel safety
    ///
    /// A change is fetched only by the poll that returns it.
    pub async fn next(&mut self) -> Option<Change> {
        let (change, at) = self.coming().await?;
        self.at = at;
        Some(change)
    }

    /// Blocks this thread until the next change.
    pub fn recv(&mut self) -> Option<Change> {
        let (change, at) = self.coming().wait()?;
        self.at = at;
        Some(change)
    }

    fn coming(&self) -> Wait<Option<(Change, u64)>> {
        let (gateway, at) = (self.gateway.clone(), self.at);
        self.gateway.wait_until(move || {
            let state = gateway.handle.shared.state.lock();
            match state.changes.read(at) {
                None if state.engine.phase() == Phase::Stopped => Some(None),
                None => None,
                next => Some(next),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::Gateway;
    use crate::request::{DrainRequest, Holder};

    use super::super::change_log::KEPT;

    #[test]
    fn a_listener_is_given_the_number_of_changes_that_it_missed() {
        const DRAINS: usize = 200;
        let gateway = Gateway::in_memory().start().expect("starts");
        let mut changes = gateway.changes();
        for _ in 0..DRAINS {
            gateway.begin_drain(&DrainRequest::default()).expect("in memory");
            gateway.cancel_drain(&Holder::Shared).expect("in memory");
        }
        let first = changes.recv().expect("the gateway lives");
        assert_eq!(first.missed, (2 * DRAINS - KEPT) as u64);
        for _ in 1..KEPT {
            assert_eq!(changes.recv().expect("it is kept").missed, 0);
        }
        gateway.begin_drain(&DrainRequest::default()).expect("in memory");
        assert_eq!(changes.recv().expect("the next").missed, 0);
    }
}
