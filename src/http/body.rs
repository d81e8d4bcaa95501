//! The body of a reply. Its turn lives until the last byte has been sent. This module does not look at the bytes; the
//! connection knows when a byte has been sent.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::BoxError;
use axum::body::{Body, Bytes, HttpBody};
use axum::http::StatusCode;
use hyper::body::{Frame, SizeHint};
use pin_project_lite::pin_project;

use super::connection::{Delivery, Link, is_upgrade};
use super::current::CurrentTurn;
use crate::sync::{AtomicBool, Ordering};

/// The most bytes that the server gets at once: larger data is split. Bytes that a server takes and cannot send yet
/// count as sent, except with [`serve`](super::serve).
pub(super) const PIECE_BYTES_MAX: usize = 16 * 1024;

pin_project! {
    /// The body of a reply behind a [`GateLayer`](super::GateLayer).
    pub struct TurnBody<B> {
        #[pin]
        kind: BodyKind<B>,
    }
}

pin_project! {
    #[project = KindProjected]
    enum BodyKind<B> {
        Reply { #[pin] inner: B },
        InTurn { #[pin] inner: B, rest: Bytes, _ending: TurnEnding },
        Refusal { body: Body },
    }
}

impl<B: HttpBody<Data = Bytes>> TurnBody<B> {
    /// The body of a request that is not a turn.
    pub(super) fn of_reply(inner: B) -> TurnBody<B> {
        TurnBody { kind: BodyKind::Reply { inner } }
    }

    pub(super) fn of_turn(inner: B, ending: TurnEnding) -> TurnBody<B> {
        TurnBody { kind: BodyKind::InTurn { inner, rest: Bytes::new(), _ending: ending } }
    }

    pub(super) fn of_refusal(body: Body) -> TurnBody<B> {
        TurnBody { kind: BodyKind::Refusal { body } }
    }
}

impl<B> HttpBody for TurnBody<B>
where
    B: HttpBody<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.project().kind.project() {
            KindProjected::Reply { inner } => {
                inner.poll_frame(cx).map(|frame| frame.map(|frame| frame.map_err(Into::into)))
            }
            KindProjected::Refusal { body } => {
                let frame = ready!(Pin::new(body).poll_frame(cx));
                Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
            }
            KindProjected::InTurn { inner, rest, .. } => {
                let mut data = std::mem::take(rest);
                if data.is_empty() {
                    let frame = match ready!(inner.poll_frame(cx)) {
                        Some(Ok(frame)) => frame,
                        Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
                        None => return Poll::Ready(None),
                    };
                    match frame.into_data() {
                        Ok(bytes) => data = bytes,
                        Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                    }
                }
                if data.len() > PIECE_BYTES_MAX {
                    *rest = data.split_off(PIECE_BYTES_MAX);
                }
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            BodyKind::Reply { inner } => inner.is_end_stream(),
            BodyKind::InTurn { inner, rest, .. } => rest.is_empty() && inner.is_end_stream(),
            BodyKind::Refusal { body } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            BodyKind::Reply { inner } => inner.size_hint(),
            BodyKind::Refusal { body } => body.size_hint(),
            BodyKind::InTurn { inner, rest, .. } => {
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

/// A turn until its reply has been sent.
#[derive(Debug)]
pub(super) struct TurnEnding {
    /// The turn. It is taken only when this is dropped.
    turn: Option<CurrentTurn>,
    connection: Option<Link>,
    how: Delivery,
    /// Whether the request was for a tunnel.
    connects: bool,
}

impl TurnEnding {
    pub(super) fn new(
        turn: CurrentTurn,
        connection: Option<Link>,
        how: Delivery,
        connects: bool,
    ) -> TurnEnding {
        TurnEnding { turn: Some(turn), connection, how, connects }
    }

    /// The handler has answered with this status.
    pub(super) fn replied(&mut self, status: StatusCode) {
        if !is_upgrade(self.connects, status) {
            return;
        }
        // Over HTTP/2 a tunnel is one stream of several, and its connection may live for weeks. So the handler that
        // continues in the tunnel must hold the turn.
        let ends_with_the_connection = self.how == Delivery::Http1 && self.connection.is_some();
        if ends_with_the_connection {
            self.how = Delivery::Upgraded;
        } else if self.turn.as_ref().is_some_and(CurrentTurn::is_last) {
            warn_once_of_a_lost_upgrade();
        }
    }
}

/// With another server than [`serve`](super::serve), or in an HTTP/2 tunnel, an upgraded connection is in flight only
/// while its handler holds the turn.
fn warn_once_of_a_lost_upgrade() {
    static WARNED: AtomicBool = AtomicBool::new(false);
    // Relaxed: the flag orders no other memory.
    if !WARNED.swap(true, Ordering::Relaxed) {
        tracing::warn!(
            "a drain does not wait for an upgraded connection, because its handler holds no turn: \
             use UpgradeInTurn or CurrentTurn::hold in the handler, or serve with tidegate::http::serve"
        );
    }
}

// Property: TG-S4 quiesced_means_idle, TG-S6 in_flight_untouched.
impl Drop for TurnEnding {
    fn drop(&mut self) {
        let Some(turn) = self.turn.take() else { return };
        match &self.connection {
            Some(connection) => connection.put(turn, self.how),
            None => drop(turn),
        }
    }
}
