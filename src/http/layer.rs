//! The layer that makes every request a turn. A request is admitted before its handler runs, and counted until the
//! last byte of its reply. While the gate is closed, a request is refused.
//!
//! The layer decides nothing and knows no paths. The gate admits or refuses, and the author's
//! [`classify`](GateLayer::classify) says whether a request is a turn, and of which origin.
//!
//! # Invariants
//!
//! * **TG-S2 no_new_turn_while_draining**: the handler of a turn is called only after the turn was admitted.
//! * **TG-S6 in_flight_untouched**: nothing here ends a request that was admitted.
//! * A turn is over however its request ends: reply taken, connection lost, stream reset, handler
//!   panicked, future dropped ([I-32]).
//!
//! [I-32]: crate::guide::incidents#i-32

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::BoxError;
use axum::body::{Body, Bytes, HttpBody};
use axum::http::request::Parts;
use axum::http::{Method, Request, Response, Version};
use pin_project_lite::pin_project;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;
use tower::{Layer, Service};

use super::body::{TurnBody, TurnEnding};
use super::connection::{Delivery, Link};
use super::current::CurrentTurn;
use super::refusal::{RetryAfter, refuse};
use super::service_call::ServiceCall;
use crate::gate::{Origin, Refused, Wait};
use crate::gateway::Gateway;
use crate::sync::Arc;

/// What a request is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Classification {
    /// A turn of this origin.
    Turn(Origin),
    /// A turn of this origin that the status lists under this label in `active_work` while it lives. This takes a
    /// lock and allocates.
    Labelled(Origin, String),
    /// Not a turn: it passes at any time and is not counted. For health and metrics.
    Untracked,
}

/// The limits for requests that wait for the gate to open instead of being refused.
///
/// ```
/// use std::time::Duration;
/// use tidegate::{Gateway, http::{GateLayer, Parking}};
/// let gateway = Gateway::in_memory().start()?;
/// // While the gate is closed, 100 requests may wait for it, each for 20 seconds at most.
/// let layer = GateLayer::new(gateway).park(Parking::new(100, Duration::from_secs(20)));
/// # drop(layer);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Parking {
    /// How many requests may wait at once. A request that finds no place is refused.
    pub places: usize,
    /// How long a request may wait. After this time it is refused.
    pub timeout: Duration,
}

impl Parking {
    /// Room for this many requests, each for this long.
    #[must_use]
    pub const fn new(places: usize, timeout: Duration) -> Parking {
        Parking { places, timeout }
    }
}

/// When a refused client is asked to try again, unless the author says otherwise.
const RETRY_AFTER: Duration = Duration::from_secs(5);

type Classify = Arc<dyn Fn(&Parts) -> Classification + Send + Sync>;

type Refuse = Arc<dyn Fn(&Parts, &Refused) -> axum::response::Response + Send + Sync>;

#[derive(Clone)]
struct LayerConfig {
    gateway: Gateway,
    classify: Classify,
    retry_after: RetryAfter,
    /// The author's own reply to a refused request.
    refuse: Option<Refuse>,
    parking: Option<(Arc<Semaphore>, Duration)>,
}

/// Makes every request behind it a turn of the gateway.
///
/// While the gate is closed, a request is refused before its handler runs and before its body is read. The refusal is
/// in the protocol of the request: 503 with `Retry-After` and a problem document (RFC 9457). A client that accepts
/// only plain text gets plain text. gRPC and gRPC-web get status 14 (`UNAVAILABLE`). Over HTTP/1 the refusal also has
/// `Connection: close`, so that the client connects elsewhere. Admitted requests finish untouched.
///
/// The layer knows no paths. Merge routes that must answer while the gate is closed *beside* the gated routes, above
/// all [`drain_router`](super::drain_router) and [`health_router`](super::health_router). Otherwise a drain would
/// refuse its own cancel. [`classify`](GateLayer::classify) names other requests that must pass.
///
/// An admitted request is one turn, however many layers of the same gateway it passes. A turn lasts until the server
/// has taken the last byte of the reply's body. With [`serve`](super::serve), it lasts until that byte has left the
/// process. Work that continues after the reply (a WebSocket, a spawned task) must hold [`CurrentTurn`].
///
/// The layer is always ready. It admits a request first, and then waits until the service behind it is ready. So a
/// concurrency limit belongs *behind* the layer. There, refused and parked requests take none of its places. Requests
/// that wait for one of its places are turns already, and a drain waits for them.
///
/// Put the layer directly around the gated routes. A layer outside it may hold back bytes that this layer counts as
/// sent (compression does).
///
/// # Examples
///
/// ```
/// use axum::{Router, routing::post};
/// use tidegate::{Gateway, Origin, http::{CurrentTurn, GateLayer, Classification, health_router}};
///
/// async fn chat(turn: CurrentTurn) -> Result<String, tidegate::Refused> {
///     let tool_call = turn.child()?; // a child of this turn passes a closed gate
/// #   drop(tool_call);
///     Ok("hello".to_owned())
/// }
///
/// # let gateway = Gateway::in_memory().start()?;
/// let turns = Router::new()
///     .route("/chat", post(async |turn| chat(turn).await.unwrap_or_else(|it| it.to_string())))
///     .layer(GateLayer::new(gateway.clone()).classify(|request| match request.uri.path() {
///         "/metrics" => Classification::Untracked,
///         "/hooks/done" => Classification::Turn(Origin::Internal),
///         _ => Classification::Turn(Origin::User),
///     }));
/// let app: Router = turns.merge(health_router(gateway));
/// # let _ = app;
/// # Ok::<(), tidegate::StartError>(())
/// ```
#[derive(Clone)]
pub struct GateLayer {
    rules: LayerConfig,
}

