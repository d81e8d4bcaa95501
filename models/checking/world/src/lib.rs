//! A machine made of a seed: threads, clocks, processes and a disk, for code that runs as it ships. It knows nothing
//! of what runs on it, and judges nothing.
//!
//! [`sync`], [`thread`] and [`time`] have the paths and the meaning of std's, so that a program is moved here by one
//! `use`. A thread is a task of [shuttle]: one runs at a time, and each step that another thread could see
//! (a lock, an atomic, a wake-up, a call to the disk) is preceded by a choice of who goes on. The choices are made
//! by a [`Policy`], so that they can be drawn from a seed, or gone through one by one.
//!
//! shuttle knows no time and no processes. Both are here: time passes where nobody can go on, and where a call is
//! given some to take; a process can be [killed](process::kill) between any two steps, and what it held is given
//! back, as by a kernel.
//!
//! # Invariants
//!
//! * The same policy and the same program make the same steps.
//! * A killed process has no more effect: its threads unwind, and its disk calls fail before they do anything.

pub mod disk;
mod entry;
mod files;
pub mod host;
mod kernel;
pub mod log;
mod policy;
pub mod process;
pub mod sync;
pub mod thread;
pub mod time;

pub use kernel::{Counts, Director, Outcome, World, run};
pub use policy::{Policy, Tree};
