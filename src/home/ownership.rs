//! Decides which owner and mode a new file in a home gets, and which owners are trusted. These functions are pure:
//! they get metadata from the caller and change nothing.
//!
//! A file that is written in a home belongs to the home's owner ([F19]). Root may write anywhere, but must not leave a
//! file that the gateway's user cannot read.
//!
//! [F19]: crate::guide::requirements#f19

use crate::disk::{FileKind, Owner, Stat, User};

/// The default mode: only the owner can read and write a file. A user needs write permission on the home to drain the
/// gateway, but no other user needs to read its files.
pub const DEFAULT_MODE: u32 = 0o600;

const STICKY: u32 = 0o1000;
const GROUP_WRITE: u32 = 0o020;
const OTHERS_WRITE: u32 = 0o002;

/// The bits that a new file may inherit from the home's own files: read and write for the group, read for others.
const INHERITED: u32 = 0o064;

pub(super) const ROOT: u32 = 0;

/// The owner and the mode that a file is to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ownership {
    pub(crate) owner: Owner,
    pub(crate) mode: u32,
}

impl Ownership {
    /// The same mode, with no change of owner and group.
    pub(crate) fn of_its_owner(self) -> Ownership {
        Ownership { owner: Owner::default(), ..self }
    }
}

/// The owner and mode of a new file in this home. `mode` is the requested mode, if any. `lock` is the home's lock file,
/// and `replaced` the file that has the new file's name now, if they exist.
pub(crate) fn of_new_file(
    me: User,
    mode: Option<u32>,
    home: &Stat,
    lock: Option<&Stat>,
    replaced: Option<&Stat>,
) -> Ownership {
    let lock = lock.filter(|it| is_plain(it));
    let of_the_home = |uid| uid == home.uid || lock.is_some_and(|lock| lock.uid == uid);
    let replaced = replaced.filter(|it| is_plain(it) && of_the_home(it.uid));
    let inherited = lock.map_or(0, |lock| lock.mode & INHERITED);
    let inherited = replaced.map_or(inherited, |it| it.mode & inherited);
    let mode = mode.unwrap_or(DEFAULT_MODE | inherited) & 0o777 | DEFAULT_MODE;
    let owner = replaced.or(lock).unwrap_or(home);
    Ownership { owner: given(me, home, owner), mode }
}

/// The owner and mode of a new directory in this home. It grants the same access as the home.
pub(crate) fn of_new_directory(me: User, home: &Stat, lock: Option<&Stat>) -> Ownership {
    let owner = lock.filter(|it| is_plain(it)).unwrap_or(home);
    Ownership { owner: given(me, home, owner), mode: home.mode }
}

/// The change of owner. Root sets user and group. A user with access through the home's group sets the group only.
fn given(me: User, home: &Stat, owner: &Stat) -> Owner {
    // If anybody can make a file here, its owner says nothing about who is trusted.
    if home.mode & (STICKY | OTHERS_WRITE) != 0 {
        return Owner::default();
    }
    let is_known = |id: u32| me.unmapped != Some(id);
    if me.uid == ROOT {
        let (uid, gid) = (Some(owner.uid), Some(owner.gid));
        return Owner { uid: uid.filter(|it| is_known(*it)), gid: gid.filter(|it| is_known(*it)) };
    }
    let by_group = me.uid != home.uid && home.mode & GROUP_WRITE != 0;
    Owner { uid: None, gid: Some(home.gid).filter(|it| by_group && is_known(*it)) }
}

/// Whether this is a regular file with one name. A link could lead to a file outside the home.
fn is_plain(found: &Stat) -> bool {
    found.kind == FileKind::File && found.links == 1
}

/// Whether the owner of a directory or lock file in a home is a stranger. A stranger is a user who is neither trusted
/// with the home nor able to create files in it. `lock` is the home's lock file, if its own owner is trusted.
pub(crate) fn has_untrusted_owner(
    me: User,
    home: &Stat,
    lock: Option<&Stat>,
    found: &Stat,
) -> bool {
    let trusted = [me.uid, ROOT, home.uid];
    if trusted.contains(&found.uid) || lock.is_some_and(|lock| lock.uid == found.uid) {
        return false;
    }
    // A user with write permission on the home can replace any entry, unless the home is sticky.
    let by_anybody = home.mode & OTHERS_WRITE != 0;
    let by_group = home.mode & GROUP_WRITE != 0 && found.gid == home.gid;
    home.mode & STICKY != 0 || !(by_anybody || by_group)
}

