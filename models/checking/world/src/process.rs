//! Processes: threads that end together, and what they hold.

use std::time::Duration;

use crate::entry::EventKind;
use crate::kernel::{self, Key, Process};

pub use crate::entry::ProcessId;

/// How to start a process.
#[derive(Clone, Debug)]
pub struct ProcessSpec {
    /// Its name.
    pub name: String,
    /// The container that it runs in.
    pub container: u64,
    /// The number of its steps after which it is killed.
    pub kill_after_steps: Option<u64>,
    /// Whether faults are injected into its calls.
    pub is_exposed: bool,
}

/// Starts a process. It ends when `main` returns, whatever its other threads do.
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
            // A killed process logs nothing.
            it.log(EventKind::Exited);
            it.end(id);
        });
    });
    id
}

/// Kills a process, as by `kill -9`.
pub fn kill(id: ProcessId) {
    kernel::switch();
    kernel::with(|it| {
        if !it.processes[id.0].is_dead {
            it.fault("kill -9");
        }
        it.kill(id);
    });
}

/// Waits for the end of a process, at most `within`. Returns whether it has ended.
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

/// Starts a thread of the world itself, to play a person or a service. It cannot be killed.
pub fn actor(name: &str, run: impl FnOnce() + Send + 'static) {
    let task = kernel::with(|it| it.add(ProcessId(0), name)).unwrap_or(0);
    kernel::spawn(task, run);
}

/// As `std::panic::catch_unwind`, except that it does not stop the unwinding of a killed thread.
///
/// # Errors
///
/// The payload of the panic.
pub fn catch<T>(run: impl FnOnce() -> T) -> std::thread::Result<T> {
    kernel::catch(run)
}
