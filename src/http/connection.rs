//! What a connection knows of replies that have not gone yet, and how long it waits for its client. It
//! looks at no byte.
//!
//! A server takes a body faster than its client does: what it has taken and not yet sent is in its
//! buffer, and is lost where the process is killed then. [`serve`](super::serve) knows when that buffer
//! is empty, so there a turn is over when its last byte was handed to the operating system (F11, I-14), but
//! for two [pieces](super::body::PIECE_BYTES_MAX) over HTTP/2 that its client grants no window for.
//! With any other server it is over when the server has taken the last byte of the body.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use axum::body::{Bytes, HttpBody};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::rt::{Read, ReadBufCursor, Write};
use tokio::time::Sleep;

use super::current::CurrentTurn;
use crate::sync::{Arc, AtomicBool, Mutex, Ordering};

/// When a reply has gone whose body the server has dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// HTTP/1, where one task does all: when its poll ends, and nothing is left to be written.
    Http1,
    /// HTTP/2, where the stream is a task of its own: when a poll of the connection that began after that
    /// ends, and nothing is left to be written.
    Http2,
    /// An HTTP/1 connection was given to another protocol: when it ends.
    Upgraded,
}

/// The turns of one connection whose replies were taken and have not gone yet. Cheap to clone; a request
/// carries one among its extensions.
#[derive(Clone, Debug)]
pub(super) struct Outbox {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// Guards the turns; held for a push or a take, never while one is dropped or a task is woken.
    waiting: Mutex<Waiting>,
    /// The last write or flush could not be done: something is left to be written. Only the connection's
    /// own task writes and reads it.
    blocked: AtomicBool,
}

#[derive(Debug, Default)]
struct Waiting {
    /// Go when a poll ends.
    leaving: Turns,
    /// Go when a poll ends that has not begun yet.
    put: Turns,
    /// Go with the connection.
    for_the_end: Vec<CurrentTurn>,
    /// Of the connection's task.
    waker: Option<Waker>,
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
        Outbox { shared: Arc::new(Shared { waiting, blocked: AtomicBool::new(false) }) }
    }

    pub(super) fn put(&self, turn: CurrentTurn, how: How) {
        let mut waiting = self.shared.waiting.lock();
        if waiting.ended {
            drop(waiting);
            drop(turn);
            return;
        }
        match how {
            How::Http1 => waiting.leaving.push(turn),
            How::Http2 => waiting.put.push(turn),
            How::Upgraded => waiting.for_the_end.push(turn),
        }
        // What the stream handed over before this the connection writes at its next poll; it may have
        // been woken for that before, so it is woken for this.
        let waker = waiting.waker.clone().filter(|_| how == How::Http2);
        drop(waiting);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// A poll of the connection: what was put before it has gone when it ends with nothing left to be
    /// written.
    pub(super) fn around<T>(
        &self,
        cx: &mut Context<'_>,
        poll: impl FnOnce(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        {
            let mut waiting = self.shared.waiting.lock();
            if !waiting.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                waiting.waker = Some(cx.waker().clone());
            }
            let Turns { one, more } = std::mem::take(&mut waiting.put);
            one.into_iter().chain(more).for_each(|turn| waiting.leaving.push(turn));
        }
        let polled = poll(cx);
        // Relaxed: this task wrote it.
        if !self.shared.blocked.load(Ordering::Relaxed) {
            let gone = std::mem::take(&mut self.shared.waiting.lock().leaving);
            drop(gone);
        }
        polled
    }

    fn is_blocked(&self, blocked: bool) {
        // Relaxed: see where it is read.
        self.shared.blocked.store(blocked, Ordering::Relaxed);
    }

    fn end(&self) {
        let mut waiting = self.shared.waiting.lock();
        let gone = std::mem::take(&mut *waiting);
        waiting.ended = true;
        drop(waiting);
        drop(gone);
    }
}

/// How long a client is waited for, each time anew.
pub(super) struct Patience {
    at_most: Duration,
    /// While he is waited for.
    waits: Option<Pin<Box<Sleep>>>,
}

impl Patience {
    pub(super) fn new(at_most: Duration) -> Patience {
        Patience { at_most, waits: None }
    }

    /// What was `polled`, or that he took too long over it.
    fn bear<T>(
        &mut self,
        cx: &mut Context<'_>,
        polled: Poll<T>,
        too_long: &'static str,
    ) -> Poll<io::Result<T>> {
        if let Poll::Ready(it) = polled {
            self.waits = None;
            return Poll::Ready(Ok(it));
        }
        let at_most = self.at_most;
        let waits = self.waits.get_or_insert_with(|| Box::pin(tokio::time::sleep(at_most)));
        ready!(waits.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, too_long)))
    }
}

/// A request's body that is waited for no longer than it may take: from when it was asked for its next
/// piece and had none, and not while nobody asks.
pub(super) struct PatientBody {
    pub(super) body: Incoming,
    pub(super) patience: Patience,
}

impl HttpBody for PatientBody {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let Self { body, patience } = &mut *self;
        // What has come counts, however long it was left there.
        let frame = Pin::new(body).poll_frame(cx);
        match ready!(patience.bear(cx, frame, "the client sends no more of the body")) {
            Ok(frame) => Poll::Ready(frame.map(|frame| frame.map_err(Into::into))),
            Err(too_long) => Poll::Ready(Some(Err(too_long.into()))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A connection that tells its outbox whether anything is left to be written, and waits no longer than it
/// may for its client to read.
pub(super) struct Delivering<Io> {
    io: Io,
    outbox: Outbox,
    patience: Patience,
}

impl<Io> Drop for Delivering<Io> {
    fn drop(&mut self) {
        self.outbox.end();
    }
}

impl<Io> Delivering<Io> {
    pub(super) fn new(io: Io, outbox: Outbox, patience: Patience) -> Delivering<Io> {
        Delivering { io, outbox, patience }
    }

    /// What came of a write: it must not wait for ever.
    fn wrote(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        self.outbox.is_blocked(written.is_pending());
        let written = self.patience.bear(cx, written, "the client does not read");
        written.map(|written| written.and_then(|written| written))
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

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.io).poll_flush(cx);
        self.outbox.is_blocked(flushed.is_pending());
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
