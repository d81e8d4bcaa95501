//! How long, and how far, the server reads on what it has no use for: a connection that it closes, or a body that
//! its handler has left. Its client can then read the reply before anything is reset. It reads nothing itself.

use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use tokio::time::Instant;

use crate::sync::{Arc, Mutex, Ordering};

/// What all of one server share.
#[derive(Debug)]
pub(super) struct LingerPool {
    /// So long without a byte.
    idle: Duration,
    /// So long in all, unless a shutdown says otherwise.
    total: Duration,
    /// How many connections may be read on besides, and how many bodies.
    connections: AtomicUsize,
    bodies: AtomicUsize,
    /// Once a shutdown has begun: until when.
    until: Mutex<Option<Instant>>,
}

/// Nothing is read on beyond so many bytes.
const BYTES_MAX: u64 = 64 << 20;

/// So many of each are read on at once.
const PLACES: usize = 256;

/// So many bodies of one connection: nobody takes all places.
pub(super) const BODIES_OF_ONE_MAX: usize = 8;

/// What is read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LingerKind {
    Connection,
    Body,
}

impl LingerPool {
    pub(super) fn new(idle: Duration, total: Duration) -> LingerPool {
        let places = || AtomicUsize::new(PLACES);
        let until = Mutex::new(None);
        LingerPool { idle, total, connections: places(), bodies: places(), until }
    }

    /// So long without a byte.
    pub(super) fn idle(&self) -> Duration {
        self.idle
    }

    /// A shutdown has begun, which waits until then.
    pub(super) fn ends_at(&self, until: Instant) {
        *self.until.lock() = Some(until);
    }

    /// Until when something is read on, or closed, that began to be so then.
    pub(super) fn deadline(&self, began: Instant) -> Instant {
        self.until.lock().unwrap_or_else(|| self.own_deadline(began))
    }

    /// The same, where no reply is owed: a shutdown makes no difference to that.
    pub(super) fn own_deadline(&self, began: Instant) -> Instant {
        began.checked_add(self.total).unwrap_or(began)
    }

    fn places(&self, what: LingerKind) -> &AtomicUsize {
        match what {
            LingerKind::Connection => &self.connections,
            LingerKind::Body => &self.bodies,
        }
    }

    /// A place to read on in; `None` where all are taken.
    pub(super) fn take_place(self: &Arc<LingerPool>, what: LingerKind) -> Option<LingerLimit> {
        // Relaxed: it guards nothing but itself.
        let took = self
            .places(what)
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        let lingering = Arc::clone(self);
        took.is_ok().then(|| LingerLimit { lingering, what, began: Instant::now(), bytes: 0 })
    }
}

/// What is left for one that is read on. Its place is free again when this is dropped.
#[derive(Debug)]
pub(super) struct LingerLimit {
    lingering: Arc<LingerPool>,
    what: LingerKind,
    began: Instant,
    bytes: u64,
}

impl LingerLimit {
    /// So many bytes came.
    pub(super) fn has_read(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes as u64);
    }

    /// How long to wait for the next byte; `None` once it is over.
    pub(super) fn left(&self) -> Option<Duration> {
        let lingering = &self.lingering;
        let deadline = lingering.deadline(self.began);
        let left = deadline.saturating_duration_since(Instant::now()).min(lingering.idle);
        (self.bytes <= BYTES_MAX && !left.is_zero()).then_some(left)
    }
}

impl Drop for LingerLimit {
    fn drop(&mut self) {
        // Relaxed: see where it is taken.
        self.lingering.places(self.what).fetch_add(1, Ordering::Relaxed);
    }
}
