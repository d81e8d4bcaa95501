//! The HTTP side, from outside: routers and layer on real sockets, with real bodies. Nothing here sleeps
//! to wait: what is waited for is a reply, a frame, or something the gateway says.

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
