//! The handle that an author embeds. It owns the machine, the gate, the threads and the home's lock,
//! and carries events to the one and effects to the other. It decides nothing.
//!
//! # How it holds together
//!
//! One lock, the *transition lock*, spans an event's step, its effect on the gate and its change of the status. So
//! effects come in the order of the steps. Admission never takes it. No file is touched, no waker called and nothing
//! logged while it is held. One thread writes the status at a time. The engine decides which, and others wait for their
//! turn. A status is made from what the lock guards when its write begins, so a status never goes back.
//!
//! # Invariants
//!
//! * **TG-S1 shutdown_wins**, twice: the machine has no such edge, and each word of the gate refuses the order.
//! * **TG-S5 ack_means_closed**: [`Receipt::draining`] is read under the transition lock after the
//!   request's own observation was applied.
//! * **TG-S8 status_is_faithful**: one writer, whole snapshots, repeated until written.

mod announcements;
mod builder;
mod change_log;
mod changes;
mod control;
#[cfg(feature = "notify")]
mod file_events;
mod handle;
mod labels;
#[cfg(feature = "tokio")]
mod on_tokio;
mod outcome;
mod predecessor;
mod publish;
mod readings;
mod rounds;
mod shared;
mod store;
mod sweep_schedule;
mod sweeps;
#[cfg(feature = "systemd")]
mod view;

use std::time::Duration;

use crate::error::ControlError;
use crate::gate::word::InFlight;
use crate::gate::{Origin, Refused, Turn, Wait};
use crate::machine::{Phase, ShutdownCause};
use crate::request::{DrainRequest, Holder};
#[cfg(feature = "http")]
use crate::status::Condition;
use crate::status::{Status, is_ready};
use crate::sync::Arc;
use handle::Handle;

pub use crate::engine::{Ended, NotQuiesced};
pub use builder::Builder;
pub use change_log::Change;
pub use changes::Changes;
pub use labels::LabelledTurn;
pub use outcome::{Ending, Idle, Quiesced, Receipt};
#[cfg(feature = "systemd")]
pub(crate) use readings::StateSnapshot;
#[cfg(tidegate_checking)]
pub use shared::GatewayEvent;
#[cfg(feature = "systemd")]
pub(crate) use view::View;

/// A gateway that can be drained, released and shut down.
///
/// Cheap to clone; clones are the same gateway. Each pending [`Wait`] and each [`Changes`] is one too. When the last
/// one is dropped, the loop that drove it has ended. The gate is shut and sealed, and turns in flight are no longer
/// waited for. The last status is written, and the home's lock is released. That takes as long as the disk takes to
/// write a status, two seconds at most where there is a watcher. [`shut_down`](Gateway::shut_down) first to wait for
/// the turns.
///
/// # Compared with `TaskTracker`
///
/// [`tokio_util::task::TaskTracker`](https://docs.rs/tokio-util/latest/tokio_util/task/task_tracker/) with a
/// `CancellationToken` counts tasks, signals them and waits for them. It suffices where the process ends
/// afterwards, or where your own code alone decides what to start.
///
/// | | `TaskTracker` | `Gateway` |
/// |---|---|---|
/// | after `close` | still spawns; checking before is a second step | [`admit`](Gateway::admit) refuses, in one step |
/// | reopens | `reopen`, by hand | when the last request is gone, and never after a shutdown |
/// | who closes it | your code | also files, the command, HTTP; several holders at once |
/// | work that a task needs in order to end | as any other | [`Turn::child`] passes the closed gate |
/// | a turn costs, on any number of threads | two operations on a line that all share | two on a line of the thread's own |
/// | "nothing runs" | a reading | a reading ([`idle`](Gateway::idle)), or a promise ([`quiesced`](Gateway::quiesced)) |
/// | cancels tasks | with the token | never |
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use tidegate::{Ended, Gateway, Origin, machine::ShutdownCause};
///
/// let home = tempfile::tempdir()?;
/// let gateway = Gateway::builder(home.path()).kind("my-gateway").start()?;
/// let turn = gateway.admit(Origin::User)?;
/// drop(turn); // once the reply is delivered
/// let ended = gateway.shut_down(ShutdownCause::Operator, Duration::from_secs(30)).wait();
/// assert_eq!(ended, Ended::Clean);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Gateway {
    handle: Arc<Handle>,
}

