//! The log: what has happened, in order.

use crate::kernel;

pub use crate::entry::{Entry, EventKind, ProgramEvent};

/// Logs an event of the program. It directly follows the step that it reports: nothing happens in between.
pub fn tell(event: impl ProgramEvent) {
    kernel::with(|it| it.log(EventKind::Program(Box::new(event))));
}
