//! What callers ask of a gateway: to begin a drain, to cancel one, to shut down. Each call is answered with what
//! the engine says after a look that began later.

use std::time::Duration;

use crate::error::ControlError;
use crate::holder::{Holder, Slot};
use crate::id::fresh_id;
use crate::machine::{Phase, ShutdownCause};
use crate::request::{DrainRequest, Request};
use crate::status;

use super::outcome::Receipt;
use super::shared::{Shared, State};
use super::store::slot_of;

impl Shared {
    /// Has a look applied that begins after this, and the result on disk, before it returns.
    fn reconcile(&self) {
        self.observe();
        self.publish();
    }

    pub(super) fn begin_drain(&self, ask: &DrainRequest) -> Result<Receipt, ControlError> {
        let may_begin = self.state.lock().engine.may_begin();
        may_begin.map_err(|phase| ControlError::ShuttingDown { phase })?;
        let now = self.settings.clock.now();
        let stamped = self.recipient().stamp(ask, &fresh_id(), now);
        let request = stamped.ok_or(ControlError::NoRun)?;
        let begun = self.store.begin(ask.holder(), &request);
        // Also where it failed: a request that is in place but not durable closes the gate.
        self.reconcile();
        begun?;
        let slot = slot_of(ask.holder(), &request);
        let is_own = |it: &Request| it.request_id() == request.request_id();
        let receipt = self.state.lock().engine.receipt(&slot, is_own);
        let crate::engine::DrainReceipt { draining, phase, generation } = receipt;
        Ok(Receipt { request, draining, phase, generation })
    }

    pub(super) fn cancel_drain(&self, holder: &Holder) -> Result<bool, ControlError> {
        let is_meant = |slot: &Slot, _: Option<&Request>| slot.is_held_by(holder);
        self.cancel(holder, is_meant, || self.store.cancel(holder))
    }

    pub(super) fn cancel_request(&self, holder: &Holder, id: &str) -> Result<bool, ControlError> {
        let is_meant = |slot: &Slot, request: Option<&Request>| {
            slot.is_held_by(holder) && status::request_id_of(slot, request).as_deref() == Some(id)
        };
        self.cancel(holder, is_meant, || self.store.cancel_request(holder, id))
    }

    /// Removes requests, and looks whether what was live before can be seen to be gone.
    // Property: TG-S14 receipt_is_true.
    fn cancel(
        &self,
        holder: &Holder,
        is_meant: impl Fn(&Slot, Option<&Request>) -> bool,
        remove: impl FnOnce() -> Result<bool, ControlError>,
    ) -> Result<bool, ControlError> {
        let call = self.state.lock().engine.cancel_begins(is_meant);
        let cancelled = remove();
        // Also after a failure: some of several requests may be gone.
        self.reconcile();
        let cancelled = cancelled?;
        if self.state.lock().engine.is_unreleased(&call) {
            return Err(ControlError::NotReleased { holder: holder.clone() });
        }
        Ok(cancelled)
    }

    pub(super) fn shut_down(&self, cause: ShutdownCause, grace: Duration) {
        let mut state = self.state.lock();
        let deadline = self.settings.clock.now().uptime.saturating_add(grace);
        let reaction = state.engine.shutdown_asked(cause, deadline);
        self.carry_out(&mut state, reaction);
        // An empty gate, or a grace of zero, needs no waiting for.
        self.on_time(&mut state);
    }

    /// Ends a shutdown that has nothing left to wait for, or has waited long enough.
    // Property: TG-L4 stops.
    pub(super) fn on_time(&self, state: &mut State) {
        let (gate, now) = (self.gate.state(), self.settings.clock.now().uptime);
        let reaction = state.engine.on_time(gate, now);
        self.carry_out(state, reaction);
    }

    /// The last handle is gone, and with it the loop that drove the gateway: the threads end with their next round.
    pub(super) fn abandon(&self) {
        let mut state = self.state.lock();
        // A running gateway first shuts, and one that shuts then stops.
        while state.engine.phase() != Phase::Stopped {
            let reaction = state.engine.loop_ended();
            self.carry_out(&mut state, reaction);
        }
        state.engine.abandoned();
        self.threads.timer.wake();
        if let Some(watcher) = &self.threads.watcher {
            watcher.wake();
        }
    }
}
