//! The operations of a control plane on a home: begin, renew and cancel a drain, and observe. They write and remove
//! requests. Only the gateway changes its state ([R11]).
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
    /// Asks for a drain, durably: when this returns, the request survives power loss. Returns the request that it
    /// wrote. It replaces earlier requests of the same holder and does not touch those of other holders. A gateway
    /// closes at its next look, or at its start.
    ///
    /// The request is for the running gateway, even if that runs in another container. If none runs, it is for one that
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
                // If the recipient cannot be seen, that is the error to report.
                return home.recipient().and(Err(ControlError::NoRun));
            };
            home.begin(holder, &request)?;
            let by_now = home.recipient_or_next();
            if fault!(RecipientNotChecked) || !by_now.has_replaced(&recipient, &request) {
                return Ok(request);
            }
            // For the gateway that runs now, the request has another epoch or another run.
            home.cancel_request(holder, request.request_id().unwrap_or_default())?;
        }
        Err(ControlError::Replaced { holder: holder.clone() })
    }

    /// The recipient of a request that is made now: the gateway that holds this home, or else the one that starts next.
    ///
    /// # Errors
    ///
    /// As [`Home::status`].
    ///
    /// [F20](crate::guide::requirements#f20)
    pub fn recipient(&self) -> Result<Recipient, ControlError> {
        self.open()?.recipient()
    }

    /// Renews the holder's request, with `lease` from now, or with the length of the old lease. There is no gap: the
    /// new request is durable before the old one is removed. The new one has a new
    /// [`request_id`](Request::request_id). Fields that this library does not know are kept.
    ///
    /// If the holder is the shared slot, a cancel between the read and the write is undone. A cancel of a named
    /// holder's request is not undone.
    ///
    /// # Errors
    ///
    /// [`ControlError::NoLiveRequest`] if there is no longer a live request, or if its lease ended before the new one
    /// was written. The drain is lost, and the gate may have been open since.
    /// [`ControlError::Indeterminate`] if it is unknown whether there is one. Otherwise as [`Home::begin_drain`].
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

    /// Removes the holder's request, durably, and returns whether there was one. Idempotent.
    ///
    /// # Errors
    ///
    /// [`ControlError::NotRemoved`]: the drain stays in force. Also [`ControlError::NoHome`],
    /// [`ControlError::NotDurable`] and [`ControlError::Unlisted`].
    ///
    /// [R3](crate::guide::requirements#r3),
    /// [U8](crate::guide::incidents#u8)
    pub fn cancel_drain(&self, holder: &Holder) -> Result<bool, ControlError> {
        marker::cancel_all_of(&*self.open()?, holder)
    }

    /// Removes one request by its id, and returns whether it was still there. Use it to abandon a drain that you have
    /// just begun, without touching a newer request of the same holder.
    ///
    /// In the shared slot, the id of the request is read before the removal. Another writer may replace the request in
    /// between; then that one is removed. A named holder's requests have one file each, so this cannot happen there.
    ///
    /// # Errors
    ///
    /// As [`Home::cancel_drain`], and [`ControlError::Indeterminate`] if the request in the shared slot cannot be read.
    pub fn cancel_request(&self, holder: &Holder, request_id: &str) -> Result<bool, ControlError> {
        self.open()?.cancel_request(holder, request_id)
    }

    /// Looks at this one request of the holder. The result is [`Sighting::Absent`] also if another request is in its
    /// place.
    #[must_use]
    pub fn find_request(&self, holder: &Holder, request_id: &str) -> Sighting {
        match self.open() {
            Ok(home) => home.find_request(holder, request_id),
            Err(error) => Sighting::Unreadable(error.to_string()),
        }
    }

    /// Looks at the request in this slot.
    #[must_use]
    pub fn find_in(&self, slot: &Slot) -> Sighting {
        match self.open() {
            Ok(home) => marker::observe(&home, slot),
            Err(error) => Sighting::Unreadable(error.to_string()),
        }
    }

    /// Removes the requests of all holders. It is for operators, if a holder is gone and cannot cancel. Returns the
    /// removed requests, and an error if one could not be removed. An error does not stop the removal of the others.
    /// Each removal is logged with `by`, the user or program that asked for it.
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
    /// The second half of the pair, as [`Home::cancel_drain`]. The first half lists the requests that were removed all
    /// the same.
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

    /// The status that the gateway wrote, and whether the gateway is alive. A missing or broken status file gives an
    /// empty reading, and idle is never inferred from that.
    ///
    /// # Errors
    ///
    /// [`ControlError::NoHome`]; [`ControlError::Unreadable`] if the lock or the status file cannot be read.
    ///
    /// [F10](crate::guide::requirements#f10)
    pub fn status(&self) -> Result<Reading, ControlError> {
        self.open()?.status()
    }

    /// Checks once how far a drain is: see [`PendingDrain::evaluate`]. Reads the status, the request and the clocks, in
    /// this order. Also returns the status, which shows what the drain still waits for.
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
    /// Renews the holder's current request. Returns `None` if that was gone before the new one was durable. Then it was
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
        // The old request ended before the new one was certainly durable, or its gateway was replaced.
        self.cancel_request(holder, renewed.request_id().unwrap_or_default())?;
        Err(ControlError::NoLiveRequest { holder: holder.clone() })
    }

    fn cancel_all(&self, by: &str) -> (Vec<Removed>, Result<(), ControlError>) {
        let mut removed = Vec::new();
        let mut result = self.remove(&[Slot::Shared], by, &mut removed);
        // There may be more requests than one listing returns, and holders may renew some meanwhile.
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

    /// Looks at all requests, for a caller that is not the gateway.
    fn look(&self, recipient: &Recipient, now: Now) -> RawObservation {
        let judge = recipient.judge(now);
        let counts = |request: &Request| judge.validity(request) == Validity::Live;
        // A single look has no earlier sightings.
        let (first_seen, home_check) = (|request| request, HomeCheck::default);
        let reader = Reader { counts: &counts, first_seen: &first_seen, home_check: &home_check };
        Observer::default().look(self, &ObserveMode::first(), &[], &reader)
    }

    /// Looks at the requests of this holder only. They are found by their names, even if there are too many requests
    /// of other holders to list.
    pub(crate) fn observe_holder(&self, holder: &Holder, recipient: Recipient) -> Observation {
        let raw = marker::observe_own(self, holder);
        Observation::of(raw, recipient, Now::from_system_clock())
    }

    /// The request in the form that a foreign gateway understands, if one runs here. A foreign gateway knows only the
    /// shared marker, no end with a run, and no lease except its own of one hour.
    fn adapted_to_foreign_gateway(&self, ask: &DrainRequest) -> Result<DrainRequest, ControlError> {
        // If a gateway of this library holds the lock, no foreign gateway is looked for.
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
            // The gateway's lock file was removed or emptied. Until its next look repairs that, its status names the
            // gateway.
            _ if owner.is_some() || self.held_by().is_some() => {
                let reading = self.status()?;
                let has_ended = owner.is_none() && reading.is_shutting_down();
                Ok(if has_ended { Recipient::next_local() } else { reading.stated_recipient() })
            }
            _ => Ok(Recipient::next_local()),
        }
    }

    /// The process that holds the directory's lock, if it can be seen.
    fn held_by(&self) -> Option<u32> {
        let home = self.stat().ok()?;
        self.disk().flocked_by(home.id).map(|it| it.pid)
    }

    /// The recipient, also for a process that may not read the lock: it can still ask for a drain in this boot and
    /// container.
    fn recipient_or_next(&self) -> Recipient {
        self.recipient().unwrap_or_else(|_| Recipient::unseen())
    }

    pub(crate) fn status(&self) -> Result<Reading, ControlError> {
        // The lock is read first. Then a status that is read later is from that gateway or a later one.
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
    /// The slot that it was in.
    pub slot: Slot,
    /// The request; `None` if it could not be read.
    pub request: Option<Request>,
}

/// The result of one look at a home, judged as the running gateway judges it. If none runs, it is judged as a gateway
/// that starts in this boot and container does.
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

    /// The gateway as which the requests are judged.
    #[must_use]
    pub const fn recipient(&self) -> &Recipient {
        &self.recipient
    }

    /// The combined verdict over all requests.
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

    /// The requests that could be read, live or not. The shared one is first.
    pub fn requests(&self) -> impl Iterator<Item = (&Slot, Verdict, &Request)> {
        self.sightings.iter().filter_map(|(slot, sighting)| match sighting {
            Sighting::Present(request) => {
                Some((slot, Verdict::of(sighting, &self.recipient.judge(self.now)), request))
            }
            Sighting::Absent | Sighting::Unreadable(_) => None,
        })
    }

    /// The error that says why this holder's requests are unknown, if they are.
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

    /// The first reason why something could not be read, if there is one.
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
