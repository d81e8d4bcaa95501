//! The HTTP side from outside: routers and layer, with real sockets and real bodies. The tests wait for a reply, a
//! frame or a status. Only tests of time limits sleep.

#![cfg(feature = "http")]

mod auth;
mod bounds;
mod client;
mod composition;
mod control;
#[cfg(feature = "cli")]
mod crowds;
mod delivery;
mod grpc;
mod hostile;
#[path = "../support/kept_log.rs"]
mod kept_log;
mod layer;
#[cfg(feature = "cli")]
mod live_gate;
mod openapi;
mod scene;
mod server;
mod slow;
mod status;
