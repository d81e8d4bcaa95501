//! The whole gateway under load, on real threads: workers, a controller, the watcher, files, the status. An auditor
//! checks what the threads saw against Open → Closing → Closed → Opening. A pass shows only that nothing went wrong in
//! this run: loom and the models show what can go wrong.
//!
//! The test takes a few seconds. The long mode makes 100 million admissions or more, and 10,000 drains on files:
//! `TIDEGATE_STRESS=long cargo test --release --test stress -- --nocapture`. `TIDEGATE_STRESS_SEED` repeats the choices
//! of a run, but not its interleaving.
//!
//! # How the events of many threads get an order
//!
//! The controller counts its *steps*: one before and one after each of its calls. A step has a `Stage`: what is known
//! of the gate from this step to the next. Each thread reads the number of the step before and after each of its calls.
//! The call happened at one of the steps in between, so it is wrong only if *none* of them allows its answer. A turn is
//! surely in flight from the step that is read after its admission to the step that is read before its drop. So it is
//! wrong unless *each* of them allows it.
//!
//! A number that is read late does no harm. A call that is admitted by a reopening, or refused by a close, happens
//! after the step before that: the gate's orderings promise it.
//!
//! The controller sends each stage to the auditor before it publishes the step. The channel keeps the order. So the
//! auditor knows every step that an entry names, and no entry has to be kept.

mod audit;

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use tidegate::home::Home;
use tidegate::machine::{Phase, ShutdownCause};
use tidegate::request::{DrainRequest, Holder, Request};
use tidegate::{Ended, Gateway, Origin, Refused, Turn, Wait};

use audit::{Auditor, Entry, Span, Stage, Totals, What};

/// Turns a hang into a failure.
const PATIENCE: Duration = Duration::from_secs(60);
/// Longer than the patience: a shutdown that ends by its deadline fails the test.
const GRACE: Duration = Duration::from_secs(600);
/// How many turns a worker keeps at once.
const KEPT_MAX: usize = 8;
/// How many entries go to the auditor at once, and how many batches may wait for it: 4 MB.
const BATCH: usize = 4096;
const BATCHES: usize = 64;

/// A thread's entries on their way to the auditor.
struct Log {
    batch: Vec<Entry>,
    auditor: SyncSender<Vec<Entry>>,
}

impl Log {
    fn to(auditor: &SyncSender<Vec<Entry>>) -> Log {
        Log { batch: Vec::with_capacity(BATCH), auditor: auditor.clone() }
    }

    fn add(&mut self, entry: Entry) {
        self.batch.push(entry);
        if self.batch.len() == BATCH {
            self.send();
        }
    }

    fn send(&mut self) {
        let batch = std::mem::replace(&mut self.batch, Vec::with_capacity(BATCH));
        // Without an auditor the test has failed already.
        let _ = self.auditor.send(batch);
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.send();
    }
}

/// One gateway, from its start to the end of its shutdown.
struct Run {
    gateway: Gateway,
    step: AtomicU32,
    /// Calls of the workers, counted now and then.
    calls: AtomicU64,
    is_over: AtomicBool,
}

impl Run {
    fn now(&self) -> u32 {
        self.step.load(Ordering::SeqCst)
    }

    fn call<T>(&self, call: impl FnOnce(&Gateway) -> T) -> (T, Span) {
        let first = self.now();
        let answer = call(&self.gateway);
        (answer, Span { first, last: self.now() })
    }

    fn count(&self) -> Entry {
        let (counted, call) = self.call(Gateway::in_flight);
        Entry::Counted { user: counted.user > 0, internal: counted.internal > 0, call }
    }
}

/// Ends the workers, also if the controller panics.
struct EndsWorkers<'a>(&'a Run);

impl Drop for EndsWorkers<'_> {
    fn drop(&mut self) {
        self.0.is_over.store(true, Ordering::Relaxed);
    }
}

/// Waits, and fails if it was not woken: a wait looks once more when its time is over.
fn wait_for<T>(mut wait: Wait<T>) -> T {
    let began = Instant::now();
    let value = wait.wait_timeout(PATIENCE);
    assert!(began.elapsed() < PATIENCE, "not woken within {PATIENCE:?}");
    value.expect("woken because it has happened")
}

