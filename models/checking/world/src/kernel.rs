//! The threads and processes of one world, its time, and which thread runs next. All other modules use it.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::time::Duration;

use shuttle::scheduler::{Schedule, Scheduler, Task as ShuttleTask, TaskId};

use crate::entry::{Entry, EventKind, ProcessId};
use crate::files::{Disk, Faults};
use crate::policy::{Chooser, Policy};

/// What a thread waits for: a lock, a condition, a channel, its token, another thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    /// A lock, a condition or a channel, by its number.
    Made(u64),
    /// The thread's own token.
    Token(usize),
    /// The end of this thread.
    End(usize),
    /// The end of all threads of a process.
    ProcessEnd(ProcessId),
}

/// A thread.
#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) process: ProcessId,
    pub(crate) name: String,
    waits_for: Option<Key>,
    deadline: Option<Duration>,
    is_woken: bool,
    pub(crate) token: bool,
    /// The number of locks it holds. A killed thread first goes on until it has released them.
    pub(crate) locks: u32,
    unwinds: bool,
    /// Whether it unwinds an injected panic. Until it has caught that, it cannot be killed.
    panics: bool,
    /// Whether shuttle has created it.
    is_made: bool,
    is_over: bool,
}

#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) is_dead: bool,
    /// The number of steps of its threads.
    pub(crate) steps: u64,
    /// The number of steps after which it is killed.
    pub(crate) kill_after_steps: Option<u64>,
    /// The time when its container was created. It identifies the container.
    pub(crate) container: u64,
    /// Whether faults are injected into its calls.
    pub(crate) is_exposed: bool,
}

impl Process {
    pub(crate) const fn new(
        container: u64,
        kill_after_steps: Option<u64>,
        is_exposed: bool,
    ) -> Process {
        Process { is_dead: false, steps: 0, kill_after_steps, container, is_exposed }
    }
}

/// How often each kind of fault was injected.
pub type Counts = std::collections::BTreeMap<&'static str, u64>;

/// The outcome of a world.
#[derive(Debug)]
pub struct Outcome {
    /// What happened.
    pub log: Vec<Entry>,
    /// The number of steps.
    pub steps: u64,
    /// The panics of threads, with their messages, and the reasons why the world could not go on.
    pub broken: Vec<String>,
    /// The number of injected faults, by kind.
    pub faults: Counts,
}

/// A world to run.
pub struct World {
    /// How its choices are made.
    pub policy: Policy,
    /// Its first thread. That thread's process cannot be killed.
    pub main: Box<dyn FnOnce() + Send>,
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("World").field("policy", &self.policy).finish_non_exhaustive()
    }
}

/// Decides which worlds are run.
pub trait Director {
    /// Returns the next world; `None` if there is none.
    fn next(&mut self) -> Option<World>;
    /// Receives the outcome of the last world.
    fn ended(&mut self, outcome: Outcome);
}

/// A world while it runs.
pub(crate) struct Kernel {
    pub(crate) tasks: Vec<Task>,
    pub(crate) processes: Vec<Process>,
    current: usize,
    /// The time since the world began, without suspend.
    pub(crate) now: Duration,
    /// How long it was suspended since the last boot.
    pub(crate) suspended: Duration,
    /// How long it was suspended since the world began.
    pub(crate) slept: Duration,
    /// The time of the last boot.
    pub(crate) booted_at: Duration,
    pub(crate) boots: u64,
    /// The milliseconds that the wall clock was set forward, less those it was set back.
    pub(crate) set_ms: i64,
    pub(crate) steps: u64,
    pub(crate) chooser: Chooser,
    made: u64,
    pub(crate) log: Vec<Entry>,
    pub(crate) disk: Disk,
    pub(crate) faults: Counts,
    broken: Vec<String>,
    /// Whether the first thread is done, and all others end.
    is_ending: bool,
    /// Whether a thread is being created. Its creator goes on until that is done.
    is_spawning: bool,
    /// The number of steps since time last passed.
    steps_at_once: u64,
}

thread_local! {
    static KERNEL: RefCell<Option<Kernel>> = const { RefCell::new(None) };
}

/// The wall clock when a world begins.
const BEGAN_MS: i64 = 1_700_000_000_000;

/// After this many steps without any time passing, some thread is in an endless loop.
const AT_ONCE_MAX: u64 = 100_000;

/// A world that makes more steps than this does not end.
const STEPS_MAX: u64 = 5_000_000;

/// The payload of an injected panic. It is no finding if such a panic ends a thread.
struct InjectedPanic;

/// Panics, as a fault. The panic hook is not called.
pub(crate) fn panic() -> ! {
    with(|it| it.task().panics = true);
    resume_unwind(Box::new(InjectedPanic))
}

/// The payload that unwinds a killed thread. This is not a panic: the panic hook is not called.
struct Killed;

