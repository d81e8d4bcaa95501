//! Takes away the drafts that writers left behind when they were killed (U36). It removes nothing that
//! anybody could still be writing, and nothing that is not named as our drafts are.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags};

use super::disk::DRAFT_SUFFIX;

/// A draft is finished within milliseconds; one that has not been touched for this long never will be.
/// Were its writer merely stopped, its rename would fail and say so.
const LEFT_OVER_AFTER: Duration = Duration::from_secs(3600);

/// How many names are gone through.
const NAMES_MAX: usize = 65_536;

/// Removes what was left over of the files named by `finals` in a directory, or of any file where
/// `finals` is empty, and says how many it were. What cannot be looked at or removed stays.
pub(crate) fn sweep_drafts(directory: &Path, finals: &[&str]) -> usize {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let Ok(handle) = rustix::fs::openat(CWD, directory, flags, Mode::empty()) else { return 0 };
    let Ok(listing) = Dir::read_from(&handle) else { return 0 };
    let now = chrono::Utc::now().timestamp();
    let mut swept = 0;
    for entry in listing.take(NAMES_MAX).flatten() {
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if !is_draft(name, finals) {
            continue;
        }
        let Ok(found) = rustix::fs::statat(&handle, name, AtFlags::SYMLINK_NOFOLLOW) else {
            continue;
        };
        let age = u64::try_from(now.saturating_sub(super::scan::modified_second(&found)));
        if FileType::from_raw_mode(found.st_mode).is_file()
            && age.is_ok_and(|age| age >= LEFT_OVER_AFTER.as_secs())
            && rustix::fs::unlinkat(&handle, name, AtFlags::empty()).is_ok()
        {
            swept += 1;
        }
    }
    swept
}

/// Whether it is named as a draft of one of these is: a dot, the name, a dot, six characters, `.tmp`.
fn is_draft(name: &OsStr, finals: &[&str]) -> bool {
    let Some(inner) = name
        .to_str()
        .and_then(|name| name.strip_prefix('.')?.strip_suffix(DRAFT_SUFFIX)?.rsplit_once('.'))
    else {
        return false;
    };
    inner.1.len() == 6
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
    fn only_what_is_ours_and_old_goes() {
        let home = tempfile::tempdir().expect("temp dir");
        let old = SystemTime::now() - 2 * LEFT_OVER_AFTER;
        let lay = |name: &str, when: SystemTime| {
            let file = File::create(home.path().join(name)).expect("creates");
            file.set_modified(when).expect("dates");
        };
        lay(".drain_request.json.abc123.tmp", old);
        lay(".gateway_state.json.abc123.tmp", SystemTime::now());
        lay(".notes.json.abc123.tmp", old);
        lay(".drain_request.json.tmp", old);
        lay("drain_request.json.abc123.tmp", old);
        fs::create_dir(home.path().join(".drain_request.json.abc124.tmp")).expect("mkdir");

        let finals = ["drain_request.json", "gateway_state.json"];
        assert_eq!(sweep_drafts(home.path(), &finals), 1);
        assert!(!home.path().join(".drain_request.json.abc123.tmp").exists());
        assert_eq!(fs::read_dir(home.path()).expect("lists").count(), 5);
        assert_eq!(sweep_drafts(&home.path().join("gone"), &finals), 0);
    }
}
