//! Tests of a gateway inside one process. No test here starts a program: a child that was forked, and does not run its
//! program yet, holds every lock of this process.

mod docs;
#[cfg(feature = "notify")]
mod events;
#[path = "../support/files.rs"]
mod files;
mod holders;
mod homes;
mod hostile;
mod lifecycle;
#[cfg(feature = "metrics")]
mod meters;
#[cfg(feature = "tokio")]
mod on_tokio;
#[path = "../support/pictures.rs"]
mod pictures;
mod prop_histories;
mod prop_request;
mod prop_trees;
mod schemas;
mod vectors;
#[path = "../support/write_lock.rs"]
mod write_lock;

/// The tests of a feature do not disappear without it: the run lists them as ignored.
mod without {
    #[cfg(not(feature = "notify"))]
    #[test]
    #[ignore = "needs the feature `notify`: run with --all-features"]
    fn file_events() {}

    #[cfg(not(feature = "metrics"))]
    #[test]
    #[ignore = "needs the feature `metrics`: run with --all-features"]
    fn metrics() {}

    #[cfg(not(feature = "tokio"))]
    #[test]
    #[ignore = "needs the feature `tokio`: run with --all-features"]
    fn calls_from_a_runtime() {}

    #[cfg(not(feature = "http"))]
    #[test]
    #[ignore = "`tests/http` needs the feature `http`: run with --all-features"]
    fn the_endpoint_and_the_layer() {}
}
