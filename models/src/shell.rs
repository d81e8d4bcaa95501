//! The shipped engine as a model holds it: by its number, with the gate beside it. It carries an order to the
//! gate as the driver does, under one lock. It decides nothing: every step is the engine's.
//!
//! Each step is remembered, so that the shipped code runs once for each engine, gate and input. Each thread has its
//! own memory. It is cleared when a fault is switched on or off.

use std::cell::RefCell;
use std::fmt;
use std::hash::{Hash, Hasher};

use rustc_hash::FxHashMap;
use tidegate::internals::engine::{
    DirectoryStamp, Engine, EngineConfig, EngineTypes, IntendedStatus, ObserveAction, ObserveMode,
    PublishAction, Reaction,
};
use tidegate::internals::gate::{Arrival, GateState, Origin, PlainGate};
use tidegate::internals::machine::Machine;
use tidegate::internals::reconcile::{Demand, Listing, Sighting};
use tidegate::internals::status::Condition;
use tidegate::machine::{Effect, Phase, ShutdownCause, Terms};

use crate::packed::{Intern, Interned, Interner};

/// A time in a model: before every deadline, or after it.
pub(crate) type Instant = u8;

/// The present, and the time at which every deadline has passed.
pub(crate) const NOW: Instant = 0;
pub(crate) const DUE: Instant = 1;

/// The rules of a gateway with a watcher.
pub(crate) const RULES: EngineConfig = EngineConfig { has_watcher: true, skips: 0 };

/// The stamp of a directory whose times show nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct NoStamp;

impl DirectoryStamp for NoStamp {
    fn is_always_conclusive(&self) -> bool {
        false
    }

    fn proves_unchanged(&self, _: &NoStamp) -> bool {
        false
    }
}

/// The world of a model: the types of its requests, slots, stamps and inputs, and whether its slots are listed. There
/// are no reasons and no labels.
macro_rules! small_world {
    ($world:ident, slot: $slot:ty, request: $request:ty, stamp: $stamp:ty, input: $input:ty, named: $named:literal) => {
        impl tidegate::internals::engine::EngineTypes for $world {
            type Slot = $slot;
            type Request = $request;
            type Reason = ();
            type Stamp = $stamp;
            type Labels = ();
            type Instant = $crate::shell::Instant;

            fn is_named(_: &$slot) -> bool {
                $named
            }
        }

        impl $crate::shell::SmallWorld for $world {
            type Input = $input;

            fn memory() -> &'static std::thread::LocalKey<$crate::shell::StepCache<$world>> {
                thread_local!(static MEMORY: $crate::shell::StepCache<$world> = $crate::shell::StepCache::new());
                &MEMORY
            }
        }

        impl $crate::packed::Intern for tidegate::internals::engine::Engine<$world> {
            fn pool() -> &'static $crate::packed::Interner<tidegate::internals::engine::Engine<$world>> {
                static POOL: $crate::packed::Interner<tidegate::internals::engine::Engine<$world>> =
                    $crate::packed::Interner::new();
                &POOL
            }
        }
    };
}
pub(crate) use small_world;

/// A world whose engines can be numbered and remembered.
pub(crate) trait SmallWorld:
    EngineTypes<Instant = Instant, Labels = ()> + Sized + 'static
where
    Engine<Self>: Intern,
{
    /// The inputs of its engines.
    type Input: Copy + Eq + Hash;
    /// The steps that are remembered.
    fn memory() -> &'static std::thread::LocalKey<StepCache<Self>>;
}

/// An engine by its number, the gate and the input.
type Key<W> = (u32, PlainGate, <W as SmallWorld>::Input);

/// The steps that were made: for each engine, gate and input, the result.
pub(crate) struct StepCache<W: SmallWorld>(RefCell<StepCacheEntries<W>>)
where
    Engine<W>: Intern;

struct StepCacheEntries<W: SmallWorld>
where
    Engine<W>: Intern,
{
    faults: u128,
    steps: FxHashMap<Key<W>, (Shell<W>, u8)>,
}

