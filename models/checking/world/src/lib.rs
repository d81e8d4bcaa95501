//! A simulated machine: threads, clocks, processes and a disk, for code that runs as it ships. It knows nothing of
//! the program that runs on it, and judges nothing.
//!
//! [`sync`], [`thread`] and [`time`] have the paths and the meaning of std's, so one changed `use` moves a program
//! here. A thread is a task of [shuttle], and one thread runs at a time. A step that another thread could see is
//! a lock, an atomic, a wake-up or a call to the disk. Before each such step, a [`Policy`] chooses the thread that runs
//! next. It draws its choices from a seed, or tries them one by one.
//!
//! shuttle has neither time nor processes: this crate adds both. Time passes when no thread can go on, and during
//! a disk call that takes time. A process can be [killed](process::kill) between any two steps. Its files are then
//! closed and its locks released, as by a kernel.
//!
//! # Invariants
//!
//! * The same policy and the same program make the same steps.
//! * A killed process has no further effect: its threads unwind, and its disk calls fail before they do anything.

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
