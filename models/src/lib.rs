#![doc = include_str!("../README.md")]

pub mod catalogue;
pub mod design;
pub mod explorer;
pub mod gateway;
mod suite;

pub use suite::{
    ABLATIONS, Ablation, AblationRun, EngineRun, Expected, Options, Progress, Report, Size, verify,
};
