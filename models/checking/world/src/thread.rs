//! As `std::thread`.

use std::io;
use std::time::Duration;

use crate::kernel::{self, Key};

/// The number of a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThreadId(usize);

/// A thread.
#[derive(Clone, Debug)]
pub struct Thread {
    task: usize,
    name: String,
}

impl Thread {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        Some(&self.name)
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> ThreadId {
        ThreadId(self.task)
    }

    /// Makes its token available.
    pub fn unpark(&self) {
        kernel::switch();
        kernel::with(|it| {
            if let Some(task) = it.tasks.get_mut(self.task) {
                task.token = true;
            }
            it.wake(Key::Token(self.task));
        });
    }
}

/// The calling thread.
#[must_use]
pub fn current() -> Thread {
    let found = kernel::with(|it| (it.current(), it.task().name.clone()));
    let (task, name) = found.unwrap_or_default();
    Thread { task, name }
}

/// The number of the calling thread: the same in each run of the same schedule.
#[must_use]
pub fn number() -> usize {
    kernel::with(|it| it.current()).unwrap_or_default()
}

/// Waits for the token.
pub fn park() {
    park_until(None);
}

/// Waits for the token, at most `patience`.
pub fn park_timeout(patience: Duration) {
    let until = kernel::with(|it| it.now.saturating_add(patience));
    park_until(until);
}

fn park_until(until: Option<Duration>) {
    kernel::switch();
    let take = || kernel::with(|it| std::mem::take(&mut it.task().token)).unwrap_or(true);
    if !take() {
        let task = kernel::with(|it| it.current()).unwrap_or_default();
        kernel::wait(Some(Key::Token(task)), until);
        take();
    }
}

/// Waits until `how_long` has passed.
pub fn sleep(how_long: Duration) {
    kernel::switch();
    let until = kernel::with(|it| it.now.saturating_add(how_long));
    kernel::wait(None, until);
}

/// How to start a thread.
#[derive(Debug, Default)]
pub struct Builder {
    name: String,
}

impl Builder {
    /// A thread without a name.
    #[must_use]
    pub fn new() -> Builder {
        Builder::default()
    }

    /// Sets the name.
    #[must_use]
    pub fn name(self, name: String) -> Builder {
        Builder { name }
    }

    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// If no world is running.
    pub fn spawn(self, run: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
        let outside = || io::Error::other("no world is running");
        let task = kernel::with(|it| it.add(it.process_id(), &self.name)).ok_or_else(outside)?;
        kernel::spawn(task, run);
        Ok(JoinHandle {
            thread: Thread { task, name: self.name },
            result: std::marker::PhantomData,
        })
    }
}

/// A handle to wait for the end of a thread.
#[derive(Debug)]
pub struct JoinHandle<T> {
    thread: Thread,
    result: std::marker::PhantomData<fn() -> T>,
}

impl JoinHandle<()> {
    /// The thread.
    #[must_use]
    pub fn thread(&self) -> &Thread {
        &self.thread
    }

    /// Waits for its end.
    ///
    /// # Errors
    ///
    /// Never: the world reports a panic.
    pub fn join(self) -> std::thread::Result<()> {
        let task = self.thread.task;
        let goes_on = || kernel::with(|it| !it.is_over(task) && !it.is_dead(it.current()));
        while goes_on() == Some(true) {
            kernel::wait(Some(Key::End(task)), None);
        }
        Ok(())
    }
}

/// Starts a thread.
///
/// # Panics
///
/// If no world is running.
pub fn spawn(run: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    Builder::new().name("thread".to_owned()).spawn(run).expect("a world is running")
}
