//! What a control plane does on a home: ask for a drain, renew it, cancel it, and look. It writes and
//! removes requests; the gateway owns the transition ([R11]).
//!
//! [R11]: crate::guide::requirements#r11

use std::io;
use std::time::Duration;

use crate::disk::{Disk, RealDisk};
use crate::engine::ObserveMode;
use crate::epoch::Now;
use crate::error::ControlError;
use crate::faults::fault;
use crate::holder::{Holder, Slot};
use crate::home::{ForeignGateway, Home, HomeCheck, Name, OpenHome};
use crate::id::fresh_id;
use crate::judge::Validity;
use crate::marker::{self, Observer, RawObservation, Reader};
use crate::pending::{Goal, PendingDrain, Reached, WaitFailed};
use crate::reconcile::Listing;
use crate::request::{DEFAULT_LEASE, DrainRequest, Request};
use crate::status::{Reading, STATUS_BYTES_MAX};
use crate::text::printable;

pub use crate::control_order::CancelOutcome;
pub use crate::recipient::Recipient;
pub use crate::reconcile::{Sighting, Verdict};

impl Home {
    /// Asks for a drain, durably: when this returns, the request survives power loss. Returns what it wrote. What the
    /// same holder asked before is replaced; what others ask is not touched. A gateway closes at its next look, or at
    /// its start. The request is for the living gateway, wherever this runs. If there is none, it is for one that
    /// starts in this boot and container: see [`Recipient`].
    ///
    /// # Errors
    ///
    /// [`ControlError::NoHome`], [`ControlError::NotWritten`], [`ControlError::NotDurable`],
    /// [`ControlError::Unlisted`], [`ControlError::NoRun`], [`ControlError::Replaced`],
    /// [`ControlError::ForeignGateway`].
    ///
    /// [TG-S7](crate::guide::verification#tg-s7),
    /// [TG-S12](crate::guide::verification#tg-s12)
    pub fn begin_drain(&self, ask: &DrainRequest) -> Result<Request, ControlError> {
        let (home, holder) = (self.open()?, ask.holder());
        let ask = &home.adapted_to_foreign_gateway(ask)?;
        for _ in 0..2 {
            let recipient = home.recipient_or_next();
            let Some(request) = recipient.stamp(ask, &fresh_id(), Now::from_system_clock()) else {
                // Where it cannot be seen, that is why.
                return home.recipient().and(Err(ControlError::NoRun));
            };
            home.begin(holder, &request)?;
            let by_now = home.recipient_or_next();
            if fault!(RecipientNotChecked) || !by_now.has_replaced(&recipient, &request) {
                return Ok(request);
            }
            // To the gateway that lives now it is of another epoch, or of another run.
            home.cancel_request(holder, request.request_id().unwrap_or_default())?;
        }
        Err(ControlError::Replaced { holder: holder.clone() })
    }

    /// Whom a request is for now: the gateway that holds this home, or else the one that starts next.
    ///
    /// # Errors
    ///
    /// As [`Home::status`].
    ///
    /// [F20](crate::guide::requirements#f20)
    pub fn recipient(&self) -> Result<Recipient, ControlError> {
        self.open()?.recipient()
    }

    /// Asks again for what the holder asks already, for as long as `lease` from now, or as before. Its
    /// request is in force throughout: the new one is there before the old one goes. It has a new
    /// [`request_id`](Request::request_id); fields that this library does not know are kept.
    ///
    /// Where the holder is the shared slot, a cancel that comes between looking and writing is undone.
    /// A named holder's is not.
    ///
    /// # Errors
    ///
    /// [`ControlError::NoLiveRequest`] where there is no live request any more, or none that lasted until
    /// the new one was there. The drain is lost, and the gate may have been open since.
    /// [`ControlError::Indeterminate`] where that is not known. Otherwise as [`Home::begin_drain`].
    pub fn renew_drain(
        &self,
        holder: &Holder,
        lease: Option<Duration>,
    ) -> Result<Request, ControlError> {
        let home = self.open()?;
        for _ in 0..marker::OWN_ROUNDS_MAX {
            if let Some(renewed) = home.renew_once(holder, lease)? {
                return Ok(renewed);
            }
        }
        Err(ControlError::NoLiveRequest { holder: holder.clone() })
    }

