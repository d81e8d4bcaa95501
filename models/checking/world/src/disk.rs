//! A disk: directories, files, locks and times, and which of them survive a power loss. Each call is a step. It may
//! take time, and it may fail with an error of a real disk, before it has any effect.
//!
//! After a power loss, each name leads to what it led to at the last sync of its directory, or at any time since.
//! If a file has changed since its last sync, it has its synced bytes, its newest bytes, or the first half of those.

use std::ffi::{OsStr, OsString};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use crate::entry::{EventKind, ProcessId};
use crate::kernel::{self, Kernel};

pub use crate::files::{DiskProperties, Faults, Kind, Stat};

/// The time that a file is stamped with now: seconds and nanoseconds, rounded down to the disk's `tick_ns`.
fn time(kernel: &Kernel) -> (i64, i64) {
    let micros = (kernel.now + kernel.slept).subsec_micros();
    let nanos = kernel.wall_ms() * 1_000_000 + i64::from(micros % 1000) * 1000;
    let tick = kernel.disk.properties.tick_ns.max(1);
    let stamped = nanos.div_euclid(tick) * tick;
    (stamped.div_euclid(1_000_000_000), stamped.rem_euclid(1_000_000_000))
}

/// Sets the properties of the disk.
pub fn set_properties(properties: DiskProperties) {
    kernel::with(|it| it.disk.properties = properties);
}

/// Sets which faults are injected.
pub fn set_faults(faults: Faults) {
    kernel::with(|it| it.disk.faults = faults);
}

/// Creates a directory at this path. A directory that was there before still exists, without this path.
pub fn make_home(path: &Path, mode: u32) {
    kernel::with(|it| {
        let at = time(it);
        let inode = it.disk.make(Kind::Directory, mode, at);
        it.disk.paths.insert(path.to_owned(), inode);
    });
}

/// Moves a directory to another path. The old path then leads nowhere.
pub fn move_home(from: &Path, to: &Path) {
    kernel::switch();
    kernel::with(|it| {
        if let Some(inode) = it.disk.paths.remove(from) {
            it.disk.paths.insert(to.to_owned(), inode);
        }
    });
}

/// The inode number of the directory at a path.
#[must_use]
pub fn number_of(path: &Path) -> Option<u64> {
    kernel::with(|it| it.disk.paths.get(path).copied())?
}

/// The bytes of the file with this name in the directory at a path.
#[must_use]
pub fn bytes_at(path: &Path, name: &str) -> Option<Rc<[u8]>> {
    kernel::with(|it| {
        let dir = it.disk.inodes.get(it.disk.paths.get(path)?)?;
        let file = it.disk.inodes.get(dir.names.get(OsStr::new(name))?)?;
        Some(Rc::clone(&file.bytes))
    })?
}

/// The error numbers that calls fail with.
const EIO: i32 = 5;
const EACCES: i32 = 13;
const EMFILE: i32 = 24;
const ENOSPC: i32 = 28;

const fn kind_of(error: i32) -> &'static str {
    match error {
        EACCES => "EACCES",
        EMFILE => "EMFILE",
        ENOSPC => "ENOSPC",
        _ => "EIO",
    }
}

/// Makes one call: a step that may take time, and may fail with one of `errors`.
fn call<T>(
    errors: &[i32],
    run: impl FnOnce(&mut Kernel, (i64, i64)) -> io::Result<T>,
) -> io::Result<T> {
    kernel::switch();
    let takes = kernel::with(|it| {
        let faults = it.exposed()?;
        let drawn = it.chooser.drawn(1000);
        if drawn < faults.slow {
            it.fault("slow call");
            let nanos = u64::try_from(faults.slow_for.as_nanos()).unwrap_or(u64::MAX);
            return Some(Duration::from_nanos(it.chooser.drawn(nanos.max(1))));
        }
        let is_brief = drawn < faults.slow + faults.brief;
        is_brief.then(|| Duration::from_micros(it.chooser.drawn(3000)))
    });
    if let Some(takes) = takes.flatten() {
        let until = kernel::with(|it| it.now + takes);
        kernel::wait(None, until);
    }
    let panics = kernel::with(|it| {
        let is_dead = it.is_dead(it.current());
        let panicking = it.exposed().map_or(0, |faults| faults.panicking);
        let panics = panicking > 0 && !is_dead && it.chooser.drawn(10_000) < panicking;
        if panics {
            it.fault("panic");
        }
        panics
    });
    // No panic is injected while another thread unwinds.
    if panics == Some(true) && !std::thread::panicking() {
        kernel::panic();
    }
    kernel::with(|it| {
        if it.is_dead(it.current()) {
            return Err(io::Error::from_raw_os_error(EIO));
        }
        if !errors.is_empty()
            && let Some(faults) = it.exposed()
            && it.chooser.drawn(1000) < faults.failing
        {
            let error = errors[it.chooser.below(errors.len())];
            it.fault(kind_of(error));
            return Err(io::Error::from_raw_os_error(error));
        }
        let at = time(it);
        run(it, at)
    })
    .unwrap_or_else(|| Err(io::Error::other("no world is running")))
}

