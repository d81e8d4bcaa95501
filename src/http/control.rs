//! The drain endpoint: it verifies the caller, reads the order, has it carried out, and answers with the result. It
//! decides nothing about drains. [`ControlOrder::parse`] reads an order, [`PendingDrain::evaluate`] judges its result,
//! and the gateway owns the transition ([R11]).
//!
//! # Invariants
//!
//! * **TG-S5 ack_means_closed**: a running gateway reports `draining: true` for exactly this request, and only after
//!   its gate has closed.
//! * **TG-S7 owner_release**: a named holder's request is changed only by the principal that signed it, or by one
//!   with the scope `drain:any`.
//! * **TG-S14 receipt_is_true**: a failed order is never answered with a success.
//!
//! [R11]: crate::guide::requirements#r11

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::RequestExt;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::{Extensions, HeaderMap, StatusCode};
use axum::response::Response;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use super::audit::{self, AUDIT, Refusals};
use super::auth::{NAME_CHARS_MAX, Principal, Scope, TokenVerifier, Unverified, bearer};
use super::current::CurrentTurn;
use super::orders_in_flight::{Canceller, OrdersInFlight};
use super::reply::{Cancelled, Drained, Failure, Problem, Waited, json};
use super::target::Target;
use crate::control_order::{ControlOrder, DrainParams, REQUESTS_PER_PRINCIPAL_MAX};
use crate::error::ControlError;
use crate::holder::Holder;
use crate::pending::{CONFIRMATION_TIMEOUT, Goal, PendingDrain, Reached, WaitFailed};
use crate::reconcile::Sighting;
use crate::request::Request as DrainRequested;
use crate::status::Reading;
use crate::text::printable;

/// The most bytes that an order may have.
pub(super) const BODY_BYTES_MAX: usize = 64 * 1024;

/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a verifier may take.
const VERIFIER_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the home's disk may take.
const HOME_TIMEOUT: Duration = Duration::from_secs(30);

/// [`TokenVerifier`] as a trait object, since its own method returns `impl Future`.
trait Verify: Send + Sync {
    fn verify<'a>(
        &'a self,
        token: &'a [u8],
    ) -> Pin<Box<dyn Future<Output = Result<Principal, Unverified>> + Send + 'a>>;
}

impl<V: TokenVerifier> Verify for V {
    fn verify<'a>(
        &'a self,
        token: &'a [u8],
    ) -> Pin<Box<dyn Future<Output = Result<Principal, Unverified>> + Send + 'a>> {
        Box::pin(TokenVerifier::verify(self, token))
    }
}

/// The state that the routes share.
pub(super) struct Control {
    place: Target,
    verifier: Box<dyn Verify>,
    /// Serializes orders: checking that a holder is free and taking it must not interleave. It also limits a
    /// stalled disk to one blocked thread.
    orders: Arc<Mutex<()>>,
    /// Serializes readings, which need not wait for orders.
    readings: Arc<Mutex<()>>,
    /// The orders in progress, by principal.
    at_once: Arc<OrdersInFlight>,
    canceller: Arc<Canceller>,
    pub(super) refusals: Refusals,
}

impl Control {
    pub(super) fn new(place: Target, verifier: impl TokenVerifier) -> Control {
        Control {
            place,
            verifier: Box::new(verifier),
            orders: Arc::default(),
            readings: Arc::default(),
            at_once: OrdersInFlight::new(),
            canceller: Canceller::new(),
            refusals: Refusals::new(),
        }
    }

    /// Returns the principal of the request's token. A request without a usable token is written to the audit log.
    pub(super) async fn authenticate(
        &self,
        headers: &HeaderMap,
        peer: Option<SocketAddr>,
    ) -> Result<Principal, Failure> {
        let verified = self.verify(headers).await;
        if let Err(failure) = &verified
            && failure.status != StatusCode::SERVICE_UNAVAILABLE
        {
            self.refusals.refused(peer, None, failure);
        }
        verified
    }