    /// Removes the holder's request, durably, and says whether there was one. Idempotent.
    ///
    /// # Errors
    ///
    /// [`ControlError::NotRemoved`]: the drain stays on; [`ControlError::NoHome`],
    /// [`ControlError::NotDurable`], [`ControlError::Unlisted`].
    ///
    /// [R3](crate::guide::requirements#r3),
    /// [U8](crate::guide::incidents#u8)
    pub fn cancel_drain(&self, holder: &Holder) -> Result<bool, ControlError> {
        marker::cancel_all_of(&*self.open()?, holder)
    }

    /// Removes one request by its id, and says whether it was still there. Use it to abandon a drain you
    /// have just begun without touching a newer request of the same holder. Where the holder is the
    /// shared slot it is first read whose request is there, and another writer may come in between. A
    /// named holder's cannot be mistaken.
    ///
    /// # Errors
    ///
    /// As [`Home::cancel_drain`], and [`ControlError::Indeterminate`] where it is not known whose request is
    /// there.
    pub fn cancel_request(&self, holder: &Holder, request_id: &str) -> Result<bool, ControlError> {
        self.open()?.cancel_request(holder, request_id)
    }

    /// Looks at this one request of the holder: [`Sighting::Absent`] also where another one is in its
    /// place.
    #[must_use]
    pub fn find_request(&self, holder: &Holder, request_id: &str) -> Sighting {
        match self.open() {
            Ok(home) => home.find_request(holder, request_id),
            Err(error) => Sighting::Unreadable(error.to_string()),
        }
    }

    /// Looks at what is in this slot, whosever it is.
    #[must_use]
    pub fn find_in(&self, slot: &Slot) -> Sighting {
        match self.open() {
            Ok(home) => marker::observe(&home, slot),
            Err(error) => Sighting::Unreadable(error.to_string()),
        }
    }

    /// Removes everybody's request, also those of others: for people, when the one who asked is gone.
    /// Returns what it removed, each logged with `by`, who did this; and, as [`Home::cancel_drain`] does,
    /// why something stays, if anything does. What could be removed is removed all the same.
    ///
    /// ```
    /// use tidegate::{home::Home, request::{DrainRequest, Holder}};
    /// let dir = tempfile::tempdir()?;
    /// let home = Home::at(dir.path());
    /// home.begin_drain(&DrainRequest::new("ci").with_holder(Holder::named("ci")?))?;
    /// home.begin_drain(&DrainRequest::new("ops"))?;
    /// let (removed, result) = home.cancel_all("an operator");
    /// result?;
    /// assert_eq!(removed.len(), 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The second half of the pair, as [`Home::cancel_drain`]. The first half lists what was removed before it failed.
    pub fn cancel_all(&self, by: &str) -> (Vec<Removed>, Result<(), ControlError>) {
        match self.open() {
            Ok(home) => home.cancel_all(by),
            Err(error) => (Vec::new(), Err(error)),
        }
    }

    /// Observes every request. Never fails or blocks. If there is no home, the verdict is unknown.
    ///
    /// ```
    /// use tidegate::{control::Verdict, home::Home, request::DrainRequest};
    /// let dir = tempfile::tempdir()?;
    /// let home = Home::at(dir.path());
    /// assert_eq!(home.observe().verdict(), Verdict::Absent);
    /// home.begin_drain(&DrainRequest::new("update"))?;
    /// assert!(home.observe().verdict().asks_for_drain());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// [R5](crate::guide::requirements#r5)
    #[must_use]
    pub fn observe(&self) -> Observation {
        let now = Now::from_system_clock();
        match self.open() {
            Ok(home) => {
                let recipient = home.recipient_or_next();
                Observation::of(home.look(&recipient, now), recipient, now)
            }
            Err(error) => {
                let raw = RawObservation::unseen(&error.to_string());
                Observation::of(raw, Recipient::next_local(), now)
            }
        }
    }

    /// What the gateway says of itself, and whether it is alive to say so. A status file that is
    /// missing or broken is an empty reading, and idle is never inferred from it.
    ///
    /// # Errors
    ///
    /// [`ControlError::NoHome`]; [`ControlError::Unreadable`] where it is not known whether a gateway is
    /// alive.
    ///
    /// [F10](crate::guide::requirements#f10)
    pub fn status(&self) -> Result<Reading, ControlError> {
        self.open()?.status()
    }

