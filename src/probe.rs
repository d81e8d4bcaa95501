//! Where a checking build writes into the log of its simulated machine, at the very step that is logged. It decides
//! nothing. An ordinary build has no log: there each probe compiles to nothing.

/// Writes an event. What is named behind it is used for nothing else.
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