    async fn verify(&self, headers: &HeaderMap) -> Result<Principal, Failure> {
        let Some(token) = bearer(headers) else {
            return Err(Failure::unauthenticated(false));
        };
        let reason = match timeout(VERIFIER_TIMEOUT, self.verifier.verify(token)).await {
            Ok(Ok(principal)) if principal.has_usable_name() => return Ok(principal),
            Ok(Ok(_)) => {
                let detail = format!(
                    "the token's principal has no name, or a name of more than {NAME_CHARS_MAX} characters; nothing was done"
                );
                return Err(Failure::new(StatusCode::FORBIDDEN, "unusable_principal", detail));
            }
            Ok(Err(Unverified::Rejected)) => return Err(Failure::unauthenticated(true)),
            Ok(Err(unavailable)) => unavailable.to_string(),
            Err(_) => "the verifier did not answer in time".to_owned(),
        };
        let reason = &*printable(&reason);
        tracing::warn!(target: AUDIT, reason, "cannot verify a token; the request is refused");
        let detail = "tokens cannot be verified at the moment; nothing was done: try again later";
        Err(Failure::unavailable("verifier_unavailable", detail))
    }

    /// Refuses an order that has come through the gate that it is about. Once closed, that gate would refuse the
    /// cancel.
    fn require_beside_the_gate(&self, extensions: &Extensions) -> Result<(), Failure> {
        let Target::Here(gateway) = &self.place else { return Ok(()) };
        if !extensions.get().is_some_and(|turn: &CurrentTurn| turn.is_of(gateway)) {
            return Ok(());
        }
        let detail = "the drain routes are behind the GateLayer of their own gateway, which would refuse the cancel; nothing was done: merge drain_router beside the gated routes";
        tracing::error!(target: AUDIT, "{detail}");
        Err(Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "behind_the_gate", detail))
    }

    /// Runs blocking work on another thread, one call at a time behind `lock`. Work that has begun continues after
    /// its client is gone.
    async fn run_blocking<T: Send + 'static>(
        &self,
        lock: &Arc<Mutex<()>>,
        work: impl FnOnce(&Target) -> T + Send + 'static,
    ) -> Result<T, Failure> {
        let place = self.place.clone();
        let working = async {
            let turn = Arc::clone(lock).lock_owned().await;
            tokio::task::spawn_blocking(move || {
                let done = work(&place);
                drop(turn);
                done
            })
            .await
        };
        match timeout(HOME_TIMEOUT, working).await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(_)) => {
                let detail = "the order was interrupted: the server is shutting down; read the status before you repeat it";
                Err(Failure::unavailable("interrupted", detail))
            }
            Err(_) => Err(Failure::new(
                StatusCode::GATEWAY_TIMEOUT,
                "slow_home",
                "the home's disk did not answer in time; the order may still be carried out: read the status before you repeat it",
            )),
        }
    }

    /// Returns the gateway's own status.
    ///
    /// The reason why it cannot be read may name paths. So only a caller with a token gets it; for others it goes to
    /// the log.
    pub(super) async fn reading(&self, has_token: bool) -> Result<Reading, Failure> {
        let reading = match &self.place {
            // Needs no disk.
            Target::Here(_) => self.place.reading(),
            Target::Apart(_) => self.run_blocking(&self.readings, Target::reading).await?,
        };
        reading.map_err(|error| {
            if has_token {
                return Failure::unavailable("unreadable", error.to_string());
            }
            self.refusals.unreadable(&error);
            Failure::unavailable(
                "unreadable",
                "the status cannot be read at the moment; the server's log has the reason",
            )
        })
    }

    async fn begin(&self, principal: &Principal, terms: DrainParams) -> Result<Drained, Failure> {
        let _at_once = OrdersInFlight::take(&self.at_once, principal)?;
        let (signer, ordered) = (principal.clone(), terms.clone());
        let canceller = Arc::clone(&self.canceller);
        let (request, confirmed, cancel_on_drop) = self
            .run_blocking(&self.orders, move |place| {
                let begun = begin(place, &signer, &ordered);
                let id = begun.as_ref().ok().and_then(|(request, _)| request.request_id());
                // Logged here, since the order is carried out even if its client no longer waits.
                audit::order(&signer, "drain", &ordered.holder, id, begun.as_ref().err());
                let id = id.filter(|_| ordered.wait.is_some()).map(str::to_owned);
                let cancel_on_drop = CancelOnDrop {
                    place: place.clone(),
                    signer,
                    holder: ordered.holder,
                    id,
                    canceller,
                };
                // If the client no longer waits, this is dropped, and cancels.
                begun.map(|(request, confirmed)| (request, confirmed, cancel_on_drop))
            })
            .await??;
        let pending = Drained::pending(&request, &terms.holder, terms.lease);
        let Some(patience) = terms.wait else {
            return match confirmed {
                Some(generation) => Ok(pending.confirmed(Some(generation))),
                None => self.confirm(&terms.holder, &request, pending).await,
            };
        };
        let goal = if patience.idle_is_enough { Goal::Idle } else { Goal::Quiesced };
        match self.wait_until(goal, &terms.holder, &request, patience.at_most).await {
            Ok((reached, reading)) => {
                cancel_on_drop.disarm();
                let waited = Waited::new(goal == Goal::Quiesced, reached.safe);
                let confirmed = pending.confirmed(reading.body().read("generation"));
                Ok(Drained { waited, ..confirmed })
            }
            Err(missed) => {
                let cancel = move |_: &Target| cancel_on_drop.cancel();
                let gone = self.run_blocking(&self.orders, cancel).await.unwrap_or(false);
                Err(Failure::missed(&missed, &request, !gone))
            }
        }
    }

    /// Waits until a running gateway reports that its gate is closed for the request.
    async fn confirm(
        &self,
        holder: &Holder,
        request: &DrainRequested,
        pending: Drained,
    ) -> Result<Drained, Failure> {
        match self.wait_until(Goal::Draining, holder, request, CONFIRMATION_TIMEOUT).await {
            Ok((_, reading)) => Ok(pending.confirmed(reading.body().read("generation"))),
            // The request exists, and a gateway that starts on this home will see it.
            Err(
                missed @ (WaitFailed::Gone | WaitFailed::Held { .. } | WaitFailed::TimedOut(_)),
            ) => Ok(pending.because(&missed)),
            Err(missed) => {
                let stands = !matches!(missed, WaitFailed::Lost(_));
                Err(Failure::missed(&missed, request, stands))
            }
        }
    }

    async fn wait_until(
        &self,
        goal: Goal,
        holder: &Holder,
        request: &DrainRequested,
        at_most: Duration,
    ) -> Result<(Reached, Reading), WaitFailed> {
        let until = Instant::now() + at_most;
        let mut drain = PendingDrain::new(holder, request);
        loop {
            let id = request.request_id().unwrap_or_default().to_owned();
            let holder = holder.clone();
            let look = move |place: &Target| -> Result<(Reading, Sighting), ControlError> {
                Ok((place.reading()?, place.find_request(&holder, &id)))
            };
            // Listens before it looks, so that a change in between is news.
            let left = until.saturating_duration_since(Instant::now());
            let news = self.place.news(self.at_once.total(), left);
            let slow = |failure: Failure| WaitFailed::TimedOut(failure.problem.detail);
            let (reading, sighting) =
                self.run_blocking(&self.readings, look).await.map_err(slow)??;
            let recipient = reading.recipient();
            let judge = recipient.judge(self.place.now());
            if let Some(reached) = drain.evaluate(goal, &reading, &sighting, &judge)? {
                return Ok((reached, reading));
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(WaitFailed::TimedOut(drain.unmet_condition(&reading)));
            }
            news.await;
        }
    }

    async fn cancel(&self, principal: &Principal, holder: Holder) -> Result<Cancelled, Failure> {
        let signer = principal.clone();
        self.run_blocking(&self.orders, move |place| {
            let cancelled = permit(&signer, &holder, place)
                .and_then(|()| Cancelled::of(&place.cancel(&holder)));
            audit::order(&signer, "cancel", &holder, None, cancelled.as_ref().err());
            cancelled
        })
        .await?
    }
}

