//! One connection: which replies have not been sent yet, how it waits for its client, and how it ends. It does not
//! look at the bytes.
//!
//! A server takes a body faster than its client does. The bytes that it has taken and not yet sent are in its buffer.
//! If the process is killed then, they are lost. [`serve`](super::serve) knows when that buffer is empty. There a turn
//! is over once its last byte was handed to the operating system ([F11], [I-14]).
//!
//! Over HTTP/2, a last [piece](super::body::PIECE_BYTES_MAX) may remain for which the client grants no window. Nothing
//! shows that it is the last one. With any other server, a turn is over when the server has taken the last byte of the
//! body.
//!
//! The server half-closes a connection first, and still reads from it. An operating system resets a connection that is
//! closed with unread bytes. The client then loses a reply that it has not read yet.
//!
//! [F11]: crate::guide::requirements#f11
//! [I-14]: crate::guide::incidents#i-14

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::AtomicUsize;
use std::task::{Context, Poll, Waker, ready};

use axum::http::StatusCode;
use hyper::rt::{Read, ReadBuf, ReadBufCursor, Write};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep};

use super::client_wait::{ClientWait, DrainClock};
use super::current::CurrentTurn;
use super::linger::{BODIES_OF_ONE_MAX, LingerKind, LingerLimit, LingerPool};
use super::pace::ProgressSignal;
use crate::sync::{Arc, AtomicBool, Mutex, Ordering};

/// When a reply has been sent, after the server has dropped its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delivery {
    /// HTTP/1 with one task for all: when the current poll ends with nothing left to write.
    Http1,
    /// HTTP/2 with a task for each stream: when a later poll of the connection ends with nothing left to write.
    Http2,
    /// An HTTP/1 connection that has changed to another protocol: when the connection ends.
    Upgraded,
}

/// Whether a reply with this status changes its connection, or its stream, to another protocol.
pub(super) fn is_upgrade(connects: bool, status: StatusCode) -> bool {
    status == StatusCode::SWITCHING_PROTOCOLS || (connects && status.is_success())
}

/// The state that a connection's task, its requests and its socket share. It is cheap to clone, and each request
/// carries one in its extensions.
#[derive(Clone, Debug)]
pub(super) struct Link {
    shared: Arc<LinkState>,
}

#[derive(Debug)]
struct LinkState {
    /// Guards the turns whose replies were taken and have not been sent yet. It is held for a push or a take, never
    /// while a turn is dropped or a task is woken.
    waiting: Mutex<PendingTurns>,
    /// Whether `waiting` holds any turn, so that most polls need not lock it.
    holds_turns: AtomicBool,
    /// Whether the last write or flush is unfinished, so that something is left to write. Only the connection's own
    /// task writes and reads it.
    is_blocked: AtomicBool,
    /// The requests whose replies the server has not taken completely.
    at_work: AtomicUsize,
    /// The number of requests that have arrived.
    asked: AtomicUsize,
    /// Whether bytes have arrived since the last request.
    has_begun_head: AtomicBool,
    /// How often bytes have arrived.
    reads: AtomicUsize,
    /// The bodies of HTTP/2 requests that are read on.
    bodies_read_on: AtomicUsize,
    is_http_2: AtomicBool,
    /// Whether the connection has changed to another protocol, which then ends it.
    is_upgraded: AtomicBool,
}

#[derive(Debug, Default)]
struct PendingTurns {
    /// The turns that end when the current poll ends.
    leaving: HeldTurns,
    /// The turns that end when the next poll ends.
    put: HeldTurns,
    /// The turns that end with the connection.
    for_the_end: Vec<CurrentTurn>,
    /// The waker of the connection's task, over HTTP/2.
    waker: Option<Waker>,
    ended: bool,
}

/// A list of turns. It most often has one, which needs no allocation.
#[derive(Debug, Default)]
struct HeldTurns {
    one: Option<CurrentTurn>,
    more: Vec<CurrentTurn>,
}

impl HeldTurns {
    fn push(&mut self, turn: CurrentTurn) {
        match &self.one {
            None => self.one = Some(turn),
            Some(_) => self.more.push(turn),
        }
    }

    fn is_empty(&self) -> bool {
        self.one.is_none()
    }
}

/// Whether a connection rests, that is, has no active request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RestState {
    /// A request is active, or its reply is being sent.
    No,
    /// The head of a request has begun to arrive.
    Comes,
    /// No request is active and no head has begun.
    Rests,
}

