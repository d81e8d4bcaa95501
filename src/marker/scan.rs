//! One look at all files that can ask for a drain: the marker and the named requests. It follows no link, waits for no
//! FIFO, and bounds every read. It does not decide what the look means: `reconcile` does.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;

use crate::disk::{Clocks, Disk, FileId, Stat};
use crate::engine::{DirectoryStamp, ObserveMode};
use crate::faults::fault;
use crate::holder::{Holder, Slot};
use crate::home::{HomeCheck, Name, OpenHome};
use crate::reconcile::{Listing, Scan, ScanStep, Sighting};
use crate::request::Request;
use crate::sync::Mutex;

use super::{read_found, seen};

/// A named request longer than this is a request without content, which drains.
pub const REQUEST_BYTES_MAX: u64 = 16 * 1024;

/// The most live named requests with which a listing is complete. With more, the gateway reports that it does not know
/// all of them. Dead requests do not count.
pub const REQUESTS_MAX: usize = 4096;

/// The most named requests, live or dead, that one look reads.
const READ_MAX: usize = 16 * REQUESTS_MAX;
/// The most bytes of named requests that one look reads.
const READ_BYTES_MAX: u64 = REQUESTS_MAX as u64 * REQUEST_BYTES_MAX;

/// The most file names that one listing goes through to find requests.
const NAMES_MAX: usize = 4 * READ_MAX;

/// The number of scans before a look gives up. A scan starts again if the directory changed meanwhile, and drafts of
/// other writers change it too.
const SCANS_MAX: usize = 8;

const TOO_FAST: &str = "the requests change faster than they can be listed; try again, or stop the process that changes them";

/// A directory's times show every later change only if they were older than this when they were read. A second change
/// within one tick of the file system's clock leaves no trace. The longest tick of a file system is two seconds.
const SETTLED_SECONDS: i64 = 2;

/// What one look found.
#[derive(Debug)]
pub(crate) struct RawObservation {
    pub(crate) shared: Sighting,
    pub(crate) named: Vec<(Slot, Sighting)>,
    pub(crate) listing: Listing,
    /// The stamp for a later look to compare with; `None` if the later look must list again.
    pub(crate) stamp: Option<Stamp>,
    /// The state of the home's path and its locks.
    pub(crate) home_check: HomeCheck,
}

impl RawObservation {
    /// The observation of a home in which nothing can be seen, for this reason.
    pub(crate) fn unseen(reason: &str) -> RawObservation {
        RawObservation {
            shared: Sighting::Unreadable(reason.to_owned()),
            named: Vec::new(),
            listing: Listing::Partial(reason.to_owned()),
            stamp: None,
            home_check: HomeCheck::Own,
        }
    }

    /// The sightings slot by slot, the listing, the stamp for a later look, and the check of the home.
    pub(crate) fn into_parts(
        self,
    ) -> (impl Iterator<Item = (Slot, Sighting)>, Listing, Option<Stamp>, HomeCheck) {
        let sightings = std::iter::once((Slot::Shared, self.shared)).chain(self.named);
        (sightings, self.listing, self.stamp, self.home_check)
    }
}

/// The identity and the times of a directory when it was listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Stamp {
    id: FileId,
    modified: (i64, i64),
    changed: (i64, i64),
    /// Whether equal times prove that no entry was added or removed.
    is_conclusive: bool,
    /// The offset of the wall clock: see [`Clocks::ahead`].
    ahead: i64,
    /// Whether the times of this file system can prove that at all: on local file systems only.
    is_always_conclusive: bool,
}

impl Stamp {
    /// The stamp of a directory with this metadata, read at this time.
    #[must_use]
    pub fn of(found: &Stat, now: Clocks, is_always_conclusive: bool) -> Stamp {
        Stamp {
            id: found.id,
            modified: found.modified,
            changed: found.changed,
            is_conclusive: is_settled(found, now) || fault!(TimesAlwaysBelieved),
            ahead: now.ahead(),
            is_always_conclusive,
        }
    }

