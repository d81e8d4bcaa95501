//! The control channel as a model. Two holders have requests of their own, renew them in two steps, and have leases
//! that run out. A gateway reads the requests one by one while they come and go. Internal work asks its gate.
//! The model owns the interleaving and the ghosts. Every *decision* is a call of a shipped function.
//!
//! | step here | shipped code it represents |
//! |---|---|
//! | `FirstBegins`, `FirstRenews`, `FirstRemovesOld`, `SecondBegins`, `ForeignBegins` | the rename, and the unlink after it, in `marker::begin`; `Slot::of` chooses the slot |
//! | `FirstCancels`, `SecondCancels` | `marker::cancel` of the holder's own requests, by `Slot::is_held_by` |
//! | `LookBegins` | `Engine::request_observation`, `Engine::next_observe_action`, in `Shared::observe`; `Scan::begin` |
//! | `LookGoesOn` | one name of a `readdir`, or the reading of each request, in `marker/scan.rs`; `Scan::listed` says what comes next |
//! | `LookFails` | an error of either one |
//! | `LookIsApplied` | the rest of `Shared::look`: `Engine::observed`, `Gate::perform` |
//! | `InternalArrives`, `InternalEnds` | `Word::admit`, `Word::release` |
//! | `QuiescedIsRead` | `Engine::condition`, and whether the first holder's latest request is named, as in `Reading::is_quiesced_for` |
//! | `ProcessDies`, `ProcessStarts` | `Shared::start`: `Engine::start` |
//!
//! A directory is listed from its last name to its first, so that a renewal's new request can be
//! missed. The other order is the same with the names exchanged. The requests of one listing are read
//! in one step, since each slot counts for itself.
//!
//! It leaves out four things:
//!
//! * the shared marker (the `gateway` model has it),
//! * the writing of files,
//! * the length of a lease,
//! * when a directory is not listed at all (the `directory` model has that).

mod display;

use std::hash::{Hash, Hasher};
use std::sync::LazyLock;
use std::time::Duration;

use stateright::{Model, Property};
use tidegate::epoch::{Epoch, Now};
use tidegate::internals::engine::{Engine, ObserveAction, ObserveCall, Reaction};
use tidegate::internals::gate::{Arrival, Origin};
use tidegate::internals::reconcile::{Demand, Listing, Scan, ScanStep, Sighting};
use tidegate::judge::{Judge, Validity};
use tidegate::machine::{Phase, Terms};
use tidegate::request::{DrainRequest, Holder, HolderName, Request as ShippedRequest, Slot};

use crate::design::{Design, Guard};
use crate::faults::Answers;
use crate::packed::{Bits, Intern, Interned, Interner};
use crate::shell::{Instant, NOW, NoStamp, RULES, Shell, small_world};

/// The model: how much of everything, and which guards.
#[derive(Clone, Copy, Debug)]
pub struct ChannelModel {
    /// Which guards are on.
    pub design: Design,
    /// The number of requests that the first holder makes, renewals included.
    pub requests: u8,
    /// How often the process may start again.
    pub restarts: u8,
}

impl ChannelModel {
    /// Enough of everything for every finding of the ablations.
    #[must_use]
    pub const fn small(design: Design) -> ChannelModel {
        ChannelModel { design, requests: 2, restarts: 0 }
    }

    /// The configuration whose count is published.
    #[must_use]
    pub const fn full(design: Design) -> ChannelModel {
        ChannelModel { design, requests: 3, restarts: 1 }
    }
}

/// The holder of a request. The first one holds internal work, the second one does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RequestHolder {
    /// Begins, renews, cancels.
    First,
    /// Begins and cancels.
    Second,
    /// Begins in another container, or before a reboot: its request states another epoch.
    Foreign,
}

/// A request: its holder, and its number among that holder's requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChannelRequest {
    by: RequestHolder,
    number: u8,
}

impl Demand for ChannelRequest {
    fn terms(&self) -> Option<Terms> {
        let hold_internal = self.by == RequestHolder::First;
        Some(Terms::default().with_hold_internal(hold_internal))
    }
}