impl Link {
    pub(super) fn new() -> Link {
        let shared = LinkState {
            waiting: Mutex::new(PendingTurns::default()),
            holds_turns: AtomicBool::new(false),
            is_blocked: AtomicBool::new(false),
            at_work: AtomicUsize::new(0),
            asked: AtomicUsize::new(0),
            has_begun_head: AtomicBool::new(false),
            reads: AtomicUsize::new(0),
            bodies_read_on: AtomicUsize::new(0),
            is_http_2: AtomicBool::new(false),
            is_upgraded: AtomicBool::new(false),
        };
        Link { shared: Arc::new(shared) }
    }

    /// A request has arrived. It is active until the guard is dropped.
    pub(super) fn on_request(&self, is_http_2: bool) -> ActiveRequest {
        let shared = &self.shared;
        // Relaxed, all of them: the connection's own task writes and reads them. The exception is the end of a
        // request over HTTP/2, which wakes that task through the lock.
        if is_http_2 {
            shared.is_http_2.store(true, Ordering::Relaxed);
        }
        shared.has_begun_head.store(false, Ordering::Relaxed);
        shared.asked.fetch_add(1, Ordering::Relaxed);
        shared.at_work.fetch_add(1, Ordering::Relaxed);
        ActiveRequest { link: self.clone() }
    }

    /// How many requests have arrived.
    pub(super) fn asked(&self) -> usize {
        // Relaxed: see `on_request`.
        self.shared.asked.load(Ordering::Relaxed)
    }

    pub(super) fn rest(&self) -> RestState {
        let shared = &self.shared;
        // Relaxed: see `on_request`, and for the others `put` and `poll_connection`.
        let is_at_work = shared.at_work.load(Ordering::Relaxed) > 0;
        // A reply whose bytes the server has taken and not sent is still being sent.
        let is_sending =
            shared.is_blocked.load(Ordering::Relaxed) || shared.holds_turns.load(Ordering::Relaxed);
        if is_at_work || is_sending {
            return RestState::No;
        }
        let is_http_1 = !shared.is_http_2.load(Ordering::Relaxed);
        let comes = is_http_1 && shared.has_begun_head.load(Ordering::Relaxed);
        if comes { RestState::Comes } else { RestState::Rests }
    }

    /// A place to read on a body of this connection. `None` if the connection has its share, or if all are taken.
    pub(super) fn read_on_body(&self, lingering: &Arc<LingerPool>) -> Option<DiscardSlot> {
        let limit = lingering.take_place(LingerKind::Body)?;
        // Relaxed: the count orders no other memory.
        let of_this = self.shared.bodies_read_on.fetch_add(1, Ordering::Relaxed);
        let place = DiscardSlot { link: self.clone(), limit };
        (of_this < BODIES_OF_ONE_MAX).then_some(place)
    }

    /// The connection changes to another protocol.
    pub(super) fn on_upgrade(&self) {
        // Relaxed: the reply that upgrades goes through the connection's own task, which reads this.
        self.shared.is_upgraded.store(true, Ordering::Relaxed);
    }