    #[cfg(feature = "notify")]
    pub(crate) fn id(self) -> FileId {
        self.id
    }
}

impl DirectoryStamp for Stamp {
    fn is_always_conclusive(&self) -> bool {
        self.is_always_conclusive
    }

    fn proves_unchanged(&self, now: &Stamp) -> bool {
        // If the clock was set back, a later change can get the same time as an earlier one.
        let was_set = is_set(self.ahead, now.ahead) && !fault!(SetClockBelieved);
        self.is_conclusive
            && !was_set
            && (self.id, self.modified, self.changed) == (now.id, now.modified, now.changed)
    }
}

/// Whether the wall clock was set between two readings of its offset.
const fn is_set(before: i64, now: i64) -> bool {
    before.abs_diff(now) > 1
}

/// Whether every later change will change the times.
fn is_settled(found: &Stat, now: Clocks) -> bool {
    found.modified.0.max(found.changed.0) + SETTLED_SECONDS < now.wall
}

/// A named request as it was last read.
#[derive(Debug)]
struct KnownRequest {
    found: Stat,
    /// The offset of the wall clock: see [`Clocks::ahead`].
    ahead: i64,
    request: Request,
}

/// The parts of a look that depend on the process that looks.
pub(crate) struct Reader<'a> {
    /// Whether a request counts towards [`REQUESTS_MAX`].
    pub(crate) counts: &'a dyn Fn(&Request) -> bool,
    /// See [`Judge::first_seen`](crate::judge::Judge::first_seen).
    pub(crate) first_seen: &'a dyn Fn(Request) -> Request,
    /// Checks the home's path and its locks.
    pub(crate) home_check: &'a dyn Fn() -> HomeCheck,
}

/// A request whose lease is on another clock.
#[derive(Debug)]
struct PinnedLease {
    as_read: Request,
    /// The request with the end of its lease as computed when it was first seen.
    as_kept: Request,
}

/// Observes a home repeatedly, and remembers what it read.
#[derive(Debug, Default)]
pub(crate) struct Observer {
    /// Guards the named requests as they were last read. Held for a whole listing; there is one at a time.
    known: Mutex<BTreeMap<OsString, KnownRequest>>,
    /// Guards the requests whose leases are on other clocks. No other lock is taken while it is held.
    kept: Mutex<BTreeMap<Slot, PinnedLease>>,
}

impl Observer {
    /// Looks at the home, as `order` says, for this reader. `known` are the named requests that the caller knows of.
    /// While the home is not the gateway's own, only existing requests are believed, so an empty mount point releases
    /// no drain. Never fails. Costs three system calls if there is no request and there was none.
    pub(crate) fn look<D: Disk>(
        &self,
        home: &OpenHome<D>,
        order: &ObserveMode<Stamp>,
        known: &[Slot],
        reader: &Reader<'_>,
    ) -> RawObservation {
        let mut raw = self.look_once(home, order, known, reader);
        self.keep_leases(&mut raw, reader);
        raw
    }

    /// Fixes the end of each lease at the time that was computed when the request was first seen.
    // Property: TG-L3 reopens.
    fn keep_leases(&self, raw: &mut RawObservation, reader: &Reader<'_>) {
        let mut kept = self.kept.lock();
        let shared = std::iter::once((&Slot::Shared, &mut raw.shared));
        for (slot, sighting) in shared.chain(raw.named.iter_mut().map(|(slot, it)| (&*slot, it))) {
            let request = match sighting {
                Sighting::Present(request) => request,
                Sighting::Absent => {
                    kept.remove(slot);
                    continue;
                }
                Sighting::Unreadable(_) => continue,
            };
            if let Some(known) = kept.get(slot)
                && known.as_read == *request
            {
                request.clone_from(&known.as_kept);
                continue;
            }
            let as_kept = (reader.first_seen)(request.clone());
            if as_kept == *request {
                kept.remove(slot);
            } else {
                let as_read = std::mem::replace(request, as_kept.clone());
                kept.insert(slot.clone(), PinnedLease { as_read, as_kept });
            }
        }
    }

