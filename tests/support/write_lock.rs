//! The lock that a gateway holds on its home's lock file, and the lock that a mere reader can take. Tests take them in
//! a gateway's or a reader's stead.

use std::fs::File;

use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

/// Takes a lock on the whole file: `F_WRLCK` as a gateway does, or `F_RDLCK`. Returns whether it was free.
pub fn take(file: &File, kind: i32) -> bool {
    let whole = libc::flock {
        l_type: kind.try_into().expect("fits"),
        l_whence: libc::SEEK_SET.try_into().expect("fits"),
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    fcntl(file, FcntlArg::F_OFD_SETLK(&whole)).is_ok()
}