fn begin(
    place: &Target,
    signer: &Principal,
    terms: &DrainParams,
) -> Result<(DrainRequested, Option<u64>), Failure> {
    permit(signer, &terms.holder, place)?;
    require_quota(signer, &terms.holder, place)?;
    // Checked before a request exists that could never succeed.
    if terms.wait.is_some_and(|it| !it.idle_is_enough) && place.is_of_other_make() {
        let detail = WaitFailed::ForeignGateway.to_string();
        return Err(Failure::new(StatusCode::CONFLICT, "other_make", detail));
    }
    place.begin(&terms.request(signer.name())).map_err(|error| {
        let mut failure = Failure::not_begun(&error);
        // A client that learns that its wait failed will not cancel the request.
        if let (ControlError::NotDurable { request_id: Some(id), .. }, Some(_)) =
            (error, terms.wait)
        {
            let gone = cancel(place, signer, &terms.holder, &id);
            failure.problem.stands = Some(!gone);
        }
        failure
    })
}

/// Cancels a request when its client is gone. Otherwise the request would keep the gate closed until its lease ends,
/// since that client will not cancel it (I-2).
struct CancelOnDrop {
    place: Target,
    signer: Principal,
    holder: Holder,
    /// The id of the request, until it is cancelled or kept.
    id: Option<String>,
    canceller: Arc<Canceller>,
}

