//! Where a gateway's requests stand: in its home, or in its memory. It carries, and decides nothing.

use std::collections::BTreeMap;

use crate::disk::RealDisk;
use crate::error::ControlError;
use crate::holder::{Holder, Slot};
use crate::home::OpenHome;
use crate::marker::{self, Observer, RawObservation, Stamp};
use crate::reconcile::{Listing, Sighting};
use crate::request::Request;
use crate::sync::Mutex;

#[derive(Debug)]
pub(super) enum Place {
    Files {
        home: OpenHome<RealDisk>,
        observer: Observer,
    },
    /// Guards the requests of a gateway without files.
    Memory(Mutex<BTreeMap<Slot, Request>>),
}

impl Place {
    pub(super) fn memory() -> Place {
        Place::Memory(Mutex::new(BTreeMap::new()))
    }

    /// Lets nobody at it, as a disk that is stuck.
    #[cfg(all(test, feature = "tokio"))]
    pub(super) fn keep_busy(&self) -> crate::sync::MutexGuard<'_, BTreeMap<Slot, Request>> {
        match self {
            Place::Memory(slots) => slots.lock(),
            Place::Files { .. } => unreachable!("only a place in memory can be kept busy"),
        }
    }

    /// Looks at every request; `is_live` says whether one counts.
    pub(super) fn look(
        &self,
        since: Option<Stamp>,
        known: &[Slot],
        is_live: &dyn Fn(&Request) -> bool,
    ) -> RawObservation {
        match self {
            Place::Files { home, observer } => observer.look(home, since, known, is_live),
            Place::Memory(slots) => {
                let slots = slots.lock();
                let look_at =
                    |slot| slots.get(slot).cloned().map_or(Sighting::Absent, Sighting::Present);
                let named = slots.keys().chain(known).filter(|slot| **slot != Slot::Shared);
                RawObservation {
                    shared: look_at(&Slot::Shared),
                    named: named.map(|slot| (slot.clone(), look_at(slot))).collect(),
                    listing: Listing::Whole,
                    stamp: None,
                }
            }
        }
    }

    /// Puts the request where it belongs, and gives the place.
    pub(super) fn begin(&self, holder: &Holder, request: &Request) -> Result<(), ControlError> {
        match self {
            Place::Files { home, .. } => home.begin(holder, request),
            Place::Memory(slots) => {
                let mut slots = slots.lock();
                slots.retain(|slot, _| !slot.is_held_by(holder));
                slots.insert(slot_of(holder, request), request.clone());
                Ok(())
            }
        }
    }

    pub(super) fn cancel(&self, holder: &Holder) -> Result<bool, ControlError> {
        match self {
            Place::Files { home, .. } => marker::cancel_all_of(home, holder),
            Place::Memory(slots) => {
                let mut slots = slots.lock();
                let before = slots.len();
                slots.retain(|slot, _| !slot.is_held_by(holder));
                Ok(slots.len() < before)
            }
        }
    }
}

impl Place {
    /// Looks at this one request: see [`Home::look_at`](crate::home::Home::look_at).
    #[cfg(feature = "http")]
    pub(super) fn look_at(&self, holder: &Holder, id: &str) -> Sighting {
        match self {
            Place::Files { home, .. } => home.look_at(holder, id),
            Place::Memory(slots) => {
                let slots = slots.lock();
                let his = slots
                    .iter()
                    .find(|(slot, it)| slot.is_held_by(holder) && it.request_id() == Some(id));
                his.map_or(Sighting::Absent, |(_, it)| Sighting::Present(it.clone()))
            }
        }
    }

    /// Looks at what this holder asks, and at nothing else.
    #[cfg(feature = "http")]
    pub(super) fn look_at_own(&self, holder: &Holder) -> RawObservation {
        match self {
            Place::Files { home, .. } => marker::look_at_own(home, holder),
            Place::Memory(_) => self.look(None, &[], &|_| true),
        }
    }

    /// Takes this one request away, and says whether it still stood there.
    pub(super) fn cancel_request(&self, holder: &Holder, id: &str) -> Result<bool, ControlError> {
        match self {
            Place::Files { home, .. } => home.cancel_request(holder, id),
            Place::Memory(slots) => {
                let mut slots = slots.lock();
                let before = slots.len();
                slots.retain(|slot, it| !slot.is_held_by(holder) || it.request_id() != Some(id));
                Ok(slots.len() < before)
            }
        }
    }
}

/// Where a holder's request stands.
pub(super) fn slot_of(holder: &Holder, request: &Request) -> Slot {
    match holder {
        Holder::Shared => Slot::Shared,
        Holder::Named(name) => Slot::of(name, request.request_id().unwrap_or_default()),
    }
}
