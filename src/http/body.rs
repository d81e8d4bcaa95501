//! The body of a reply whose turn lives until its last byte has gone, and what a connection knows of
//! bytes that have not gone yet. It looks at no byte.
//!
//! A server takes a body faster than its client does: what it has taken and not yet sent is in its
//! buffer, and is lost where the process is killed then. [`serve`](super::serve) knows when that buffer
//! is empty, so there a turn is over when its last byte was handed to the operating system (F11, I-14); over
//! HTTP/2, when the last [pieces](PIECE_BYTES_MAX) are about to be.
//! With any other server it is over when the server has taken the last byte of the body.

use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Bytes, HttpBody};
use axum::http::StatusCode;
use hyper::body::{Frame, SizeHint};
use hyper::rt::{Read, ReadBufCursor, Write};
use pin_project_lite::pin_project;
use tokio::time::Sleep;

use super::current::CurrentTurn;
use crate::sync::{Arc, AtomicBool, Mutex, Ordering};

/// A server that is handed more than this at once is handed it piece by piece: what it takes beyond what
/// it can send counts as sent, unless it is [`serve`](super::serve).
pub(super) const PIECE_BYTES_MAX: usize = 16 * 1024;

pin_project! {
    /// The body of a reply behind a [`GateLayer`](super::GateLayer).
    pub struct TurnBody<B> {
        #[pin]
        kind: Kind<B>,
    }
}

pin_project! {
    #[project = KindProjected]
    enum Kind<B> {
        Reply { #[pin] inner: B },
        InTurn { #[pin] inner: B, rest: Bytes, ending: TurnEnding },
        Refusal { text: Option<Bytes> },
    }
}

impl<B: HttpBody<Data = Bytes>> TurnBody<B> {
    /// Of what is no turn.
    pub(super) fn of_reply(inner: B) -> TurnBody<B> {
        TurnBody { kind: Kind::Reply { inner } }
    }

    pub(super) fn of_turn(inner: B, mut ending: TurnEnding) -> TurnBody<B> {
        if inner.is_end_stream() {
            ending.last_of_it();
        }
        TurnBody { kind: Kind::InTurn { inner, rest: Bytes::new(), ending } }
    }

    /// Of nothing, where there must be no body.
    pub(super) fn of_refusal(text: Option<Bytes>) -> TurnBody<B> {
        TurnBody { kind: Kind::Refusal { text } }
    }
}

impl<B: HttpBody<Data = Bytes>> HttpBody for TurnBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        match self.project().kind.project() {
            KindProjected::Reply { inner } => inner.poll_frame(cx),
            KindProjected::Refusal { text } => {
                Poll::Ready(text.take().map(|it| Ok(Frame::data(it))))
            }
            KindProjected::InTurn { mut inner, rest, ending } => {
                let mut data = std::mem::take(rest);
                if data.is_empty() {
                    let frame = match ready!(inner.as_mut().poll_frame(cx)) {
                        Some(Ok(frame)) => frame,
                        Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                        None => {
                            ending.last_of_it();
                            return Poll::Ready(None);
                        }
                    };
                    match frame.into_data() {
                        Ok(bytes) => data = bytes,
                        Err(trailers) => {
                            // Nothing comes after them.
                            ending.last_of_it();
                            return Poll::Ready(Some(Ok(trailers)));
                        }
                    }
                }
                if data.len() > PIECE_BYTES_MAX {
                    *rest = data.split_off(PIECE_BYTES_MAX);
                }
                if rest.is_empty() && inner.is_end_stream() {
                    ending.last_of_it();
                }
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Reply { inner } => inner.is_end_stream(),
            Kind::InTurn { inner, rest, .. } => rest.is_empty() && inner.is_end_stream(),
            Kind::Refusal { text } => text.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Reply { inner } => inner.size_hint(),
            Kind::Refusal { text } => {
                SizeHint::with_exact(text.as_ref().map_or(0, |text| text.len() as u64))
            }
            Kind::InTurn { inner, rest, .. } => {
                let (of_inner, rest) = (inner.size_hint(), rest.len() as u64);
                let mut hint = SizeHint::new();
                if let Some(upper) = of_inner.upper() {
                    hint.set_upper(upper.saturating_add(rest));
                }
                hint.set_lower(of_inner.lower().saturating_add(rest));
                hint
            }
        }
    }
}

impl<B> fmt::Debug for TurnBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TurnBody").finish_non_exhaustive()
    }
}

/// A turn, until what it replied has gone.
#[derive(Debug)]
pub(super) struct TurnEnding {
    /// Taken when it goes to the connection, or is over.
    turn: Option<CurrentTurn>,
    connection: Option<Outbox>,
    how: How,
    /// The request was for a tunnel.
    connects: bool,
}

/// When a reply has gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// HTTP/1: when the connection is flushed next after the body was dropped. Also one that was not taken
    /// whole: of a reply to `HEAD` the server takes no body, and what was cut off ends the connection.
    NextFlush,
    /// HTTP/2: when it was flushed after it was next written to. That may be a frame of another stream, or
    /// one before the last: what is left by then is what the stream's buffer holds, two pieces at most. A
    /// body that is dropped before that belongs to a stream
    /// that was reset, and nobody waits for it.
    NextWrite,
    /// An HTTP/1 connection was given to another protocol: when it ends.
    Upgraded,
}

