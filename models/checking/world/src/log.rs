//! What has happened, in its order.

use crate::kernel;

pub use crate::entry::{Entry, Told, What};

/// Writes an event. It comes right after the step that it tells of: nothing happens between.
pub fn tell(event: impl Told) {
    kernel::with(|it| it.log(What::Told(Box::new(event))));
}
