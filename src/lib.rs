// The first definition of a link counts: on docs.rs the README's pictures and pages are these.
#![doc = include_str!("guide/pictures.md")]
//! [operations]: guide::operations
//! [architecture]: guide::architecture
//! [testing]: guide::testing
//! [verification]: guide::verification
//! [requirements]: guide::requirements
//! [incidents]: guide::incidents
//! [compatibility]: guide::compatibility
//!
#![doc = include_str!("../README.md")]
//!
//! # Map
//!
//! One line a module. A module imports its own layer or one below it, and a test checks that.
//! [`guide`] has the pages: start with [`guide::architecture`].
//!
//! | layer | module | what it is for |
//! |---|---|---|
#![cfg_attr(
    feature = "http",
    doc = "| edges | [`http`] | the drain endpoint, status and health; requests as turns; a server that knows when a reply has left |"
)]
#![cfg_attr(
    feature = "systemd",
    doc = "| edges | [`systemd`] | reports to systemd: started, at work, stopping, sound |"
)]
//! | edges | `signals` | SIGTERM and SIGINT, as a shutdown with a grace |
//! | edges | `ignored_signals` | which signals the process ignores since its start |
//! | shell | `gateway` | the handle that an author embeds; owns the threads, the locks and the home's lock |
//! | shell | `watcher` | the gateway's own threads |
//! | shell | [`control`] | begin, renew, cancel and observe, on a home |
//! | shell | `marker` | request files: durable writes, removals, listings, sweeps |
//! | shell | [`home`] | the directory, the names in it, and its lock |
//! | shell | `disk` | the one way to a file |
//! | core | `engine` | what the gateway's threads decide, as one value |
//! | core | `recipient` | whom a request is made for, and who judges it |
//! | core | [`pending`] | what has become of a drain that somebody waits for |
//! | core | `control_order` | what the body of an HTTP order says |
//! | core | [`status`] | the status, and what a reader may conclude from it |
//! | core | `metrics` | metrics: names and values (feature `metrics`) |
//! | core | `reconcile` | from what was seen to what is wanted |
//! | core | [`judge`] | whether a request counts, for one reader at one time |
//! | core | [`request`] | what a request says |
//! | core | `holder` | holders and their places |
//! | core | [`lifecycle`] | the phases as types |
//! | core | `gate` | the door: admission, turns, waits |
//! | core | [`machine`] | the table: phase, event, next phase, effect |
//! | core | `error` | what can go wrong at the edges, as values |
//! | ground | [`epoch`] | which boot this is, and the clocks |
//! | ground | `json` | a JSON object, kept as it was written |
//! | ground | `text` | texts of others, made safe to print |
//! | ground | `id` | fresh ids |
//! | ground | `faults` | faults that only a checking build can switch on |
//! | ground | `probe` | where a checking build logs what happens |
//! | ground | `host` | clocks and numbers of the machine: the real one's, or a simulated one's |
//! | ground | `orderings` | each atomic access of the gate: its ordering, its pair, the test that needs it |
//! | ground | `sync` | locks, atomics, threads and wake-ups: std's, loom's, or a simulated machine's |
// Under loom only the gate is built with loom; what is left out leaves its helpers unused.
#![cfg_attr(tidegate_loom, allow(dead_code, unused_imports))]
#![cfg_attr(docsrs, feature(doc_cfg), doc(auto_cfg(hide(tidegate_loom))))]

#[cfg(not(unix))]
compile_error!(
    "tidegate needs a Unix: its home is locked, and its files are opened without following links"
);

#[cfg(not(tidegate_loom))]
pub mod control;
mod control_order;
mod disk;
mod engine;
pub mod epoch;
mod error;
#[cfg(tidegate_checking)]
pub mod faults;
#[cfg(not(tidegate_checking))]
mod faults;
mod gate;
#[cfg(not(tidegate_loom))]
mod gateway;
pub mod guide;
mod holder;
#[cfg(not(tidegate_loom))]
pub mod home;
mod host;
#[cfg(all(feature = "http", not(tidegate_loom)))]
pub mod http;
mod id;
#[cfg(all(feature = "tokio", not(tidegate_loom)))]
mod ignored_signals;
mod json;
pub mod judge;
pub mod lifecycle;
pub mod machine;
#[cfg(not(tidegate_loom))]
mod marker;
#[cfg(feature = "metrics")]
pub mod metrics;
#[cfg(not(feature = "metrics"))]
mod metrics;
mod orderings;
pub mod pending;
mod probe;
mod recipient;
mod reconcile;
pub mod request;
#[cfg(all(feature = "tokio", not(tidegate_loom)))]
mod signals;
pub mod status;
mod sync;
#[cfg(all(feature = "systemd", not(tidegate_loom)))]
pub mod systemd;
mod text;
#[cfg(not(tidegate_loom))]
mod watcher;

pub use error::{ControlError, StartError};
pub use gate::word::{InFlight, Origin, RefusalReason};
pub use gate::{Refused, Turn, Wait};
#[cfg(not(tidegate_loom))]
#[cfg(tidegate_checking)]
pub use gateway::GatewayEvent;
#[cfg(not(tidegate_loom))]
pub use gateway::{
    Builder, Change, Changes, Ended, Ending, Gateway, Idle, LabelledTurn, NotQuiesced, Quiesced,
    Receipt,
};
pub use json::RawObject;
#[cfg(all(feature = "tokio", not(tidegate_loom)))]
pub use signals::signals;

/// What exists for the models, the tests and the command: **exempt from semver**. A version of the suite needs exactly
/// the same version of this crate.
///
/// The models call these functions as they ship. A gateway and its controllers need none of them.
pub mod internals {
    /// What the body of an HTTP order says.
    pub mod control_order {
        pub use crate::control_order::*;
    }

    /// The one way to a file, and disks that tests drive.
    pub mod disk {
        pub use crate::disk::*;
    }

    /// What the gateway's threads decide.
    pub mod engine {
        pub use crate::engine::*;
    }

    /// The gate's words, and an order's way through them.
    pub mod gate {
        #[cfg(tidegate_checking)]
        pub use crate::gate::GateEvent;
        pub use crate::gate::word::{
            Arrival, IN_FLIGHT_MAX, InFlight, Origin, RefusalReason, Word,
        };
        pub use crate::gate::{GateState, OrderSteps, OrderTarget, PlainGate, StripeWord};
    }

    /// A home that is open on any disk.
    #[cfg(not(tidegate_loom))]
    pub mod home {
        #[doc(inline)]
        pub use crate::home::OpenHome;
    }

    /// The transitions of the machine.
    pub mod machine {
        pub use crate::machine::transitions::{Machine, Step, diagram, example_of, step, table};
    }

    /// Request files: their bounds, and the stamp of a directory.
    #[cfg(not(tidegate_loom))]
    pub mod marker {
        pub use crate::marker::*;
    }

    /// From what was seen to what is wanted.
    pub mod reconcile {
        pub use crate::reconcile::*;
    }

    /// What a status is derived from.
    pub mod status {
        pub use crate::status::condition::*;
    }

    /// Texts of others, made safe to print.
    pub mod text {
        pub use crate::text::*;
    }
}