impl<W: SmallWorld> StepCache<W>
where
    Engine<W>: Intern,
{
    pub(crate) fn new() -> StepCache<W> {
        StepCache(RefCell::new(StepCacheEntries { faults: 0, steps: FxHashMap::default() }))
    }
}

/// An engine, and the gate to which it gives orders.
pub(crate) struct Shell<W: SmallWorld>
where
    Engine<W>: Intern,
{
    pub(crate) engine: Interned<Engine<W>>,
    pub(crate) gate: PlainGate,
}

impl<W: SmallWorld> Shell<W>
where
    Engine<W>: Intern,
{
    /// A process whose engine has just started. The gate has performed its first order.
    pub(crate) fn started((engine, effect): (Engine<W>, Effect)) -> Shell<W> {
        Shell::new(engine, PlainGate::starting().perform(effect).0)
    }

    pub(crate) fn new(engine: Engine<W>, gate: PlainGate) -> Shell<W> {
        Shell { engine: engine.intern(), gate }
    }

    /// Makes a step: `run` calls the engine, and returns its answer as a small number. The step is remembered by its
    /// input.
    pub(crate) fn step(
        &mut self,
        input: W::Input,
        run: impl FnOnce(&mut Engine<W>, GateState) -> (Reaction, u8),
    ) -> u8 {
        W::memory().with(|memory| {
            let mut memory = memory.0.borrow_mut();
            let faults = crate::faults::current();
            if memory.faults != faults {
                memory.faults = faults;
                memory.steps.clear();
            }
            let key = (self.engine.number(), self.gate, input);
            if let Some((after, answer)) = memory.steps.get(&key) {
                *self = *after;
                return *answer;
            }
            let mut engine = (*self.engine).clone();
            let mut gate = self.gate;
            let (reaction, answer) = run(&mut engine, gate.state());
            if let Some(ordered) = reaction.ordered {
                let found;
                (gate, found) = gate.perform(ordered.effect);
                engine.gate_done(ordered, found, DUE);
            }
            *self = Shell::new(engine, gate);
            memory.steps.insert(key, (*self, answer));
            answer
        })
    }

    pub(crate) fn machine(&self) -> Machine {
        self.engine.machine()
    }

    pub(crate) fn phase(&self) -> Phase {
        self.engine.phase()
    }

    pub(crate) fn condition(&self) -> Condition {
        self.engine.condition(self.gate.state())
    }

    /// Admits a turn, if the gate does.
    pub(crate) fn admit(&mut self, arrival: Arrival) -> Option<()> {
        self.gate = self.gate.admit(arrival).ok()?;
        Some(())
    }

    /// Releases a turn that has ended.
    pub(crate) fn release(&mut self, origin: Origin) {
        self.gate = self.gate.release(origin);
    }
}

impl<W: SmallWorld> Clone for Shell<W>
where
    Engine<W>: Intern,
{
    fn clone(&self) -> Shell<W> {
        *self
    }
}

impl<W: SmallWorld> Copy for Shell<W> where Engine<W>: Intern {}

impl<W: SmallWorld> PartialEq for Shell<W>
where
    Engine<W>: Intern,
{
    fn eq(&self, other: &Shell<W>) -> bool {
        (self.engine, self.gate) == (other.engine, other.gate)
    }
}

impl<W: SmallWorld> Eq for Shell<W> where Engine<W>: Intern {}

impl<W: SmallWorld> Hash for Shell<W>
where
    Engine<W>: Intern,
{
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.engine.hash(hasher);
        self.gate.hash(hasher);
    }
}

impl<W: SmallWorld> fmt::Debug for Shell<W>
where
    Engine<W>: Intern,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, gate {:?}", self.phase(), self.gate)
    }
}

/// A look and its report in one step, for a model in which it does not matter who looks.
pub(crate) fn look_at_once<W: EngineTypes>(
    engine: &mut Engine<W>,
    observe: impl FnOnce(&mut Engine<W>, &ObserveMode<W::Stamp>) -> Reaction,
) -> Reaction {
    let call = engine.request_observation();
    let ObserveAction::Look(order) = engine.next_observe_action(call) else {
        return Reaction::default();
    };
    let reaction = observe(engine, &order);
    let _ = engine.next_observe_action(call);
    reaction
}

