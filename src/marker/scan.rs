//! One look at everything that can ask for a drain: the marker and the named requests. It follows
//! nothing, waits for nothing and reads nothing without bound; what the look means is decided in
//! `reconcile`.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fd::AsFd;
use rustix::fs::{CWD, Dir, Mode, OFlags, Stat};

use crate::holder::Slot;
use crate::home::{FileId, Home};
use crate::reconcile::{Listing, Next, Scan, Sighting};

use super::{read_at, sighting_of};

/// A named request longer than this says nothing, and drains.
pub const REQUEST_BYTES_MAX: u64 = 16 * 1024;

/// Of this many named requests, the others are not looked at.
pub const REQUESTS_MAX: usize = 4096;

/// How many names are gone through to find them.
const NAMES_MAX: usize = 4 * REQUESTS_MAX;

/// How often a scan that came to nothing is begun again: in a directory where others write, drafts too
/// move its times.
const SCANS_MAX: usize = 8;

const TOO_FAST: &str = "requests come and go faster than they can be listed";

/// A directory's times tell of every later change only if they were older than this when they were
/// read: within one tick of the clock that stamps them, a second change leaves no trace. Two seconds
/// is the coarsest such tick there is.
const SETTLED_SECONDS: i64 = 2;

/// What one look found.
#[derive(Debug)]
pub(crate) struct Look {
    pub(crate) shared: Sighting,
    pub(crate) named: Vec<(Slot, Sighting)>,
    pub(crate) listing: Listing,
    /// What a later look may compare with; `None` where only another listing can tell.
    pub(crate) stamp: Option<Stamp>,
}

impl Look {
    /// What could not be read, and what else is to be kept of it.
    pub(crate) fn complaints(&self) -> (Vec<(Slot, String)>, Listing, Option<Stamp>) {
        let named = self.named.iter().map(|(slot, sighting)| (slot, sighting));
        let all = std::iter::once((&Slot::Shared, &self.shared)).chain(named);
        let unreadable = all.filter_map(|(slot, sighting)| match sighting {
            Sighting::Unreadable(reason) => Some((slot.clone(), reason.clone())),
            Sighting::Absent | Sighting::Present(_) => None,
        });
        (unreadable.collect(), self.listing.clone(), self.stamp)
    }

    /// Place by place.
    pub(crate) fn into_sightings(self) -> impl Iterator<Item = (Slot, Sighting)> {
        std::iter::once((Slot::Shared, self.shared)).chain(self.named)
    }
}

/// Which directory it was that was listed, and as of when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    id: FileId,
    modified: (i64, i64),
    changed: (i64, i64),
    /// Whether the same times mean that nothing has come or gone.
    tells: bool,
    /// Whether they do so for good: see [`tells_of_every_change`].
    for_good: bool,
}

impl Stamp {
    /// As it is to be remembered at this second of the wall clock that stamps files.
    fn of(found: &Stat, second: i64, for_good: bool) -> Stamp {
        let [modified, changed] = times_of(found);
        let tells = modified.0.max(changed.0) + SETTLED_SECONDS < second;
        Stamp { id: FileId::from(found), modified, changed, tells, for_good }
    }

    /// Whether the directory is as it was.
    fn is_of(self, found: &Stat) -> bool {
        self.id == FileId::from(found) && [self.modified, self.changed] == times_of(found)
    }

    #[cfg(feature = "notify")]
    pub(crate) fn id(self) -> FileId {
        self.id
    }

    /// Whether it need never be doubted by one who knows of no request.
    pub(crate) fn tells_for_good(self) -> bool {
        self.for_good
    }

    /// The same, but no longer believed: the next look lists.
    pub(crate) fn doubted(self) -> Stamp {
        Stamp { tells: false, ..self }
    }
}

/// When it was last written, and last changed.
#[allow(
    clippy::unnecessary_cast,
    clippy::cast_possible_wrap,
    clippy::cast_lossless,
    reason = "their types differ by system"
)]
fn times_of(found: &Stat) -> [(i64, i64); 2] {
    [
        (found.st_mtime as i64, found.st_mtime_nsec as i64),
        (found.st_ctime as i64, found.st_ctime_nsec as i64),
    ]
}

