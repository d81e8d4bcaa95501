#![doc = include_str!("../README.md")]

pub mod catalogue;
pub mod channel;
pub mod design;
pub mod explorer;
pub mod gateway;
pub mod liveness;
mod report;
mod suite;

pub use report::{AblationRun, EngineRun, PromiseRun, Report};
pub use suite::{ABLATIONS, Ablation, Expected, Options, Progress, Size, verify};