/// A slot of the directory, by the order of the names.
type NameIndex = u8;

/// All slots, in the order of their names. Three are the first holder's, one is the second's, and one is the foreign
/// holder's. The last one is the shared slot.
static SLOTS: LazyLock<[Slot; 6]> = LazyLock::new(|| {
    let name = |name: &str| -> HolderName { name.parse().expect("a holder's name") };
    let first = |id: &str| Slot::of(&name("a"), id);
    [
        first("0"),
        first("1"),
        first("2"),
        Slot::of(&name("b"), "0"),
        Slot::of(&name("c"), "0"),
        Slot::Shared,
    ]
});

/// A set of slots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct NameSet(u8);

impl NameSet {
    fn of(places: &[NameIndex]) -> NameSet {
        NameSet(places.iter().fold(0, |all, place| all | 1 << place))
    }

    fn iter(self) -> impl Iterator<Item = NameIndex> {
        (0..NAMES).filter(move |place| self.0 & 1 << place != 0)
    }
}

/// The request in each slot.
type Files = [Option<ChannelRequest>; NAMES as usize];

/// The slots of the first holder, of the second one, of the foreign one, and the shared slot.
static HELD: Answers<[NameSet; 4]> = Answers::new(|| {
    let named = |name: &str| Holder::named(name).expect("a holder's name");
    [named("a"), named("b"), named("c"), Holder::Shared].map(|holder| {
        let is_own = |place: &NameIndex| SLOTS[usize::from(*place)].is_held_by(&holder);
        NameSet::of(&(0..NAMES).filter(is_own).collect::<Vec<_>>())
    })
});

/// The stage of a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LookStage {
    /// It lists the names, from the last one to the first.
    Listing {
        /// The number of names that are still ahead.
        ahead: NameIndex,
        /// The slots found so far.
        found: NameSet,
    },
    /// It reads each of these.
    Sighting(NameSet),
    /// It is over, and has yet to be applied.
    Done {
        /// Whether every name was seen.
        whole: bool,
    },
}

/// The result of reading a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum SlotRead {
    /// It was not read.
    Not,
    /// The request that was there, if any.
    As(Option<ChannelRequest>),
}

/// A look under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    call: ObserveCall,
    scan: Interned<Scan<NameIndex>>,
    stage: LookStage,
    seen: [SlotRead; NAMES as usize],
    /// Whether the directory's times have changed: since before the previous listing; and since before the listing
    /// that is under way or comes next.
    moved: [bool; 2],
    /// Ghost: the first holder has renewed while it was under way.
    renewed: bool,
}

/// A living process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    shell: Shell<Directory>,
    look: Option<Look>,
    internal: bool,
}

/// The whole state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    /// Whether the directory's times show each change. If they are too coarse, the model assumes that nobody renews
    /// twice during one look.
    has_reliable_times: bool,
    files: Files,
    process: Option<Process>,
    /// The number of requests that the first holder has made.
    made: u8,
    /// During a renewal of the first holder: its old request, which has yet to be removed.
    renewing: Option<NameIndex>,
    /// The leases of the first holder's requests below this number have run out.
    run_out: u8,
    second_begun: bool,
    restarts_left: u8,
    /// Ghost: the first holder wants a drain. It began one, did not cancel it, and its lease has not run out.
    first_asks: bool,
    /// Ghost: the second holder wants a drain.
    second_asks: bool,
    /// Ghost: the first holder has read that the gate is quiesced for it, and still wants the drain.
    promised: bool,
    /// Ghost: the gate was closed by a look that saw no live request.
    closed_for_dead: bool,
}

impl ChannelRequest {
    fn pack(self) -> u8 {
        match self.by {
            RequestHolder::First => {
                assert!(self.number < 3, "the second holder's is next");
                2 + self.number
            }
            RequestHolder::Second => 5,
            RequestHolder::Foreign => 6,
        }
    }
}