fn poll(what: &str, mut has_happened: impl FnMut() -> bool) {
    let began = Instant::now();
    while !has_happened() {
        assert!(began.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        // Only a pause between two looks, which leaves the processor to the workers.
        thread::park_timeout(Duration::from_micros(50));
    }
}

/// A turn in flight, and the call that admitted it.
struct KeptTurn {
    turn: Turn,
    what: What,
    call: Span,
}

struct Worker<'a> {
    run: &'a Run,
    dice: fastrand::Rng,
    log: Log,
    kept: Vec<KeptTurn>,
    /// To the next worker and from the last one, for turns that another thread drops.
    next: SyncSender<KeptTurn>,
    handed: Receiver<KeptTurn>,
}

impl Worker<'_> {
    fn work(mut self) {
        while !self.run.is_over.load(Ordering::Relaxed) {
            for _ in 0..64 {
                let action = self.dice.u32(..64);
                self.act(action);
            }
            self.run.calls.fetch_add(64, Ordering::Relaxed);
        }
        drop(self.next);
        for held in self.kept.drain(..).chain(self.handed) {
            end(self.run, &mut self.log, held);
        }
    }

    /// More actions end turns than keep them, so that a closed gate becomes idle.
    fn act(&mut self, action: u32) {
        match action {
            0..28 => self.admit(Origin::User, false),
            28..34 => self.admit(Origin::User, true),
            34..37 => self.admit(Origin::Internal, false),
            37 => self.admit(Origin::Internal, true),
            38..44 => {
                let Some(parent) = self.dice.choice(&self.kept) else { return };
                let (answer, call) = self.run.call(|_| parent.turn.child());
                let is_kept = self.dice.bool();
                self.answered(What::ChildOf(parent.what.origin()), answer, call, is_kept);
            }
            44..54 if !self.kept.is_empty() => {
                let index = self.dice.usize(..self.kept.len());
                let held = self.kept.swap_remove(index);
                if action < 50 {
                    end(self.run, &mut self.log, held);
                } else if let Err(error) = self.next.try_send(held) {
                    let (TrySendError::Full(held) | TrySendError::Disconnected(held)) = error;
                    end(self.run, &mut self.log, held);
                }
            }
            54..58 => {
                while let Ok(held) = self.handed.try_recv() {
                    end(self.run, &mut self.log, held);
                }
            }
            58 => self.kept.drain(..).for_each(|held| end(self.run, &mut self.log, held)),
            59..61 => {
                let (is_ready, call) = self.run.call(Gateway::is_ready);
                self.log.add(Entry::Ready { is_ready, call });
            }
            61 => self.log.add(self.run.count()),
            62 => thread::yield_now(),
            _ => {}
        }
    }

    fn admit(&mut self, origin: Origin, is_kept: bool) {
        let (answer, call) = self.run.call(|gateway| gateway.admit(origin));
        self.answered(What::New(origin), answer, call, is_kept);
    }

    fn answered(&mut self, what: What, answer: Result<Turn, Refused>, call: Span, is_kept: bool) {
        match answer {
            Ok(turn) if is_kept && self.kept.len() < KEPT_MAX => {
                self.kept.push(KeptTurn { turn, what, call });
            }
            Ok(turn) => end(self.run, &mut self.log, KeptTurn { turn, what, call }),
            Err(refused) => self.log.add(refusal(what, refused, call)),
        }
    }
}

/// Drops the turn and logs it.
fn end(run: &Run, log: &mut Log, KeptTurn { turn, what, call }: KeptTurn) {
    let dropped = run.now();
    drop(turn);
    log.add(Entry::Admitted { what, call, dropped });
}

fn refusal(what: What, Refused { reason, generation, .. }: Refused, call: Span) -> Entry {
    let generation = u32::try_from(generation).expect("few drains");
    Entry::Refused { what, reason, generation, call }
}

/// A worker that waits at the closed gate, until the gate will not open again.
fn wait_and_work(run: &Run, mut log: Log) {
    let what = What::New(Origin::User);
    while !run.is_over.load(Ordering::Relaxed) {
        match run.call(|gateway| wait_for(gateway.admit_when_open(Origin::User))) {
            (Ok(turn), call) => end(run, &mut log, KeptTurn { turn, what, call }),
            (Err(refused), call) => return log.add(refusal(what, refused, call)),
        }
    }
}

/// Drains, releases and shuts down, in the process or through the files.
struct Controller<'a> {
    run: &'a Run,
    /// `None` for a gateway without files, which drains much more often.
    home: Option<Home>,
    dice: fastrand::Rng,
    log: Log,
}