impl Gateway {
    /// A gateway on this home directory, with one watcher looking at it every second.
    ///
    /// [R9](crate::guide::requirements#r9)
    pub fn builder(home: impl Into<std::path::PathBuf>) -> Builder {
        Builder::on_files(home.into())
    }

    /// A gateway without files: requests are made with [`begin_drain`](Gateway::begin_drain) only.
    pub fn in_memory() -> Builder {
        Builder::in_memory()
    }

    /// Lets a turn in and counts it, or refuses: one atomic step, no lock, no wait.
    ///
    /// ```
    /// use tidegate::{Gateway, Origin};
    /// let gateway = Gateway::in_memory().start()?;
    /// match gateway.admit(Origin::User) {
    ///     Ok(turn) => drop(turn), // do the work, deliver the reply, and only then drop the turn
    ///     Err(refused) => println!("503: {refused} ({})", refused.reason.as_str()),
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Refused`] while draining or shutting down, for a user's turn; for internal work only once
    /// the gate is sealed.
    ///
    /// [TG-S2](crate::guide::verification#tg-s2),
    /// [R10](crate::guide::requirements#r10)
    pub fn admit(&self, origin: Origin) -> Result<Turn, Refused> {
        self.handle.shared.gate.admit(origin)
    }

    /// As [`admit`](Gateway::admit), and the status lists the turn with this label in `active_work` while it lives.
    /// It shows people what a drain waits for. The first 256 characters of a label are kept. It takes a lock and
    /// allocates; plain `admit` does neither.
    ///
    /// ```
    /// use tidegate::{Gateway, Origin};
    /// let gateway = Gateway::in_memory().start()?;
    /// let turn = gateway.admit_labelled(Origin::User, "chat 4711")?;
    /// assert_eq!(gateway.status().active_work[0].label, "chat 4711");
    /// drop(turn);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Refused`], as `admit`.
    pub fn admit_labelled(
        &self,
        origin: Origin,
        label: impl Into<String>,
    ) -> Result<LabelledTurn, Refused> {
        let turn = self.admit(origin)?;
        let shared = &self.handle.shared;
        let now = shared.settings.clock.now().uptime;
        Ok(shared.registry.lock().label(turn, label.into(), now))
    }

    /// Waits at a closed gate instead of being refused: for work that can be parked.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tidegate::{Gateway, Origin, request::{DrainRequest, Holder}};
    /// let gateway = Gateway::in_memory().start()?;
    /// gateway.begin_drain(&DrainRequest::new("migration"))?;
    /// let mut parked = gateway.admit_when_open(Origin::User);
    /// assert!(parked.wait_timeout(Duration::from_millis(1)).is_none(), "the gate is closed");
    /// gateway.cancel_drain(&Holder::Shared)?;
    /// assert!(gateway.admit_when_open(Origin::User).wait().is_ok());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Refused`] only where the gate will not open again: the gateway is shutting down.
    pub fn admit_when_open(&self, origin: Origin) -> Wait<Result<Turn, Refused>> {
        let gateway = self.clone();
        self.wait_until(move || match gateway.admit(origin) {
            Err(refused) if !refused.phase.is_shut() => None,
            answer => Some(answer),
        })
    }

    /// Turns in flight, by origin. It is exact once a drain or shutdown has let the last user turn end. Before that,
    /// the stripes are read one after the other, and turns that come or go meanwhile may be counted or not.
    #[must_use]
    pub fn in_flight(&self) -> InFlight {
        self.handle.shared.gate.in_flight()
    }

    /// Whether a new user turn would be admitted: `false` from the first instant of a drain or shutdown, and `true`
    /// again once every stripe is open. It is one atomic load, so a load balancer may ask as often as it likes.
    ///
    /// [F12](crate::guide::requirements#f12)
    #[must_use]
    // Property: TG-S14 receipt_is_true.
    pub fn is_ready(&self) -> bool {
        is_ready(self.handle.shared.gate.word())
    }