    /// Looks once at what has become of a drain: see [`PendingDrain::evaluate`]. Reads the status, then the request, then the
    /// clocks, in this order. Returns the status too, which says what is still waited for.
    ///
    /// ```
    /// use tidegate::pending::{PendingDrain, Goal, WaitFailed};
    /// use tidegate::{home::Home, request::{DrainRequest, Holder}};
    /// # let dir = tempfile::tempdir()?;
    /// let home = Home::at(dir.path());
    /// let request = home.begin_drain(&DrainRequest::new("alice"))?;
    /// let mut drain = PendingDrain::new(&Holder::Shared, &request);
    /// let looked = home.check_drain(&mut drain, Goal::Draining);
    /// assert!(matches!(looked, Err(WaitFailed::Gone)), "no gateway is running here");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`PendingDrain::evaluate`]; [`WaitFailed::Control`], as [`Home::status`].
    pub fn check_drain(
        &self,
        drain: &mut PendingDrain<'_>,
        goal: Goal,
    ) -> Result<(Option<Reached>, Reading), WaitFailed> {
        let reading = self.status()?;
        let sighting = self.find_request(drain.holder(), drain.id());
        let recipient = reading.recipient();
        let reached = drain.evaluate(
            goal,
            &reading,
            &sighting,
            &recipient.judge(Now::from_system_clock()),
        )?;
        Ok((reached, reading))
    }
}

impl<D: Disk> OpenHome<D> {
    pub(crate) fn begin(&self, holder: &Holder, request: &Request) -> Result<(), ControlError> {
        let (slot, older) = match holder {
            Holder::Shared => (Slot::Shared, Vec::new()),
            Holder::Named(name) => (
                Slot::of(name, request.request_id().unwrap_or_default()),
                marker::slots_of(self, holder)?,
            ),
        };
        marker::begin(self, &slot, request, &older)
    }

    pub(crate) fn cancel_request(
        &self,
        holder: &Holder,
        request_id: &str,
    ) -> Result<bool, ControlError> {
        let slots = match holder {
            Holder::Named(name) => vec![Slot::of(name, request_id)],
            Holder::Shared => match self.find_request(holder, request_id) {
                Sighting::Present(_) => vec![Slot::Shared],
                Sighting::Absent => return Ok(false),
                Sighting::Unreadable(reason) => {
                    return Err(ControlError::Indeterminate { holder: holder.clone(), reason });
                }
            },
        };
        Ok(marker::cancel(self, &slots)? > 0)
    }

    pub(crate) fn find_request(&self, holder: &Holder, request_id: &str) -> Sighting {
        match holder {
            Holder::Named(name) => marker::observe(self, &Slot::of(name, request_id)),
            Holder::Shared => match marker::observe(self, &Slot::Shared) {
                Sighting::Present(other) if other.request_id() != Some(request_id) => {
                    Sighting::Absent
                }
                seen => seen,
            },
        }
    }
}

impl OpenHome<RealDisk> {
    /// Renews what the holder asks now; `None` where it was gone before the new request was there. It was
    /// cancelled, or another process of the holder renewed it.
    fn renew_once(
        &self,
        holder: &Holder,
        lease: Option<Duration>,
    ) -> Result<Option<Request>, ControlError> {
        let observation = self.observe_holder(holder, self.recipient_or_next());
        let mut live = observation.requests().filter(|it| it.1.asks_for_drain());
        let Some((slot, _, request)) = live.next() else {
            return Err(observation
                .unseen_of(holder)
                .unwrap_or_else(|| ControlError::NoLiveRequest { holder: holder.clone() }));
        };
        let again = DrainRequest::renewal_of(request, holder.clone());
        let again = match lease {
            Some(lease) => again.with_lease(lease),
            None => again,
        };
        let (again, recipient) =
            (self.adapted_to_foreign_gateway(&again)?, self.recipient_or_next());
        let stamped = recipient.stamp(&again, &fresh_id(), Now::from_system_clock());
        let renewed = stamped.ok_or(ControlError::NoRun)?;
        let was_there = match holder {
            Holder::Shared => {
                self.begin(holder, &renewed)?;
                true
            }
            Holder::Named(name) => {
                let others = observation.requests().map(|(other, ..)| other);
                let others = others.filter(|other| *other != slot);
                let old: Vec<Slot> = std::iter::once(slot).chain(others).cloned().collect();
                let new = Slot::of(name, renewed.request_id().unwrap_or_default());
                marker::renew(self, &new, &renewed, &old)?
            }
        };
        if !was_there {
            return Ok(None);
        }
        let by_now = self.recipient_or_next();
        let is_live =
            |it: &Request| by_now.judge(Now::from_system_clock()).validity(it) == Validity::Live;
        if is_live(request) && is_live(&renewed) {
            return Ok(Some(renewed));
        }
        // The old one ran out before the new one was there for certain, or its gateway was replaced.
        self.cancel_request(holder, renewed.request_id().unwrap_or_default())?;
        Err(ControlError::NoLiveRequest { holder: holder.clone() })
    }

