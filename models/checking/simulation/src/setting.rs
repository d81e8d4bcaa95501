//! What is known of a world besides its log. It decides which monitors can judge the world.

use std::time::Duration;

/// What is known of a world besides its log.
#[derive(Clone, Copy, Debug, Default)]
pub struct Setting {
    /// The time between two observations of a gateway.
    pub interval: Duration,
    /// Whether no call to the disk fails or takes time, and nothing is killed, moved or suspended.
    pub is_calm: bool,
    /// Whether no call to the disk fails.
    pub reads_all: bool,
    /// Whether requests and the status are files.
    pub has_files: bool,
}