/// A request of the smaller models.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct SimpleRequest {
    /// Whether it holds internal work.
    pub(crate) hold: bool,
    /// The request's number, which differs from that of another request with the same terms.
    pub(crate) number: u8,
}

impl Demand for SimpleRequest {
    fn terms(&self) -> Option<Terms> {
        Some(Terms::default().with_hold_internal(self.hold))
    }
}

/// A world with one slot. A request in it is always seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct OneRequest;

small_world!(OneRequest, slot: (), request: SimpleRequest, stamp: NoStamp, input: OneRequestInput, named: false);

/// An input of an engine of that world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum OneRequestInput {
    /// A look found this request, or none.
    Sees(Option<SimpleRequest>),
    /// A look failed.
    SeesNothing,
    /// A shutdown is asked for.
    ShutdownAsked(ShutdownCause),
    /// It is this time now.
    TimePasses(Instant),
    /// A thread wants to publish.
    WantsToPublish,
    /// The write of a status with this condition has ended, with success or not.
    HasWritten(Interned<Condition>, bool),
    /// The home is given back.
    HomeIsGivenBack,
}

/// The answer "yes". To [`OneRequestInput::WantsToPublish`]: write the status. To [`OneRequestInput::HasWritten`]: give
/// the home back. To the others: wake the timer thread.
pub(crate) const YES: u8 = 1;

impl Intern for Condition {
    fn pool() -> &'static Interner<Condition> {
        static POOL: Interner<Condition> = Interner::new();
        &POOL
    }
}

/// The engine of a process that has just started, and the first order to its gate.
pub(crate) fn start_one_request(there: Option<SimpleRequest>) -> (Engine<OneRequest>, Effect) {
    let first = [((), there.map_or(Sighting::Absent, Sighting::Present))];
    let lives = |_: &SimpleRequest, _| true;
    Engine::start(RULES, first, &Listing::Whole, None, None, NOW, lives)
}

impl Shell<OneRequest> {
    /// A process that has just started, as in `Shared::start`.
    pub(crate) fn start(there: Option<SimpleRequest>) -> Shell<OneRequest> {
        Shell::started(start_one_request(there))
    }

    /// Gives an input to the engine, under the transition lock. `None` if that changes nothing.
    pub(crate) fn apply_input(&mut self, input: OneRequestInput) -> Option<u8> {
        let before = *self;
        let answer = self.step(input, |engine, gate| input.run(engine, gate));
        (*self != before || answer != 0).then_some(answer)
    }
}

impl OneRequestInput {
    /// Gives it to the engine of a gate that is so. Returns what is to be done, and the answer.
    pub(crate) fn run(self, engine: &mut Engine<OneRequest>, gate: GateState) -> (Reaction, u8) {
        match self {
            OneRequestInput::Sees(_) | OneRequestInput::SeesNothing => {
                let seen = match self {
                    OneRequestInput::Sees(there) => {
                        there.map_or(Sighting::Absent, Sighting::Present)
                    }
                    _ => Sighting::Unreadable(()),
                };
                let reaction = look_at_once(engine, |engine, _| {
                    engine.observed([((), seen)], &Listing::Whole, None, NOW, |_, _| true)
                });
                (reaction, u8::from(reaction.wakes_timer))
            }
            OneRequestInput::ShutdownAsked(cause) => {
                let reaction = engine.shutdown_asked(cause, DUE);
                (reaction, u8::from(reaction.wakes_timer))
            }
            OneRequestInput::TimePasses(now) => {
                let reaction = engine.on_time(gate, now);
                (reaction, u8::from(reaction.wakes_timer))
            }
            OneRequestInput::WantsToPublish => {
                let writes = matches!(engine.publish_turn(gate, ()), PublishAction::Write(_));
                (Reaction::default(), u8::from(writes))
            }
            OneRequestInput::HasWritten(condition, succeeded) => {
                let meant = IntendedStatus { condition: *condition, labels: () };
                (Reaction::default(), u8::from(engine.status_written(meant, succeeded)))
            }
            OneRequestInput::HomeIsGivenBack => {
                engine.home_given_back();
                (Reaction::default(), 0)
            }
        }
    }
}
