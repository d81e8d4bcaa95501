//! The layer that makes every request a turn: admitted before its handler runs, counted until the last
//! byte of its reply, refused while the gate is closed. It decides nothing: the gate does, and whether a
//! request is a turn at all, and whose, is the embedder's word.
//!
//! # Invariants
//!
//! * **TG-S2 no_new_turn_while_draining**: the handler is called with a turn in hand, or not at all.
//! * **TG-S6 in_flight_untouched**: nothing here ends a request that was let in.
//! * A turn is over however its request ends: reply taken, connection lost, stream reset, handler
//!   panicked, future dropped (I-32).

use std::fmt::{self, Write};
use std::pin::Pin;
use std::sync::LazyLock;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Bytes, HttpBody};
use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, Request, Response, StatusCode, Version, header};
use axum::response::IntoResponse;
use pin_project_lite::pin_project;
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;
use tower::{Layer, Service};

use super::body::{How, Outbox, TurnBody, TurnEnding};
use super::reply::Failure;
use crate::gate::word::Denied;
use crate::gate::{Origin, Refused, Turn, Wait};
use crate::gateway::{Gateway, LabelledTurn};
use crate::sync::Arc;

/// What a request is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// A turn of this origin.
    Turn(Origin),
    /// The same, listed by this label among the status' `active_work` while it lives. Takes a lock and
    /// allocates.
    Labelled(Origin, String),
    /// No turn: it passes at any time and is not counted. For health and metrics.
    NotATurn,
}

/// Requests that wait for the gate to open instead of being refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parking {
    /// This many at most; who comes when all places are taken is refused.
    pub places: usize,
    /// Each for so long at most; then it is refused.
    pub patience: Duration,
}

/// What whoever is refused is told to wait before he tries again.
const RETRY_AFTER: Duration = Duration::from_secs(5);

type Classify = Arc<dyn Fn(&Parts) -> Kind + Send + Sync>;

#[derive(Clone)]
struct Rules {
    gateway: Gateway,
    classify: Classify,
    retry_after: HeaderValue,
    parking: Option<(Arc<Semaphore>, Duration)>,
}

/// Makes every request behind it a turn of the gateway's.
///
/// While the gate is closed a request is answered 503 with `Retry-After` and a problem document
/// (RFC 9457) before its handler runs and before its body is read; over HTTP/1 also with
/// `Connection: close`, so that a client which keeps its connection goes elsewhere. Requests that were
/// let in finish untouched.
///
/// The paths of [`drain_router`](super::drain_router) and [`health_router`](super::health_router) are
/// never turns: a drain that refused its own cancel could not be undone.
///
/// A turn lasts until the server has taken the last byte of the reply's body; with
/// [`serve`](super::serve), until that byte has left the process. What goes on after the reply (a
/// WebSocket, a task that was spawned) must hold [`CurrentTurn`].
///
/// # Examples
///
/// ```
/// use axum::{Router, routing::post};
/// use tidegate::{Gateway, Origin, http::{CurrentTurn, GateLayer, Kind}};
///
/// async fn chat(turn: CurrentTurn) -> Result<String, tidegate::Refused> {
///     let tool_call = turn.child()?; // what this turn needs passes a closed gate
/// #   drop(tool_call);
///     Ok("hello".to_owned())
/// }
///
/// # let gateway = Gateway::in_memory().start()?;
/// let app: Router = Router::new()
///     .route("/chat", post(async |turn| chat(turn).await.unwrap_or_else(|it| it.to_string())))
///     .layer(GateLayer::new(gateway).classify(|request| match request.uri.path() {
///         "/metrics" => Kind::NotATurn,
///         "/hooks/done" => Kind::Turn(Origin::Internal),
///         _ => Kind::Turn(Origin::User),
///     }));
/// # let _ = app;
/// # Ok::<(), tidegate::StartError>(())
/// ```
#[derive(Clone)]
pub struct GateLayer {
    rules: Rules,
}

impl GateLayer {
    /// Every request is a user's turn, and is refused while the gate is closed.
    #[must_use]
    pub fn new(gateway: Gateway) -> GateLayer {
        let rules = Rules {
            gateway,
            classify: Arc::new(|_| Kind::Turn(Origin::User)),
            retry_after: seconds(RETRY_AFTER),
            parking: None,
        };
        GateLayer { rules }
    }

    /// Asks `classify` what each request is. What comes from outside is a user's, whatever it is about:
    /// internal work passes a closed gate, and a webhook that calls itself internal keeps a drain from
    /// ever being idle (U24).
    #[must_use]
    pub fn classify(
        mut self,
        classify: impl Fn(&Parts) -> Kind + Send + Sync + 'static,
    ) -> GateLayer {
        self.rules.classify = Arc::new(classify);
        self
    }

    /// What `Retry-After` says: five seconds unless told otherwise.
    #[must_use]
    pub fn retry_after(mut self, after: Duration) -> GateLayer {
        self.rules.retry_after = seconds(after);
        self
    }

