//! What has happened, in its order.

use crate::kernel;

pub use crate::entry::{Entry, EventKind, ProgramEvent};

/// Writes an event. It comes right after the step that it tells of: nothing happens between.
pub fn tell(event: impl ProgramEvent) {
    kernel::with(|it| it.log(EventKind::Program(Box::new(event))));
}