    /// The phase.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.handle.shared.state.lock().engine.phase()
    }

    /// What the status file says, or is about to.
    #[must_use]
    pub fn status(&self) -> Status {
        self.handle.shared.status()
    }

    /// The changes of phase from now on.
    #[must_use]
    pub fn changes(&self) -> Changes {
        Changes::from_now(self.clone())
    }

    /// Waits until the gate is closed and nothing is in flight. Internal work may undo that the next
    /// instant: to act on it, ask for [`quiesced`](Gateway::quiesced).
    pub fn idle(&self) -> Wait<Idle> {
        let gateway = self.clone();
        self.wait_until(move || gateway.handle.shared.check_idle())
    }

    /// Waits until the drain in force has sealed the gate at an idle instant. Nothing at all is
    /// admitted from then until its holder releases it or [`Quiesced::until`] has passed.
    ///
    /// ```
    /// use tidegate::{Gateway, epoch::Now, request::DrainRequest};
    /// let gateway = Gateway::in_memory().start()?;
    /// gateway.begin_drain(&DrainRequest::new("backup").with_hold_internal(true))?;
    /// let quiesced = gateway.quiesced().wait()?;
    /// let now = Now::from_system_clock().uptime;
    /// assert!(quiesced.until().is_none_or(|until| now < until), "act before this instant");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`NotQuiesced`], at once or as soon as it is known, where this will not come.
    pub fn quiesced(&self) -> Wait<Result<Quiesced, NotQuiesced>> {
        let gateway = self.clone();
        self.wait_until(move || gateway.handle.shared.check_quiesced())
    }

    /// Begins the shutdown. On return the gate is closed to user turns for good. It is sealed
    /// when the last turn ends, or when `grace` is over, on a thread of the gateway's own.
    /// Supersedes a drain. A `grace` of zero is the immediate shutdown that "force" means.
    ///
    /// Asking again keeps the first cause and the earlier of the two deadlines. Dropping the
    /// [`Ending`] changes nothing; waiting for it also waits, two seconds at most, for the watcher to
    /// write the last status. Without a watcher that is the next
    /// [`reconcile_now`](Gateway::reconcile_now)'s to do, or the last drop's.
    ///
    /// [TG-S1](crate::guide::verification#tg-s1),
    /// [TG-L4](crate::guide::verification#tg-l4)
    pub fn shut_down(&self, cause: ShutdownCause, grace: Duration) -> Ending {
        self.handle.shared.shut_down(cause, grace);
        self.ended()
    }

    /// Asks for a drain: the same as writing the request's file and reconciling at once. On return the
    /// gate is closed for it, unless the receipt says otherwise.
    ///
    /// ```
    /// use tidegate::{Gateway, Origin, request::{DrainRequest, Holder}};
    /// let gateway = Gateway::in_memory().start()?;
    /// let receipt = gateway.begin_drain(&DrainRequest::new("migration"))?;
    /// assert!(receipt.draining);
    /// assert!(gateway.admit(Origin::User).is_err());
    /// assert!(gateway.cancel_drain(&Holder::Shared)?);
    /// assert!(gateway.admit(Origin::User).is_ok());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`ControlError::ShuttingDown`] once a shutdown has begun; the file's errors.
    pub fn begin_drain(&self, ask: &DrainRequest) -> Result<Receipt, ControlError> {
        self.handle.shared.begin_drain(ask)
    }

    /// Removes the holder's request and reconciles at once: the gate is open on return unless
    /// something else keeps it closed. Says whether there was a request.
    ///
    /// # Errors
    ///
    /// [`ControlError::NotRemoved`]: the drain stays on; so it does with [`ControlError::NotReleased`], where
    /// the request is gone, or its home is, and that cannot be seen.
    ///
    /// [R3](crate::guide::requirements#r3)
    pub fn cancel_drain(&self, holder: &Holder) -> Result<bool, ControlError> {
        self.handle.shared.cancel_drain(holder)
    }

    /// Removes this one request of the holder, reconciles at once, and returns whether it still existed
    /// there: see [`Home::cancel_request`](crate::home::Home::cancel_request).
    ///
    /// ```
    /// use tidegate::{Gateway, request::{DrainRequest, Holder}};
    /// let gateway = Gateway::in_memory().start()?;
    /// let receipt = gateway.begin_drain(&DrainRequest::new("migration"))?;
    /// let id = receipt.request.request_id().unwrap_or_default();
    /// assert!(gateway.cancel_request(&Holder::Shared, id)?);
    /// assert!(!gateway.cancel_request(&Holder::Shared, id)?, "it is gone already");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`cancel_drain`](Gateway::cancel_drain), and [`ControlError::Indeterminate`].
    pub fn cancel_request(&self, holder: &Holder, request_id: &str) -> Result<bool, ControlError> {
        self.handle.shared.cancel_request(holder, request_id)
    }

    /// Has the watcher look now instead of at its next tick: for a caller that has just changed a
    /// request's file. Returns at once; without a watcher it does nothing.
    pub fn wake_watcher(&self) {
        if let Some(watcher) = &self.handle.shared.threads.watcher {
            watcher.wake();
        }
    }

    /// Looks at the home, applies what it sees, fires what is due and publishes: one round of the
    /// watcher and the timer, on this thread. For gateways that are driven by hand
    /// ([`Builder::manual`]); harmless at any other time.
    pub fn reconcile_now(&self) {
        // The timer's round comes first as well, so that the published status includes it. The gateway's own
        // timer thread may do the same at this moment, and the file must not depend on which is first.
        self.handle.shared.timer_round();
        self.handle.shared.watch_round();
        self.handle.shared.timer_round();
    }

    /// Waits for the end of a shutdown, begun here or elsewhere.
    pub(crate) fn ended(&self) -> Ending {
        let gateway = self.clone();
        self.wait_until(move || gateway.handle.shared.check_ended())
    }

    /// What this holder asks: what a home would show, for a gateway that may have none.
    #[cfg(feature = "http")]
    pub(crate) fn observe_holder(&self, holder: &Holder) -> crate::control::Observation {
        self.handle.shared.observe_holder(holder)
    }

    /// Whether this gateway admitted the turn.
    #[cfg(feature = "http")]
    pub(crate) fn has_admitted(&self, turn: &Turn) -> bool {
        turn.is_of(&self.handle.shared.gate)
    }

    #[cfg(feature = "http")]
    pub(crate) fn signed_by(&self, principal: &str, holder: &Holder) -> usize {
        self.handle.shared.signed_by(principal, holder)
    }

    #[cfg(feature = "http")]
    pub(crate) fn find_request(&self, holder: &Holder, id: &str) -> crate::reconcile::Sighting {
        self.handle.shared.store.find_request(holder, id)
    }

    #[cfg(feature = "tokio")]
    pub(crate) fn downgrade(&self) -> WeakGateway {
        WeakGateway { handle: Arc::downgrade(&self.handle) }
    }

    /// What a status would say, as a mark for [`changed_since`](Gateway::changed_since).
    #[cfg(feature = "http")]
    pub(crate) fn seen(&self) -> ObservedChange {
        ObservedChange(self.handle.shared.seen())
    }

    /// Waits until a status would say something else.
    #[cfg(feature = "http")]
    pub(crate) fn changed_since(&self, seen: ObservedChange) -> Wait<()> {
        let gateway = self.clone();
        self.wait_until(move || (gateway.seen() != seen).then_some(()))
    }

    /// What is left of a shutdown's grace, also once the gateway has stopped; `None` where no shutdown was
    /// asked for.
    #[cfg(feature = "http")]
    pub(crate) fn grace_left(&self) -> Option<Duration> {
        self.handle.shared.grace_left()
    }

    /// What this gateway's clocks say.
    #[cfg(feature = "http")]
    pub(crate) fn now(&self) -> crate::epoch::Now {
        self.handle.shared.settings.clock.now()
    }

    /// A view of this gateway that does not keep it alive.
    #[cfg(feature = "systemd")]
    pub(crate) fn view(&self) -> View {
        self.handle.view()
    }

    pub(crate) fn wait_until<T>(
        &self,
        look: impl FnMut() -> Option<T> + Send + 'static,
    ) -> Wait<T> {
        Wait::new(Arc::clone(&self.handle.shared.waiters), look)
    }
}

/// How things were at some time.
#[cfg(feature = "http")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ObservedChange((Condition, u64));

/// A gateway that this does not keep alive.
#[cfg(feature = "tokio")]
#[derive(Clone, Debug)]
pub(crate) struct WeakGateway {
    handle: std::sync::Weak<Handle>,
}

#[cfg(feature = "tokio")]
impl WeakGateway {
    /// The gateway, where somebody else still has it.
    pub(crate) fn upgrade(&self) -> Option<Gateway> {
        self.handle.upgrade().map(|handle| Gateway { handle })
    }
}

// The README promises it.
const _: fn() = || {
    fn is_shared_between_threads<T: Send + Sync + 'static>() {}
    is_shared_between_threads::<Gateway>();
    is_shared_between_threads::<Turn>();
};