impl Controller<'_> {
    fn step(&mut self, stage: Stage) {
        // An open gate is next refused by a close that is still to come.
        let is_open = self.run.gateway.phase() == Phase::Running;
        let generation = self.run.gateway.status().generation + u64::from(is_open);
        let generation = u32::try_from(generation).expect("few drains");
        self.log.add(Entry::Step { stage, generation });
        self.log.send();
        self.run.step.fetch_add(1, Ordering::SeqCst);
    }

    /// Waits for so many calls of the workers, so that each stage is seen. Half the time it waits for the least.
    fn let_work(&mut self, calls: Range<u64>) {
        let calls = if self.dice.bool() { calls.start } else { self.dice.u64(calls) };
        let until = self.run.calls.load(Ordering::Relaxed) + calls;
        poll("the workers work", || self.run.calls.load(Ordering::Relaxed) >= until);
    }

    /// The files, where the next call is to go through them and not through the gateway.
    fn files(&mut self) -> Option<&Home> {
        let is_chosen = self.dice.bool();
        self.home.as_ref().filter(|_| is_chosen)
    }

    /// Closes or amends, and returns the request's id when that is confirmed.
    fn begin(&mut self, hold: bool) -> String {
        let ask = DrainRequest::new("stress").with_hold_internal(hold);
        let run = self.run;
        let id = |request: &Request| request.request_id().expect("has an id").to_owned();
        let Some(home) = self.files() else {
            let receipt = run.gateway.begin_drain(&ask).expect("begins");
            assert!(receipt.draining, "nobody else drains or releases: {receipt:?}");
            return id(&receipt.request);
        };
        let id = id(&home.begin_drain(&ask).expect("writes"));
        poll("the status says draining", || {
            home.status().expect("reads").is_draining_for(&Holder::Shared, &id)
        });
        id
    }

    fn quiesce(&mut self, id: &str) {
        let run = self.run;
        if let Some(home) = self.files() {
            poll("the status says quiesced", || {
                home.status().expect("reads").is_quiesced_for(&Holder::Shared, id)
            });
        } else {
            let quiesced = wait_for(run.gateway.quiesced()).expect("is held");
            assert_eq!(quiesced.request_ids(), [id]);
        }
        self.step(Stage::Quiesced);
        self.log.add(run.count());
        self.let_work(0..2000);
        self.log.add(run.count());
    }

    fn release(&mut self) {
        let run = self.run;
        self.step(Stage::Opening);
        if let Some(home) = self.files() {
            assert!(home.cancel_drain(&Holder::Shared).expect("removes"));
            poll("the gateway reopens", || run.gateway.phase() == Phase::Running);
        } else {
            assert!(run.gateway.cancel_drain(&Holder::Shared).expect("removes"));
        }
        self.step(Stage::Open);
    }

    fn drain(&mut self) {
        let hold = self.dice.bool();
        self.step(Stage::Closing);
        let id = self.begin(hold);
        self.step(if hold { Stage::Held } else { Stage::Closed });
        self.let_work(0..2000);
        let goes_on = self.dice.u32(..4) > 0;
        if goes_on && hold {
            self.quiesce(&id);
            if self.dice.bool() {
                self.step(Stage::Held);
                self.begin(false);
                self.step(Stage::Idle);
                self.let_work(0..2000);
            }
        } else if goes_on {
            wait_for(self.run.gateway.idle());
            self.step(Stage::Idle);
            self.let_work(0..2000);
            if self.dice.bool() {
                self.step(Stage::Held);
                let id = self.begin(true);
                self.quiesce(&id);
            }
        }
        self.release();
    }

    fn shut_down(&mut self) {
        let (run, is_drained) = (self.run, self.dice.bool());
        let gateway = &run.gateway;
        if is_drained {
            self.step(Stage::Closing);
            self.begin(false);
            self.step(Stage::Closed);
        }
        self.step(Stage::ShuttingDown);
        thread::scope(|scope| {
            // Loses against the shutdown or comes before it: its own answer says nothing here.
            let _rival = scope.spawn(|| {
                if is_drained {
                    gateway.cancel_drain(&Holder::Shared).map(drop)
                } else {
                    gateway.begin_drain(&DrainRequest::new("rival")).map(drop)
                }
            });
            self.let_work(0..2000);
            let ending = gateway.shut_down(ShutdownCause::Operator, GRACE);
            self.step(Stage::Shut);
            self.let_work(1000..2000);
            assert_eq!(wait_for(ending), Ended::Clean);
            self.step(Stage::Stopped);
        });
        self.log.add(self.run.count());
        self.let_work(1000..20_000);
    }
}