    /// Has requests wait at a closed gate instead of refusing them, as many and as long as `parking`
    /// says. Nobody waits for a gateway that is shutting down. All services made of this layer share
    /// the places.
    #[must_use]
    pub fn park(mut self, parking: Parking) -> GateLayer {
        let places = Semaphore::new(parking.places.min(Semaphore::MAX_PERMITS));
        self.rules.parking = Some((Arc::new(places), parking.patience));
        self
    }
}

fn seconds(after: Duration) -> HeaderValue {
    // Rounded up: one who is told 0 comes back at once.
    HeaderValue::from(after.as_secs() + u64::from(after.subsec_nanos() > 0))
}

impl fmt::Debug for GateLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GateLayer").field("gateway", &self.rules.gateway).finish_non_exhaustive()
    }
}

impl<S> Layer<S> for GateLayer {
    type Service = GateService<S>;

    fn layer(&self, inner: S) -> GateService<S> {
        GateService { inner, rules: Arc::new(self.rules.clone()) }
    }
}

/// A service behind a [`GateLayer`].
#[derive(Clone)]
pub struct GateService<S> {
    inner: S,
    rules: Arc<Rules>,
}

impl<S: fmt::Debug> fmt::Debug for GateService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GateService").field("inner", &self.inner).finish_non_exhaustive()
    }
}

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

/// The request is no turn: no [`GateLayer`] let it in, or it was classified as none. A mistake of the
/// program's, answered 500.
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

impl Rules {
    fn kind(&self, parts: &Parts) -> Kind {
        if super::is_control_path(parts.uri.path()) {
            return Kind::NotATurn;
        }
        (self.classify)(parts)
    }

    fn admit(&self, origin: Origin, label: Option<&str>) -> Result<CurrentTurn, Refused> {
        let held = match label {
            None => self.gateway.admit(origin).map(Held::Plain),
            Some(label) => self.gateway.admit_labelled(origin, label).map(Held::Labelled),
        };
        held.map(|turn| CurrentTurn { turn: Arc::new(turn) })
    }

    /// A place to wait in, where there is one and waiting will help.
    fn place(&self, refused: Refused) -> Option<(OwnedSemaphorePermit, Duration)> {
        let (places, patience) = self.parking.as_ref()?;
        if refused.phase.is_shut() {
            return None;
        }
        Some((Arc::clone(places).try_acquire_owned().ok()?, *patience))
    }
}

impl<S, B, R> Service<Request<B>> for GateService<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone,
    R: HttpBody<Data = Bytes>,
{
    type Response = Response<TurnBody<R>>;
    type Error = S::Error;
    type Future = GateFuture<S, B>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    // Property: TG-S2 no_new_turn_while_draining.
    fn call(&mut self, request: Request<B>) -> GateFuture<S, B> {
        let (parts, body) = request.into_parts();
        let (origin, label) = match self.rules.kind(&parts) {
            Kind::NotATurn => {
                let reply = self.inner.call(Request::from_parts(parts, body));
                return GateFuture { state: State::Passing { reply } };
            }
            Kind::Turn(origin) => (origin, None),
            Kind::Labelled(origin, label) => (origin, Some(label)),
        };
        match self.rules.admit(origin, label.as_deref()) {
            Ok(turn) => {
                let (ending, request) = enter(turn, parts, body);
                let reply = self.inner.call(request);
                GateFuture { state: State::InTurn { reply, ending: Some(ending) } }
            }
            Err(refused) => self.turn_away(refused, origin, label, parts, body),
        }
    }
}

impl<S> GateService<S> {
    #[cold]
    fn turn_away<B>(
        &mut self,
        refused: Refused,
        origin: Origin,
        label: Option<String>,
        parts: Parts,
        body: B,
    ) -> GateFuture<S, B>
    where
        S: Service<Request<B>> + Clone,
    {
        let refusal = Refusal {
            refused,
            closes_connection: parts.version < Version::HTTP_2,
            retry_after: self.rules.retry_after.clone(),
        };
        let Some((place, patience)) = self.rules.place(refused) else {
            return GateFuture { state: State::Refused { refusal } };
        };
        // The one that was polled ready goes with the request; a clone takes its place.
        let clone = self.inner.clone();
        let service = std::mem::replace(&mut self.inner, clone);
        let rules = Arc::clone(&self.rules);
        let opening =
            self.rules.gateway.wait_until(move || match rules.admit(origin, label.as_deref()) {
                Err(refused) if !refused.phase.is_shut() => None,
                answer => Some(answer),
            });
        let parked =
            Parked { opening, service, request: Some((parts, body)), refusal, _place: place };
        let patience = tokio::time::sleep(patience);
        GateFuture { state: State::Parked { parked: Box::new(parked), patience } }
    }
}

/// The request goes in, with its turn.
fn enter<B>(turn: CurrentTurn, mut parts: Parts, body: B) -> (TurnEnding, Request<B>) {
    let connection = parts.extensions.get::<Outbox>().cloned();
    let how = if parts.version == Version::HTTP_2 { How::NextWrite } else { How::NextFlush };
    let connects = parts.method == Method::CONNECT;
    parts.extensions.insert(turn.clone());
    (TurnEnding::new(turn, connection, how, connects), Request::from_parts(parts, body))
}