/// An open directory.
#[derive(Debug)]
pub struct Dir(u64);

/// An open file.
#[derive(Debug)]
pub struct File(u64);

impl Drop for Dir {
    fn drop(&mut self) {
        kernel::with(|it| it.disk.close(self.0));
    }
}

impl Drop for File {
    fn drop(&mut self) {
        kernel::with(|it| it.disk.close(self.0));
    }
}

/// A listing in progress: its position, in the order of the disk.
#[derive(Debug)]
pub struct Listing {
    dir: u64,
    after: Option<u64>,
}

/// The position of a name in a listing: a hash, so that no reader can rely on the order.
fn place(name: &OsStr) -> u64 {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    hasher.finish()
}

/// Opens the directory at a path.
///
/// # Errors
///
/// Those of the system's call.
pub fn open_home(path: &Path) -> io::Result<Dir> {
    call(&[EMFILE, EACCES, EIO], |it, _| {
        let inode = *it.disk.paths.get(path).ok_or(io::ErrorKind::NotFound)?;
        let process = it.process_id();
        Ok(Dir(it.disk.open(inode, process)))
    })
}

/// The [`Stat`] of what a path leads to.
///
/// # Errors
///
/// Those of the system's call.
pub fn stat_path(path: &Path) -> io::Result<Stat> {
    call(&[EACCES, EIO], |it, _| {
        let inode = it.disk.paths.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(it.disk.inodes.get(inode).ok_or(io::ErrorKind::NotFound)?.stat)
    })
}

/// The [`Stat`] of the last name of a path. A link is not followed.
///
/// # Errors
///
/// Those of the system's call.
pub fn stat_link(path: &Path) -> io::Result<Stat> {
    call(&[EACCES, EIO], |it, _| {
        let (at, name) = path.parent().zip(path.file_name()).ok_or(io::ErrorKind::NotFound)?;
        let dir = *it.disk.paths.get(at).ok_or(io::ErrorKind::NotFound)?;
        let inode = it.disk.named(dir, name)?;
        Ok(it.disk.inodes.get(&inode).ok_or(io::ErrorKind::NotFound)?.stat)
    })
}

fn opened(
    at: &Dir,
    name: &OsStr,
    is_wanted: impl Fn(Kind) -> bool,
) -> impl FnOnce(&mut Kernel, (i64, i64)) -> io::Result<u64> {
    move |it, _| {
        let inode = it.disk.named(at.0, name)?;
        let kind = it.disk.inodes.get(&inode).ok_or(io::ErrorKind::NotFound)?.stat.kind;
        if !is_wanted(kind) {
            return Err(io::Error::other("the name leads to something of another kind"));
        }
        let process = it.process_id();
        Ok(it.disk.open(inode, process))
    }
}

impl Dir {
    /// Opens a directory in this one.
    ///
    /// # Errors
    ///
    /// Those of the system's call.
    pub fn open_dir(&self, name: &OsStr) -> io::Result<Dir> {
        call(&[EMFILE, EACCES, EIO], opened(self, name, |it| it == Kind::Directory)).map(Dir)
    }

    /// Opens a file in this directory.
    ///
    /// # Errors
    ///
    /// Those of the system's call.
    pub fn open(&self, name: &OsStr) -> io::Result<File> {
        call(&[EMFILE, EACCES, EIO], opened(self, name, |it| it == Kind::File)).map(File)
    }

    /// The [`Stat`] of this directory.
    ///
    /// # Errors
    ///
    /// Those of the system's call.
    pub fn stat(&self) -> io::Result<Stat> {
        call(&[EIO], |it, _| Ok(it.disk.inode(self.0)?.stat))
    }

    /// The [`Stat`] of what has this name.
    ///
    /// # Errors
    ///
    /// Those of the system's call.
    pub fn stat_named(&self, name: &OsStr) -> io::Result<Stat> {
        call(&[EACCES, EIO], |it, _| {
            let inode = it.disk.named(self.0, name)?;
            Ok(it.disk.inodes.get(&inode).ok_or(io::ErrorKind::NotFound)?.stat)
        })
    }