    fn cancel_all(&self, by: &str) -> (Vec<Removed>, Result<(), ControlError>) {
        let mut removed = Vec::new();
        let mut result = self.remove(&[Slot::Shared], by, &mut removed);
        // There may be more than one listing takes in, and some may be renewed meanwhile.
        for _ in 0..marker::OWN_ROUNDS_MAX {
            let before = removed.len();
            let named = match marker::some_slots(self) {
                Ok(slots) if slots.is_empty() => break,
                Ok(slots) => self.remove(&slots, by, &mut removed),
                Err(error) => Err(error),
            };
            let stuck = named.is_err() && removed.len() == before;
            result = result.and(named);
            if stuck {
                break;
            }
        }
        (removed, result)
    }

    fn remove(
        &self,
        slots: &[Slot],
        by: &str,
        removed: &mut Vec<Removed>,
    ) -> Result<(), ControlError> {
        let mut failed = None;
        for slot in slots {
            let seen = marker::observe(self, slot);
            match marker::cancel(self, std::slice::from_ref(slot)) {
                Ok(0) => {}
                Ok(_) => {
                    let request = match seen {
                        Sighting::Present(request) => Some(request),
                        Sighting::Absent | Sighting::Unreadable(_) => None,
                    };
                    let principal = request.as_ref().and_then(Request::principal).map(printable);
                    let (by, principal) = (&*printable(by), principal.as_deref());
                    tracing::info!(by, %slot, principal, "drain request removed by force");
                    removed.push(Removed { slot: slot.clone(), request });
                }
                Err(error) => failed = Some(error),
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// Looks at everything, for a visitor.
    fn look(&self, recipient: &Recipient, now: Now) -> RawObservation {
        let judge = recipient.judge(now);
        let counts = |request: &Request| judge.validity(request) == Validity::Live;
        // What it sees it sees once.
        let (first_seen, home_check) = (|request| request, HomeCheck::default);
        let reader = Reader { counts: &counts, first_seen: &first_seen, home_check: &home_check };
        Observer::default().look(self, &ObserveMode::first(), &[], &reader)
    }

    /// Looks at what this holder asks, and at nothing else: however many others ask, its own are found by
    /// their names.
    pub(crate) fn observe_holder(&self, holder: &Holder, recipient: Recipient) -> Observation {
        let raw = marker::observe_own(self, holder);
        Observation::of(raw, recipient, Now::from_system_clock())
    }

    /// The request in the form that a foreign gateway understands, if one lives here. It knows the shared marker only,
    /// no end with a run, and no lease except its own, which ends after an hour.
    fn adapted_to_foreign_gateway(&self, ask: &DrainRequest) -> Result<DrainRequest, ControlError> {
        // Where one of ours lives, the other one is not asked.
        if fault!(NeighbourIgnored) || matches!(self.read_lock(), Ok(Some(_))) {
            return Ok(ask.clone());
        }
        let Some(ForeignGateway { pid }) = self.neighbour() else { return Ok(ask.clone()) };
        if *ask.holder() != Holder::Shared || ask.is_for_this_run() {
            return Err(ControlError::ForeignGateway { pid });
        }
        Ok(ask.clone().lease_at_most(DEFAULT_LEASE))
    }

    pub(crate) fn recipient(&self) -> Result<Recipient, ControlError> {
        let owner = self.read_lock()?;
        match &owner {
            Some(owner) if owner.read::<String>("incarnation").is_some() => {
                Ok(Recipient::stated(owner))
            }
            // Its lock file was removed or emptied: until its next look, its status says who holds the home.
            _ if owner.is_some() || self.held_by().is_some() => {
                let reading = self.status()?;
                let has_ended = owner.is_none() && reading.is_shutting_down();
                Ok(if has_ended { Recipient::next_local() } else { reading.stated_recipient() })
            }
            _ => Ok(Recipient::next_local()),
        }
    }

    /// The process that holds the directory's lock, as far as can be seen.
    fn held_by(&self) -> Option<u32> {
        let home = self.stat().ok()?;
        self.disk().flocked_by(home.id).map(|it| it.pid)
    }

    /// The same for those who may not read the lock: they may still ask for a drain in this boot and container.
    fn recipient_or_next(&self) -> Recipient {
        self.recipient().unwrap_or_else(|_| Recipient::unseen())
    }

    pub(crate) fn status(&self) -> Result<Reading, ControlError> {
        // The lock first: a status read after it was seen held is of that gateway or a later one.
        let lock = self.read_lock()?;
        let bytes = match marker::read(self, self.dir(), Name::Status.as_os_str(), STATUS_BYTES_MAX)
        {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(source) => {
                return Err(ControlError::Unreadable { path: self.names().status_path(), source });
            }
        };
        let reading = Reading::new(&bytes, lock.as_ref());
        if reading.is_locked() {
            return Ok(reading.with_starter());
        }
        if let Some(neighbour) = self.neighbour() {
            return Ok(Reading::of_foreign_gateway(&bytes, neighbour.pid));
        }
        // A gateway whose lock file was removed still holds the directory.
        Ok(reading.with_holder(self.held_by()))
    }
}

/// A request that was [removed by force](Home::cancel_all).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Removed {
    /// Where it was.
    pub slot: Slot,
    /// What it said; `None` where that could not be read.
    pub request: Option<Request>,
}

/// What one look at a home sees, judged as the living gateway there judges it. If there is none, it is judged as a
/// gateway that starts in this boot and container.
#[derive(Clone, Debug)]
pub struct Observation {
    sightings: Vec<(Slot, Sighting)>,
    listing: Listing,
    recipient: Recipient,
    now: Now,
}

impl Observation {
    pub(crate) fn of(raw: RawObservation, recipient: Recipient, now: Now) -> Observation {
        let (sightings, listing, ..) = raw.into_parts();
        Observation { sightings: sightings.collect(), listing, recipient, now }
    }

    /// Who judges.
    #[must_use]
    pub const fn recipient(&self) -> &Recipient {
        &self.recipient
    }

    /// What it all amounts to.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let listing = match self.listing {
            Listing::Partial(_) | Listing::Taken(_) => Verdict::Unreadable,
            Listing::Whole | Listing::Unchanged => Verdict::Absent,
        };
        self.sightings
            .iter()
            .map(|(_, sighting)| Verdict::of(sighting, &self.recipient.judge(self.now)))
            .fold(listing, Verdict::with)
    }