impl Look {
    #[inline]
    fn pack(&self, bits: Bits) -> Bits {
        let (kind, ahead, places) = match self.stage {
            LookStage::Listing { ahead, found } => (0_u8, ahead, found.0),
            LookStage::Sighting(places) => (1, 0, places.0),
            LookStage::Done { whole } => (2, u8::from(whole), 0),
        };
        let seen = self.seen.iter().fold(0_u32, |all, seen| {
            let one = match seen {
                SlotRead::Not => 0,
                SlotRead::As(None) => 1,
                SlotRead::As(Some(request)) => request.pack(),
            };
            assert!(one < 8, "{one} in three bits");
            all << 3 | u32::from(one)
        });
        let bits = bits.put(self.moved[0], 1).put(self.moved[1], 1).put(self.renewed, 1);
        bits.put(self.scan.number(), 16).put(kind, 2).put(ahead, 3).put(places, 6).put(seen, 18)
    }
}

impl Process {
    #[inline]
    fn pack(&self) -> Bits {
        let bits = Bits::default()
            .put(self.shell.engine.number(), 20)
            .put_gate(self.shell.gate)
            .put(self.internal, 1)
            .put(self.look.is_some(), 1);
        self.look.as_ref().map_or(bits, |look| look.pack(bits))
    }
}

impl Hash for State {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        let bits = Bits::default()
            .put(self.made, 3)
            .put(self.renewing.map_or(0, |place| place + 1), 3)
            .put(self.run_out, 3)
            .put(self.second_begun, 1)
            .put(self.restarts_left, 2)
            .put(self.first_asks, 1)
            .put(self.second_asks, 1)
            .put(self.promised, 1)
            .put(self.closed_for_dead, 1)
            .put(self.has_reliable_times, 1)
            .put(self.process.is_some(), 1);
        let files = self
            .files
            .iter()
            .fold(0_u32, |all, file| all << 3 | u32::from(file.map_or(0, ChannelRequest::pack)));
        bits.put(files, 18).finish(hasher);
        if let Some(process) = &self.process {
            process.pack().finish(hasher);
        }
    }
}

/// The world of this model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Directory;

small_world!(Directory, slot: NameIndex, request: ChannelRequest, stamp: NoStamp, input: ChannelInput, named: true);

/// Which requests are live.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Live {
    /// The first holder's requests, from this number on.
    from: u8,
    /// Whether the foreign request is live, too.
    foreign: bool,
}

/// Whether the shipped judge takes for live: a request whose lease has run out, and a request of another boot.
struct ShippedValidity {
    run_out: bool,
    foreign: bool,
}

static SHIPPED_VALIDITIES: Answers<ShippedValidity> = Answers::new(|| {
    let [here, elsewhere] =
        ["this-boot", "another-boot"].map(|it| Epoch::from_texts(Some(it), None));
    let made = Now { uptime: Duration::from_secs(1000), wall: std::time::UNIX_EPOCH.into() };
    let lease = Duration::from_secs(60);
    let now = Now { uptime: made.uptime + lease, wall: made.wall + lease };
    let ask = DrainRequest::default().with_lease(lease);
    let is_live =
        |request: &ShippedRequest, at| Judge::new(&here, at).validity(request) == Validity::Live;
    let (own, foreign) = (ask.stamp("r", &here, made), ask.stamp("r", &elsewhere, made));
    assert!(is_live(&own, made), "what is live is live");
    ShippedValidity { run_out: is_live(&own, now), foreign: is_live(&foreign, made) }
});

impl Live {
    fn has(self, request: ChannelRequest) -> bool {
        match request.by {
            RequestHolder::First => request.number >= self.from,
            RequestHolder::Second => true,
            RequestHolder::Foreign => self.foreign,
        }
    }
}

/// The engine's inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum ChannelInput {
    /// A look begins.
    Looks,
    /// A look has ended.
    Observed {
        call: ObserveCall,
        seen: [SlotRead; NAMES as usize],
        whole: bool,
        live: Live,
        /// Whether a slot that was not read to the end counts as empty.
        forgets: bool,
    },
}

