//! The shipped engine as a model holds it: by its number, with the gate's word beside it. It carries an order to the
//! gate as the driver does, under one lock, and decides nothing: every step is the engine's.
//!
//! A step that was made once is remembered, so that the shipped code runs once for each engine, word and input. What
//! is remembered is the thread's, and forgotten when a fault is switched on or off.

use std::cell::RefCell;
use std::fmt;
use std::hash::{Hash, Hasher};

use rustc_hash::FxHashMap;
use tidegate::internals::engine::{
    DirectoryStamp, Engine, EngineConfig, EngineTypes, IntendedStatus, ObserveAction, ObserveMode,
    PublishAction, Reaction,
};
use tidegate::internals::gate::{Arrival, Origin, Word};
use tidegate::internals::machine::Machine;
use tidegate::internals::reconcile::{Demand, Listing, Sighting};
use tidegate::internals::status::Condition;
use tidegate::machine::{Effect, Phase, ShutdownCause, Terms};

use crate::packed::{Intern, Interned, Interner};

/// A time in a model: before a deadline, or after it.
pub(crate) type Instant = u8;

/// Now, and when everything that was to happen by itself is due.
pub(crate) const NOW: Instant = 0;
pub(crate) const DUE: Instant = 1;

/// The rules of a gateway with a watcher.
pub(crate) const RULES: EngineConfig = EngineConfig { has_watcher: true, skips: 0 };

/// A directory whose times tell nothing.
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

/// The world of a model: what its requests, their places and its stamps are, whether its places are listed, and what
/// the inputs of its engines are. Nothing is a reason, and no work has a label.
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
    /// What is remembered of this world's steps.
    fn memory() -> &'static std::thread::LocalKey<StepCache<Self>>;
}

/// An engine by its number, the word and the input.
type Key<W> = (u32, Word, <W as SmallWorld>::Input);

/// The steps that were made: engine, word and input; and what came of them.
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

/// An engine, and the gate that it gives orders to.
pub(crate) struct Shell<W: SmallWorld>
where
    Engine<W>: Intern,
{
    pub(crate) engine: Interned<Engine<W>>,
    pub(crate) word: Word,
}

impl<W: SmallWorld> Shell<W>
where
    Engine<W>: Intern,
{
    /// A process whose engine has just started, with the gate as its first order leaves it.
    pub(crate) fn started((engine, effect): (Engine<W>, Effect)) -> Shell<W> {
        let word = Word::starting();
        Shell::new(engine, word.perform(effect).unwrap_or(word))
    }

    pub(crate) fn new(engine: Engine<W>, word: Word) -> Shell<W> {
        Shell { engine: engine.intern(), word }
    }

    /// Makes a step: `run` is the engine's, and its answer is small. Remembered by its input.
    pub(crate) fn step(
        &mut self,
        input: W::Input,
        run: impl FnOnce(&mut Engine<W>, Word) -> (Reaction, u8),
    ) -> u8 {
        W::memory().with(|memory| {
            let mut memory = memory.0.borrow_mut();
            let faults = crate::faults::current();
            if memory.faults != faults {
                memory.faults = faults;
                memory.steps.clear();
            }
            let key = (self.engine.number(), self.word, input);
            if let Some((after, answer)) = memory.steps.get(&key) {
                *self = *after;
                return *answer;
            }
            let mut engine = (*self.engine).clone();
            let mut word = self.word;
            let (reaction, answer) = run(&mut engine, word);
            if let Some(ordered) = reaction.ordered {
                let before = word;
                word = word.perform(ordered.effect).unwrap_or(word);
                engine.gate_done(ordered, before, DUE);
            }
            *self = Shell::new(engine, word);
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
        self.engine.condition(self.word)
    }

    /// A turn at the gate.
    pub(crate) fn admit(&mut self, arrival: Arrival) -> Option<()> {
        self.word = self.word.admit(arrival).ok()?;
        Some(())
    }

    /// A turn that ends.
    pub(crate) fn release(&mut self, origin: Origin) {
        self.word = self.word.release(origin);
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
        (self.engine, self.word) == (other.engine, other.word)
    }
}

impl<W: SmallWorld> Eq for Shell<W> where Engine<W>: Intern {}

impl<W: SmallWorld> Hash for Shell<W>
where
    Engine<W>: Intern,
{
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.engine.hash(hasher);
        self.word.hash(hasher);
    }
}

impl<W: SmallWorld> fmt::Debug for Shell<W>
where
    Engine<W>: Intern,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, gate {:?}", self.phase(), self.word)
    }
}

/// A look and its report in one step, for a model that is not about who looks.
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

/// A request, as the smaller models have it: whether it holds internal work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct SimpleRequest {
    pub(crate) hold: bool,
    /// Which request it is, where there may be another with the same terms.
    pub(crate) number: u8,
}

impl Demand for SimpleRequest {
    fn terms(&self) -> Option<Terms> {
        Some(Terms::default().with_hold_internal(self.hold))
    }
}

/// A world with one place for a request, which is always seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct OneRequest;

small_world!(OneRequest, slot: (), request: SimpleRequest, stamp: NoStamp, input: OneRequestInput, named: false);

/// The input of an engine of that world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum OneRequestInput {
    /// It looked, and this is there.
    Sees(Option<SimpleRequest>),
    /// It looked, and could not see what is there.
    SeesNothing,
    /// A shutdown is asked for.
    ShutdownAsked(ShutdownCause),
    /// Time has passed; what was to happen by itself is due, or is not yet.
    TimePasses(Instant),
    /// Somebody wants to publish.
    WantsToPublish,
    /// The write of a status with this condition has ended.
    HasWritten(Interned<Condition>, bool),
    /// The home is given back.
    HomeIsGivenBack,
}

/// The answer to [`OneRequestInput::WantsToPublish`] of one who is to write; to [`OneRequestInput::HasWritten`] of one who is to give
/// the home back. And to the others where the timer is to be woken.
pub(crate) const YES: u8 = 1;

impl Intern for Condition {
    fn pool() -> &'static Interner<Condition> {
        static POOL: Interner<Condition> = Interner::new();
        &POOL
    }
}

impl Shell<OneRequest> {
    /// A process that has just started, as in `Shared::start`.
    pub(crate) fn start(there: Option<SimpleRequest>) -> Shell<OneRequest> {
        let first = [((), there.map_or(Sighting::Absent, Sighting::Present))];
        let lives = |_: &SimpleRequest, _| true;
        Shell::started(Engine::start(RULES, first, &Listing::Whole, None, None, NOW, lives))
    }

    /// Tells the engine, under the transition lock; `None` where that changes nothing.
    pub(crate) fn apply_input(&mut self, input: OneRequestInput) -> Option<u8> {
        let before = *self;
        let answer = self.step(input, |engine, word| match input {
            OneRequestInput::Sees(_) | OneRequestInput::SeesNothing => {
                let seen = match input {
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
                let reaction = engine.on_time(word, now);
                (reaction, u8::from(reaction.wakes_timer))
            }
            OneRequestInput::WantsToPublish => {
                let writes = matches!(engine.publish_turn(word, ()), PublishAction::Write(_));
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
        });
        (*self != before || answer != 0).then_some(answer)
    }
}
