//! The endpoint as a model. A control plane orders drains and cancels over a wire that may cut them short. In the home
//! a removal may fail, and a person may remove the request by hand. There is a shutdown, and a load balancer asks
//! whether the gateway is ready. The model owns the interleaving and the ghosts. Every *decision* is a call of a
//! shipped function.
//!
//! | step here | shipped code it represents |
//! |---|---|
//! | `DrainIsOrdered`, `CancelIsOrdered`, `WireCutsShort` | the body of an HTTP request, on its way |
//! | `OrderIsRead` | `ControlOrder::parse`, in `http::control` |
//! | `RequestIsWritten`, `GatewayReconciles` | `Gateway::begin_drain`: the file, and then the look: `Engine::may_begin`, `Engine::observed`, `Gate::perform` |
//! | `DrainIsAnswered` | `PendingDrain::evaluate` of one reading of the gateway |
//! | `RequestIsRemoved`, `GatewayReconciles` | `Shared::cancel`: `Engine::cancel_begins`, the removal, which may fail, and the look after it |
//! | `CancelIsAnswered` | `Engine::is_unreleased`, and `CancelOutcome::of` |
//! | `BalancerAsks` | `GET /readyz`: `status::is_ready` |
//!
//! It leaves out tokens and holders, waiting, and turns. It also leaves out bodies that the wire cuts to nothing:
//! HTTP's framing shows that. A body that was sent empty orders a drain.

use std::fmt;

use stateright::{Model, Property};
use tidegate::RawObject;
use tidegate::epoch::{Epoch, Now};
use tidegate::internals::control_order::{CancelOutcome, ControlOrder};
use tidegate::internals::gate::{Arrival, Origin};
use tidegate::internals::reconcile::Sighting;
use tidegate::internals::status::is_ready;
use tidegate::judge::Judge;
use tidegate::machine::{Phase, ShutdownCause};
use tidegate::pending::{Goal, PendingDrain};
use tidegate::request::{Holder, Request};
use tidegate::status::Reading;

use crate::design::{Design, Guard};
use crate::faults::Answers;
use crate::shell::{OneRequest, OneRequestInput, Shell, SimpleRequest};

/// The model: how much of everything, and which guards.
#[derive(Clone, Copy, Debug)]
pub struct EndpointModel {
    /// Which guards are on.
    pub design: Design,
    /// The number of orders that are sent.
    pub orders: u8,
    /// The most orders that the wire cuts short.
    pub cuts: u8,
    /// The most removals and observations that fail.
    pub failures: u8,
}

impl EndpointModel {
    /// Enough of everything for every finding of the ablations.
    #[must_use]
    pub const fn small(design: Design) -> EndpointModel {
        EndpointModel { design, orders: 2, cuts: 1, failures: 1 }
    }

    /// The configuration whose count is published.
    #[must_use]
    pub const fn full(design: Design) -> EndpointModel {
        EndpointModel { design, orders: 4, cuts: 2, failures: 2 }
    }
}

/// An order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ordered {
    /// A drain.
    Drain,
    /// A cancel of the drain.
    Cancel,
}

impl Ordered {
    const fn body(self) -> &'static [u8] {
        match self {
            Ordered::Drain => br#"{"action":"drain"}"#,
            Ordered::Cancel => br#"{"action":"cancel"}"#,
        }
    }
}

/// The stage of the order. There is at most one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OrderStage {
    /// There is no order.
    None,
    /// It is sent, whole or cut short.
    Sent {
        /// The order that the sender means.
        means: Ordered,
        /// Whether the wire has cut it short.
        cut: bool,
    },
    /// It is read as this order.
    Read(Ordered),
    /// The request is written.
    Written,
    /// The request is written, and the gateway has looked.
    Reconciled,
    /// The removal has ended.
    Removed {
        /// Whether something was removed, or that the removal failed.
        outcome: Result<bool, ()>,
        /// Whether the gateway believed in a live request before.
        live_before: bool,
        /// Whether the gateway has looked since then. The look may have failed.
        looked: bool,
    },
}

