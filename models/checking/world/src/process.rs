//! Processes: threads that end together, and what they held.

use std::time::Duration;

use crate::entry::EventKind;
use crate::kernel::{self, Key, Process};

pub use crate::entry::ProcessId;

/// How a process is begun.
#[derive(Clone, Debug)]
pub struct ProcessSpec {
    /// Its name.
    pub name: String,
    /// Which container it is in.
    pub container: u64,
    /// Killed after this many of its steps.
    pub kill_after_steps: Option<u64>,
    /// Whether faults are put into what it does.
    pub is_exposed: bool,
}

/// Begins a process. It ends with this, whatever its other threads do.
pub fn spawn(spec: ProcessSpec, main: impl FnOnce() + Send + 'static) -> ProcessId {
    let (id, task) = kernel::with(|it| {
        let id = ProcessId(it.processes.len());
        let ProcessSpec { name, container, kill_after_steps, is_exposed } = spec;
        it.processes.push(Process::new(container, kill_after_steps, is_exposed));
        let task = it.add(id, &name);
        (id, task)
    })
    .unwrap_or((ProcessId(0), 0));
    kernel::spawn(task, move || {
        kernel::with(|it| {
            let container = it.process().container;
            it.log(EventKind::Began(container));
        });
        main();
        kernel::with(|it| {
            let id = it.process_id();
            // One that was killed logs nothing.
            it.log(EventKind::Exited);
            it.end(id);
        });
    });
    id
}

/// Kills a process: kill -9.
pub fn kill(id: ProcessId) {
    kernel::switch();
    kernel::with(|it| {
        if !it.processes[id.0].is_dead {
            it.fault("kill -9");
        }
        it.kill(id);
    });
}

/// Waits for the end of a process, and for so long at most. Says whether it has ended.
#[expect(clippy::must_use_candidate, reason = "waiting is a use")]
pub fn wait_for(id: ProcessId, within: Duration) -> bool {
    let until = kernel::with(|it| it.now + within).unwrap_or_default();
    loop {
        match kernel::with(|it| (it.has_ended(id), it.now)) {
            Some((false, now)) if now < until => {
                kernel::wait(Some(Key::ProcessEnd(id)), Some(until));
            }
            Some((has_ended, _)) => return has_ended,
            None => return true,
        }
    }
}

/// A thread of the world's own, for who plays a person or a service: it cannot be killed.
pub fn actor(name: &str, run: impl FnOnce() + Send + 'static) {
    let task = kernel::with(|it| it.add(ProcessId(0), name)).unwrap_or(0);
    kernel::spawn(task, run);
}

/// Contains a panic as std's does, but not the end of a killed thread.
///
/// # Errors
///
/// What it panicked with.
pub fn catch<T>(run: impl FnOnce() -> T) -> std::thread::Result<T> {
    kernel::catch(run)
}