/// There is one observer, so its call is always the same one.
fn run(engine: &mut Engine<Directory>, input: ChannelInput) -> (Reaction, u8) {
    match input {
        ChannelInput::Looks => {
            let call = engine.request_observation();
            let looks = matches!(engine.next_observe_action(call), ObserveAction::Look(_));
            (Reaction::default(), u8::from(looks))
        }
        ChannelInput::Observed { call, seen, whole, live, forgets } => {
            let listing = if whole { Listing::Whole } else { Listing::Partial(()) };
            let sightings = (0..NAMES).zip(seen).filter_map(|(place, seen)| match seen {
                SlotRead::As(Some(request)) => Some((place, Sighting::Present(request))),
                SlotRead::As(None) if whole => Some((place, Sighting::Absent)),
                // It was not read, or the listing broke off.
                SlotRead::As(None) | SlotRead::Not => forgets.then_some((place, Sighting::Absent)),
            });
            let is_live = |request: &ChannelRequest, _: Instant| live.has(*request);
            let reaction = engine.observed(sightings, &listing, None, NOW, is_live);
            // The look is over, and with it the call.
            let _ = engine.next_observe_action(call);
            (reaction, 0)
        }
    }
}

impl Intern for Scan<NameIndex> {
    fn pool() -> &'static Interner<Scan<NameIndex>> {
        static POOL: Interner<Scan<NameIndex>> = Interner::new();
        &POOL
    }
}

/// What can happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// The first holder begins a drain.
    FirstBegins,
    /// It renews the drain: the new request is written.
    FirstRenews,
    /// The old one is removed.
    FirstRemovesOld,
    /// It cancels.
    FirstCancels,
    /// Its lease runs out.
    LeaseRunsOut,
    /// The second holder begins a drain.
    SecondBegins,
    /// The second holder cancels.
    SecondCancels,
    /// A controller of another boot or container begins a drain.
    ForeignBegins,
    /// The watcher begins a look.
    LookBegins,
    /// It lists one name, or reads the requests.
    LookGoesOn,
    /// The listing breaks off, or the requests cannot be read.
    LookFails,
    /// What was seen is applied.
    LookIsApplied,
    /// Internal work is admitted.
    InternalArrives,
    /// It ends.
    InternalEnds,
    /// The first holder reads that the gate is quiesced for it.
    QuiescedIsRead,
    /// kill -9.
    ProcessDies,
    /// The process starts.
    ProcessStarts,
}

impl State {
    /// The requests that the shipped judge takes for live. Files on disk never change, but time passes.
    fn live(&self, design: Design) -> Live {
        let ShippedValidity { run_out, foreign } = *SHIPPED_VALIDITIES.get();
        let from = if design.has(Guard::Lease) && !run_out { self.run_out } else { 0 };
        Live { from, foreign: foreign || !design.has(Guard::Epoch) }
    }

    /// The requests that are really live.
    const fn truly_live(&self) -> Live {
        Live { from: self.run_out, foreign: false }
    }

    /// Writes a request into a slot of its holder.
    fn begin(&mut self, design: Design, request: ChannelRequest) -> NameIndex {
        let own = match request.by {
            RequestHolder::First => request.number,
            RequestHolder::Second => 3,
            RequestHolder::Foreign => 4,
        };
        let place = if design.has(Guard::OwnFiles) { own } else { SHARED };
        self.files[usize::from(place)] = Some(request);
        self.directory_changes();
        place
    }

    fn cancel(&mut self, design: Design, by: RequestHolder) -> Option<()> {
        let [first, second, foreign, shared] = *HELD.get();
        let held = match by {
            _ if !design.has(Guard::OwnFiles) => shared,
            RequestHolder::First => first,
            RequestHolder::Second => second,
            RequestHolder::Foreign => foreign,
        };
        let removed = held.iter().filter_map(|place| self.files[usize::from(place)].take());
        (removed.count() > 0).then(|| self.directory_changes())
    }

    fn stands(&self, by: RequestHolder) -> bool {
        self.files
            .iter()
            .flatten()
            .any(|request| request.by == by && request.number >= self.run_out_of(by))
    }

