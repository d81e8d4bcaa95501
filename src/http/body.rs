//! The body of a reply whose turn lives until its last byte has gone. It looks at no byte, and whether one
//! has gone is the connection's to know.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::{Bytes, HttpBody};
use axum::http::StatusCode;
use hyper::body::{Frame, SizeHint};
use pin_project_lite::pin_project;

use super::connection::{How, Outbox};
use super::current::CurrentTurn;

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
        InTurn { #[pin] inner: B, rest: Bytes, _ending: TurnEnding },
        Refusal { text: Option<Bytes> },
    }
}

impl<B: HttpBody<Data = Bytes>> TurnBody<B> {
    /// Of what is no turn.
    pub(super) fn of_reply(inner: B) -> TurnBody<B> {
        TurnBody { kind: Kind::Reply { inner } }
    }

    pub(super) fn of_turn(inner: B, ending: TurnEnding) -> TurnBody<B> {
        TurnBody { kind: Kind::InTurn { inner, rest: Bytes::new(), _ending: ending } }
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
            KindProjected::InTurn { inner, rest, .. } => {
                let mut data = std::mem::take(rest);
                if data.is_empty() {
                    let frame = match ready!(inner.poll_frame(cx)) {
                        Some(Ok(frame)) => frame,
                        ended => return Poll::Ready(ended),
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
    /// Taken when it is dropped, and at no other time.
    turn: Option<CurrentTurn>,
    connection: Option<Outbox>,
    how: How,
    /// The request was for a tunnel.
    connects: bool,
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
        if self.how == How::Http1 && (status == StatusCode::SWITCHING_PROTOCOLS || tunnels) {
            self.how = How::Upgraded;
        }
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
