//! Wakes the watcher as soon as a request comes or goes (feature `notify`). It says nothing of what
//! happened, and nothing is lost if it says nothing at all: the watcher looks at every tick anyway. So
//! a lost event, a network file system, or a home that has come to be another directory cost an
//! interval, never an answer.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};

use crate::home::{FileId, Home};
use crate::sync::{Arc, Bell};

pub(super) struct Alarm {
    watcher: RecommendedWatcher,
    requests: PathBuf,
    /// The directory of named requests that is watched, whatever stands at its name now.
    watched: Option<FileId>,
}

impl Alarm {
    pub(super) fn set(home: &Home, bell: Arc<Bell>) -> notify::Result<Alarm> {
        let requests = home.requests_path();
        let names = [home.marker_path(), requests.clone()];
        let names = names.map(|path| path.file_name().unwrap_or_default().to_owned());
        let within = requests.clone();
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            // What could not be told may have been a request.
            if event.is_ok_and(|event| !concerns_requests(&event, &names, &within)) {
                return;
            }
            bell.ring();
        })?;
        watcher.watch(home.path(), RecursiveMode::NonRecursive)?;
        let mut alarm = Alarm { watcher, requests, watched: None };
        alarm.follow(None);
        Ok(alarm)
    }

    /// Watches the directory of named requests, where it has come to be another than the one that
    /// was `listed` last.
    pub(super) fn follow(&mut self, listed: Option<FileId>) {
        if listed.is_some() && listed == self.watched {
            return;
        }
        let found = FileId::of(&self.requests);
        if found == self.watched {
            return;
        }
        if self.watched.is_some() {
            // Gone, or no longer there under this name; either way there is nothing to lose.
            let _ = self.watcher.unwatch(&self.requests);
        }
        let watched = self.watcher.watch(&self.requests, RecursiveMode::NonRecursive);
        self.watched = watched.is_ok().then_some(found).flatten();
    }
}

fn concerns_requests(event: &Event, names: &[std::ffi::OsString], within: &Path) -> bool {
    match event.kind {
        // The watcher's own looks: answering them would never end.
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => {}
        EventKind::Access(_) => return false,
        _ => {}
    }
    event.need_rescan()
        || event.paths.is_empty()
        || event.paths.iter().any(|path| {
            let name: Option<&OsStr> = path.file_name();
            path.parent() == Some(within)
                || name.is_some_and(|name| names.iter().any(|it| it == name))
        })
}