    pub(super) fn put(&self, turn: CurrentTurn, how: Delivery) {
        let mut waiting = self.shared.waiting.lock();
        if waiting.ended {
            drop(waiting);
            drop(turn);
            return;
        }
        match how {
            Delivery::Http1 => waiting.leaving.push(turn),
            Delivery::Http2 => waiting.put.push(turn),
            Delivery::Upgraded => waiting.for_the_end.push(turn),
        }
        // Relaxed: over HTTP/1 the connection's own task does this; over HTTP/2 the waker orders it.
        self.shared.holds_turns.store(true, Ordering::Relaxed);
        // At its next poll, the connection writes the bytes that the stream handed over before this. An earlier wake
        // for them may be used up already, so it is woken again.
        let waker = waiting.waker.clone().filter(|_| how == Delivery::Http2);
        drop(waiting);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Polls the connection. If the poll ends with nothing left to write, the replies of the turns that were put
    /// before it have been sent.
    pub(super) fn poll_connection<T>(
        &self,
        cx: &mut Context<'_>,
        poll: impl FnOnce(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        // Relaxed: this task sets it.
        let is_http_2 = || self.shared.is_http_2.load(Ordering::Relaxed);
        let was_http_2 = is_http_2();
        if was_http_2 {
            self.take_what_was_put(cx);
        }
        let polled = poll(cx);
        if !was_http_2 && is_http_2() {
            // This was its first request. From now on streams wake this task, and one may have ended already.
            if self.take_what_was_put(cx) {
                cx.waker().wake_by_ref();
            }
            return polled;
        }
        // Relaxed: this task writes `is_blocked`, and for `holds_turns` see `put`.
        let holds_turns = self.shared.holds_turns.load(Ordering::Relaxed);
        if holds_turns && !self.shared.is_blocked.load(Ordering::Relaxed) {
            let mut waiting = self.shared.waiting.lock();
            let gone = std::mem::take(&mut waiting.leaving);
            self.shared.holds_turns.store(!waiting.put.is_empty(), Ordering::Relaxed);
            drop(waiting);
            drop(gone);
        }
        polled
    }

    /// Moves the turns in `put` to `leaving`. Returns whether there was any.
    fn take_what_was_put(&self, cx: &Context<'_>) -> bool {
        let mut waiting = self.shared.waiting.lock();
        if !waiting.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            waiting.waker = Some(cx.waker().clone());
        }
        let HeldTurns { one, more } = std::mem::take(&mut waiting.put);
        let was_put = one.is_some();
        one.into_iter().chain(more).for_each(|turn| waiting.leaving.push(turn));
        was_put
    }

    fn is_blocked(&self, blocked: bool) {
        // Relaxed: only the connection's own task writes and reads it; see `poll_connection`.
        self.shared.is_blocked.store(blocked, Ordering::Relaxed);
    }

    fn has_read(&self) {
        // Relaxed: see `on_request`.
        self.shared.has_begun_head.store(true, Ordering::Relaxed);
        self.has_read_on();
    }

    /// Bytes have arrived that are discarded.
    fn has_read_on(&self) {
        // Relaxed: see `on_request`. A load and a store are enough: only the connection's own task counts.
        let reads = self.shared.reads.load(Ordering::Relaxed);
        self.shared.reads.store(reads.wrapping_add(1), Ordering::Relaxed);
    }

    /// How often bytes have arrived.
    pub(super) fn reads(&self) -> usize {
        // Relaxed: see `on_request`.
        self.shared.reads.load(Ordering::Relaxed)
    }

    fn is_upgraded(&self) -> bool {
        // Relaxed: see `on_upgrade`.
        self.shared.is_upgraded.load(Ordering::Relaxed)
    }

    fn end(&self) {
        let mut waiting = self.shared.waiting.lock();
        let gone = std::mem::take(&mut *waiting);
        waiting.ended = true;
        drop(waiting);
        drop(gone);
    }
}

/// The place of a body that is read on.
#[derive(Debug)]
pub(super) struct DiscardSlot {
    link: Link,
    pub(super) limit: LingerLimit,
}

impl Drop for DiscardSlot {
    fn drop(&mut self) {
        // Relaxed: see `read_on_body`.
        self.link.shared.bodies_read_on.fetch_sub(1, Ordering::Relaxed);
    }
}

/// An active request.
#[derive(Debug)]
pub(super) struct ActiveRequest {
    link: Link,
}

impl ActiveRequest {
    pub(super) fn link(&self) -> &Link {
        &self.link
    }
}

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        let shared = &self.link.shared;
        // Relaxed: over HTTP/2 the lock below orders it; over HTTP/1 the connection's own task does this.
        let was_last = shared.at_work.fetch_sub(1, Ordering::Relaxed) == 1;
        // The bytes until now were this request's body.
        shared.has_begun_head.store(false, Ordering::Relaxed);
        if was_last && shared.is_http_2.load(Ordering::Relaxed) {
            // From now on the connection rests, and its task must start to time that.
            let waker = shared.waiting.lock().waker.clone();
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }
}

/// How far a connection is closed.
enum CloseState {
    Open,
    /// Half-closed, and still read.
    LingeringRead(Box<LingeringRead>),
    Closed,
}

struct LingeringRead {
    limit: LingerLimit,
    timer: Pin<Box<Sleep>>,
    piece: Vec<u8>,
}

impl LingeringRead {
    fn new(limit: LingerLimit) -> LingeringRead {
        let timer = Box::pin(tokio::time::sleep(limit.left().unwrap_or_default()));
        LingeringRead { limit, timer, piece: vec![0; LINGER_PIECE] }
    }

    /// Reads and discards. Ready once the client has closed its half or its time is over.
    fn poll<Io: Read + Unpin>(
        &mut self,
        io: &mut Io,
        link: &Link,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        loop {
            let mut piece = ReadBuf::new(&mut self.piece);
            match Pin::new(&mut *io).poll_read(cx, piece.unfilled()) {
                Poll::Ready(Ok(())) if !piece.filled().is_empty() => {
                    link.has_read_on();
                    self.limit.has_read(piece.filled().len());
                    let Some(within) = self.limit.left() else { return Poll::Ready(()) };
                    self.timer.as_mut().reset(Instant::now() + within);
                }
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return self.timer.as_mut().poll(cx),
            }
        }
    }
}