impl Kernel {
    fn new(policy: Policy) -> Kernel {
        Kernel {
            tasks: Vec::new(),
            processes: vec![Process::new(1, None, false)],
            current: 0,
            now: Duration::ZERO,
            suspended: Duration::ZERO,
            slept: Duration::ZERO,
            booted_at: Duration::ZERO,
            boots: 1,
            set_ms: 0,
            steps: 0,
            chooser: Chooser::new(policy),
            made: 0,
            log: Vec::new(),
            disk: Disk::new(),
            faults: Counts::new(),
            broken: Vec::new(),
            is_ending: false,
            is_spawning: false,
            steps_at_once: 0,
        }
    }

    pub(crate) fn current(&self) -> usize {
        self.current
    }

    pub(crate) fn task(&mut self) -> &mut Task {
        let current = self.current;
        &mut self.tasks[current]
    }

    pub(crate) fn process_id(&self) -> ProcessId {
        self.tasks[self.current].process
    }

    pub(crate) fn process(&mut self) -> &mut Process {
        let id = self.process_id();
        &mut self.processes[id.0]
    }

    pub(crate) fn is_dead(&self, task: usize) -> bool {
        self.processes[self.tasks[task].process.0].is_dead || (self.is_ending && task != 0)
    }

    /// The time since boot.
    pub(crate) fn uptime(&self) -> Duration {
        self.now.saturating_sub(self.booted_at) + self.suspended
    }

    pub(crate) fn add(&mut self, process: ProcessId, name: &str) -> usize {
        self.tasks.push(Task {
            process,
            name: name.to_owned(),
            waits_for: None,
            deadline: None,
            is_woken: false,
            token: false,
            locks: 0,
            unwinds: false,
            panics: false,
            is_made: false,
            is_over: false,
        });
        self.tasks.len() - 1
    }

    pub(crate) fn is_over(&self, task: usize) -> bool {
        self.tasks[task].is_over
    }

    pub(crate) fn made(&mut self) -> Key {
        self.made += 1;
        Key::Made(self.made)
    }

    pub(crate) fn wake(&mut self, key: Key) {
        for task in self.tasks.iter_mut().filter(|it| it.waits_for == Some(key)) {
            task.is_woken = true;
        }
    }

    pub(crate) fn log(&mut self, what: EventKind) {
        let task = self.current;
        let process = self.tasks.get(task).map_or(ProcessId(0), |it| it.process);
        // What a dead process does while it unwinds has no effect, so it is not logged.
        if self.processes[process.0].is_dead {
            return;
        }
        let entry = self.entry(process, what);
        self.log.push(entry);
    }

    /// The wall clock, in milliseconds since 1970.
    pub(crate) fn wall_ms(&self) -> i64 {
        let passed = (self.now + self.slept).as_millis();
        BEGAN_MS + i64::try_from(passed).unwrap_or(i64::MAX) + self.set_ms
    }

    /// Kills a process: it is dead from now on, its files are closed and its locks on them are released.
    pub(crate) fn kill(&mut self, id: ProcessId) {
        if !self.processes[id.0].is_dead {
            self.end(id);
            let entry = self.entry(id, EventKind::Killed);
            self.log.push(entry);
        }
    }

    pub(crate) fn end(&mut self, id: ProcessId) {
        self.processes[id.0].is_dead = true;
        self.disk.close_all(id);
    }

    pub(crate) fn entry(&self, process: ProcessId, what: EventKind) -> Entry {
        let (at, boot, step) = (self.uptime(), self.boots, self.steps);
        let (wall_ms, task) = (self.wall_ms(), self.current);
        Entry { at, boot, waited: self.now, wall_ms, step, process, task, what }
    }

    /// Counts an injected fault of this kind.
    pub(crate) fn fault(&mut self, kind: &'static str) {
        *self.faults.entry(kind).or_default() += 1;
    }

    /// The faults that apply to the calling process now, if any.
    pub(crate) fn exposed(&mut self) -> Option<Faults> {
        let faults = self.disk.faults;
        (self.process().is_exposed && self.now < faults.until).then_some(faults)
    }

    /// Whether all threads of a process are over.
    pub(crate) fn has_ended(&self, process: ProcessId) -> bool {
        !self.tasks.iter().any(|it| it.process == process && !it.is_over)
    }

    fn can_go_on(&self, task: usize) -> bool {
        let it = &self.tasks[task];
        let waits = it.waits_for.is_some() || it.deadline.is_some();
        let is_due = it.deadline.is_some_and(|at| at <= self.now);
        it.is_made && !it.is_over && (!waits || it.is_woken || is_due)
    }