/// The whole state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State {
    shell: Shell<OneRequest>,
    /// The request exists in the home.
    request: bool,
    /// Another holder's request is in its place.
    others: bool,
    /// The published status says that the gateway is ready.
    published_ready: bool,
    stage: OrderStage,
    orders_left: u8,
    cuts_left: u8,
    failures_left: u8,
    /// An order was refused as unreadable.
    refused: bool,
    /// A failed removal was reported as failed.
    failure_told: bool,
    /// A drain was acknowledged.
    acknowledged: bool,
    /// A cancel was reported as failed, although the request was gone: the gateway could not see that.
    stayed_on: bool,
    /// The answer to the balancer was that the gateway is not ready.
    turned_away: bool,
    /// Ghost: an order was read as another order.
    mistaken: bool,
    /// Ghost: a cancel was reported as done, and the request existed.
    wrong_cancel_answer: bool,
    /// Ghost: a drain was acknowledged, and the gate was open, or the request was gone.
    premature: bool,
    /// Ghost: the answer to the balancer was "ready", and the gate would have refused a turn.
    misled: bool,
}

/// What can happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// The control plane orders a drain.
    DrainIsOrdered,
    /// It orders a cancel.
    CancelIsOrdered,
    /// The wire cuts the order short.
    WireCutsShort,
    /// The endpoint reads it.
    OrderIsRead,
    /// The request is written.
    RequestIsWritten,
    /// The gateway looks, by itself or on request.
    GatewayReconciles {
        /// Whether the look fails.
        fails: bool,
    },
    /// The endpoint answers the order to drain.
    DrainIsAnswered,
    /// The request is removed, or the removal fails.
    RequestIsRemoved {
        /// Whether it fails.
        fails: bool,
    },
    /// The endpoint answers the order to cancel.
    CancelIsAnswered,
    /// A person removes the request by hand.
    HandRemoves,
    /// Another holder replaces the request by its own.
    AnotherBegins,
    /// The status is published.
    StatusIsPublished,
    /// SIGTERM.
    SignalArrives,
    /// The load balancer asks whether it is ready.
    BalancerAsks,
}

