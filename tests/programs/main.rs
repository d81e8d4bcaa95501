//! Tests that start real programs: the command, the examples, the recipes, and reports to systemd.

#[cfg(feature = "cli")]
mod command;
mod deploy;
#[path = "../support/files.rs"]
mod files;
mod guide;
#[cfg(feature = "cli")]
mod live_gate;
#[cfg(feature = "cli")]
mod namespaces;
#[cfg(feature = "cli")]
mod neighbours;
#[cfg(feature = "systemd")]
mod systemd;
#[cfg(feature = "cli")]
mod users;
#[cfg(feature = "cli")]
#[path = "../support/write_lock.rs"]
mod write_lock;

/// The tests of a feature do not disappear without it: the run lists them as ignored.
mod without {
    #[cfg(not(feature = "cli"))]
    #[test]
    #[ignore = "these tests and `tests/kill.rs` need the feature `cli`: run with --all-features"]
    fn the_command() {}

    #[cfg(not(feature = "systemd"))]
    #[test]
    #[ignore = "needs the feature `systemd`: run with --all-features"]
    fn reports_to_systemd() {}
}
