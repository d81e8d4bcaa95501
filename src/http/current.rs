//! The turn of a request for its handler, also after the connection has changed to another protocol. It admits
//! nothing: the layer does.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::IntoResponse;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::reply::Failure;
use crate::gate::{Origin, Refused, Turn};
use crate::gateway::{Gateway, LabelledTurn};
use crate::sync::Arc;

/// The turn of a request, for its handler. It is an extractor, and an extension of the request.
///
/// The turn lives while any clone does, and at least until its reply has been sent. Work that continues after the
/// reply, on an upgraded connection or in a task, must keep a clone:
///
/// ```
/// use tidegate::http::CurrentTurn;
/// # async fn compact() {}
///
/// async fn chat(turn: CurrentTurn) -> &'static str {
///     tokio::spawn(turn.hold(compact())); // the drain waits for it
///     "hello"
/// }
/// ```
///
/// The same works for axum's WebSocket: `ws.on_upgrade(|socket| turn.hold(talk(socket)))`. For any other protocol
/// use [`UpgradeInTurn`].
#[derive(Clone, Debug)]
pub struct CurrentTurn {
    turn: Arc<HeldTurn>,
    /// The request's turn of another gateway, from an outer layer.
    outer: Option<Arc<CurrentTurn>>,
}

#[derive(Debug)]
enum HeldTurn {
    Plain(Turn),
    Labelled(LabelledTurn),
}

impl CurrentTurn {
    pub(super) fn plain(turn: Turn) -> CurrentTurn {
        CurrentTurn { turn: Arc::new(HeldTurn::Plain(turn)), outer: None }
    }

    pub(super) fn labelled(turn: LabelledTurn) -> CurrentTurn {
        CurrentTurn { turn: Arc::new(HeldTurn::Labelled(turn)), outer: None }
    }

    fn turn(&self) -> &Turn {
        match &*self.turn {
            HeldTurn::Plain(turn) => turn,
            HeldTurn::Labelled(turn) => turn,
        }
    }

    /// The same turn, for a request that is also the turn `outer` of another gateway.
    pub(super) fn within(self, outer: CurrentTurn) -> CurrentTurn {
        CurrentTurn { outer: Some(Arc::new(outer)), ..self }
    }

    /// Whether the request is a turn of this gateway.
    pub(super) fn is_of(&self, gateway: &Gateway) -> bool {
        gateway.has_admitted(self.turn())
            || self.outer.as_ref().is_some_and(|outer| outer.is_of(gateway))
    }

    /// Whether nothing else holds the turn.
    pub(super) fn is_last(&self) -> bool {
        Arc::strong_count(&self.turn) == 1
    }

    /// Runs a future as part of the turn: the turn lives until the future ends or is dropped.
    pub async fn hold<F: Future>(self, future: F) -> F::Output {
        let output = future.await;
        drop(self);
        output
    }

    /// Admits a child of this turn: see [`Turn::child`].
    ///
    /// # Errors
    ///
    /// The errors of [`Turn::child`].
    pub fn child(&self) -> Result<Turn, Refused> {
        self.turn().child()
    }

    /// The origin of the turn.
    #[must_use]
    pub fn origin(&self) -> Origin {
        self.turn().origin()
    }
}

/// The request is not a turn: no [`GateLayer`](super::GateLayer) admitted it, or it was classified as untracked. This
/// is a mistake in the program, answered with 500.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "this request is not a turn: put the route behind a GateLayer, or extract Option<CurrentTurn>"
)]
pub struct NotInATurn;

impl IntoResponse for NotInATurn {
    fn into_response(self) -> axum::response::Response {
        Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "not_in_a_turn", self.to_string())
            .into_response()
    }
}

impl<S: Sync> FromRequestParts<S> for CurrentTurn {
    type Rejection = NotInATurn;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<CurrentTurn, NotInATurn> {
        parts.extensions.get().cloned().ok_or(NotInATurn)
    }
}

impl<S: Sync> OptionalFromRequestParts<S> for CurrentTurn {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(
        parts: &mut Parts,
        _: &S,
    ) -> Result<Option<CurrentTurn>, Self::Rejection> {
        Ok(parts.extensions.get().cloned())
    }
}

/// A connection that will change to another protocol, together with its turn. It is an extractor for handlers that
/// answer `101 Switching Protocols`, or that accept a `CONNECT`. With any server, the turn lasts until the
/// connection is dropped.
///
/// ```
/// use axum::http::StatusCode;
/// use axum::response::IntoResponse;
/// use tidegate::http::UpgradeInTurn;
/// use tokio::io::{AsyncReadExt, AsyncWriteExt};
///
/// async fn echo(upgrade: UpgradeInTurn) -> impl IntoResponse {
///     tokio::spawn(async move {
///         let Ok(mut connection) = upgrade.connected().await else { return };
///         let mut byte = [0];
///         while connection.read_exact(&mut byte).await.is_ok() {
///             let _ = connection.write_all(&byte).await;
///         }
///     });
///     (StatusCode::SWITCHING_PROTOCOLS, [("connection", "upgrade"), ("upgrade", "echo")])
/// }
/// # let _ = axum::Router::<()>::new().route("/", axum::routing::any(echo));
/// ```
#[derive(Debug)]
pub struct UpgradeInTurn {
    upgrade: OnUpgrade,
    turn: CurrentTurn,
}

impl UpgradeInTurn {
    /// Waits until the reply has been sent and the handler owns the connection.
    ///
    /// # Errors
    ///
    /// An error if the connection ended first, or if the reply was not an upgrade. The turn is over then.
    pub async fn connected(self) -> Result<UpgradedInTurn, hyper::Error> {
        let io = TokioIo::new(self.upgrade.await?);
        Ok(UpgradedInTurn { io, _turn: self.turn })
    }
}

/// Why there is no [`UpgradeInTurn`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoUpgrade {
    /// The request asks for no other protocol, or its server cannot change protocols: 426.
    #[error("this request cannot be upgraded: send `Connection: upgrade` over HTTP/1.1")]
    NotRequested,
    /// The request is not a turn: see [`NotInATurn`].
    #[error(transparent)]
    NotInATurn(#[from] NotInATurn),
}

impl IntoResponse for NoUpgrade {
    fn into_response(self) -> axum::response::Response {
        match self {
            NoUpgrade::NotRequested => {
                Failure::new(StatusCode::UPGRADE_REQUIRED, "no_upgrade", self.to_string())
                    .into_response()
            }
            NoUpgrade::NotInATurn(not_in_a_turn) => not_in_a_turn.into_response(),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for UpgradeInTurn {
    type Rejection = NoUpgrade;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<UpgradeInTurn, NoUpgrade> {
        let turn = <CurrentTurn as FromRequestParts<S>>::from_request_parts(parts, state).await?;
        let upgrade = parts.extensions.remove::<OnUpgrade>().ok_or(NoUpgrade::NotRequested)?;
        Ok(UpgradeInTurn { upgrade, turn })
    }
}

/// An upgraded connection and its turn: see [`UpgradeInTurn`].
#[derive(Debug)]
pub struct UpgradedInTurn {
    // Declared first, so dropped before the turn: the connection is closed when the turn ends.
    io: TokioIo<Upgraded>,
    _turn: CurrentTurn,
}

impl AsyncRead for UpgradedInTurn {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

impl AsyncWrite for UpgradedInTurn {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
