//! Removes the drafts that killed writers left behind ([U36]). It never removes a draft that a process could still be
//! writing, nor a file that is not named like a draft of ours.
//!
//! [U36]: crate::guide::incidents#u36

use std::ffi::OsStr;
use std::path::Path;
use std::time::Duration;

use super::{DRAFT_ID, DRAFT_SUFFIX};
use crate::disk::{Disk, FileKind};
use crate::home::OpenHome;

/// A draft is finished within milliseconds. After this time without a change it is taken for abandoned. If its writer
/// was only stopped, the writer's rename fails and reports an error.
const LEFT_OVER_AFTER: Duration = Duration::from_secs(3600);

/// The most names that one sweep goes through.
const NAMES_MAX: usize = 65_536;

/// Removes the abandoned drafts of the files `finals` from a directory. If `finals` is empty, it removes the abandoned
/// drafts of all requests. Returns how many were removed. Entries that cannot be inspected or removed are skipped.
pub(crate) fn sweep_drafts<D: Disk>(
    home: &OpenHome<D>,
    directory: &D::Dir,
    finals: &[&str],
) -> usize {
    let disk = home.disk();
    let Ok(mut listing) = disk.list(directory) else { return 0 };
    let now = disk.clocks().wall;
    let (mut swept, mut passed) = (0, 0);
    while passed < NAMES_MAX
        && let Ok(names) = disk.next_names(&mut listing)
        && !names.is_empty()
    {
        passed += names.len();
        for name in names.iter().filter(|name| is_draft(name, finals)) {
            let Ok(found) = disk.stat(directory, name) else { continue };
            let age = u64::try_from(now.saturating_sub(found.modified.0));
            let is_left_over = age.is_ok_and(|age| age >= LEFT_OVER_AFTER.as_secs());
            let removed = match found.kind {
                FileKind::File if is_left_over => disk.unlink(directory, name),
                // The directory of requests has a draft, too. A draft that is not empty is not ours, and stays.
                FileKind::Directory if is_left_over => disk.remove_dir(directory, name),
                _ => continue,
            };
            swept += usize::from(removed.is_ok());
        }
    }
    swept
}

/// Whether this is the name of a draft of one of these files: a dot, the name, a dot, six characters, `.tmp`.
fn is_draft(name: &OsStr, finals: &[&str]) -> bool {
    let Some(inner) = name
        .to_str()
        .and_then(|name| name.strip_prefix('.')?.strip_suffix(DRAFT_SUFFIX)?.rsplit_once('.'))
    else {
        return false;
    };
    inner.1.len() == DRAFT_ID
        && if finals.is_empty() {
            Path::new(inner.0).extension() == Some(OsStr::new("json"))
        } else {
            finals.contains(&inner.0)
        }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File};
    use std::time::SystemTime;

    #[test]
    fn only_old_drafts_of_ours_are_removed() {
        let home = tempfile::tempdir().expect("temp dir");
        let old = SystemTime::now() - 2 * LEFT_OVER_AFTER;
        let date = |name: &str, when: SystemTime| {
            let file = File::open(home.path().join(name)).expect("opens");
            file.set_modified(when).expect("dates");
        };
        let lay = |name: &str, when: SystemTime| {
            File::create(home.path().join(name)).expect("creates");
            date(name, when);
        };
        let make = |name: &str, when: SystemTime| {
            fs::create_dir(home.path().join(name)).expect("mkdir");
            date(name, when);
        };
        lay(".drain_request.json.abc123.tmp", old);
        lay(".gateway_state.json.abc123.tmp", SystemTime::now());
        lay(".notes.json.abc123.tmp", old);
        lay(".drain_request.json.abc.tmp", old);
        lay(".drain_request.json.tmp", old);
        lay("drain_request.json.abc123.tmp", old);
        make(".drain_requests.abc123.tmp", old);
        make(".drain_requests.abc124.tmp", SystemTime::now());
        make(".drain_requests.abc125.tmp", old);
        lay(".drain_requests.abc125.tmp/theirs", old);
        date(".drain_requests.abc125.tmp", old);
        make(".notes.abc123.tmp", old);

        let finals = ["drain_request.json", "drain_requests", "gateway_state.json"];
        let opened = crate::home::Home::at(home.path()).open().expect("opens");
        assert_eq!(sweep_drafts(&opened, opened.dir(), &finals), 2);
        assert!(!home.path().join(".drain_request.json.abc123.tmp").exists());
        assert!(!home.path().join(".drain_requests.abc123.tmp").exists());
        assert_eq!(fs::read_dir(home.path()).expect("lists").count(), 8);
    }
}