    fn look_once<D: Disk>(
        &self,
        home: &OpenHome<D>,
        order: &ObserveMode<Stamp>,
        known: &[Slot],
        reader: &Reader<'_>,
    ) -> RawObservation {
        let shared = super::observe(home, &Slot::Shared);
        // Checked after the marker is read, so that a home that was replaced before that read is noticed.
        let found = home.stat_named(Name::Requests);
        let home_check = (reader.home_check)();
        let not_own = match &home_check {
            HomeCheck::Elsewhere(reason) if !fault!(ElsewhereBelieved) => {
                Some(Listing::Partial(reason.clone()))
            }
            HomeCheck::Taken(reason) if !fault!(TakenHomeIgnored) => {
                Some(Listing::Taken(reason.clone()))
            }
            _ => None,
        };
        if let Some(listing) = not_own {
            let shared = match (shared, &home_check) {
                (Sighting::Absent, HomeCheck::Elsewhere(reason) | HomeCheck::Taken(reason)) => {
                    Sighting::Unreadable(reason.clone())
                }
                (shared, _) => shared,
            };
            let (mut named, ..) =
                self.list(home, &[], reader.counts).unwrap_or_else(|error| blind(&error));
            named.retain(|(_, sighting)| matches!(sighting, Sighting::Present(_)));
            return RawObservation { shared, named, listing, stamp: None, home_check };
        }
        let (named, listing, stamp) = match found {
            Ok(found)
                if order.may_skip_listing(&Stamp::of(&found, home.disk().clocks(), false)) =>
            {
                (Vec::new(), Listing::Unchanged, order.since().copied())
            }
            Ok(_) => self.list(home, known, reader.counts).unwrap_or_else(|error| blind(&error)),
            // Without the directory there are no named requests.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let gone = known.iter().map(|slot| (slot.clone(), Sighting::Absent));
                (gone.collect(), Listing::Whole, None)
            }
            Err(error) => blind(&error),
        };
        RawObservation { shared, named, listing, stamp, home_check }
    }

    /// Looks at all named requests.
    fn list<D: Disk>(
        &self,
        home: &OpenHome<D>,
        known: &[Slot],
        is_live: &dyn Fn(&Request) -> bool,
    ) -> io::Result<ListedFile> {
        let directory = home.open_requests()?;
        let before = home.disk().stat_dir(&directory)?;
        let mut cache = self.known.lock();
        let now = home.disk().clocks();
        let mut look = |slot: &Slot| {
            let Slot::File(name) = slot else { return (Sighting::Absent, 0) };
            sight(home, &directory, name, now, &mut cache)
        };
        let (named, listing) = scan(home, &directory, known, &|_| true, &mut look)?;
        if listing == Listing::Whole {
            let is_there = |name: &OsString| {
                let found = named.binary_search_by(|(slot, _)| match slot {
                    Slot::Shared => Ordering::Less,
                    Slot::File(it) => it.cmp(name),
                });
                found.is_ok_and(|at| matches!(named[at].1, Sighting::Present(_)))
            };
            cache.retain(|name, _| is_there(name));
        }
        drop(cache);
        let counts = |it: &&(Slot, Sighting)| matches!(&it.1, Sighting::Present(it) if is_live(it));
        if named.iter().filter(counts).count() > REQUESTS_MAX {
            let reason = format!("there are more than {REQUESTS_MAX} live requests; cancel some");
            let (named, listing) = partly(named, reason);
            return Ok((named, listing, None));
        }
        let is_unreadable = |it: &(_, _)| matches!(it.1, Sighting::Unreadable(_));
        let stamp = (listing == Listing::Whole && !named.iter().any(is_unreadable)).then(|| {
            // The clocks are those from the beginning of the look: a slow look must not make the times seem older.
            Stamp::of(&before, now, home.disk().has_reliable_times(&directory))
        });
        Ok((named, listing, stamp))
    }
}