impl CancelOnDrop {
    /// Keeps the request: the goal is reached, and the client is still there to learn it.
    fn disarm(mut self) {
        self.id = None;
    }

    /// Cancels the request. Returns whether it is gone.
    fn cancel(mut self) -> bool {
        let Some(id) = self.id.take() else { return true };
        cancel(&self.place, &self.signer, &self.holder, &id)
    }
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        let Some(id) = self.id.take() else { return };
        let (place, signer, holder) =
            (self.place.clone(), self.signer.clone(), self.holder.clone());
        self.canceller.run(Box::new(move || {
            cancel(&place, &signer, &holder, &id);
        }));
    }
}

/// Cancels this request. Returns whether it is gone.
fn cancel(place: &Target, signer: &Principal, holder: &Holder, id: &str) -> bool {
    let gone = place.cancel_request(holder, id);
    audit::order(signer, "cancel abandoned", holder, Some(id), Cancelled::of(&gone).err().as_ref());
    gone.is_ok()
}

/// Checks that the principal may change this holder's request.
// Property: TG-S7 owner_release.
fn permit(principal: &Principal, holder: &Holder, place: &Target) -> Result<(), Failure> {
    let Holder::Named(name) = holder else { return Ok(()) };
    if principal.has(Scope::DrainAny) {
        return Ok(());
    }
    // If the signer is not known, the request counts as another principal's.
    let signers = place.signers_of(holder).map_err(|error| {
        Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "unseen", error.to_string())
    })?;
    if signers.iter().all(|signer| signer.as_deref() == Some(principal.name())) {
        return Ok(());
    }
    let detail = format!(
        "'{name}' is held by another principal, or its request names none; nothing was done: use another holder, or a token with the scope 'drain:any'"
    );
    Err(Failure::forbidden(Scope::DrainAny, detail))
}