/// The size of the buffer for discarded bytes.
const LINGER_PIECE: usize = 16 * 1024;

/// A connection's socket. It reports to its [`Link`] whether anything is left to write. It waits for its client to
/// read only within the limits, and still reads while it closes.
pub(super) struct DeliveryIo<Io> {
    io: Io,
    link: Link,
    writes: ClientWait,
    flushes: ClientWait,
    /// The bytes written since the last flush.
    unflushed: u64,
    lingering: Arc<LingerPool>,
    closing: CloseState,
    /// Its place among the connections of the server.
    _place: OwnedSemaphorePermit,
}

impl<Io> Drop for DeliveryIo<Io> {
    fn drop(&mut self) {
        self.link.end();
    }
}

impl<Io> DeliveryIo<Io> {
    pub(super) fn new(
        io: Io,
        link: Link,
        clock: &DrainClock,
        lingering: Arc<LingerPool>,
        place: OwnedSemaphorePermit,
    ) -> DeliveryIo<Io> {
        DeliveryIo {
            io,
            link,
            writes: ClientWait::for_reader(clock, ProgressSignal::Socket),
            flushes: ClientWait::for_reader(clock, ProgressSignal::Socket),
            unflushed: 0,
            lingering,
            closing: CloseState::Open,
            _place: place,
        }
    }

    /// Records the result of a write. A write that cannot proceed must not wait for ever.
    fn wrote(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        self.link.is_blocked(written.is_pending());
        match written {
            Poll::Ready(Ok(bytes)) => {
                self.unflushed = self.unflushed.saturating_add(bytes as u64);
                self.writes.progress(bytes as u64);
            }
            Poll::Ready(Err(_)) => {}
            Poll::Pending => {
                return self.writes.poll_timed_out(cx).map(Err);
            }
        }
        written
    }
}

impl<Io: Read + Unpin> Read for DeliveryIo<Io> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.io).poll_read(cx, buffer);
        if read.is_ready() {
            self.link.has_read();
        }
        read
    }
}

impl<Io: Read + Write + Unpin> Write for DeliveryIo<Io> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.wrote(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, slices);
        self.wrote(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    /// A transport with a buffer, such as TLS, takes the last bytes and hands them over here. So this must not wait
    /// for ever either.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let flushed = Pin::new(&mut this.io).poll_flush(cx);
        this.link.is_blocked(flushed.is_pending());
        if flushed.is_ready() {
            this.flushes.progress(std::mem::take(&mut this.unflushed));
            return flushed;
        }
        this.flushes.poll_timed_out(cx).map(Err)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            match &mut this.closing {
                CloseState::Open => {
                    // Times out if the client does not take the last bytes of the close. For earlier bytes, the flush
                    // before it times out.
                    match Pin::new(&mut this.io).poll_shutdown(cx) {
                        Poll::Ready(shut) => shut?,
                        Poll::Pending => return this.flushes.poll_timed_out(cx).map(Err),
                    }
                    if this.link.is_upgraded() {
                        // The other protocol continues to read.
                        return Poll::Ready(Ok(()));
                    }
                    let place = this.lingering.take_place(LingerKind::Connection);
                    this.closing = place.map_or(CloseState::Closed, |place| {
                        CloseState::LingeringRead(Box::new(LingeringRead::new(place)))
                    });
                }
                CloseState::LingeringRead(read_on) => {
                    ready!(read_on.poll(&mut this.io, &this.link, cx));
                    this.closing = CloseState::Closed;
                }
                CloseState::Closed => return Poll::Ready(Ok(())),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// One connection takes no more than its share of the places to read on.
    #[tokio::test]
    async fn a_connection_has_a_share_of_what_is_read_on() {
        let second = Duration::from_secs(1);
        let lingering = Arc::new(LingerPool::new(second, second));
        let (greedy, other) = (Link::new(), Link::new());
        let taken: Vec<_> = std::iter::from_fn(|| greedy.read_on_body(&lingering)).collect();
        assert_eq!(taken.len(), BODIES_OF_ONE_MAX);
        assert!(other.read_on_body(&lingering).is_some());
        drop(taken);
        assert!(greedy.read_on_body(&lingering).is_some(), "its share is free again");
        let all: Vec<_> = (0..1000).filter_map(|_| Link::new().read_on_body(&lingering)).collect();
        assert_eq!(all.len(), 256);
        assert!(other.read_on_body(&lingering).is_none());
        assert!(
            lingering.take_place(LingerKind::Connection).is_some(),
            "connections have their own"
        );
        drop(all);
        assert!(other.read_on_body(&lingering).is_some());
    }
}
