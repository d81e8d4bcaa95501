//! The gateway of the router: in this process, or in another process on the same home. This module carries orders to
//! it and returns its status, and decides nothing. Its functions block.

use std::time::Duration;

use crate::epoch::Now;
use crate::error::ControlError;
use crate::gateway::Gateway;
use crate::holder::{Holder, Slot};
use crate::home::Home;
use crate::pending::PAUSE;
use crate::reconcile::{Sighting, Verdict};
use crate::request::{DrainRequest, Request};
use crate::status::Reading;

/// How often a waiter looks at least: the gateway does not report everything that it waits for.
const CHECK_INTERVAL_MAX: Duration = Duration::from_secs(1);

/// The step in the number of waiters at which the pause between looks grows.
const WAITERS_AT_FULL_PACE: u32 = 4;

#[derive(Clone, Debug)]
pub(super) enum Target {
    Here(Gateway),
    Apart(Home),
}

impl Target {
    /// Begins a drain. Returns the request. If the gateway is in this process and has confirmed the request, it also
    /// returns the generation of the close.
    pub(super) fn begin(&self, ask: &DrainRequest) -> Result<(Request, Option<u64>), ControlError> {
        match self {
            Target::Here(gateway) => gateway.begin_drain(ask).map(|receipt| {
                let confirmed = receipt.draining.then_some(receipt.generation);
                (receipt.request, confirmed)
            }),
            Target::Apart(home) => home.begin_drain(ask).map(|request| (request, None)),
        }
    }

    /// Begins to listen for news. The future is ready when the gateway's status changes, and after `at_most` at the
    /// latest. For a gateway in another process nothing reports a change, so the future is ready after a pause. The
    /// pause grows with the number of waiters.
    pub(super) fn news(
        &self,
        waiters: usize,
        at_most: Duration,
    ) -> impl Future<Output = ()> + use<> {
        let (wait, pause) = match self {
            Target::Here(gateway) => {
                (Some(gateway.changed_since(gateway.seen())), CHECK_INTERVAL_MAX)
            }
            Target::Apart(_) => {
                let waiters = u32::try_from(waiters).unwrap_or(u32::MAX);
                let pause = PAUSE.saturating_mul(waiters / WAITERS_AT_FULL_PACE);
                (None, pause.clamp(PAUSE, CHECK_INTERVAL_MAX))
            }
        };
        async move {
            let news = async {
                match wait {
                    Some(wait) => wait.await,
                    None => std::future::pending().await,
                }
            };
            // After news and after the timeout, it is time to look.
            let _ = tokio::time::timeout(pause.min(at_most), news).await;
        }
    }

    /// The number of live named requests that this principal has signed, without those of `holder`. The gateway counts
    /// them. If no gateway runs, the files of the home are counted.
    pub(super) fn signed_by(
        &self,
        principal: &str,
        holder: &Holder,
    ) -> Result<usize, ControlError> {
        match self {
            Target::Here(gateway) => Ok(gateway.signed_by(principal, holder)),
            Target::Apart(home) => {
                let reading = home.status()?;
                if reading.is_alive() {
                    return Ok(reading.signed_by(principal, holder));
                }
                let observation = home.observe();
                let is_counted = |(slot, verdict, request): &(&Slot, Verdict, &Request)| {
                    **slot != Slot::Shared
                        && !slot.is_held_by(holder)
                        && verdict.asks_for_drain()
                        && request.signer() == Some(principal)
                };
                Ok(observation.requests().filter(is_counted).count())
            }
        }
    }

    pub(super) fn cancel(&self, holder: &Holder) -> Result<bool, ControlError> {
        match self {
            Target::Here(gateway) => gateway.cancel_drain(holder),
            Target::Apart(home) => home.cancel_drain(holder),
        }
    }

    pub(super) fn cancel_request(&self, holder: &Holder, id: &str) -> Result<bool, ControlError> {
        match self {
            Target::Here(gateway) => gateway.cancel_request(holder, id),
            Target::Apart(home) => home.cancel_request(holder, id),
        }
    }

    /// Whether the gateway is a foreign gateway, which promises nothing.
    pub(super) fn is_of_other_make(&self) -> bool {
        match self {
            Target::Here(_) => false,
            Target::Apart(home) => home.status().is_ok_and(|it| it.is_foreign()),
        }
    }

    /// The gateway's own status.
    pub(super) fn reading(&self) -> Result<Reading, ControlError> {
        match self {
            Target::Here(gateway) => Ok(Reading::of_running(&gateway.status())),
            Target::Apart(home) => home.status(),
        }
    }

    /// The sighting of the request's own slot.
    pub(super) fn find_request(&self, holder: &Holder, id: &str) -> Sighting {
        match self {
            Target::Here(gateway) => gateway.find_request(holder, id),
            Target::Apart(home) => home.find_request(holder, id),
        }
    }

    /// The signers of this holder's requests, however many other holders there are. It counts requests that ask for a
    /// drain, requests that the gateway reports as live, and requests that cannot be judged. `None` is a request
    /// without a signer.
    // Property: TG-S7 owner_release.
    pub(super) fn signers_of(&self, holder: &Holder) -> Result<Vec<Option<String>>, ControlError> {
        let (reading, observation) = match self {
            Target::Here(gateway) => {
                let reading = Reading::of_running(&gateway.status());
                (reading, gateway.observe_holder(holder))
            }
            Target::Apart(home) => {
                let home = home.open()?;
                let reading = home.status()?;
                let observation = home.observe_holder(holder, reading.recipient());
                (reading, observation)
            }
        };
        if let Some(error) = observation.unseen_of(holder) {
            return Err(error);
        }
        let is_said_live = |slot: &Slot| {
            let id = slot.request_id().unwrap_or_default();
            reading.is_alive() && reading.names(holder, &id)
        };
        // No gateway runs that could say whether the request is for it.
        let is_unjudged = |verdict: Verdict| {
            matches!(verdict, Verdict::StaleEpoch | Verdict::OtherRun)
                && !observation.recipient().is_running()
        };
        let held = observation.requests().filter(|(slot, verdict, _)| {
            slot.is_held_by(holder)
                && (verdict.asks_for_drain() || is_said_live(slot) || is_unjudged(*verdict))
        });
        Ok(held.map(|(_, _, request)| request.signer().map(str::to_owned)).collect())
    }

    pub(super) fn now(&self) -> Now {
        match self {
            Target::Here(gateway) => gateway.now(),
            Target::Apart(_) => Now::from_system_clock(),
        }
    }
}