/// Looks at a named request, and returns its size too. A file that is unchanged since it was last read is not read
/// again.
fn sight<D: Disk>(
    home: &OpenHome<D>,
    directory: &D::Dir,
    name: &OsString,
    now: Clocks,
    known: &mut BTreeMap<OsString, KnownRequest>,
) -> (Sighting, u64) {
    let found = match home.stat_in(directory, name) {
        Ok(found) => found,
        Err(error) => return (seen(Err(error), REQUEST_BYTES_MAX), 0),
    };
    if let Some(known) = known.get(name)
        && known.found == found
        && !is_set(known.ahead, now.ahead())
    {
        return (Sighting::Present(known.request.clone()), found.size.min(REQUEST_BYTES_MAX));
    }
    let (read, found) = match read_found(home, directory, name, &found, REQUEST_BYTES_MAX) {
        Ok((bytes, found)) => (Ok(bytes), found),
        Err(error) => (Err(error), found),
    };
    let sighting = seen(read, REQUEST_BYTES_MAX);
    match &sighting {
        Sighting::Present(request) if is_settled(&found, now) => {
            let request = request.clone();
            known.insert(name.clone(), KnownRequest { found, ahead: now.ahead(), request });
        }
        _ => drop(known.remove(name)),
    }
    (sighting, found.size.min(REQUEST_BYTES_MAX))
}

/// Looks at the requests of this holder only.
pub(crate) fn observe_own<D: Disk>(home: &OpenHome<D>, holder: &Holder) -> RawObservation {
    let nothing = |listing| {
        let shared = Sighting::Absent;
        let (named, stamp, home_check) = (Vec::new(), None, HomeCheck::Own);
        RawObservation { shared, named, listing, stamp, home_check }
    };
    if *holder == Holder::Shared {
        let shared = super::observe(home, &Slot::Shared);
        return RawObservation { shared, ..nothing(Listing::Whole) };
    }
    let own = || {
        let directory = home.open_requests()?;
        let mut look = |slot: &Slot| {
            let name = super::name_of(slot);
            (super::look(home, &directory, name, REQUEST_BYTES_MAX), 0)
        };
        scan(home, &directory, &[], &|slot| slot.is_held_by(holder), &mut look)
    };
    match own() {
        Ok((named, listing)) => RawObservation { named, ..nothing(listing) },
        Err(error) if error.kind() == io::ErrorKind::NotFound => nothing(Listing::Whole),
        Err(error) => nothing(blind(&error).1),
    }
}

/// Looks at the wanted requests, in the steps that a [`Scan`] prescribes. Returns them in the order of their slots.
fn scan<D: Disk>(
    home: &OpenHome<D>,
    directory: &D::Dir,
    known: &[Slot],
    wanted: &dyn Fn(&Slot) -> bool,
    look: &mut dyn FnMut(&Slot) -> (Sighting, u64),
) -> io::Result<(Vec<(Slot, Sighting)>, Listing)> {
    let mut times = DirectoryTimes::of(home, directory)?;
    let mut named = Vec::new();
    for _ in 0..SCANS_MAX {
        let mut scan = Scan::begin(known.to_vec());
        loop {
            let names = ListedNames::of(home, directory, wanted, READ_MAX)?;
            match scan.listed(names.slots, times.moved(home, directory)?) {
                ScanStep::Sight(slots) => {
                    named.clear();
                    let mut bytes = 0;
                    for slot in slots {
                        let (sighting, size) = look(&slot);
                        bytes += size;
                        named.push((slot, sighting));
                        if bytes > READ_BYTES_MAX {
                            let reason = format!(
                                "the requests have more than {READ_BYTES_MAX} bytes in total; remove expired ones"
                            );
                            return Ok(partly(named, reason));
                        }
                    }
                }
                ScanStep::Whole if names.cut_short => {
                    let reason = format!(
                        "there are more than {READ_MAX} requests, or {NAMES_MAX} files; remove expired requests and other files"
                    );
                    return Ok(partly(named, reason));
                }
                ScanStep::Whole => return Ok((named, Listing::Whole)),
                ScanStep::Partial => break,
            }
        }
    }
    Ok(partly(named, TOO_FAST.to_owned()))
}