/// Checks that the principal may have a named request for this holder too. Its requests under the same name do not
/// count.
fn require_quota(principal: &Principal, holder: &Holder, place: &Target) -> Result<(), Failure> {
    if *holder == Holder::Shared {
        return Ok(());
    }
    let signed = place
        .signed_by(principal.name(), holder)
        .map_err(|error| Failure::unavailable("unreadable", error.to_string()))?;
    if signed < REQUESTS_PER_PRINCIPAL_MAX {
        return Ok(());
    }
    let detail = format!(
        "you already hold {signed} drains under other holder names, and the limit is {REQUESTS_PER_PRINCIPAL_MAX}; nothing was done: cancel one first"
    );
    Err(Failure::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", detail))
}

/// Begins or cancels a drain. An empty body, or a body without `action`, begins a drain.
#[utoipa::path(
    post,
    path = "/api/gateway/drain",
    operation_id = "drain",
    request_body(
        content = super::schema::DrainOrder,
        description = "The order. An empty body begins a drain",
        content_type = "application/json"
    ),
    responses(
        (status = 200, description = "The order is carried out", body = super::schema::Answer),
        (status = 400, description = "The body is not a valid order; nothing was done", body = Problem),
        (status = 401, description = "The token is missing or not valid", body = Problem,
            headers(("WWW-Authenticate" = String))),
        (status = 403, description = "The principal may not do this; nothing was done", body = Problem,
            headers(("WWW-Authenticate" = String))),
        (status = 405, description = "Only POST is allowed", body = Problem, headers(("Allow" = String))),
        (status = 408, description = "The body did not arrive in time; nothing was done", body = Problem),
        (status = 409, description = "The drain was lost, timed out, or refused because the gateway is shutting down", body = Problem),
        (status = 429, description = "The principal already holds too many drains or has too many orders in progress; nothing was done", body = Problem),
        (status = 413, description = "The body is too long; nothing was done", body = Problem),
        (status = 500, description = "The order failed. After a failed cancel the drain stays on", body = Problem),
        (status = 503, description = "Tokens cannot be verified, a request cannot be read, or the server is shutting down", body = Problem,
            headers(("Retry-After" = String))),
        (status = 504, description = "The home's disk did not answer in time; the order may still be carried out", body = Problem),
    ),
    security(("bearer" = ["drain"])),
    tag = "drain"
)]
pub(super) async fn drain(
    State(control): State<Arc<Control>>,
    request: Request,
) -> Result<Response, Failure> {
    // The caller is verified before a byte of the body is read.
    let peer = audit::peer(request.extensions());
    let principal = control.authenticate(request.headers(), peer).await?;
    if !principal.has(Scope::Drain) {
        let detail = format!(
            "{principal} may not drain this gateway; nothing was done: use a token with the scope 'drain'"
        );
        let failure = Failure::forbidden(Scope::Drain, detail);
        control.refusals.refused(peer, Some(&principal), &failure);
        return Err(failure);
    }
    control.require_beside_the_gate(request.extensions())?;
    match ControlOrder::parse(&read(request).await?)? {
        ControlOrder::Drain(terms) => {
            Ok(json(StatusCode::OK, &control.begin(&principal, terms).await?))
        }
        ControlOrder::Cancel { holder } => {
            Ok(json(StatusCode::OK, &control.cancel(&principal, holder).await?))
        }
    }
}

async fn read(request: Request) -> Result<Bytes, Failure> {
    match timeout(BODY_TIMEOUT, request.extract::<Bytes, _>()).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(rejected)) if rejected.status() == StatusCode::PAYLOAD_TOO_LARGE => {
            let detail = format!(
                "the body is too long: an order has at most {BODY_BYTES_MAX} bytes; nothing was done"
            );
            Err(Failure::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_long", detail))
        }
        Ok(Err(_)) => {
            let detail = "the body did not arrive completely; nothing was done: send it again";
            Err(Failure::new(StatusCode::BAD_REQUEST, "unreadable_body", detail))
        }
        Err(_) => {
            let detail = "the body did not arrive in time; nothing was done: send it again";
            Err(Failure::new(StatusCode::REQUEST_TIMEOUT, "slow_body", detail))
        }
    }
}