    fn run_out_of(&self, by: RequestHolder) -> u8 {
        if by == RequestHolder::First { self.run_out } else { 0 }
    }

    /// A name has come or gone.
    fn directory_changes(&mut self) {
        let has_reliable_times = self.has_reliable_times;
        if let Some(look) = self.look_going_on() {
            look.moved = [has_reliable_times; 2];
        }
    }

    fn look_going_on(&mut self) -> Option<&mut Look> {
        let look = self.process.as_mut()?.look.as_mut()?;
        (!matches!(look.stage, LookStage::Done { .. })).then_some(look)
    }

    fn within_look(&mut self, design: Design, fails: bool) -> Option<()> {
        let look = self.process.as_mut()?.look.as_mut()?;
        match &mut look.stage {
            LookStage::Listing { .. } if fails => {
                look.stage = LookStage::Done { whole: false };
                look.forget();
            }
            LookStage::Listing { ahead, found } => {
                // The slots of the other holders are listed in one step: no renewal moves between them.
                let passed = if *ahead > RENEWED { RENEWED..*ahead } else { *ahead - 1..*ahead };
                *ahead = passed.start;
                for place in passed.filter(|place| self.files[usize::from(*place)].is_some()) {
                    found.0 |= 1 << place;
                }
                if *ahead == 0 {
                    let found = *found;
                    look.listed(design, found);
                }
            }
            LookStage::Sighting(places) => {
                for place in std::mem::take(places).iter().map(usize::from) {
                    look.seen[place] =
                        if fails { SlotRead::Not } else { SlotRead::As(self.files[place]) };
                }
                look.sighted(design);
            }
            LookStage::Done { .. } => return None,
        }
        Some(())
    }

    fn apply(&mut self, design: Design) -> Option<()> {
        let (live, really) = (self.live(design), self.truly_live());
        let process = self.process.as_mut()?;
        let Look { call, stage: LookStage::Done { whole }, seen, .. } = process.look.take()? else {
            return None;
        };
        let saw_live = seen
            .iter()
            .any(|seen| matches!(seen, SlotRead::As(Some(request)) if really.has(*request)));
        let was = process.shell.phase();
        let forgets = !design.has(Guard::DirectNotFound);
        let input = ChannelInput::Observed { call, seen, whole, live, forgets };
        process.shell.step(input, |engine, _| run(engine, input));
        self.closed_for_dead |= was == Phase::Running
            && process.shell.phase() == Phase::ExternallyDraining
            && !saw_live;
        Some(())
    }
}

const SHARED: NameIndex = 5;

/// The slots below this one are the first holder's. A renewal moves between them.
const RENEWED: NameIndex = 3;

/// The number of slots.
const NAMES: NameIndex = 6;

impl Look {
    fn begin(call: ObserveCall, known: Vec<NameIndex>) -> Look {
        let stage = LookStage::Listing { ahead: NAMES, found: NameSet::default() };
        let (scan, seen) = (Scan::begin(known).intern(), [SlotRead::Not; NAMES as usize]);
        Look { call, scan, stage, seen, moved: [false; 2], renewed: false }
    }

    fn listed(&mut self, design: Design, found: NameSet) {
        let mut scan = (*self.scan).clone();
        let moved = self.moved[0] && design.has(Guard::DirectoryTimes);
        self.moved = [self.moved[1], false];
        let next = scan.listed(found.iter().collect(), moved);
        self.scan = scan.intern();
        self.stage = match next {
            ScanStep::Sight(places) => {
                self.seen = [SlotRead::Not; NAMES as usize];
                LookStage::Sighting(NameSet::of(&places))
            }
            ScanStep::Whole => LookStage::Done { whole: true },
            ScanStep::Partial => LookStage::Done { whole: false },
        };
        if self.stage == LookStage::Sighting(NameSet::default()) {
            self.sighted(design);
        }
        self.forget();
    }

    /// Forgets what a look that is over has listed, because it no longer matters.
    fn forget(&mut self) {
        if matches!(self.stage, LookStage::Done { .. }) {
            self.scan = Scan::begin(Vec::new()).intern();
            (self.moved, self.renewed) = ([false; 2], false);
        }
    }