/// The result of a partial listing. It reports no request as absent: a request that was found gone may have been
/// renewed under a name that was not listed.
fn partly(mut named: Vec<(Slot, Sighting)>, reason: String) -> (Vec<(Slot, Sighting)>, Listing) {
    named.retain(|(_, sighting)| *sighting != Sighting::Absent);
    (named, Listing::Partial(reason))
}

type ListedFile = (Vec<(Slot, Sighting)>, Listing, Option<Stamp>);

fn blind(error: &io::Error) -> ListedFile {
    let reason = format!("the requests cannot be listed: {error}");
    (Vec::new(), Listing::Partial(reason), None)
}

/// The wanted requests that exist. A request that exists during the whole call is not missed.
pub(super) fn slots_in<D: Disk>(
    home: &OpenHome<D>,
    wanted: &dyn Fn(&Slot) -> bool,
) -> io::Result<ListedNames> {
    let directory = match home.open_requests() {
        Ok(directory) => directory,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(ListedNames { slots: Vec::new(), cut_short: false });
        }
        Err(error) => return Err(error),
    };
    let mut times = DirectoryTimes::of(home, &directory)?;
    for _ in 0..SCANS_MAX {
        let mut scan = Scan::begin(Vec::new());
        loop {
            let names = ListedNames::of(home, &directory, wanted, REQUESTS_MAX)?;
            match scan.listed(names.slots.clone(), times.moved(home, &directory)?) {
                // The caller accepts a part of a list that is too long.
                _ if names.cut_short => return Ok(names),
                ScanStep::Whole => return Ok(names),
                ScanStep::Sight(_) => {}
                ScanStep::Partial => break,
            }
        }
    }
    Err(io::Error::other(TOO_FAST))
}

/// The times of a directory before the last listing, and before the next one.
struct DirectoryTimes([[(i64, i64); 2]; 2]);

impl DirectoryTimes {
    fn of<D: Disk>(home: &OpenHome<D>, directory: &D::Dir) -> io::Result<DirectoryTimes> {
        Ok(DirectoryTimes([times_of(home, directory)?; 2]))
    }

    /// To be called after a listing. Returns whether an entry was added or removed since the previous listing began.
    fn moved<D: Disk>(&mut self, home: &OpenHome<D>, directory: &D::Dir) -> io::Result<bool> {
        let now = times_of(home, directory)?;
        let [before_last, before_this] = self.0;
        self.0 = [before_this, now];
        Ok(now != before_last)
    }
}

fn times_of<D: Disk>(home: &OpenHome<D>, directory: &D::Dir) -> io::Result<[(i64, i64); 2]> {
    let found = home.disk().stat_dir(directory)?;
    Ok([found.modified, found.changed])
}

/// The requests that one listing found.
pub(super) struct ListedNames {
    pub(super) slots: Vec<Slot>,
    /// Whether there are more requests or files than the limits allow.
    pub(super) cut_short: bool,
}

impl ListedNames {
    fn of<D: Disk>(
        home: &OpenHome<D>,
        directory: &D::Dir,
        wanted: &dyn Fn(&Slot) -> bool,
        slots_max: usize,
    ) -> io::Result<ListedNames> {
        let mut listing = home.disk().list(directory)?;
        let (mut slots, mut passed) = (Vec::new(), 0);
        loop {
            let batch = home.disk().next_names(&mut listing)?;
            if batch.is_empty() {
                return Ok(ListedNames { slots, cut_short: false });
            }
            passed += batch.len();
            slots.extend(batch.iter().filter_map(|name| Slot::of_file(name)).filter(wanted));
            if slots.len() > slots_max || passed > NAMES_MAX {
                slots.truncate(slots_max);
                return Ok(ListedNames { slots, cut_short: true });
            }
        }
    }
}

#[cfg(test)]
#[path = "scan_tests.rs"]
mod tests;
