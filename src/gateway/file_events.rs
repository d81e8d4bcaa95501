//! Wakes the watcher as soon as a request comes or goes (feature `notify`). It says nothing of what
//! happened, and nothing is lost if it says nothing at all: the watcher looks at every tick anyway. So
//! a lost event, a network file system, or a home that has come to be another directory cost an
//! interval, never an answer.

use std::path::{Path, PathBuf};

use notify::event::{AccessKind, AccessMode, ModifyKind};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};

use crate::disk::FileId;
use crate::home::Home;
use crate::sync::{Arc, AtomicBool, Ordering, Wakeup};

pub(super) struct FileEvents {
    watcher: RecommendedWatcher,
    requests: PathBuf,
    /// The directory of named requests that is watched, whatever its name leads to now.
    watched: Option<FileId>,
    /// Its name leads to something else, or to nothing. The file number alone is no proof: a file
    /// system gives the next directory the number of the last one.
    replaced: Arc<AtomicBool>,
}

impl FileEvents {
    pub(super) fn watch(home: &Home, wakeup: Arc<Wakeup>) -> notify::Result<FileEvents> {
        let requests = home.requests_path();
        let (marker, within) = (home.marker_path(), requests.clone());
        let replaced = Arc::new(AtomicBool::new(false));
        let to_tell = Arc::clone(&replaced);
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            let news =
                event.map_or(Relevance::Unclear, |event| Relevance::of(&event, &marker, &within));
            match news {
                Relevance::Nothing => return,
                Relevance::Request => {}
                // Relaxed: published by the wakeup.
                Relevance::Directory | Relevance::Unclear => to_tell.store(true, Ordering::Relaxed),
            }
            wakeup.wake();
        })?;
        watcher.watch(home.path(), RecursiveMode::NonRecursive)?;
        let mut events = FileEvents { watcher, requests, watched: None, replaced };
        events.follow(None);
        Ok(events)
    }

    /// Watches the directory of named requests, where it has come to be another than the one that
    /// was `listed` last. Says whether it is watched anew: what happened in it before that must still
    /// be looked at.
    pub(super) fn follow(&mut self, listed: Option<FileId>) -> bool {
        // Relaxed: the wake-up that came after the store woke this thread, or will.
        let replaced = self.replaced.swap(false, Ordering::Relaxed);
        if !replaced && listed.is_some() && listed == self.watched {
            return false;
        }
        let found = FileId::of(&self.requests);
        if !replaced && found == self.watched {
            return false;
        }
        if self.watched.is_some() {
            // Gone, or no longer there under this name; either way there is nothing to lose.
            let _ = self.watcher.unwatch(&self.requests);
        }
        let watched = self.watcher.watch(&self.requests, RecursiveMode::NonRecursive);
        self.watched = watched.is_ok().then_some(found).flatten();
        self.watched.is_some()
    }
}

/// What an event may mean for the requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Relevance {
    Nothing,
    /// A request came or went.
    Request,
    /// The directory of named requests did.
    Directory,
    /// Anything may have.
    Unclear,
}

impl Relevance {
    fn of(event: &Event, marker: &Path, requests: &Path) -> Relevance {
        match event.kind {
            // The watcher's own looks: answering them would never end.
            EventKind::Access(AccessKind::Close(AccessMode::Write)) => {}
            EventKind::Access(_) => return Relevance::Nothing,
            _ => {}
        }
        let about = |path: &Path| {
            if path == requests {
                // Its times and mode change without its being another.
                match event.kind {
                    EventKind::Modify(ModifyKind::Metadata(_) | ModifyKind::Data(_)) => {
                        Relevance::Nothing
                    }
                    _ => Relevance::Directory,
                }
            } else if path == marker || path.parent() == Some(requests) {
                Relevance::Request
            } else {
                Relevance::Nothing
            }
        };
        if event.need_rescan() || event.paths.is_empty() {
            return Relevance::Unclear;
        }
        let all = event.paths.iter().map(|path| about(path));
        all.max_by_key(|news| *news as u8).unwrap_or(Relevance::Unclear)
    }
}