pin_project! {
    /// The reply to come of a [`GateService`].
    pub struct GateFuture<S: Service<Request<B>>, B> {
        #[pin]
        state: State<S, B>,
    }
}

pin_project! {
    #[project = StateProjected]
    enum State<S: Service<Request<B>>, B> {
        InTurn { #[pin] reply: S::Future, ending: Option<TurnEnding> },
        Passing { #[pin] reply: S::Future },
        Refused { refusal: Refusal },
        Parked { parked: Box<Parked<S, B>>, #[pin] patience: Sleep },
    }
}

/// A request that waits for the gate to open.
struct Parked<S, B> {
    opening: Wait<Result<CurrentTurn, Refused>>,
    service: S,
    /// Taken when it goes in.
    request: Option<(Parts, B)>,
    /// What it is told, should it wait in vain.
    refusal: Refusal,
    _place: OwnedSemaphorePermit,
}

impl<S, B, R> Future for GateFuture<S, B>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: HttpBody<Data = Bytes>,
{
    type Output = Result<Response<TurnBody<R>>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            let next = match state.as_mut().project() {
                StateProjected::Passing { reply } => {
                    let reply = ready!(reply.poll(cx))?;
                    return Poll::Ready(Ok(reply.map(TurnBody::of_reply)));
                }
                StateProjected::InTurn { reply, ending } => {
                    let reply = ready!(reply.poll(cx))?;
                    return Poll::Ready(Ok(match ending.take() {
                        Some(mut ending) => {
                            ending.replied(reply.status());
                            reply.map(|body| TurnBody::of_turn(body, ending))
                        }
                        // Polled once more than a future may be.
                        None => reply.map(TurnBody::of_reply),
                    }));
                }
                StateProjected::Refused { refusal } => return Poll::Ready(Ok(refusal.reply())),
                StateProjected::Parked { parked, patience } => {
                    let opened = Pin::new(&mut parked.opening).poll(cx);
                    match (opened, parked.request.take()) {
                        (Poll::Ready(Ok(turn)), Some((parts, body))) => {
                            let (ending, request) = enter(turn, parts, body);
                            let reply = parked.service.call(request);
                            State::InTurn { reply, ending: Some(ending) }
                        }
                        (Poll::Pending, request) if patience.poll(cx).is_pending() => {
                            parked.request = request;
                            return Poll::Pending;
                        }
                        (Poll::Ready(Err(refused)), _) => State::Refused {
                            refusal: Refusal { refused, ..parked.refusal.clone() },
                        },
                        _ => State::Refused { refusal: parked.refusal.clone() },
                    }
                }
            };
            state.set(next);
        }
    }
}

impl<S: Service<Request<B>>, B> fmt::Debug for GateFuture<S, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GateFuture").finish_non_exhaustive()
    }
}

/// What whoever is refused is told.
#[derive(Clone, Debug)]
struct Refusal {
    refused: Refused,
    closes_connection: bool,
    retry_after: HeaderValue,
}

impl Refusal {
    fn reply<R: HttpBody<Data = Bytes>>(&self) -> Response<TurnBody<R>> {
        let mut reply = Response::new(TurnBody::of_refusal(document(self.refused).into()));
        *reply.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        let headers = reply.headers_mut();
        headers.reserve(4);
        let json = HeaderValue::from_static("application/problem+json");
        headers.insert(header::CONTENT_TYPE, json);
        headers.insert(header::RETRY_AFTER, self.retry_after.clone());
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if self.closes_connection {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        reply
    }
}

/// The problem document (RFC 9457) of a refusal. All but the generation is written once: under a drain
/// there are many.
fn document(refused: Refused) -> String {
    #[derive(Serialize)]
    struct Document<'a> {
        r#type: &'a str,
        title: &'a str,
        status: u16,
        detail: &'a str,
        reason: &'a str,
    }
    static WRITTEN: LazyLock<[(Denied, String); 4]> = LazyLock::new(|| {
        Denied::ALL.map(|denied| {
            let document = Document {
                r#type: "about:blank",
                title: "Service Unavailable",
                status: StatusCode::SERVICE_UNAVAILABLE.as_u16(),
                detail: &denied.to_string(),
                reason: denied.word(),
            };
            // Strings and numbers always serialize, and an object ends in a brace.
            let text = serde_json::to_string(&document).unwrap_or_default();
            (denied, text.trim_end_matches('}').to_owned())
        })
    });
    const REST: &str = ",\"generation\":";
    const GENERATION_MAX: usize = 20;
    let written = WRITTEN.iter().find(|(denied, _)| *denied == refused.denied);
    let written = written.map(|(_, text)| text.as_str()).unwrap_or_default();
    let mut text = String::with_capacity(written.len() + REST.len() + GENERATION_MAX + 1);
    text.push_str(written);
    text.push_str(REST);
    // Writing to a string never fails.
    let _ = write!(text, "{}}}", refused.generation);
    text
}
