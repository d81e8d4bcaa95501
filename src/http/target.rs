//! Where the gateway is that the router speaks for: in this process, or apart from it with a home
//! between. It carries orders there and readings back, and decides nothing. Everything here blocks.

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

/// However quiet it is, a waiter looks this often: not everything that it waits for is the gateway's to say.
const CHECK_INTERVAL_MAX: Duration = Duration::from_secs(1);

/// So many may look as often as one does.
const WAITERS_AT_FULL_PACE: u32 = 4;

#[derive(Clone, Debug)]
pub(super) enum Target {
    Here(Gateway),
    Apart(Home),
}

impl Target {
    /// Begins a drain. Returns the request, and the close that it was confirmed with, where the gateway is
    /// here and has confirmed it.
    pub(super) fn begin(&self, ask: &DrainRequest) -> Result<(Request, Option<u64>), ControlError> {
        match self {
            Target::Here(gateway) => gateway.begin_drain(ask).map(|receipt| {
                let confirmed = receipt.draining.then_some(receipt.generation);
                (receipt.request, confirmed)
            }),
            Target::Apart(home) => home.begin_drain(ask).map(|request| (request, None)),
        }
    }

    /// Begins to listen for news: what this waits for comes with a change of what the gateway says, and after
    /// `at_most` anyway. Apart, nothing says when that is, so the pause is as short as so many waiters allow.
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
            // Either way it is time to look.
            let _ = tokio::time::timeout(pause.min(at_most), news).await;
        }
    }

    /// How many live named requests this principal has signed, besides those of `holder`: as the gateway
    /// says, and as the home does where there is none.
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

    /// Whether the gateway there is of another make, which promises nothing.
    pub(super) fn is_of_other_make(&self) -> bool {
        match self {
            Target::Here(_) => false,
            Target::Apart(home) => home.status().is_ok_and(|it| it.is_foreign()),
        }
    }

    /// What the gateway says of itself.
    pub(super) fn reading(&self) -> Result<Reading, ControlError> {
        match self {
            Target::Here(gateway) => Ok(Reading::of_running(&gateway.status())),
            Target::Apart(home) => home.status(),
        }
    }

    /// What stands in the request's own place.
    pub(super) fn find_request(&self, holder: &Holder, id: &str) -> Sighting {
        match self {
            Target::Here(gateway) => gateway.find_request(holder, id),
            Target::Apart(home) => home.find_request(holder, id),
        }
    }

    /// Who has signed what this holder asks, however many others ask beside: what the gateway itself calls live, what
    /// it would, and what cannot be judged. `None` is a request that nobody has signed.
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
        // Nobody lives who would say whether it is one of its own.
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