    /// Ends all processes, because the world cannot go on.
    fn stop(&mut self, why: &str) {
        let waits = self.tasks.iter().filter(|it| !it.is_over);
        let waits: Vec<_> =
            waits.map(|it| format!("{} waits for {:?}", it.name, it.waits_for)).collect();
        self.broken.push(format!("{why}: {}", waits.join(", ")));
        for process in &mut self.processes {
            process.is_dead = true;
        }
    }

    /// Chooses the thread that runs next.
    fn next(&mut self) -> usize {
        self.steps += 1;
        self.steps_at_once += 1;
        if self.steps_at_once == AT_ONCE_MAX {
            self.stop("time does not pass, a thread is in an endless loop");
        }
        let all = 0..self.tasks.len();
        // One thread unwinds at a time. Meanwhile, only a thread that holds a lock can run.
        if let Some(unwinding) =
            all.clone().find(|it| self.tasks[*it].unwinds && !self.tasks[*it].is_over)
        {
            if self.can_go_on(unwinding) {
                return unwinding;
            }
            let holds = |it: &usize| self.tasks[*it].locks > 0 && !self.tasks[*it].is_over;
            if let Some(holder) = all.clone().filter(|it| *it != unwinding).find(holds) {
                return holder;
            }
        }
        let is_left = |it: &Task| it.is_made && !it.is_over;
        let dead = |it: &usize| self.is_dead(*it) && is_left(&self.tasks[*it]);
        if let Some(dead) = all.clone().rev().find(dead) {
            return dead;
        }
        loop {
            let eligible: Vec<usize> = all.clone().filter(|it| self.can_go_on(*it)).collect();
            if !eligible.is_empty() {
                return self.chooser.next(&eligible, Some(self.current));
            }
            let waiting = self.tasks.iter().filter(|it| !it.is_over);
            match waiting.filter_map(|it| it.deadline).min() {
                Some(at) => {
                    self.now = self.now.max(at);
                    self.steps_at_once = 0;
                }
                None => {
                    self.stop("no thread can go on");
                    return all.clone().find(|it| !self.tasks[*it].is_over).unwrap_or(0);
                }
            }
        }
    }
}

/// Runs this with the world of the calling thread; `None` if it has none.
pub(crate) fn with<T>(run: impl FnOnce(&mut Kernel) -> T) -> Option<T> {
    KERNEL.with_borrow_mut(|kernel| kernel.as_mut().map(run))
}

/// Comes before each step that another thread could see: chooses the thread that runs next.
pub(crate) fn switch() {
    let is_in_world = with(|it| {
        let steps = &mut it.process().steps;
        *steps += 1;
        let (steps, dies) = (*steps, it.process().kill_after_steps);
        if dies == Some(steps) {
            let id = it.process_id();
            it.fault("kill -9");
            it.kill(id);
        }
    });
    if is_in_world.is_some() {
        give_way();
    }
}

fn give_way() {
    shuttle::thread::yield_now();
    let unwinds = with(|it| {
        let task = it.current;
        let is_alone = !it.tasks.iter().any(|it| it.unwinds && !it.is_over);
        let unwinds =
            it.is_dead(task) && it.tasks[task].locks == 0 && is_alone && !it.tasks[task].panics;
        it.tasks[task].unwinds |= unwinds;
        unwinds
    });
    if unwinds == Some(true) {
        resume_unwind(Box::new(Killed));
    }
}

/// Ends the wait, also if the thread is killed meanwhile: a thread that unwinds waits for nothing.
struct WaitEnded;

impl Drop for WaitEnded {
    fn drop(&mut self) {
        with(|it| (it.task().waits_for, it.task().deadline) = (None, None));
    }
}

/// Waits for `key`, or until `deadline`. Returns whether it was woken.
pub(crate) fn wait(key: Option<Key>, deadline: Option<Duration>) -> bool {
    let waits = with(|it| {
        // A dead process does not wait for time to pass.
        if it.is_dead(it.current) && deadline.is_some() {
            return false;
        }
        let task = it.task();
        (task.waits_for, task.deadline, task.is_woken) = (key, deadline, false);
        true
    });
    if waits != Some(true) {
        return false;
    }
    let ended = WaitEnded;
    give_way();
    drop(ended);
    with(|it| it.task().is_woken).unwrap_or(false)
}

/// Runs a thread that was added, and ignores how it ends.
pub(crate) fn spawn(task: usize, run: impl FnOnce() + Send + 'static) {
    // Its handle is dropped, because a wait for the thread is a wait in this world. No other thread goes on until
    // shuttle has created it, so that both give it the same number.
    with(|it| it.is_spawning = true);
    drop(shuttle::thread::spawn(move || body(task, run)));
    with(|it| it.is_spawning = false);
}

