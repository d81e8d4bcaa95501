//! What the gateway hands out as evidence: values that only it can make, each true when it was made.

use std::time::Duration;

use crate::engine::Ended;
use crate::gate::Wait;
use crate::machine::Phase;
use crate::request::Request;

/// The gate was closed and nothing was in flight. A reading: internal work may have come in since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Idle {
    /// The close after which it became idle.
    pub generation: u64,
}

/// The gate is sealed: nothing at all is admitted until its holder releases it, or
/// [`until`](Quiesced::until) has passed.
///
/// Only the gateway can make one (E0451):
///
/// ```compile_fail,E0451
/// let forged = tidegate::Quiesced { generation: 1, request_ids: vec![], until: None };
/// ```
///
/// [TG-S4](crate::guide::verification#tg-s4)
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quiesced {
    pub(super) generation: u64,
    pub(super) request_ids: Vec<String>,
    pub(super) until: Option<Duration>,
}

impl Quiesced {
    /// The close after which it was sealed.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The requests it is sealed for: act only where one is your own.
    ///
    /// [F9](crate::guide::requirements#f9)
    #[must_use]
    pub fn request_ids(&self) -> &[String] {
        &self.request_ids
    }

    /// The time since boot before which the gate does not reopen unless its holders release it: the
    /// earliest end of their leases.
    /// `None` promises nothing about time.
    #[must_use]
    pub fn until(&self) -> Option<Duration> {
        self.until
    }
}

/// A shutdown on its way. See [`Gateway::shut_down`](crate::Gateway::shut_down).
pub type Ending = Wait<Ended>;

/// What became of a request to drain.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Receipt {
    /// The request as it was written.
    pub request: Request,
    /// Whether the gate is closed *for this request*. `false` where it was overtaken: removed
    /// or replaced by somebody else, or by a shutdown, before it was applied.
    ///
    /// [TG-S5](crate::guide::verification#tg-s5)
    pub draining: bool,
    /// The phase of the gateway.
    pub phase: Phase,
    /// The close that was made for it, or that it joined.
    pub generation: u64,
}