/// One gateway, from its start to its end.
fn run_gateway(auditor: &mut Auditor, dice: &mut fastrand::Rng, home: Option<Home>, drains: u64) {
    let interval = Duration::from_millis(dice.u64(1..=5));
    let builder = home.as_ref().map_or_else(Gateway::in_memory, |it| Gateway::builder(it.path()));
    let gateway = builder.interval(interval).start().expect("starts");
    let (step, calls) = (AtomicU32::new(0), AtomicU64::new(0));
    let run = &Run { gateway, step, calls, is_over: AtomicBool::new(false) };
    let (sender, entries) = sync_channel(BATCHES);
    auditor.begin();
    thread::scope(|scope| {
        scope.spawn(|| audit(auditor, entries));
        let _ends = EndsWorkers(run);
        let workers_max = thread::available_parallelism().map_or(4, |cores| cores.get().max(4));
        let ring = (0..dice.usize(2..=workers_max)).map(|_| sync_channel(16));
        let (mut nexts, handed): (Vec<_>, Vec<_>) = ring.unzip();
        nexts.rotate_left(1);
        for (next, handed) in nexts.into_iter().zip(handed) {
            let (dice, log) = (dice.fork(), Log::to(&sender));
            let worker = Worker { run, dice, log, kept: Vec::new(), next, handed };
            scope.spawn(move || worker.work());
        }
        let log = Log::to(&sender);
        scope.spawn(move || wait_and_work(run, log));
        let log = Log::to(&sender);
        drop(sender);
        let calls_max = if home.is_some() { 20_000 } else { 2000 };
        let mut controller = Controller { run, home, dice: dice.fork(), log };
        for _ in 0..drains {
            controller.let_work(0..calls_max);
            controller.drain();
        }
        controller.shut_down();
    });
}

fn audit(auditor: &mut Auditor, entries: Receiver<Vec<Entry>>) {
    for batch in entries {
        let known = auditor.broken.len();
        for entry in batch {
            auditor.check(entry);
        }
        // At once: the run may also hang or panic because of it.
        for (rule, entry, stages) in &auditor.broken[known..] {
            eprintln!("broken: {rule:?}: {entry:?} in {stages:?}");
        }
    }
}

/// The most memory that this process has had, in MB, where the system tells.
fn memory_peak() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? / 1024)
}

#[test]
fn a_gateway_under_load_keeps_its_promises() {
    let is_long = std::env::var("TIDEGATE_STRESS").is_ok_and(|mode| mode == "long");
    // A gateway on files drains slowly, so that each round also has many gateways in memory.
    let (admissions, rounds, on_files, (in_memory, gateways)) =
        if is_long { (100_000_000, 20, 500, (50, 100)) } else { (1_000_000, 4, 20, (20, 20)) };
    let seed = std::env::var("TIDEGATE_STRESS_SEED").ok().and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    // Shown also where a thread panics.
    println!("TIDEGATE_STRESS_SEED={seed}");
    let (mut dice, began) = (fastrand::Rng::with_seed(seed), Instant::now());
    let mut auditor = Auditor::default();
    let mut round = 0;
    while auditor.totals.admitted() < admissions || round < rounds {
        let dir = tempfile::tempdir().expect("temp dir");
        let in_memory = std::iter::repeat_n((None, in_memory), gateways);
        let on_files = std::iter::once((Some(Home::at(dir.path())), on_files));
        for (home, drains) in on_files.chain(in_memory) {
            run_gateway(&mut auditor, &mut dice, home, drains);
            assert_eq!(auditor.broken, [], "TIDEGATE_STRESS_SEED={seed}");
        }
        round += 1;
    }
    let (admitted, seconds) = (auditor.totals.admitted(), began.elapsed().as_secs_f64());
    let Totals { user, internal, children, refused, drains, shutdowns, within } = auditor.totals;
    println!(
        "{admitted} admissions ({user} user, {internal} internal, {children} children), {refused} refusals, \
         {drains} drains ({} of them on files), {shutdowns} shutdowns; seed {seed}; {seconds:.1} s",
        round * on_files
    );
    let memory = memory_peak();
    println!("calls within each stage: {within:?}; {memory:?} MB at most");
    let decided =
        [Stage::Open, Stage::Closed, Stage::Idle, Stage::Quiesced, Stage::Shut, Stage::Stopped];
    for stage in decided {
        assert!(within[stage as usize] > 0, "no call lay within {stage:?}");
    }
    assert!(memory.is_none_or(|peak| peak < 200), "{memory:?} MB: the entries are kept");
}