/// Whether the shipped code acknowledges a drain: for each phase that a status says, whether the status names the
/// request, and whether the request exists.
static ACKNOWLEDGED: Answers<[[[bool; 2]; 2]; 4]> = Answers::new(|| {
    let request = Request::parse(br#"{"request_id":"r"}"#);
    let lock = RawObject::parse(br#"{"incarnation":"g"}"#);
    let (epoch, now) = (Epoch::default(), Now::from_system_clock());
    Phase::ALL.map(|phase| {
        [r"[]", r#"[{"request_id":"r"}]"#].map(|holders| {
            let text = format!(
                r#"{{"incarnation":"g","lifecycle":"{}","holders":{holders}}}"#,
                phase.as_str()
            );
            let reading = Reading::new(text.as_bytes(), lock.as_ref());
            [Sighting::Absent, Sighting::Present(request.clone())].map(|sighting| {
                let mut drain = PendingDrain::new(&Holder::Shared, &request);
                let looked =
                    drain.evaluate(Goal::Draining, &reading, &sighting, &Judge::new(&epoch, now));
                matches!(looked, Ok(Some(_)))
            })
        })
    })
});

/// The request of the control plane.
const ASK: SimpleRequest = SimpleRequest { hold: false, number: 0 };

impl State {
    fn is_shutting_down(&self) -> bool {
        self.shell.phase().is_shut()
    }

    /// The gateway believes that the request exists.
    fn believed(&self) -> bool {
        let request = self.shell.engine.table().entry(&()).and_then(|it| it.request());
        request == Some(&ASK)
    }

    /// The request in the home, if there is one.
    fn there(&self) -> Option<SimpleRequest> {
        let others = self.others.then_some(SimpleRequest { number: 1, ..ASK });
        if self.request { Some(ASK) } else { others }
    }

    fn refuses_turns(&self) -> bool {
        self.shell.gate.admit(Arrival::New(Origin::User)).is_err()
    }
}

impl EndpointModel {
    fn send(state: &mut State, means: Ordered) -> Option<()> {
        (state.stage == OrderStage::None).then_some(())?;
        state.orders_left = state.orders_left.checked_sub(1)?;
        state.stage = OrderStage::Sent { means, cut: false };
        Some(())
    }

    fn read(self, state: &mut State) -> Option<()> {
        let OrderStage::Sent { means, cut } = state.stage else { return None };
        let whole = means.body();
        let bytes = if cut { &whole[..whole.len() - 1] } else { whole };
        let order = match ControlOrder::parse(bytes) {
            // Without the guard, an unreadable order is read as an empty one.
            Err(_) if !self.design.has(Guard::ReadableOrder) => ControlOrder::parse(b"{}"),
            order => order,
        };
        let order = order.ok().map(|order| match order {
            ControlOrder::Drain(_) => Ordered::Drain,
            ControlOrder::Cancel { .. } => Ordered::Cancel,
        });
        state.refused |= order.is_none();
        state.mistaken |= order.is_some_and(|order| order != means);
        state.stage = order.map_or(OrderStage::None, OrderStage::Read);
        Some(())
    }

    fn answer_drain(self, state: &mut State) -> Option<()> {
        let acknowledged = if self.design.has(Guard::AckAfterClose) {
            (state.stage == OrderStage::Reconciled).then_some(())?;
            let phase = state.shell.phase() as usize;
            ACKNOWLEDGED.get()[phase][usize::from(state.believed())][usize::from(state.request)]
        } else {
            // Without the guard, an existing request counts as a closed gate.
            matches!(state.stage, OrderStage::Written | OrderStage::Reconciled).then_some(())?;
            state.request
        };
        state.acknowledged |= acknowledged;
        let is_in_force = state.refuses_turns() && state.request && state.believed();
        state.premature |= acknowledged && !is_in_force;
        state.stage = OrderStage::None;
        Some(())
    }

    fn answer_cancel(self, state: &mut State) -> Option<()> {
        let OrderStage::Removed { outcome, live_before, looked: true } = state.stage else {
            return None;
        };
        // As in `Shared::cancel`: the value from before the removal is compared with the engine after the look.
        let before = Shell::start(live_before.then_some(ASK)).engine.cancel_begins(|(), _| true);
        let outcome = if state.shell.engine.is_unreleased(&before) { Err(()) } else { outcome };
        let told = if self.design.has(Guard::RemovalTold) {
            CancelOutcome::of(&outcome)
        } else {
            CancelOutcome { ok: true, was_draining: outcome.unwrap_or(false) }
        };
        state.failure_told |= !told.ok;
        state.stayed_on |= !told.ok && !state.request;
        state.wrong_cancel_answer |=
            told.ok && (state.request || state.believed()) && !state.is_shutting_down();
        state.stage = OrderStage::None;
        Some(())
    }

    fn step(self, state: &mut State, action: Action) -> Option<()> {
        match action {
            Action::DrainIsOrdered => EndpointModel::send(state, Ordered::Drain)?,
            Action::CancelIsOrdered => EndpointModel::send(state, Ordered::Cancel)?,
            Action::WireCutsShort => {
                let OrderStage::Sent { means, cut: false } = state.stage else { return None };
                state.cuts_left = state.cuts_left.checked_sub(1)?;
                state.stage = OrderStage::Sent { means, cut: true };
            }
            Action::OrderIsRead => self.read(state)?,
            Action::RequestIsWritten => {
                (state.stage == OrderStage::Read(Ordered::Drain)).then_some(())?;
                // A gateway that shuts down takes no orders.
                let goes_down = state.shell.engine.may_begin().is_err();
                state.request |= !goes_down;
                state.others &= goes_down;
                state.stage = if goes_down { OrderStage::None } else { OrderStage::Written };
            }
            Action::GatewayReconciles { fails } => {
                let there = if fails {
                    state.failures_left = state.failures_left.checked_sub(1)?;
                    OneRequestInput::SeesNothing
                } else {
                    OneRequestInput::Sees(state.there())
                };
                let _ = state.shell.apply_input(there);
                if let OrderStage::Removed { looked, .. } = &mut state.stage {
                    *looked = true;
                }
                if state.stage == OrderStage::Written {
                    state.stage = OrderStage::Reconciled;
                }
            }
            Action::DrainIsAnswered => self.answer_drain(state)?,
            Action::RequestIsRemoved { fails } => {
                (state.stage == OrderStage::Read(Ordered::Cancel)).then_some(())?;
                let outcome = if fails {
                    state.request.then_some(())?;
                    state.failures_left = state.failures_left.checked_sub(1)?;
                    Err(())
                } else {
                    Ok(std::mem::take(&mut state.request))
                };
                let live_before = state.believed();
                state.stage = OrderStage::Removed { outcome, live_before, looked: false };
            }
            Action::CancelIsAnswered => self.answer_cancel(state)?,
            Action::HandRemoves => std::mem::take(&mut state.request).then_some(())?,
            Action::AnotherBegins => {
                (!state.others && state.orders_left > 0).then_some(())?;
                (state.request, state.others) = (false, true);
            }
            Action::StatusIsPublished => {
                state.published_ready = state.shell.condition().ready;
            }
            Action::SignalArrives => {
                state.shell.apply_input(OneRequestInput::ShutdownAsked(ShutdownCause::Sigterm))?;
            }
            Action::BalancerAsks => {
                let ready = if self.design.has(Guard::ReadyByGate) {
                    is_ready(state.shell.gate.center)
                } else {
                    state.published_ready
                };
                state.turned_away |= !ready;
                state.misled |= ready && state.refuses_turns();
            }
        }
        Some(())
    }
}

impl Model for EndpointModel {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            shell: Shell::start(None),
            request: false,
            others: false,
            published_ready: true,
            stage: OrderStage::None,
            orders_left: self.orders,
            cuts_left: self.cuts,
            failures_left: self.failures,
            refused: false,
            failure_told: false,
            acknowledged: false,
            stayed_on: false,
            turned_away: false,
            mistaken: false,
            wrong_cancel_answer: false,
            premature: false,
            misled: false,
        }]
    }

    fn actions(&self, _: &State, actions: &mut Vec<Action>) {
        use Action as A;
        actions.extend([
            A::DrainIsOrdered,
            A::CancelIsOrdered,
            A::WireCutsShort,
            A::OrderIsRead,
            A::RequestIsWritten,
            A::GatewayReconciles { fails: false },
            A::GatewayReconciles { fails: true },
            A::DrainIsAnswered,
            A::RequestIsRemoved { fails: false },
            A::RequestIsRemoved { fails: true },
            A::CancelIsAnswered,
            A::HandRemoves,
            A::AnotherBegins,
            A::StatusIsPublished,
            A::SignalArrives,
            A::BalancerAsks,
        ]);
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut state = *before;
        self.step(&mut state, action)?;
        (state != *before).then_some(state)
    }

    fn properties(&self) -> Vec<Property<EndpointModel>> {
        vec![
            // Property: TG-S14 receipt_is_true
            Property::always("order_is_understood_inv", |_, state: &State| !state.mistaken),
            Property::sometimes("order_is_understood_reach", |_, state: &State| state.refused),
            Property::always("cancel_is_told_inv", |_, state: &State| !state.wrong_cancel_answer),
            Property::sometimes("cancel_is_told_reach", |_, state: &State| {
                state.failure_told && state.stayed_on
            }),
            Property::always("ready_is_told_inv", |_, state: &State| !state.misled),
            Property::sometimes("ready_is_told_reach", |_, state: &State| {
                state.turned_away && state.published_ready
            }),
            // Property: TG-S5 ack_means_closed
            Property::always("drain_is_told_inv", |_, state: &State| !state.premature),
            Property::sometimes("drain_is_told_reach", |_, state: &State| state.acknowledged),
        ]
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Action::DrainIsOrdered => "the control plane orders a drain",
            Action::CancelIsOrdered => "the control plane orders a cancel",
            Action::WireCutsShort => "the wire cuts the order short",
            Action::OrderIsRead => "the endpoint reads the order",
            Action::RequestIsWritten => "the request is written",
            Action::GatewayReconciles { fails: false } => "the gateway observes the requests",
            Action::GatewayReconciles { fails: true } => "the gateway cannot see the requests",
            Action::DrainIsAnswered => "the endpoint answers the order to drain",
            Action::RequestIsRemoved { fails: false } => "the request is removed",
            Action::RequestIsRemoved { fails: true } => "the removal of the request fails",
            Action::CancelIsAnswered => "the endpoint answers the order to cancel",
            Action::HandRemoves => "a person removes the request by hand",
            Action::AnotherBegins => "another holder replaces the request by its own",
            Action::StatusIsPublished => "the status is published",
            Action::SignalArrives => "SIGTERM arrives",
            Action::BalancerAsks => "the load balancer asks whether the gateway is ready",
        })
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = |yes, word| if yes { word } else { "" };
        write!(
            f,
            "{}, gate {:?}, {}{}, order {:?}",
            self.shell.phase(),
            self.shell.gate,
            word(self.request, "request exists, "),
            if self.published_ready { "published as ready" } else { "published as not ready" },
            self.stage,
        )
    }
}
