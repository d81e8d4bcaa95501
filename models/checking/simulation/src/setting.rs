//! What is known of a world besides its log: it decides which monitors can judge.

use std::time::Duration;

/// What is known of a world besides its log.
#[derive(Clone, Copy, Debug, Default)]
pub struct Setting {
    /// How often a gateway looks.
    pub interval: Duration,
    /// No call to the disk fails or takes its time, and nothing is killed, moved or put to sleep.
    pub is_calm: bool,
    /// No call to the disk fails.
    pub reads_all: bool,
    /// Requests and the status are files.
    pub has_files: bool,
}
