#![doc = include_str!("../README.md")]

pub mod catalogue;
pub mod channel;
pub mod checked;
pub mod controllers;
pub mod design;
pub mod explorer;
pub mod gateway;
pub mod liveness;
mod report;
mod suite;
pub mod work;

pub use report::{AblationRun, EngineRun, PromiseRun, Report};
pub use suite::{ABLATIONS, Ablation, Expected, Options, Progress, Size, verify};
