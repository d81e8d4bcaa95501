//! The gateway model's state: what there is of a process, a marker and the ghosts, and how it is packed.

use std::hash::{Hash, Hasher};
use std::time::Duration;

use tidegate::gate::word::{Arrival, InFlight, Origin, Word};
use tidegate::machine::{self, Effect, Event, Machine, Phase};
use tidegate::reconcile::{Ledger, Listing, Roll, Ticket};
use tidegate::status::{Condition, condition};

use super::marker::{Marker, Seen, is_live, sighting_of};
use crate::design::{Design, Guard};
use crate::packed::{Bits, InPool, Pool, Pooled};
use crate::shell::started;

/// The most watchers there can be.
pub(super) const WATCHERS_MAX: usize = 3;

/// Where a watcher is in its round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watcher {
    /// Between rounds.
    Resting,
    /// It has looked, and not applied it yet.
    Looked {
        /// Taken when it looked.
        ticket: Ticket,
        /// What it saw.
        seen: Seen,
        /// Ghost: whether that is still what lies there.
        current: bool,
        /// Ghost: whether another look was applied since it began.
        overtaken: bool,
    },
    /// Without the transition lock: the machine has stepped, the gate has not.
    Stepped {
        /// What the gate is yet to do.
        effect: Effect,
        /// Ghost: whether it is for the request that lies there now.
        current: bool,
    },
}

/// A living process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    pub(super) machine: Machine,
    pub(super) word: Word,
    pub(super) roll: Pooled<Roll<(), Marker>>,
    pub(super) ledger: Ledger,
    pub(super) watchers: [Watcher; WATCHERS_MAX],
    /// User turns that have checked the gate and not claimed yet: only without atomic admission.
    pub(super) checked: u8,
    /// Live user turns.
    pub(super) users: u8,
    /// Live children of user turns.
    pub(super) children: u8,
    /// Live internal turns.
    pub(super) internals: u8,
    /// Ghost: a shutdown has begun, and its closing of the gate has returned.
    pub(super) shut: bool,
    /// The phase and readiness last published since the shutdown began.
    pub(super) published: Option<(Phase, bool)>,
}

/// The whole state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    pub(super) marker: Marker,
    pub(super) process: Option<Process>,
    pub(super) begins_left: u8,
    pub(super) restarts_left: u8,
    /// Ghost: the request that lies there has been seen and closed for, and still lies there.
    pub(super) confirmed: bool,
    /// Ghost: a user turn has started while `confirmed`.
    pub(super) started_while_draining: bool,
    /// Ghost: something was admitted that the rule for closed gates does not let pass.
    pub(super) passed_unduly: bool,
    /// Ghost: bytes that say nothing, or a look that saw nothing, opened the gate.
    pub(super) opened_unduly: bool,
    /// Ghost: a look was applied that another had overtaken.
    pub(super) applied_overtaken: bool,
}

impl Process {
    /// From the first look to an open or closed gate.
    pub(super) fn start(design: Design, seen: Seen) -> Process {
        let seen = if design.has(Guard::ReconcileBeforeAdmit) {
            seen
        } else {
            Seen::Marker(Marker::Absent)
        };
        let first = [((), sighting_of(design, seen))];
        let roll = Roll::first(first, &Listing::Whole, Duration::ZERO, is_live(design));
        let (machine, word) = started(roll.wanted());
        let (ledger, []) = Ledger::default().renumbered([]);
        Process {
            machine,
            word,
            roll: roll.pooled(),
            ledger,
            watchers: [Watcher::Resting; WATCHERS_MAX],
            checked: 0,
            users: 0,
            children: 0,
            internals: 0,
            shut: false,
            published: None,
        }
    }

    pub(super) fn perform(&mut self, design: Design, effect: Effect) {
        let effect = match effect {
            // Without the sticky bit a shutdown is one more drain that holds everything.
            Effect::ShutGate if !design.has(Guard::StickyShutdown) => {
                Effect::CloseGate { hold_internal: true }
            }
            effect => effect,
        };
        self.word = self.word.perform(effect).unwrap_or(self.word);
    }

    /// Steps and performs at once: what the transition lock makes one step.
    pub(super) fn happened(&mut self, design: Design, event: Event) -> bool {
        let Ok(step) = machine::step(self.machine, event) else { return false };
        self.machine = step.next;
        self.perform(design, step.effect);
        if self.machine.phase().is_shut() && !self.shut {
            self.shut = true;
            self.published = None;
        }
        true
    }

    /// The keeper of the count: what is live, as against what is counted.
    pub(super) fn live(&self) -> InFlight {
        InFlight {
            user: u32::from(self.users) + u32::from(self.children),
            internal: u32::from(self.internals),
        }
    }
}

