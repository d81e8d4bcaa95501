//! Probes: in a checking build, each writes an event into the log of the simulated machine, at the step that is logged.
//! They decide nothing. An ordinary build has no log, and each probe compiles to nothing.

/// Writes an event. The name after it is a variable that only the event uses.
#[cfg(tidegate_checking)]
macro_rules! probe {
    ($event:expr $(; $only:ident)?) => {
        tidegate_world::log::tell($event)
    };
}

/// Writes nothing.
#[cfg(not(tidegate_checking))]
macro_rules! probe {
    ($event:expr $(; $only:ident)?) => {
        $(let _ = $only;)?
    };
}

pub(crate) use probe;
