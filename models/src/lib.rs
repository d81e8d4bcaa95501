#![doc = include_str!("../README.md")]

pub mod ablations;
pub mod browse;
pub mod catalogue;
pub mod channel;
pub mod controllers;
pub mod design;
pub mod directory;
mod document;
pub mod endpoint;
pub mod explorer;
mod faults;
mod faults_report;
pub mod gate;
pub mod gateway;
pub mod liveness;
pub mod marker;
mod matrix;
mod packed;
pub mod registry;
mod report;
pub mod seeded;
mod shell;
pub mod status;
mod suite;
pub mod work;

pub use document::list;
pub use faults_report::{FaultReport, Simulation, verify_faults};
pub use matrix::MatrixRow;
pub use registry::Size;
pub use report::{AblationRun, EngineRun, LivenessRun, OriginalRun, Report};
pub use suite::{Options, Progress, bench, bench_parallel_stateright, serve, verify};
