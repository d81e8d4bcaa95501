//! Where a gateway's requests are: in its home, or in its memory. The same code does what is asked on either disk;
//! this carries it there, and decides nothing.

use std::fmt::Debug;

use crate::control::Observation;
use crate::disk::{Disk, RealDisk, VolatileDisk};
use crate::engine::ObserveMode;
use crate::epoch::Now;
use crate::error::ControlError;
use crate::holder::{Holder, Slot};
use crate::home::{Home, HomeCheck, HomeLock, Name, OpenHome};
use crate::judge::{Judge, Validity};
use crate::marker::{self, Observer, RawObservation, Reader, Stamp};
use crate::recipient::Recipient;
use crate::reconcile::Sighting;
use crate::request::Request;
use crate::sync::Mutex;

/// A home on one kind of disk, and the one who looks at it.
#[derive(Debug)]
pub(super) struct DiskStore<D: Disk<Dir: Debug>> {
    home: OpenHome<D>,
    observer: Observer,
    /// Guards the home's locks, which are checked with each look, and given back once. Taken alone.
    lock: Mutex<Option<HomeLock>>,
    not_exclusive_reason: Option<String>,
}

#[derive(Debug)]
pub(super) enum Store {
    Files(DiskStore<RealDisk>),
    Memory(DiskStore<VolatileDisk>),
}

/// Does the same on either.
macro_rules! on_either {
    ($store:expr, $kept:ident => $done:expr) => {
        match $store {
            Store::Files($kept) => $done,
            Store::Memory($kept) => $done,
        }
    };
}

impl Store {
    /// A home of which this gateway holds the lock.
    pub(super) fn files(home: OpenHome<RealDisk>, lock: HomeLock) -> Store {
        let not_exclusive_reason = lock.not_exclusive_reason().map(str::to_owned);
        let (observer, lock) = (Observer::default(), Mutex::new(Some(lock)));
        Store::Files(DiskStore { home, observer, lock, not_exclusive_reason })
    }

    pub(super) fn memory() -> Result<Store, ControlError> {
        let disk = VolatileDisk::with_requests(Name::Requests.as_os_str());
        let home = OpenHome::open(disk, &Home::at("memory"))?;
        let (observer, lock) = (Observer::default(), Mutex::new(None));
        Ok(Store::Memory(DiskStore { home, observer, lock, not_exclusive_reason: None }))
    }

    /// The home, where there is one with files.
    pub(super) fn home(&self) -> Option<&OpenHome<RealDisk>> {
        match self {
            Store::Files(kept) => Some(&kept.home),
            Store::Memory(_) => None,
        }
    }

    /// Lets nobody at it, as a disk that is stuck.
    #[cfg(all(test, feature = "tokio"))]
    pub(super) fn keep_busy(&self) -> crate::sync::MutexGuard<'_, crate::disk::VolatileFiles> {
        match self {
            Store::Memory(kept) => kept.home.disk().lock_all(),
            Store::Files(_) => unreachable!("only a disk in memory can be kept busy"),
        }
    }

    /// Looks at every request, for this judge.
    pub(super) fn look(
        &self,
        order: &ObserveMode<Stamp>,
        known: &[Slot],
        judge: Judge<'_>,
    ) -> RawObservation {
        let counts = |request: &Request| judge.validity(request) == Validity::Live;
        let (counts, first_seen) = (&counts, &|request| judge.first_seen(request));
        match self {
            Store::Files(DiskStore { home, observer, lock, .. }) => {
                let check = || lock.lock().as_mut().map(|lock| home.check_lock(lock));
                let home_check = &|| check().unwrap_or_default();
                observer.look(home, order, known, &Reader { counts, first_seen, home_check })
            }
            Store::Memory(DiskStore { home, observer, .. }) => {
                let home_check = &HomeCheck::default;
                observer.look(home, order, known, &Reader { counts, first_seen, home_check })
            }
        }
    }

    /// Gives the home's locks back.
    pub(super) fn give_back(&self) {
        on_either!(self, kept => *kept.lock.lock() = None);
    }

    /// Why a second gateway could start on this home if its lock file were removed; `None` where none can.
    pub(super) fn not_exclusive_reason(&self) -> Option<&str> {
        on_either!(self, kept => kept.not_exclusive_reason.as_deref())
    }

    /// Puts the request where it belongs.
    pub(super) fn begin(&self, holder: &Holder, request: &Request) -> Result<(), ControlError> {
        on_either!(self, kept => kept.home.begin(holder, request))
    }

    pub(super) fn cancel(&self, holder: &Holder) -> Result<bool, ControlError> {
        on_either!(self, kept => marker::cancel_all_of(&kept.home, holder))
    }

    /// Removes this one request, and says whether it was still there.
    pub(super) fn cancel_request(&self, holder: &Holder, id: &str) -> Result<bool, ControlError> {
        on_either!(self, kept => kept.home.cancel_request(holder, id))
    }

    /// Looks at this one request: see [`Home::find_request`].
    #[cfg_attr(not(feature = "http"), allow(dead_code))]
    pub(super) fn find_request(&self, holder: &Holder, id: &str) -> Sighting {
        on_either!(self, kept => kept.home.find_request(holder, id))
    }

    /// Looks at what this holder asks, and at nothing else.
    #[cfg_attr(not(feature = "http"), allow(dead_code))]
    pub(super) fn observe_holder(
        &self,
        holder: &Holder,
        recipient: Recipient,
        now: Now,
    ) -> Observation {
        let raw = on_either!(self, kept => marker::observe_own(&kept.home, holder));
        Observation::of(raw, recipient, now)
    }
}

/// Where a holder's request is.
pub(super) fn slot_of(holder: &Holder, request: &Request) -> Slot {
    match holder {
        Holder::Shared => Slot::Shared,
        Holder::Named(name) => Slot::of(name, request.request_id().unwrap_or_default()),
    }
}