    /// Creates a file.
    ///
    /// # Errors
    ///
    /// Those of the system's call.
    pub fn create(&self, name: &OsStr) -> io::Result<File> {
        call(&[ENOSPC, EMFILE, EACCES, EIO], |it, at| {
            let dir = it.disk.of(self.0)?;
            if it.disk.named(self.0, name).is_ok() {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            let inode = it.disk.make(Kind::File, 0o600, at);
            it.disk.set(dir, name, Some(inode), at);
            it.named(dir, name, inode);
            let process = it.process_id();
            Ok(File(it.disk.open(inode, process)))
        })
    }

    /// Creates a directory.
    ///
    /// # Errors
    ///
    /// Those of the system's call.
    pub fn make_dir(&self, name: &OsStr, mode: u32) -> io::Result<()> {
        call(&[ENOSPC, EACCES, EIO], |it, at| {
            let dir = it.disk.of(self.0)?;
            if it.disk.named(self.0, name).is_ok() {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            let inode = it.disk.make(Kind::Directory, mode, at);
            it.disk.set(dir, name, Some(inode), at);
            it.named(dir, name, inode);
            Ok(())
        })
    }

    /// Removes an empty directory.
    ///
    /// # Errors
    ///
    /// Those of the system's call.
    pub fn remove_dir(&self, name: &OsStr) -> io::Result<()> {
        call(&[EIO], |it, at| {
            let (dir, inode) = (it.disk.of(self.0)?, it.disk.named(self.0, name)?);
            match it.disk.inodes.get(&inode) {
                Some(found) if found.stat.kind != Kind::Directory => {
                    Err(io::ErrorKind::NotADirectory.into())
                }
                Some(found) if !found.names.is_empty() => {
                    Err(io::ErrorKind::DirectoryNotEmpty.into())
                }
                _ => {
                    it.disk.set(dir, name, None, at);
                    it.gone(dir, name);
                    Ok(())
                }
            }
        })
    }

    /// Creates something that is neither a file nor a directory.
    ///
    /// # Errors
    ///
    /// Those of the system's call.
    pub fn make_special(&self, name: &OsStr, kind: Kind) -> io::Result<()> {
        call(&[], |it, at| {
            let dir = it.disk.of(self.0)?;
            let inode = it.disk.make(kind, 0o600, at);
            it.disk.set(dir, name, Some(inode), at);
            it.named(dir, name, inode);
            Ok(())
        })
    }

    /// Renames a file. A file with the new name is replaced.
    ///
    /// # Errors
    ///
    /// Those of the system's call.
    pub fn rename(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        call(&[EIO, ENOSPC], |it, at| {
            let (dir, inode) = (it.disk.of(self.0)?, it.disk.named(self.0, from)?);
            if let Ok(replaced) = it.disk.named(self.0, to)
                && it.disk.inodes.get(&replaced).is_some_and(|it| it.stat.kind == Kind::Directory)
            {
                return Err(io::ErrorKind::IsADirectory.into());
            }
            // Its own link count stays: one name is removed and one is added.
            it.disk.set(dir, to, Some(inode), at);
            it.disk.set(dir, from, None, at);
            if let Some(found) = it.disk.inodes.get_mut(&inode) {
                (found.stat.links, found.stat.changed) = (1, at);
            }
            it.named(dir, to, inode);
            it.gone(dir, from);
            Ok(())
        })
    }

    /// Removes a name.
    ///
    /// # Errors
    ///
    /// Those of the system's call.
    pub fn unlink(&self, name: &OsStr) -> io::Result<()> {
        call(&[EACCES, EIO], |it, at| {
            let (dir, inode) = (it.disk.of(self.0)?, it.disk.named(self.0, name)?);
            if it.disk.inodes.get(&inode).is_some_and(|it| it.stat.kind == Kind::Directory) {
                return Err(io::ErrorKind::IsADirectory.into());
            }
            it.disk.set(dir, name, None, at);
            it.gone(dir, name);
            Ok(())
        })
    }

    /// Syncs the names, so that they survive a power loss.
    ///
    /// # Errors
    ///
    /// Those of the system's call.
    pub fn sync(&self) -> io::Result<()> {
        call(&[EIO], |it, _| {
            let found = it.disk.inode_mut(self.0)?;
            found.synced_names.clone_from(&found.names);
            found.since.clear();
            Ok(())
        })
    }

    /// Begins a listing.
    ///
    /// # Errors
    ///
    /// Those of the system's call.
    pub fn list(&self) -> io::Result<Listing> {
        call(&[EMFILE, EACCES, EIO], |it, _| Ok(Listing { dir: it.disk.of(self.0)?, after: None }))
    }

    /// Takes the directory's lock if it is free. Returns whether it was free.
    ///
    /// # Errors
    ///
    /// Those of the system's call.
    pub fn lock(&self) -> io::Result<bool> {
        call(&[], |it, _| {
            if !it.disk.properties.locks_directories {
                return Err(io::ErrorKind::Unsupported.into());
            }
            let found = it.disk.inode_mut(self.0)?;
            let is_free = found.locked_by.is_none_or(|by| by == self.0);
            if is_free {
                found.locked_by = Some(self.0);
            }
            Ok(is_free)
        })
    }
}

/// The process that holds the lock on this file or directory.
#[must_use]
pub fn locked_by(inode: u64) -> Option<ProcessId> {
    kernel::with(|it| {
        let by = it.disk.inodes.get(&inode)?.locked_by?;
        it.disk.handles.get(&by).map(|it| it.process)
    })?
}

impl Kernel {
    fn named(&mut self, dir: u64, name: &OsStr, of: u64) {
        let found = self.disk.inodes.get(&of);
        let bytes = found.map_or_else(|| Rc::from([]), |it| Rc::clone(&it.bytes));
        let is_file = found.is_some_and(|it| it.stat.kind == Kind::File);
        let name = name.to_string_lossy().into_owned();
        self.log(EventKind::Put { dir, name, of, is_file, bytes });
    }

    fn gone(&mut self, dir: u64, name: &OsStr) {
        self.log(EventKind::Gone { dir, name: name.to_string_lossy().into_owned() });
    }

    /// Logs that the bytes of a file have changed, under each of its names.
    fn rewritten(&mut self, inode: u64) {
        let names: Vec<(u64, OsString)> = self
            .disk
            .inodes
            .iter()
            .flat_map(|(dir, it)| it.names.iter().map(move |(name, of)| (*dir, name, *of)))
            .filter(|(.., of)| *of == inode)
            .map(|(dir, name, _)| (dir, name.clone()))
            .collect();
        for (dir, name) in names {
            self.named(dir, &name, inode);
        }
    }
}

/// The next names of a listing; empty at its end. A name that exists throughout is listed. A name that is added or
/// removed meanwhile may be listed or not.
///
/// # Errors
///
/// Those of the system's call.
pub fn next_names(listing: &mut Listing) -> io::Result<Vec<OsString>> {
    call(&[EIO], |it, _| {
        let Some(found) = it.disk.inodes.get(&listing.dir) else { return Ok(Vec::new()) };
        let mut left: Vec<(u64, &OsString)> = found
            .names
            .keys()
            .map(|name| (place(name), name))
            .filter(|(place, _)| listing.after.is_none_or(|after| *place > after))
            .collect();
        left.sort_unstable();
        left.truncate(it.disk.properties.batch.max(1));
        if let Some((last, _)) = left.last() {
            listing.after = Some(*last);
        }
        Ok(left.into_iter().map(|(_, name)| name.clone()).collect())
    })
}

impl File {
    /// The [`Stat`] of this file.
    ///
    /// # Errors
    ///
    /// Those of the system's call.
    pub fn stat(&self) -> io::Result<Stat> {
        call(&[EIO], |it, _| Ok(it.disk.inode(self.0)?.stat))
    }

    /// Its bytes, at most `bytes_max`.
    ///
    /// # Errors
    ///
    /// Those of the system's call.
    pub fn read(&self, bytes_max: usize) -> io::Result<Vec<u8>> {
        call(&[EIO], |it, _| {
            let bytes = &it.disk.inode(self.0)?.bytes;
            Ok(bytes[..bytes.len().min(bytes_max)].to_vec())
        })
    }

    /// Writes these bytes at the start of the file.
    ///
    /// # Errors
    ///
    /// Those of the system's call.
    pub fn write(&self, bytes: &[u8]) -> io::Result<()> {
        call(&[ENOSPC, EIO], |it, at| {
            let found = it.disk.inode_mut(self.0)?;
            let mut written = found.bytes.to_vec();
            written.resize(written.len().max(bytes.len()), 0);
            written[..bytes.len()].copy_from_slice(bytes);
            found.stat.size = written.len() as u64;
            (found.stat.modified, found.stat.changed) = (at, at);
            found.bytes = written.into();
            let inode = it.disk.of(self.0)?;
            it.rewritten(inode);
            Ok(())
        })
    }

    /// Removes all its bytes.
    ///
    /// # Errors
    ///
    /// Those of the system's call.
    pub fn truncate(&self) -> io::Result<()> {
        call(&[EIO], |it, at| {
            let found = it.disk.inode_mut(self.0)?;
            (found.bytes, found.stat.size) = (Rc::from([]), 0);
            (found.stat.modified, found.stat.changed) = (at, at);
            let inode = it.disk.of(self.0)?;
            it.rewritten(inode);
            Ok(())
        })
    }

    /// Syncs its bytes, so that they survive a power loss.
    ///
    /// # Errors
    ///
    /// Those of the system's call.
    pub fn sync(&self) -> io::Result<()> {
        call(&[EIO, ENOSPC], |it, _| {
            let found = it.disk.inode_mut(self.0)?;
            found.synced = Rc::clone(&found.bytes);
            Ok(())
        })
    }

    /// Sets its permission bits.
    ///
    /// # Errors
    ///
    /// Those of the system's call.
    pub fn chmod(&self, mode: u32) -> io::Result<()> {
        call(&[EIO], |it, at| {
            let stat = &mut it.disk.inode_mut(self.0)?.stat;
            (stat.mode, stat.changed) = (mode, at);
            Ok(())
        })
    }

    /// Takes its lock if it is free. Returns whether it was free.
    ///
    /// # Errors
    ///
    /// Those of the system's call.
    pub fn lock(&self) -> io::Result<bool> {
        call(&[], |it, _| {
            let found = it.disk.inode_mut(self.0)?;
            let is_free = found.locked_by.is_none_or(|by| by == self.0);
            if is_free {
                found.locked_by = Some(self.0);
            }
            Ok(is_free)
        })
    }

    /// Whether another handle holds its lock.
    ///
    /// # Errors
    ///
    /// Those of the system's call.
    pub fn is_locked(&self) -> io::Result<bool> {
        call(&[], |it, _| {
            let found = it.disk.inode(self.0)?;
            Ok(found.locked_by.is_some_and(|by| by != self.0))
        })
    }
}

/// Whether the disk is known to change a directory's times with each change of its names.
#[must_use]
pub fn has_reliable_times() -> bool {
    kernel::with(|it| it.disk.properties.is_known).unwrap_or_default()
}

/// Loses any part of what was not synced.
pub(crate) fn lose_power(kernel: &mut Kernel) {
    let numbers: Vec<u64> = kernel.disk.inodes.keys().copied().collect();
    for number in numbers {
        let Some(found) = kernel.disk.inodes.get(&number) else { continue };
        let mut names = found.synced_names.clone();
        let since = found.since.clone();
        let mut touched: Vec<OsString> = since.iter().map(|(name, _)| name.clone()).collect();
        touched.sort_unstable();
        touched.dedup();
        for name in touched {
            let mut may_be = vec![names.get(&name).copied()];
            may_be.extend(since.iter().filter(|(it, _)| *it == name).map(|(_, to)| *to));
            match may_be[kernel.chooser.below(may_be.len())] {
                Some(inode) => drop(names.insert(name, inode)),
                None => drop(names.remove(&name)),
            }
        }
        let (bytes, synced) = (Rc::clone(&found.bytes), Rc::clone(&found.synced));
        let left: Rc<[u8]> = if bytes == synced {
            bytes
        } else {
            match kernel.chooser.below(3) {
                0 => synced,
                1 => bytes,
                _ => bytes[..bytes.len() / 2].into(),
            }
        };
        if let Some(found) = kernel.disk.inodes.get_mut(&number) {
            found.stat.size = left.len() as u64;
            (found.bytes, found.synced) = (Rc::clone(&left), left);
            (found.names, found.synced_names) = (names.clone(), names);
            found.since.clear();
        }
    }
    // The names that are left in each directory.
    let listed: Vec<(u64, OsString, u64)> = kernel
        .disk
        .inodes
        .iter()
        .flat_map(|(dir, it)| {
            it.names.iter().map(move |(name, inode)| (*dir, name.clone(), *inode))
        })
        .collect();
    kernel.log(EventKind::Booted { lost: true });
    for (dir, name, inode) in listed {
        kernel.named(dir, &name, inode);
    }
    kernel.log(EventKind::Found);
}