/// Whether a directory's times tell of all that comes and goes in it: on the file systems that this
/// machine's own kernel keeps. One that is kept elsewhere, or by a program, may not bother.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn tells_of_every_change(directory: impl AsFd) -> bool {
    const EXT: u64 = 0xef53;
    const XFS: u64 = 0x5846_5342;
    const BTRFS: u64 = 0x9123_683e;
    const F2FS: u64 = 0xf2f5_2010;
    const TMPFS: u64 = 0x0102_1994;

    #[allow(
        clippy::unnecessary_cast,
        clippy::cast_sign_loss,
        reason = "its type differs by system"
    )]
    rustix::fs::fstatfs(directory).is_ok_and(|found| {
        [EXT, XFS, BTRFS, F2FS, TMPFS].contains(&(found.f_type as u64 & 0xffff_ffff))
    })
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn tells_of_every_change(_: impl AsFd) -> bool {
    false
}

/// Where to look.
#[derive(Clone, Debug)]
pub(crate) struct Eyes {
    home: PathBuf,
    marker: PathBuf,
    requests: PathBuf,
    lock: PathBuf,
    /// Which file the lock is that the looker holds.
    held: Option<FileId>,
}

impl Eyes {
    /// For a gateway that holds this lock: of any other home that has come to be at the same name it
    /// believes nothing but requests. An empty mount point takes no drain back.
    pub(crate) fn of_gateway(home: &Home, held: FileId) -> Eyes {
        Eyes { held: Some(held), ..Eyes::of_visitor(home) }
    }

    /// For anybody else.
    pub(crate) fn of_visitor(home: &Home) -> Eyes {
        Eyes {
            home: home.path().to_owned(),
            marker: home.marker_path(),
            requests: home.requests_path(),
            lock: home.lock_path(),
            held: None,
        }
    }

    /// Looks. `since` is the stamp of the look whose results the looker has, and `known` the named
    /// requests among them. Never fails. Costs two system calls where nothing is and nothing was.
    pub(crate) fn look(&self, since: Option<Stamp>, known: &[Slot]) -> Look {
        let shared = super::observe(&self.marker);
        // After the marker: had the home been replaced before, this would tell.
        let found = rustix::fs::lstat(&self.requests);
        let is_known = |found: &Stat| since.is_some_and(|since| since.id == FileId::from(found));
        if !found.as_ref().is_ok_and(is_known)
            && let Err(reason) = self.require_home()
        {
            let shared = match shared {
                Sighting::Absent => Sighting::Unreadable(reason.clone()),
                shared => shared,
            };
            let (mut named, ..) = self.list(&[]).unwrap_or_else(|error| blind(&error));
            named.retain(|(_, sighting)| matches!(sighting, Sighting::Present(_)));
            return Look { shared, named, listing: Listing::Partial(reason), stamp: None };
        }
        let (named, listing, stamp) = match found {
            Ok(found) if since.is_some_and(|since| since.tells && since.is_of(&found)) => {
                (Vec::new(), Listing::Unchanged, since)
            }
            Ok(_) => self.list(known).unwrap_or_else(|error| blind(&error)),
            // None can stand in a directory that is not there.
            Err(rustix::io::Errno::NOENT) => {
                let gone = known.iter().map(|slot| (slot.clone(), Sighting::Absent));
                (gone.collect(), Listing::Whole, None)
            }
            Err(error) => blind(&error.into()),
        };
        Look { shared, named, listing, stamp }
    }

    fn require_home(&self) -> Result<(), String> {
        match self.held {
            Some(held) if FileId::of(&self.lock) == Some(held) => Ok(()),
            Some(_) => Err("the home, or its lock file, has been replaced".to_owned()),
            None => match rustix::fs::stat(&self.home) {
                Ok(_) => Ok(()),
                Err(error) => Err(format!("the home cannot be seen: {error}")),
            },
        }
    }