    fn sighted(&mut self, design: Design) {
        self.stage = if design.has(Guard::SecondListing) {
            LookStage::Listing { ahead: NAMES, found: NameSet::default() }
        } else {
            LookStage::Done { whole: true }
        };
        self.forget();
    }
}

impl Process {
    /// Whether the status says quiesced, and names this request.
    fn is_quiesced_for(&self, request: ChannelRequest) -> bool {
        let named = self
            .shell
            .engine
            .table()
            .entries()
            .any(|(_, entry)| entry.is_live() && entry.request() == Some(&request));
        self.shell.condition().quiesced && named
    }
}

impl ChannelModel {
    fn start(self, state: &State) -> Process {
        let files = (0..NAMES).zip(state.files);
        let sightings = files.filter_map(|(at, file)| Some((at, Sighting::Present(file?))));
        let live = state.live(self.design);
        let is_live = |request: &ChannelRequest, _: Instant| live.has(*request);
        // The listing at the start is whole. The gateway model has a start whose first look fails.
        let started = Engine::start(RULES, sightings, &Listing::Whole, None, None, NOW, is_live);
        let shell = Shell::started(started);
        Process { shell, look: None, internal: false }
    }

    fn step(self, state: &mut State, action: Action) -> Option<()> {
        let design = self.design;
        match action {
            Action::FirstBegins => {
                (state.made < self.requests).then_some(())?;
                state
                    .begin(design, ChannelRequest { by: RequestHolder::First, number: state.made });
                state.made += 1;
                state.first_asks = true;
            }
            Action::FirstRenews => {
                (state.made < self.requests).then_some(())?;
                let has_reliable_times = state.has_reliable_times;
                if let Some(look) = state.look_going_on().filter(|_| !has_reliable_times) {
                    (!std::mem::replace(&mut look.renewed, true)).then_some(())?;
                }
                let old = state.made - 1;
                state
                    .begin(design, ChannelRequest { by: RequestHolder::First, number: state.made });
                state.made += 1;
                state.renewing = design.has(Guard::OwnFiles).then_some(old);
            }
            Action::FirstRemovesOld => {
                let old = state.renewing.take()?;
                state.files[usize::from(old)] = None;
                state.directory_changes();
            }
            Action::FirstCancels => {
                state.cancel(design, RequestHolder::First)?;
                (state.first_asks, state.promised) = (false, false);
            }
            Action::LeaseRunsOut => {
                state.run_out = state.made;
                (state.first_asks, state.promised) = (false, false);
            }
            Action::SecondBegins => {
                state.begin(design, ChannelRequest { by: RequestHolder::Second, number: 0 });
                (state.second_begun, state.second_asks) = (true, true);
            }
            Action::SecondCancels => {
                state.cancel(design, RequestHolder::Second)?;
                state.second_asks = false;
            }
            Action::ForeignBegins => {
                let request = ChannelRequest { by: RequestHolder::Foreign, number: 0 };
                (!state.files.contains(&Some(request))).then_some(())?;
                state.begin(design, request);
            }
            Action::LookBegins => {
                let process = state.process.as_mut()?;
                let call = (*process.shell.engine).clone().request_observation();
                process
                    .shell
                    .step(ChannelInput::Looks, |engine, _| run(engine, ChannelInput::Looks));
                let known = process.shell.engine.table().entries().map(|(place, _)| *place);
                let known = known.collect();
                process.look = Some(Look::begin(call, known));
            }
            Action::LookGoesOn => state.within_look(design, false)?,
            Action::LookFails => state.within_look(design, true)?,
            Action::LookIsApplied => state.apply(design)?,
            Action::InternalArrives => {
                let process = state.process.as_mut()?;
                process.internal = true;
                process.shell.admit(Arrival::New(Origin::Internal))?;
            }
            Action::InternalEnds => {
                let process = state.process.as_mut()?;
                process.internal = false;
                process.shell.release(Origin::Internal);
            }
            Action::QuiescedIsRead => {
                // It must be its latest request: an older one may be dead, without an observation of that yet (F9).
                let number = state.made.checked_sub(1)?;
                let latest = ChannelRequest { by: RequestHolder::First, number };
                let named = state.process.as_ref().is_some_and(|it| it.is_quiesced_for(latest));
                named.then_some(())?;
                state.promised = true;
            }
            Action::ProcessDies => {
                state.process.take()?;
                // A dead process keeps no promise. A controller asks whether the gateway is alive.
                state.promised = false;
            }
            Action::ProcessStarts => {
                state.restarts_left = state.restarts_left.checked_sub(1)?;
                state.process = Some(self.start(state));
            }
        }
        Some(())
    }
}