impl TurnEnding {
    pub(super) fn new(
        turn: CurrentTurn,
        connection: Option<Outbox>,
        how: How,
        connects: bool,
    ) -> TurnEnding {
        TurnEnding { turn: Some(turn), connection, how, connects }
    }

    /// The handler has answered with this status.
    pub(super) fn replied(&mut self, status: StatusCode) {
        let tunnels = self.connects && status.is_success();
        // Over HTTP/2 a tunnel is one stream of several, and its connection may live for weeks: whoever
        // goes on in it holds the turn himself.
        if self.how == How::NextFlush && (status == StatusCode::SWITCHING_PROTOCOLS || tunnels) {
            self.how = How::Upgraded;
        }
    }

    /// The last of the reply is about to be handed over. Over HTTP/2 the stream and its connection are
    /// two tasks, so the connection must know before it can be written: told later, it would wait for a
    /// write that has been made.
    fn last_of_it(&mut self) {
        if let (How::NextWrite, Some(connection)) = (self.how, &self.connection)
            && let Some(turn) = self.turn.take()
        {
            connection.put(turn, self.how);
        }
    }
}

// Property: TG-S4 quiesced_means_idle, TG-S6 in_flight_untouched.
impl Drop for TurnEnding {
    fn drop(&mut self) {
        let Some(turn) = self.turn.take() else { return };
        match &self.connection {
            Some(connection) if self.how != How::NextWrite => connection.put(turn, self.how),
            _ => drop(turn),
        }
    }
}

/// The turns of one connection whose replies were taken and have not gone yet. Cheap to clone; a request
/// carries one among its extensions.
#[derive(Clone, Debug)]
pub(super) struct Outbox {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// Guards the turns; held for a push or a take, never while one is dropped.
    waiting: Mutex<Waiting>,
    /// Some wait for a write; so that the writes of others need not ask.
    awaits_write: AtomicBool,
}

#[derive(Debug, Default)]
struct Waiting {
    for_a_write: Vec<CurrentTurn>,
    for_a_flush: Turns,
    for_the_end: Vec<CurrentTurn>,
    ended: bool,
}

/// Most often one, which takes no allocation.
#[derive(Debug, Default)]
struct Turns {
    one: Option<CurrentTurn>,
    more: Vec<CurrentTurn>,
}

impl Turns {
    fn push(&mut self, turn: CurrentTurn) {
        match &self.one {
            None => self.one = Some(turn),
            Some(_) => self.more.push(turn),
        }
    }
}

impl Outbox {
    pub(super) fn new() -> Outbox {
        let waiting = Mutex::new(Waiting::default());
        Outbox { shared: Arc::new(Shared { waiting, awaits_write: AtomicBool::new(false) }) }
    }

    fn put(&self, turn: CurrentTurn, how: How) {
        let mut waiting = self.shared.waiting.lock();
        if waiting.ended {
            drop(waiting);
            drop(turn);
            return;
        }
        match how {
            How::NextFlush => waiting.for_a_flush.push(turn),
            How::NextWrite => {
                waiting.for_a_write.push(turn);
                // Relaxed: what is to be written for this turn is handed to the connection after this,
                // by locks of the protocol's own. Set under the lock, so that no take misses it.
                self.shared.awaits_write.store(true, Ordering::Relaxed);
            }
            How::Upgraded => waiting.for_the_end.push(turn),
        }
    }

    fn written(&self) {
        // Relaxed: see `put`.
        if !self.shared.awaits_write.load(Ordering::Relaxed) {
            return;
        }
        let mut waiting = self.shared.waiting.lock();
        self.shared.awaits_write.store(false, Ordering::Relaxed);
        for turn in std::mem::take(&mut waiting.for_a_write) {
            waiting.for_a_flush.push(turn);
        }
    }

    fn flushed(&self) {
        let gone = std::mem::take(&mut self.shared.waiting.lock().for_a_flush);
        drop(gone);
    }

    fn end(&self) {
        let mut waiting = self.shared.waiting.lock();
        let gone = std::mem::take(&mut *waiting);
        waiting.ended = true;
        drop(waiting);
        drop(gone);
    }
}

/// A connection that tells its outbox what has gone, and waits no longer than it may for its client to
/// read.
pub(super) struct Delivering<Io> {
    io: Io,
    outbox: Outbox,
    patience: Duration,
    /// While a write waits.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<Io> Drop for Delivering<Io> {
    fn drop(&mut self) {
        self.outbox.end();
    }
}

impl<Io> Delivering<Io> {
    pub(super) fn new(io: Io, outbox: Outbox, patience: Duration) -> Delivering<Io> {
        Delivering { io, outbox, patience, stalled: None }
    }

    /// What came of a write: it must not wait for ever.
    fn wrote(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.stalled = None;
            self.outbox.written();
            return written;
        }
        let patience = self.patience;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        ready!(stalled.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not read")))
    }
}

impl<Io: Read + Unpin> Read for Delivering<Io> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

impl<Io: Write + Unpin> Write for Delivering<Io> {
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

    /// A server flushes once it has written all that it has.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.io).poll_flush(cx))?;
        self.outbox.flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