fn body(task: usize, run: impl FnOnce()) {
    let run = || {
        let run = run;
        // A thread that is killed before it began drops its closure while it unwinds.
        while with(|it| it.is_dead(task)) == Some(true) {
            give_way();
        }
        run();
    };
    if let Err(payload) = catch_unwind(AssertUnwindSafe(run))
        && !payload.is::<Killed>()
        && !payload.is::<InjectedPanic>()
    {
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let text = text.or(payload.downcast_ref::<&str>().copied()).unwrap_or("a value");
        with(|it| {
            let name = it.tasks[task].name.clone();
            it.broken.push(format!("{name} panicked: {text}"));
        });
    }
    with(|it| {
        it.tasks[task].is_over = true;
        it.wake(Key::End(task));
        let process = it.tasks[task].process;
        if it.has_ended(process) {
            it.end(process);
            it.wake(Key::ProcessEnd(process));
        }
    });
}

/// As `std::panic::catch_unwind`, except that it does not stop the unwinding of a killed thread.
///
/// # Errors
///
/// The payload of the panic.
pub fn catch<T>(run: impl FnOnce() -> T) -> std::thread::Result<T> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|payload| {
        if payload.is::<Killed>() {
            resume_unwind(payload);
        }
        with(|it| it.task().panics = false);
        payload
    })
}

/// The scheduler that shuttle asks which thread runs next.
struct ShuttleScheduler<D>(Rc<RefCell<D>>);

thread_local! {
    static MAIN: RefCell<Option<Box<dyn FnOnce() + Send>>> = const { RefCell::new(None) };
}

impl<D: Director> Scheduler for ShuttleScheduler<D> {
    fn new_execution(&mut self) -> Option<Schedule> {
        self.finish();
        let World { policy, main } = self.0.borrow_mut().next()?;
        KERNEL.set(Some(Kernel::new(policy)));
        MAIN.set(Some(main));
        with(|it| it.add(ProcessId(0), "world"));
        Some(Schedule::new(0))
    }

    fn next_task(
        &mut self,
        runnable: &[&ShuttleTask],
        _: Option<TaskId>,
        _: bool,
    ) -> Option<TaskId> {
        if let Some(maker) = with(|it| it.is_spawning.then_some(it.current)).flatten() {
            return Some(TaskId::from(maker));
        }
        let is_there = |task: usize| runnable.iter().any(|it| usize::from(it.id()) == task);
        with(|it| {
            for task in runnable {
                it.tasks[usize::from(task.id())].is_made = true;
            }
        });
        // A thread that is over only has to return.
        let over = with(|it| (0..it.tasks.len()).find(|task| it.is_over(*task) && is_there(*task)));
        let has_no_end = with(|it| {
            let has_no_end = it.steps > STEPS_MAX;
            if has_no_end {
                it.broken.push(format!("the world does not end within {STEPS_MAX} steps"));
            }
            has_no_end
        });
        if has_no_end == Some(true) {
            return None;
        }
        let next = match over.flatten() {
            Some(over) => over,
            None => with(Kernel::next)?,
        };
        with(|it| it.current = next);
        is_there(next).then(|| TaskId::from(next))
    }

    fn next_u64(&mut self) -> u64 {
        with(|it| it.chooser.fresh()).unwrap_or(0)
    }
}

impl<D: Director> ShuttleScheduler<D> {
    /// Hands the outcome of the last world to the director.
    fn finish(&mut self) {
        let Some(kernel) = KERNEL.take() else { return };
        let Kernel { log, steps, broken, faults, .. } = kernel;
        self.0.borrow_mut().ended(Outcome { log, steps, broken, faults });
    }
}

/// The stack of a thread, in bytes: the shipped code needs more than shuttle's default.
const STACK: usize = 512 * 1024;

/// Runs worlds on the calling thread, one after the other.
pub fn run<D: Director + 'static>(director: &Rc<RefCell<D>>) {
    let mut config = shuttle::Config::new();
    config.stack_size = STACK;
    config.max_steps = shuttle::MaxSteps::None;
    config.failure_persistence = shuttle::FailurePersistence::None;
    config.silence_warnings = true;
    let runner = shuttle::Runner::new(ShuttleScheduler(Rc::clone(director)), config);
    runner.run(|| {
        let main = MAIN.take().unwrap_or_else(|| Box::new(|| {}));
        body(0, move || {
            let done = catch_unwind(AssertUnwindSafe(main));
            end_others();
            if let Err(payload) = done {
                resume_unwind(payload);
            }
        });
    });
}

/// Kills the other threads once the first is done or was stopped, and waits for their end.
fn end_others() {
    let others_go_on = || {
        with(|it| {
            it.tasks[0].unwinds = false;
            it.is_ending = true;
            (1..it.tasks.len()).any(|task| !it.is_over(task))
        })
    };
    while others_go_on() == Some(true) {
        shuttle::thread::yield_now();
    }
}