impl State {
    /// What the living process amounts to; for a component of an author's own.
    #[must_use]
    pub fn condition(&self) -> Option<Condition> {
        self.process.as_ref().map(|process| condition(process.machine, process.word))
    }

    /// Whether there is a process that has not come to its end.
    pub(super) fn lives(&self) -> bool {
        self.process.as_ref().is_some_and(|process| process.machine.phase() != Phase::Stopped)
    }

    /// The marker has changed: nothing seen of it is current any more, and it is unconfirmed.
    pub(super) fn marker_becomes(&mut self, marker: Marker) {
        self.marker = marker;
        self.confirmed = false;
        for watcher in self.process.iter_mut().flat_map(|process| &mut process.watchers) {
            if let Watcher::Looked { current, .. } | Watcher::Stepped { current, .. } = watcher {
                *current = false;
            }
        }
    }

    /// User turns that are counted and not live.
    pub(super) fn leaked(&self) -> Option<u8> {
        let process = self.process.as_ref()?;
        u8::try_from(process.word.in_flight().user.saturating_sub(process.live().user)).ok()
    }

    /// A turn at the gate.
    pub(super) fn admit(&mut self, arrival: Arrival) -> Option<()> {
        let process = self.process.as_mut()?;
        let before = process.word;
        process.word = before.admit(arrival).ok()?;
        let is_new_user = arrival == Arrival::New(Origin::User);
        self.started_while_draining |= is_new_user && self.confirmed;
        self.passed_unduly |= before.is_sealed()
            || (before.is_closed() && is_new_user)
            || process.machine.phase() == Phase::Stopped;
        Some(())
    }
}

impl Watcher {
    /// Eight bits that tell it from every other of the same process.
    pub(super) fn packed(self, ledger: Ledger) -> u8 {
        match self {
            Watcher::Resting => 0,
            Watcher::Looked { ticket, seen, current, overtaken } => {
                let seen = match seen {
                    Seen::Marker(marker) => marker as u8,
                    Seen::Error => 7,
                };
                let ticket = u8::from(ledger.accept(ticket).is_ok());
                0b100_0000 | seen << 3 | ticket << 2 | u8::from(current) << 1 | u8::from(overtaken)
            }
            Watcher::Stepped { effect, current } => {
                let effect = match effect {
                    Effect::CloseGate { hold_internal } => u8::from(hold_internal),
                    Effect::AmendDrain { hold_internal } => 2 | u8::from(hold_internal),
                    Effect::ReopenGate => 4,
                    Effect::ShutGate => 5,
                    Effect::SealGate => 6,
                };
                0b1000_0000 | effect << 1 | u8::from(current)
            }
        }
    }
}

impl Process {
    #[inline]
    fn pack(&self, bits: Bits) -> Bits {
        let published = self
            .published
            .map_or(0, |(phase, ready)| 0b1000 | (phase as u8) << 1 | u8::from(ready));
        let bits = bits
            .put_machine(self.machine)
            .put_word(self.word)
            .put(self.roll.number(), 8)
            .put(self.checked, 3)
            .put(self.users, 3)
            .put(self.children, 2)
            .put(self.internals, 2)
            .put(self.shut, 1)
            .put(published, 4);
        let [one, two, three] = self.watchers.map(|watcher| watcher.packed(self.ledger));
        bits.put(one, 8).put(two, 8).put(three, 8)
    }

    /// After whatever happened to tickets: the ledger and they, as they answer.
    pub(super) fn renumber(&mut self) {
        let tickets = self.watchers.map(|watcher| match watcher {
            Watcher::Looked { ticket, .. } => Some(ticket),
            Watcher::Resting | Watcher::Stepped { .. } => None,
        });
        let (ledger, tickets) = self.ledger.renumbered(tickets);
        self.ledger = ledger;
        for (watcher, renumbered) in self.watchers.iter_mut().zip(tickets) {
            if let (Watcher::Looked { ticket, .. }, Some(renumbered)) = (watcher, renumbered) {
                *ticket = renumbered;
            }
        }
    }
}

impl Hash for State {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        let bits = Bits::default()
            .put(self.marker as u8, 3)
            .put(self.begins_left, 3)
            .put(self.restarts_left, 2)
            .put(self.confirmed, 1)
            .put(self.started_while_draining, 1)
            .put(self.passed_unduly, 1)
            .put(self.opened_unduly, 1)
            .put(self.applied_overtaken, 1)
            .put(self.process.is_some(), 1);
        self.process.as_ref().map_or(bits, |process| process.pack(bits)).finish(hasher);
    }
}

impl InPool for Roll<(), Marker> {
    fn pool() -> &'static Pool<Roll<(), Marker>> {
        static POOL: Pool<Roll<(), Marker>> = Pool::new();
        &POOL
    }
}
