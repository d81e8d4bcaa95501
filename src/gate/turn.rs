//! A turn in flight, as a value: it exists exactly as long as it is counted. It does not know what
//! the work is, and cannot be made but by being admitted.

use std::fmt;

use super::word::{Arrival, Origin};
use super::{Refused, Stripe};
use crate::sync::Leaked;

/// A witness that a turn was admitted, and its place in the count. Drop it when the reply has been
/// *delivered*, not when it has been computed: the gateway is idle from then on.
///
/// Dropping it never blocks, panics or does I/O. One that is leaked (`mem::forget`, a reference
/// cycle) stays in flight for ever. A drain then never gets idle, and a shutdown waits for its
/// deadline. Moving it to another thread or task is fine.
///
/// It cannot be forged (E0451):
///
/// ```compile_fail,E0451
/// let forged = tidegate::Turn { stripe: todo!(), origin: tidegate::Origin::User };
/// ```
///
/// nor doubled; what a turn needs in order to end is its [`child`](Turn::child) (E0599):
///
/// ```compile_fail,E0599
/// # let gateway = tidegate::Gateway::in_memory().start().unwrap();
/// let turn = gateway.admit(tidegate::Origin::User).unwrap();
/// let twice = turn.clone();
/// ```
///
/// [F11](crate::guide::requirements#f11),
/// [I-14](crate::guide::incidents#i-14)
#[must_use = "a turn ends when it is dropped; keep it until its work is done"]
pub struct Turn {
    /// The stripe of the thread that admitted it, whatever thread drops it.
    stripe: Leaked<Stripe>,
    origin: Origin,
}

impl Turn {
    #[inline]
    pub(super) fn admit(stripe: &Leaked<Stripe>, origin: Origin) -> Result<Turn, Refused> {
        stripe.claim(Arrival::New(origin))?;
        Ok(Turn { stripe: stripe.clone(), origin })
    }

    /// Work that this turn needs in order to end: a tool call, a sub-agent, the delivery of its reply.
    /// Passes a closed gate while this turn lives, and is counted with its origin.
    ///
    /// ```
    /// use tidegate::{Gateway, Origin};
    /// let gateway = Gateway::in_memory().start()?;
    /// let turn = gateway.admit(Origin::User)?;
    /// gateway.begin_drain(&Default::default())?;
    /// let tool_call = turn.child()?;
    /// assert_eq!(gateway.in_flight().user, 2);
    /// # drop(tool_call);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Refused`] once the gateway has stopped without waiting for this turn, or where
    /// the count is full.
    ///
    /// [TG-L5](crate::guide::verification#tg-l5),
    /// [TG-S3](crate::guide::verification#tg-s3)
    pub fn child(&self) -> Result<Turn, Refused> {
        let claimed = self.stripe.claim(Arrival::ChildOf(self.origin));
        let child = claimed.map(|()| Turn { stripe: self.stripe.clone(), origin: self.origin });
        let refused = child.as_ref().err().map(|refused| refused.reason);
        self.stripe.measure_child(self.origin, refused);
        child
    }

    /// Whether this gate admitted it.
    #[cfg(feature = "http")]
    pub(crate) fn is_of(&self, gate: &super::Gate) -> bool {
        Leaked::is(&self.stripe.center, &gate.words.center)
    }

    /// Who it is for.
    #[must_use]
    pub fn origin(&self) -> Origin {
        self.origin
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.stripe.release(self.origin);
    }
}

impl fmt::Debug for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Turn").field("origin", &self.origin).finish_non_exhaustive()
    }
}