impl Model for ChannelModel {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let mut state = State {
            has_reliable_times: true,
            files: [None; NAMES as usize],
            process: None,
            made: 0,
            renewing: None,
            run_out: 0,
            second_begun: false,
            restarts_left: self.restarts,
            first_asks: false,
            second_asks: false,
            promised: false,
            closed_for_dead: false,
        };
        state.process = Some(self.start(&state));
        vec![state, State { has_reliable_times: false, ..state }]
    }

    /// What is offered here may still turn out to be impossible.
    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        use Action as A;
        if !state.first_asks {
            actions.push(A::FirstBegins);
        } else if state.renewing.is_none() {
            actions.extend([A::FirstRenews, A::LeaseRunsOut]);
        } else {
            actions.push(A::FirstRemovesOld);
        }
        if state.renewing.is_none() {
            actions.push(A::FirstCancels);
        }
        if !state.second_begun {
            actions.push(A::SecondBegins);
        } else if state.second_asks {
            actions.push(A::SecondCancels);
        }
        actions.push(A::ForeignBegins);
        let Some(process) = &state.process else {
            actions.push(A::ProcessStarts);
            return;
        };
        actions.push(match &process.look {
            None => A::LookBegins,
            Some(Look { stage: LookStage::Done { .. }, .. }) => A::LookIsApplied,
            Some(_) => A::LookGoesOn,
        });
        if matches!(&process.look, Some(look) if !matches!(look.stage, LookStage::Done { .. })) {
            actions.push(A::LookFails);
        }
        actions.push(if process.internal { A::InternalEnds } else { A::InternalArrives });
        if state.first_asks && !state.promised {
            actions.push(A::QuiescedIsRead);
        }
        actions.push(A::ProcessDies);
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut state = *before;
        self.step(&mut state, action)?;
        debug_assert!(state != *before, "{action} changes something");
        Some(state)
    }

    fn properties(&self) -> Vec<Property<ChannelModel>> {
        fn process(state: &State, holds: impl Fn(&Process) -> bool) -> bool {
            state.process.as_ref().is_some_and(holds)
        }
        vec![
            // Property: TG-S4 quiesced_means_idle
            Property::always("quiesced_means_idle_inv", |_, state: &State| {
                !state.promised
                    || process(state, |it| it.shell.gate.state().is_at_rest() && !it.internal)
            }),
            Property::sometimes("quiesced_means_idle_reach", |_, state: &State| {
                state.promised && state.made > 1 && state.renewing.is_none()
            }),
            // Property: TG-S7 owner_release
            Property::always("owner_release_inv", |_, state: &State| {
                (!state.first_asks || state.stands(RequestHolder::First))
                    && (!state.second_asks || state.stands(RequestHolder::Second))
            }),
            Property::sometimes("owner_release_reach", |_, state: &State| {
                state.first_asks && state.second_begun && !state.second_asks
            }),
            // Property: TG-S13 stale_never_closes
            Property::always("stale_never_closes_inv", |_, state: &State| !state.closed_for_dead),
            Property::sometimes("stale_never_closes_reach", |_, state: &State| {
                state.run_out > 0
                    && state.files != [None; NAMES as usize]
                    && process(state, |it| {
                        it.shell.phase() == Phase::Running && it.shell.machine().generation() > 0
                    })
            }),
        ]
    }
}
