//! From what was seen to what the machine is told; it looks at nothing itself.
//!
//! Two looks may overlap: a slow one may begin before a drain and be reported after it. So each look
//! takes a [`Ticket`] when it begins, and the [`Ledger`] accepts its result only if no other was
//! accepted in between (F5). A look that could not see changes nothing (F4), except at the start of
//! an incarnation, where there is nothing to keep and closed is the answer that does no harm.
//!
//! # Invariants
//!
//! * **TG-S11 latest_observation_wins**: [`Ledger::accept`] refuses a ticket older than the last
//!   accepted one's acceptance.
//! * **TG-S10 fail_safe**: [`Verdict::Unreadable`] gives no event, and [`first_wanted`] of it is a
//!   drain.

use crate::epoch::{Epoch, Now};
use crate::machine::{Event, Terms};
use crate::request::{Request, Standing};

/// What one look at a request's place found.
#[derive(Clone, Debug, PartialEq)]
pub enum Sighting {
    /// There is nothing there.
    Absent,
    /// There is a request.
    Present(Request),
    /// It could not be told: the reason, for people.
    Unreadable(String),
}

/// What a sighting means to a gateway of one epoch at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Verdict {
    /// Nothing is asked.
    Absent,
    /// A drain is asked for, on these terms.
    Active(Terms),
    /// A drain is asked for, by a request that says nothing readable: presence means drain, and it has
    /// no terms of its own.
    Ruined,
    /// There is a request of another boot or container.
    StaleEpoch,
    /// There is a request whose lease has run out.
    Expired,
    /// It could not be told.
    Unreadable,
}

impl Verdict {
    /// The word the command line uses for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Verdict::Absent => "absent",
            Verdict::Active(_) | Verdict::Ruined => "active",
            Verdict::StaleEpoch => "stale_epoch",
            Verdict::Expired => "expired",
            Verdict::Unreadable => "unreadable",
        }
    }

    /// Whether a drain is asked for.
    #[must_use]
    pub const fn asks_for_drain(self) -> bool {
        matches!(self, Verdict::Active(_) | Verdict::Ruined)
    }

    /// What the machine is to be told, if anything. A request that is ruined where it lies keeps the
    /// terms `in_force`: bytes that say nothing do not break the promise of a seal (F9).
    #[must_use]
    // Property: TG-S10 fail_safe, TG-S13 stale_never_closes.
    pub const fn event(self, in_force: Terms) -> Option<Event> {
        match self {
            Verdict::Active(terms) => Some(Event::DrainWanted(terms)),
            Verdict::Ruined => Some(Event::DrainWanted(in_force)),
            Verdict::Absent | Verdict::StaleEpoch | Verdict::Expired => Some(Event::DrainUnwanted),
            Verdict::Unreadable => None,
        }
    }
}

/// Judges one sighting.
#[must_use]
pub fn judge(sighting: &Sighting, epoch: &Epoch, now: Now) -> Verdict {
    match sighting {
        Sighting::Absent => Verdict::Absent,
        Sighting::Unreadable(_) => Verdict::Unreadable,
        Sighting::Present(request) => match request.standing(epoch, now) {
            Standing::Live if request.is_contentless() => Verdict::Ruined,
            Standing::Live => Verdict::Active(request.terms()),
            Standing::StaleEpoch => Verdict::StaleEpoch,
            Standing::Expired => Verdict::Expired,
        },
    }
}

/// What the first look of an incarnation asks for: the argument of
/// [`Machine::start`](crate::machine::Machine::start). A look that could not see counts as closed.
#[must_use]
// Property: TG-S10 fail_safe.
pub const fn first_wanted(verdict: Verdict) -> Option<Terms> {
    match verdict {
        Verdict::Active(terms) => Some(terms),
        Verdict::Ruined | Verdict::Unreadable => {
            Some(Terms { hold_internal: false, suppress_notification: false })
        }
        Verdict::Absent | Verdict::StaleEpoch | Verdict::Expired => None,
    }
}

/// The right to report one look, taken before it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[must_use = "a look without a ticket cannot be reported"]
pub struct Ticket(u64);

/// Which looks have been accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ledger {
    accepted: u64,
}

/// A look was overtaken: another one that began or ended later has been accepted since it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[error("a newer observation has been applied since this one began; look again")]
pub struct Overtaken;

impl Ledger {
    /// A look is about to begin.
    pub const fn begin(self) -> Ticket {
        Ticket(self.accepted)
    }

    /// A look is over. Gives the ledger that has accepted it.
    ///
    /// # Errors
    ///
    /// [`Overtaken`] where another was accepted since this one began: drop it and look again.
    // Property: TG-S11 latest_observation_wins.
    pub const fn accept(self, ticket: Ticket) -> Result<Ledger, Overtaken> {
        if ticket.0 == self.accepted {
            Ok(Ledger { accepted: self.accepted.wrapping_add(1) })
        } else {
            Err(Overtaken)
        }
    }

    /// Renumbers a ledger and the tickets taken from it to the smallest numbers in the same order.
    /// Nothing [`Ledger::accept`] answers about them changes, and a model that looks for ever stays
    /// finite.
    pub fn renumber<'a>(&mut self, tickets: impl IntoIterator<Item = &'a mut Ticket>) {
        let tickets: Vec<&'a mut Ticket> = tickets.into_iter().collect();
        let mut numbers: Vec<u64> =
            tickets.iter().map(|ticket| ticket.0).chain([self.accepted]).collect();
        numbers.sort_unstable();
        numbers.dedup();
        let rank = |number: u64| numbers.iter().filter(|&&other| other < number).count() as u64;
        self.accepted = rank(self.accepted);
        for ticket in tickets {
            ticket.0 = rank(ticket.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_that_was_overtaken_is_refused() {
        let ledger = Ledger::default();
        let (slow, fast) = (ledger.begin(), ledger.begin());
        let ledger = ledger.accept(fast).expect("nothing came between");
        assert_eq!(ledger.accept(slow), Err(Overtaken));
        assert!(ledger.accept(ledger.begin()).is_ok());
    }

    #[test]
    fn what_cannot_be_seen_changes_nothing_and_starts_closed() {
        assert_eq!(Verdict::Unreadable.event(Terms::default()), None);
        assert_eq!(first_wanted(Verdict::Unreadable), Some(Terms::default()));
    }

    #[test]
    fn renumbering_changes_no_answer() {
        let mut ledger = Ledger { accepted: 70 };
        let mut tickets = [Ticket(3), Ticket(70), Ticket(50)];
        let before = tickets.map(|ticket| ledger.accept(ticket).is_ok());
        ledger.renumber(&mut tickets);
        assert_eq!(tickets, [Ticket(0), Ticket(2), Ticket(1)]);
        assert_eq!(tickets.map(|ticket| ledger.accept(ticket).is_ok()), before);
    }
}