    /// Looks at the named requests, in the order that a [`Scan`] says.
    fn list(&self, known: &[Slot]) -> io::Result<Listed> {
        let directory = open_directory(&self.requests)?;
        let found = rustix::fs::fstat(&directory)?;
        let for_good = tells_of_every_change(&directory);
        let mut scan = Scan::begin(known.to_vec());
        let mut scans = 1;
        let mut named = Vec::new();
        let mut times = Times([times_of(&found); 2]);
        loop {
            let names = Names::of(Dir::read_from(&directory)?, |_| true)?;
            match scan.listed(names.slots, times.moved(&directory)?) {
                Next::Sight(slots) => {
                    named.clear();
                    named.extend(slots.into_iter().map(|slot| {
                        let sighting = look_at(&directory, &slot);
                        (slot, sighting)
                    }));
                }
                Next::Whole if names.cut_short => {
                    let reason = format!(
                        "there are more than {REQUESTS_MAX} requests, or {NAMES_MAX} files; remove what is dead"
                    );
                    return Ok(partly(named, reason));
                }
                Next::Whole => {
                    let is_unreadable = |it: &(_, _)| matches!(it.1, Sighting::Unreadable(_));
                    let now = chrono::Utc::now().timestamp();
                    let stamp = (!named.iter().any(is_unreadable))
                        .then(|| Stamp::of(&found, now, for_good));
                    return Ok((named, Listing::Whole, stamp));
                }
                Next::Partial if scans < SCANS_MAX => {
                    scan = Scan::begin(known.to_vec());
                    scans += 1;
                }
                Next::Partial => return Ok(partly(named, TOO_FAST.to_owned())),
            }
        }
    }
}

/// What was found gone may have been replaced by what was never listed: so nothing goes.
fn partly(mut named: Vec<(Slot, Sighting)>, reason: String) -> Listed {
    named.retain(|(_, sighting)| *sighting != Sighting::Absent);
    (named, Listing::Partial(reason), None)
}

type Listed = (Vec<(Slot, Sighting)>, Listing, Option<Stamp>);

fn blind(error: &io::Error) -> Listed {
    let reason = format!("the requests cannot be listed: {error}");
    (Vec::new(), Listing::Partial(reason), None)
}

fn look_at(directory: impl AsFd, slot: &Slot) -> Sighting {
    match slot {
        Slot::Shared => Sighting::Absent,
        Slot::File(name) => {
            sighting_of(read_at(directory, Path::new(name), REQUEST_BYTES_MAX), REQUEST_BYTES_MAX)
        }
    }
}

/// Which of these requests there are: none of those that stood there throughout is missed.
pub(super) fn slots_in(requests: &Path, wanted: impl Fn(&Slot) -> bool) -> io::Result<Names> {
    let directory = match open_directory(requests) {
        Ok(directory) => directory,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(Names { slots: Vec::new(), cut_short: false });
        }
        Err(error) => return Err(error),
    };
    let mut times = Times([times_of(&rustix::fs::fstat(&directory)?); 2]);
    for _ in 0..SCANS_MAX {
        let mut scan = Scan::begin(Vec::new());
        loop {
            let names = Names::of(Dir::read_from(&directory)?, &wanted)?;
            match scan.listed(names.slots.clone(), times.moved(&directory)?) {
                // Of so many, some are enough.
                _ if names.cut_short => return Ok(names),
                Next::Whole => return Ok(names),
                Next::Sight(_) => {}
                Next::Partial => break,
            }
        }
    }
    Err(io::Error::other(TOO_FAST))
}

/// A directory's times before the listing before, and before the one to come.
struct Times([[(i64, i64); 2]; 2]);

impl Times {
    /// After a listing: whether anything has come or gone since before the one before it began.
    fn moved(&mut self, directory: impl AsFd) -> io::Result<bool> {
        let now = times_of(&rustix::fs::fstat(directory)?);
        let [before_last, before_this] = self.0;
        self.0 = [before_this, now];
        Ok(now != before_last)
    }
}

fn open_directory(path: &Path) -> io::Result<rustix::fd::OwnedFd> {
    let flags =
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    Ok(rustix::fs::openat(CWD, path, flags, Mode::empty())?)
}

/// The requests one listing found.
pub(super) struct Names {
    pub(super) slots: Vec<Slot>,
    /// There are more files than are gone through.
    pub(super) cut_short: bool,
}

impl Names {
    fn of(directory: Dir, wanted: impl Fn(&Slot) -> bool) -> io::Result<Names> {
        use std::os::unix::ffi::OsStrExt;

        let mut names = Names { slots: Vec::new(), cut_short: false };
        for (passed, entry) in directory.enumerate() {
            let entry = entry?;
            if passed >= NAMES_MAX {
                names.cut_short = true;
                break;
            }
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            let Some(slot) = Slot::of_file(name).filter(|slot| wanted(slot)) else { continue };
            if names.slots.len() == REQUESTS_MAX {
                names.cut_short = true;
                break;
            }
            names.slots.push(slot);
        }
        Ok(names)
    }
}

/// The second in which a file was last written.
pub(super) fn modified_second(found: &Stat) -> i64 {
    times_of(found)[0].0
}
