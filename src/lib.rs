#![doc = include_str!("../README.md")]
// Under loom only the gate is built with loom; what is left out leaves its helpers unused.
#![cfg_attr(tidegate_loom, allow(dead_code, unused_imports))]

#[cfg(not(unix))]
compile_error!(
    "tidegate needs a Unix: its home is locked, and its files are opened without following links"
);

pub mod asked;
#[cfg(not(tidegate_loom))]
pub mod control;
pub mod disk;
pub mod epoch;
mod error;
pub mod gate;
#[cfg(not(tidegate_loom))]
mod gateway;
pub mod guide;
mod holder;
#[cfg(not(tidegate_loom))]
pub mod home;
#[cfg(all(feature = "http", not(tidegate_loom)))]
pub mod http;
mod id;
#[cfg(all(feature = "tokio", not(tidegate_loom)))]
mod ignored_signals;
mod json;
pub mod lifecycle;
pub mod machine;
#[cfg(not(tidegate_loom))]
pub mod marker;
#[cfg(feature = "metrics")]
pub mod meters;
#[cfg(not(feature = "metrics"))]
mod meters;
pub mod order;
pub mod reconcile;
pub mod request;
#[cfg(all(feature = "tokio", not(tidegate_loom)))]
mod signals;
pub mod status;
mod sync;
#[cfg(all(feature = "systemd", not(tidegate_loom)))]
pub mod systemd;
pub mod text;
#[cfg(not(tidegate_loom))]
mod watcher;

pub use error::{ControlError, StartError};
pub use gate::{Origin, Refused, Turn, Wait};
#[cfg(not(tidegate_loom))]
pub use gateway::{
    Builder, Change, Changes, Ended, Ending, Gateway, Idle, LabelledTurn, NotQuiesced, Quiesced,
    Receipt,
};
pub use json::RawObject;
#[cfg(all(feature = "tokio", not(tidegate_loom)))]
pub use signals::signals;