impl GateLayer {
    /// A layer that makes every request a user turn, and refuses it while the gate is closed.
    #[must_use]
    pub fn new(gateway: Gateway) -> GateLayer {
        let rules = LayerConfig {
            gateway,
            classify: Arc::new(|_| Classification::Turn(Origin::User)),
            retry_after: RetryAfter::new(RETRY_AFTER),
            refuse: None,
            parking: None,
        };
        GateLayer { rules }
    }

    /// Asks `classify` what each request is.
    ///
    /// Every request from outside must be a user turn, whatever it is about. Internal work passes a closed gate. A
    /// webhook classified as internal can keep a drain from ever being idle.
    ///
    /// [U24](crate::guide::incidents#u24)
    #[must_use]
    pub fn classify(
        mut self,
        classify: impl Fn(&Parts) -> Classification + Send + Sync + 'static,
    ) -> GateLayer {
        self.rules.classify = Arc::new(classify);
        self
    }

    /// When a refused client is asked to try again. The default is after five seconds.
    #[must_use]
    pub fn retry_after(mut self, after: Duration) -> GateLayer {
        self.rules.retry_after = RetryAfter::new(after);
        self
    }

    /// Answers refused requests with `refuse` instead. Its reply is sent unchanged, except that `HEAD` gets no body.
    ///
    /// ```
    /// use axum::response::{Html, IntoResponse};
    /// use tidegate::{Gateway, http::GateLayer};
    ///
    /// # let gateway = Gateway::in_memory().start()?;
    /// let layer = GateLayer::new(gateway).refuse_with(|_request, refused| {
    ///     (axum::http::StatusCode::SERVICE_UNAVAILABLE, Html(format!("<p>{refused}</p>"))).into_response()
    /// });
    /// # drop(layer);
    /// # Ok::<(), tidegate::StartError>(())
    /// ```
    #[must_use]
    pub fn refuse_with(
        mut self,
        refuse: impl Fn(&Parts, &Refused) -> axum::response::Response + Send + Sync + 'static,
    ) -> GateLayer {
        self.rules.refuse = Some(Arc::new(refuse));
        self
    }

    /// Parks requests at a closed gate instead of refusing them, within the limits of `parking`. No request waits
    /// for a gateway that is shutting down. All services made from this layer share the places.
    #[must_use]
    pub fn park(mut self, parking: Parking) -> GateLayer {
        let places = Semaphore::new(parking.places.min(Semaphore::MAX_PERMITS));
        self.rules.parking = Some((Arc::new(places), parking.timeout));
        self
    }
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
    rules: Arc<LayerConfig>,
}

impl<S: fmt::Debug> fmt::Debug for GateService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GateService").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl LayerConfig {
    fn admit(&self, origin: Origin, label: Option<&str>) -> Result<CurrentTurn, Refused> {
        match label {
            None => self.gateway.admit(origin).map(CurrentTurn::plain),
            Some(label) => self.gateway.admit_labelled(origin, label).map(CurrentTurn::labelled),
        }
    }

    /// A place to wait, if one is free.
    fn place(&self) -> Option<(OwnedSemaphorePermit, Duration)> {
        let (places, timeout) = self.parking.as_ref()?;
        Some((Arc::clone(places).try_acquire_owned().ok()?, *timeout))
    }

    fn refuse(&self, parts: &Parts, refused: Refused) -> Response<Body> {
        let Some(own) = &self.refuse else { return refuse(parts, refused, &self.retry_after) };
        let is_head = parts.method == Method::HEAD;
        own(parts, &refused).map(|body| if is_head { Body::empty() } else { body })
    }
}