/// Whether the owner of a home is a stranger: neither root nor this user, with a home that is not shared. Write
/// permission for a group or for all shares it, unless it is sticky. Root may use every home.
pub(crate) fn is_untrusted_home(me: User, home: &Stat) -> bool {
    let shared = home.mode & (GROUP_WRITE | OTHERS_WRITE) != 0 && home.mode & STICKY == 0;
    ![me.uid, ROOT].contains(&home.uid) && me.uid != ROOT && !shared
}

/// Whether this user certainly cannot write in a home. Then no process of that user can be a gateway there.
pub(crate) fn cannot_write(uid: u32, me: User, home: &Stat) -> bool {
    let by_anybody = home.mode & (GROUP_WRITE | OTHERS_WRITE) != 0;
    ![me.uid, ROOT, home.uid].contains(&uid) && !by_anybody
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::FileId;

    const ALICE: u32 = 1000;
    const BOB: u32 = 1001;
    const MALLORY: u32 = 1002;
    const STAFF: u32 = 50;

    fn user(uid: u32) -> User {
        User { uid, unmapped: None }
    }

    fn stat(kind: FileKind, uid: u32, gid: u32, mode: u32) -> Stat {
        let id = FileId { device: 1, inode: 1 };
        let (links, size) = (1, 0);
        Stat { id, kind, mode, links, uid, gid, size, modified: (0, 0), changed: (0, 0) }
    }

    fn home(uid: u32, mode: u32) -> Stat {
        stat(FileKind::Directory, uid, STAFF, mode)
    }

    fn file(uid: u32, mode: u32) -> Stat {
        stat(FileKind::File, uid, STAFF, mode)
    }

    #[test]
    fn what_root_writes_belongs_to_the_home() {
        let (root, home) = (user(ROOT), home(ALICE, 0o755));
        let of = |lock: Option<Stat>, replaced: Option<Stat>| {
            of_new_file(root, None, &home, lock.as_ref(), replaced.as_ref())
        };
        let staffs = |uid| Owner { uid: Some(uid), gid: Some(STAFF) };
        let alices = Ownership { owner: staffs(ALICE), mode: 0o600 };
        assert_eq!(of(None, None), alices, "the directory's owner");
        let bobs = Ownership { owner: staffs(BOB), mode: 0o640 };
        assert_eq!(of(Some(file(BOB, 0o640)), None), bobs, "the lock's owner, and its group reads");
        let linked = Stat { links: 2, ..file(BOB, 0o666) };
        assert_eq!(of(Some(linked), None), alices, "a file with two names is ignored");
        assert_eq!(of(Some(file(BOB, 0o640)), Some(file(ALICE, 0o660))).owner.uid, Some(ALICE));
        assert_eq!(of(Some(file(BOB, 0o640)), Some(file(ALICE, 0o660))).mode, 0o640);
        assert_eq!(of(Some(file(BOB, 0o640)), Some(file(ALICE, 0o600))).mode, 0o600);
        let strangers = file(MALLORY, 0o666);
        assert_eq!(of(None, Some(strangers)), alices, "a stranger's file is ignored");
        let link = stat(FileKind::Link, ALICE, STAFF, 0o777);
        assert_eq!(of(None, Some(link)), alices);
        assert_eq!(of(Some(file(BOB, 0o7777)), None).mode, 0o664, "no execute or special bits");
        let asked = of_new_file(root, Some(0o644), &home, Some(&file(BOB, 0o600)), None);
        assert_eq!((asked.owner.uid, asked.mode), (Some(BOB), 0o644), "an explicit mode wins");
    }

    #[test]
    fn no_owner_is_set_if_anybody_may_write_or_the_id_is_unmapped() {
        let root = user(ROOT);
        for mode in [0o1777, 0o1770, 0o777] {
            let given = of_new_file(root, None, &home(ALICE, mode), Some(&file(BOB, 0o600)), None);
            assert_eq!(given.owner, Owner::default(), "{mode:o}");
        }
        let mapped = User { unmapped: Some(65534), ..root };
        let given = of_new_file(mapped, None, &home(65534, 0o755), None, None);
        assert_eq!(given.owner, Owner { uid: None, gid: Some(STAFF) });
        assert_eq!(of_new_file(root, None, &home(65534, 0o755), None, None).owner.uid, Some(65534));
    }

    #[test]
    fn a_user_other_than_root_gives_only_the_group_and_only_if_it_has_access_by_the_group() {
        let of = |uid, mode| of_new_file(user(uid), None, &home(ALICE, mode), None, None);
        assert_eq!(of(BOB, 0o2770).owner, Owner { uid: None, gid: Some(STAFF) });
        assert_eq!(of(BOB, 0o755).owner.gid, None);
        let mapped = User { unmapped: Some(STAFF), ..user(BOB) };
        assert_eq!(of_new_file(mapped, None, &home(ALICE, 0o2770), None, None).owner.gid, None);
        assert_eq!(of(ALICE, 0o2770).owner.gid, None, "the owner needs no change");
        let directory = of_new_directory(user(BOB), &home(ALICE, 0o2770), None);
        let group = Owner { uid: None, gid: Some(STAFF) };
        assert_eq!(directory, Ownership { owner: group, mode: 0o2770 });
        let directory = of_new_directory(user(ROOT), &home(ALICE, 0o755), Some(&file(BOB, 0o600)));
        let bobs = Owner { uid: Some(BOB), gid: Some(STAFF) };
        assert_eq!(directory, Ownership { owner: bobs, mode: 0o755 });
    }

    #[test]
    fn a_stranger_is_a_user_who_could_not_have_made_it_there() {
        let directory = |uid, gid| stat(FileKind::Directory, uid, gid, 0o755);
        let is = |me, mode, lock: Option<Stat>, uid, gid| {
            has_untrusted_owner(user(me), &home(ALICE, mode), lock.as_ref(), &directory(uid, gid))
        };
        for uid in [ROOT, ALICE] {
            assert!(!is(BOB, 0o755, None, uid, 7), "root and the home's owner are trusted");
        }
        assert!(!is(BOB, 0o755, None, BOB, 7), "the own user is trusted");
        assert!(is(ROOT, 0o755, None, MALLORY, STAFF));
        assert!(is(ALICE, 0o700, None, MALLORY, STAFF));
        assert!(
            !is(ROOT, 0o755, Some(file(MALLORY, 0o600)), MALLORY, 7),
            "the lock's owner is trusted"
        );
        assert!(!is(ALICE, 0o2770, None, MALLORY, STAFF), "the group may write here");
        assert!(is(ALICE, 0o2770, None, MALLORY, 7));
        assert!(!is(ALICE, 0o777, None, MALLORY, 7), "anybody can write and remove");
        assert!(
            is(ALICE, 0o1777, None, MALLORY, 7),
            "anybody can write, but only the owner can remove"
        );

        for (uid, mode, cannot) in [
            (MALLORY, 0o755, true),
            (ALICE, 0o755, false),
            (ROOT, 0o755, false),
            (BOB, 0o755, false),
            (MALLORY, 0o775, false),
            (MALLORY, 0o757, false),
        ] {
            assert_eq!(cannot_write(uid, user(BOB), &home(ALICE, mode)), cannot, "{uid} {mode:o}");
        }
        for (me, owner, mode, strangers) in [
            (ALICE, ALICE, 0o700, false),
            (ALICE, ROOT, 0o755, false),
            (ROOT, MALLORY, 0o755, false),
            (ALICE, MALLORY, 0o755, true),
            (ALICE, MALLORY, 0o2770, false),
            (ALICE, MALLORY, 0o1777, true),
        ] {
            assert_eq!(is_untrusted_home(user(me), &home(owner, mode)), strangers, "{me} {mode:o}");
        }
    }
}
