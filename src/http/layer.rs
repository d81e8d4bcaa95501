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

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Bytes, HttpBody};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, Request, Response, Version};
use pin_project_lite::pin_project;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;
use tower::{Layer, Service};

use super::body::{TurnBody, TurnEnding};
use super::connection::{How, Outbox};
use super::current::CurrentTurn;
use super::refusal::Refusal;
use crate::gate::{Origin, Refused, Wait};
use crate::gateway::Gateway;
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
/// never turns: a drain that refused its own cancel could not be undone. **Where those routers are nested
/// below another path the layer does not know them**: then [`classify`](GateLayer::classify) must say so.
///
/// A turn lasts until the server has taken the last byte of the reply's body; with
/// [`serve`](super::serve), until that byte has left the process. What goes on after the reply (a
/// WebSocket, a task that was spawned) must hold [`CurrentTurn`].
///
/// Put it around the whole app, as `GateLayer::new(gateway).layer(app)`: a layer outside of it may keep
/// bytes back that it takes for gone (a compression does), and one inside a `Router` costs the router's
/// boxes on top.
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
    // Rounded up, and never 0: who is told that comes back at once.
    HeaderValue::from(after.as_secs().saturating_add(u64::from(after.subsec_nanos() > 0)).max(1))
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

impl Rules {
    fn kind(&self, parts: &Parts) -> Kind {
        if super::is_control_path(parts.uri.path()) {
            return Kind::NotATurn;
        }
        (self.classify)(parts)
    }

    fn admit(&self, origin: Origin, label: Option<&str>) -> Result<CurrentTurn, Refused> {
        match label {
            None => self.gateway.admit(origin).map(CurrentTurn::plain),
            Some(label) => self.gateway.admit_labelled(origin, label).map(CurrentTurn::labelled),
        }
    }

    /// A place to wait in, where there is one.
    fn place(&self) -> Option<(OwnedSemaphorePermit, Duration)> {
        let (places, patience) = self.parking.as_ref()?;
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
            without_body: parts.method == Method::HEAD,
            retry_after: self.rules.retry_after.clone(),
        };
        let Some((place, patience)) = self.rules.place() else {
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
    let how = if parts.version == Version::HTTP_2 { How::Http2 } else { How::Http1 };
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