impl<S, B, R> Service<Request<B>> for GateService<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone,
    R: HttpBody<Data = Bytes>,
    R::Error: Into<BoxError>,
{
    type Response = Response<TurnBody<R>>;
    type Error = S::Error;
    type Future = GateFuture<S, B>;

    /// Always ready: a refused or parked request takes no place of the service behind it.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        Poll::Ready(Ok(()))
    }

    // Property: TG-S2 no_new_turn_while_draining.
    #[inline]
    fn call(&mut self, request: Request<B>) -> GateFuture<S, B> {
        let (parts, body) = request.into_parts();
        // If an outer layer of the same gateway admitted the request, it is that turn already.
        let is_let_in = parts
            .extensions
            .get()
            .is_some_and(|turn: &CurrentTurn| turn.is_of(&self.rules.gateway));
        let kind =
            if is_let_in { Classification::Untracked } else { (self.rules.classify)(&parts) };
        let (origin, label) = match kind {
            Classification::Untracked => {
                let reply = ServiceCall::new(&mut self.inner, Request::from_parts(parts, body));
                return GateFuture { state: State::Passing { reply } };
            }
            Classification::Turn(origin) => (origin, None),
            Classification::Labelled(origin, label) => (origin, Some(label)),
        };
        match self.rules.admit(origin, label.as_deref()) {
            Ok(turn) => GateFuture { state: enter(&mut self.inner, turn, parts, body) },
            Err(refused) => {
                GateFuture { state: self.refuse_or_park(refused, origin, label, parts, body) }
            }
        }
    }
}

impl<S> GateService<S> {
    #[cold]
    fn refuse_or_park<B>(
        &self,
        refused: Refused,
        origin: Origin,
        label: Option<String>,
        parts: Parts,
        body: B,
    ) -> State<S, B>
    where
        S: Service<Request<B>> + Clone,
    {
        let Some((place, timeout)) = self.rules.place() else {
            return State::Refused { reply: Some(self.rules.refuse(&parts, refused)) };
        };
        let rules = Arc::clone(&self.rules);
        let opening =
            self.rules.gateway.wait_until(move || match rules.admit(origin, label.as_deref()) {
                Err(refused) if !refused.phase.is_shut() => None,
                answer => Some(answer),
            });
        let parked = Parked {
            opening,
            service: self.inner.clone(),
            request: Some((parts, body)),
            rules: Arc::clone(&self.rules),
            refused,
            _place: place,
        };
        State::Parked { parked: Box::new(parked), timeout: tokio::time::sleep(timeout) }
    }
}

/// Calls the service with the request and its turn.
#[inline]
fn enter<S, B>(service: &mut S, turn: CurrentTurn, mut parts: Parts, body: B) -> State<S, B>
where
    S: Service<Request<B>> + Clone,
{
    let connection = parts.extensions.get::<Link>().cloned();
    let how = if parts.version == Version::HTTP_2 { Delivery::Http2 } else { Delivery::Http1 };
    let connects = parts.method == Method::CONNECT;
    let outer = parts.extensions.insert(turn.clone());
    if let Some(outer) = outer {
        // The outer layer belongs to another gateway. A layer further in may belong to that gateway again.
        parts.extensions.insert(turn.clone().within(outer));
    }
    let ending = Some(TurnEnding::new(turn, connection, how, connects));
    State::InTurn { reply: ServiceCall::new(service, Request::from_parts(parts, body)), ending }
}

pin_project! {
    /// The future reply of a [`GateService`].
    pub struct GateFuture<S: Service<Request<B>>, B> {
        #[pin]
        state: State<S, B>,
    }
}

pin_project! {
    #[project = StateProjected]
    enum State<S: Service<Request<B>>, B> {
        InTurn { #[pin] reply: ServiceCall<S, Request<B>>, ending: Option<TurnEnding> },
        Passing { #[pin] reply: ServiceCall<S, Request<B>> },
        Refused { reply: Option<Response<Body>> },
        Parked { parked: Box<Parked<S, B>>, #[pin] timeout: Sleep },
    }
}

/// A request that waits for the gate to open.
struct Parked<S, B> {
    opening: Wait<Result<CurrentTurn, Refused>>,
    service: S,
    /// The request, until it is admitted or refused.
    request: Option<(Parts, B)>,
    rules: Arc<LayerConfig>,
    /// The reason why it waits.
    refused: Refused,
    _place: OwnedSemaphorePermit,
}

impl<S, B, R> Future for GateFuture<S, B>
where
    S: Service<Request<B>, Response = Response<R>> + Clone,
    R: HttpBody<Data = Bytes>,
    R::Error: Into<BoxError>,
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
                        // Polled again after it was ready.
                        None => reply.map(TurnBody::of_reply),
                    }));
                }
                StateProjected::Refused { reply } => match reply.take() {
                    Some(reply) => return Poll::Ready(Ok(reply.map(TurnBody::of_refusal))),
                    // Polled again after it was ready.
                    None => return Poll::Pending,
                },
                StateProjected::Parked { parked, timeout } => {
                    let admitted = match Pin::new(&mut parked.opening).poll(cx) {
                        Poll::Ready(admitted) => admitted,
                        Poll::Pending => {
                            ready!(timeout.poll(cx));
                            Err(parked.refused)
                        }
                    };
                    match (admitted, parked.request.take()) {
                        (Ok(turn), Some((parts, body))) => {
                            enter(&mut parked.service, turn, parts, body)
                        }
                        (Err(refused), Some((parts, _))) => {
                            State::Refused { reply: Some(parked.rules.refuse(&parts, refused)) }
                        }
                        // Unreachable: the request is taken only when this state is replaced.
                        (_, None) => State::Refused { reply: None },
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
