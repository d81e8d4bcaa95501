//! The orders and answers of the endpoint, described for its OpenAPI document. These types read and write nothing:
//! `control_order` reads an order, and each answer is written by its own type.

use serde::Serialize;
use utoipa::ToSchema;

use super::reply::{Cancelled, Drained};

/// An order to begin or cancel a drain. Unknown fields are ignored.
#[derive(Serialize, ToSchema)]
#[allow(dead_code, reason = "only describes an order; `control_order` reads it")]
pub(super) struct DrainOrder {
    /// Default: `drain`.
    #[schema(nullable = false)]
    action: Option<Action>,
    /// The holder whose drain begins or is cancelled. Default: the shared marker.
    #[schema(pattern = "^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$", max_length = 64)]
    holder: Option<String>,
    /// How many seconds the request lives, unless the holder begins it again. Default: 3600.
    #[schema(minimum = 1, maximum = 31_622_400)]
    lease_s: Option<f64>,
    /// Also hold internal work, so that the gateway can be quiesced. Default: true with `wait` and without
    /// `idle_is_enough`, else false.
    hold_internal: Option<bool>,
    /// Ask the gateway not to notify its users.
    suppress_notification: Option<bool>,
    /// Let the request end with this run of the gateway: the next start admits again. Default: false.
    this_run: Option<bool>,
    /// Wait at most this many seconds until the gateway is quiesced, then answer. If the wait fails, the request is
    /// cancelled. Must be less than `lease_s`.
    #[schema(minimum = 0, maximum = 3600)]
    wait: Option<f64>,
    /// Wait only until nothing is in flight; internal work may start again at any time. Needs `wait`.
    idle_is_enough: Option<bool>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[allow(dead_code, reason = "see `DrainOrder`")]
pub(super) enum Action {
    Drain,
    Cancel,
}

/// The result of an order.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[allow(dead_code, reason = "only describes the answers; each is written by its own type")]
pub(super) enum Answer {
    Drained(Drained),
    Cancelled(Cancelled),
}