    /// The requests that could be read, live or not: the shared one first.
    pub fn requests(&self) -> impl Iterator<Item = (&Slot, Verdict, &Request)> {
        self.sightings.iter().filter_map(|(slot, sighting)| match sighting {
            Sighting::Present(request) => {
                Some((slot, Verdict::of(sighting, &self.recipient.judge(self.now)), request))
            }
            Sighting::Absent | Sighting::Unreadable(_) => None,
        })
    }

    /// Why it is not known what this holder asks, if it is not.
    pub(crate) fn unseen_of(&self, holder: &Holder) -> Option<ControlError> {
        let unreadable = self.sightings.iter().find_map(|(slot, sighting)| match sighting {
            Sighting::Unreadable(reason) if slot.is_held_by(holder) => Some(reason),
            _ => None,
        });
        let reason = unreadable.or(match (&self.listing, holder) {
            (Listing::Partial(reason) | Listing::Taken(reason), Holder::Named(_)) => Some(reason),
            _ => None,
        })?;
        Some(ControlError::Indeterminate { holder: holder.clone(), reason: reason.clone() })
    }

    /// Why something could not be read, if anything could not.
    #[must_use]
    pub fn complaint(&self) -> Option<String> {
        let unreadable = self.sightings.iter().find_map(|(slot, sighting)| match sighting {
            Sighting::Unreadable(reason) => Some(format!("{slot}: {reason}")),
            Sighting::Absent | Sighting::Present(_) => None,
        });
        unreadable.or_else(|| match &self.listing {
            Listing::Partial(reason) | Listing::Taken(reason) => Some(reason.clone()),
            Listing::Whole | Listing::Unchanged => None,
        })
    }
}
