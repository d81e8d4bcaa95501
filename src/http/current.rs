//! The turn a request is, as its handler sees it. It admits nothing: the layer does.

use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::IntoResponse;

use super::reply::Failure;
use crate::gate::{Origin, Refused, Turn};
use crate::gateway::LabelledTurn;
use crate::sync::Arc;

/// The turn a request is, for its handler: an extractor, and an extension of the request.
///
/// The turn lives while any clone does, and at least until its reply has gone: whoever goes on after the
/// reply, on an upgraded connection or in a task, keeps one.
#[derive(Clone, Debug)]
pub struct CurrentTurn {
    turn: Arc<Held>,
}

#[derive(Debug)]
enum Held {
    Plain(Turn),
    Labelled(LabelledTurn),
}

impl CurrentTurn {
    pub(super) fn plain(turn: Turn) -> CurrentTurn {
        CurrentTurn { turn: Arc::new(Held::Plain(turn)) }
    }

    pub(super) fn labelled(turn: LabelledTurn) -> CurrentTurn {
        CurrentTurn { turn: Arc::new(Held::Labelled(turn)) }
    }

    fn turn(&self) -> &Turn {
        match &*self.turn {
            Held::Plain(turn) => turn,
            Held::Labelled(turn) => turn,
        }
    }

    /// See [`Turn::child`].
    ///
    /// # Errors
    ///
    /// As `Turn::child`.
    pub fn child(&self) -> Result<Turn, Refused> {
        self.turn().child()
    }

    /// Who the turn is for.
    #[must_use]
    pub fn origin(&self) -> Origin {
        self.turn().origin()
    }
}

/// The request is no turn: no [`GateLayer`](super::GateLayer) let it in, or it was classified as none. A
/// mistake of the program's, answered 500.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this request is no turn: put the route behind a GateLayer, or take an Option of the turn")]
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
