//! The limits for reading on. The server reads and discards bytes from a connection that it closes, or of a body that
//! its handler has dropped. The client can then read the reply before anything is reset. This module reads nothing
//! itself.

use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use tokio::time::Instant;

use crate::sync::{Arc, Mutex, Ordering};

/// The limits and places that all connections of one server share.
#[derive(Debug)]
pub(super) struct LingerPool {
    /// The longest time without a byte.
    idle: Duration,
    /// The longest total time, except during a shutdown.
    total: Duration,
    /// How many more connections may be read on.
    connections: AtomicUsize,
    /// How many more bodies may be read on.
    bodies: AtomicUsize,
    /// The end of the grace, once a shutdown has begun.
    until: Mutex<Option<Instant>>,
}

/// The most bytes that are read on from one connection or body.
const BYTES_MAX: u64 = 64 << 20;

/// The number of places for connections, and for bodies.
const PLACES: usize = 256;

/// The most bodies of one connection, so that no client takes all places.
pub(super) const BODIES_OF_ONE_MAX: usize = 8;

/// The kind of thing that is read on.
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

    /// The longest time without a byte.
    pub(super) fn idle(&self) -> Duration {
        self.idle
    }

    /// Records that a shutdown has begun that waits until this time.
    pub(super) fn ends_at(&self, until: Instant) {
        *self.until.lock() = Some(until);
    }

    /// The deadline for reading on, or closing, that began at this time.
    pub(super) fn deadline(&self, began: Instant) -> Instant {
        self.until.lock().unwrap_or_else(|| self.own_deadline(began))
    }

    /// The same if no reply is owed: a shutdown does not change it.
    pub(super) fn own_deadline(&self, began: Instant) -> Instant {
        began.checked_add(self.total).unwrap_or(began)
    }

    fn places(&self, what: LingerKind) -> &AtomicUsize {
        match what {
            LingerKind::Connection => &self.connections,
            LingerKind::Body => &self.bodies,
        }
    }

    /// A place to read on. `None` if all are taken.
    pub(super) fn take_place(self: &Arc<LingerPool>, what: LingerKind) -> Option<LingerLimit> {
        // Relaxed: the count orders no other memory.
        let took = self
            .places(what)
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        let lingering = Arc::clone(self);
        took.is_ok().then(|| LingerLimit { lingering, what, began: Instant::now(), bytes: 0 })
    }
}

/// The limits of one connection or body that is read on. Its place is free again when this is dropped.
#[derive(Debug)]
pub(super) struct LingerLimit {
    lingering: Arc<LingerPool>,
    what: LingerKind,
    began: Instant,
    bytes: u64,
}

impl LingerLimit {
    /// This many bytes have arrived.
    pub(super) fn has_read(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes as u64);
    }

    /// How long to wait for the next byte. `None` once the limits are reached.
    pub(super) fn left(&self) -> Option<Duration> {
        let lingering = &self.lingering;
        let deadline = lingering.deadline(self.began);
        let left = deadline.saturating_duration_since(Instant::now()).min(lingering.idle);
        (self.bytes <= BYTES_MAX && !left.is_zero()).then_some(left)
    }
}

impl Drop for LingerLimit {
    fn drop(&mut self) {
        // Relaxed: see `take_place`.
        self.lingering.places(self.what).fetch_add(1, Ordering::Relaxed);
    }
}
