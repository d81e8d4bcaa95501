//! The request files as a model. Two processes of one holder write them, and so does a user of the shared slot. A
//! gateway removes dead requests. Each system call is a step. There may be a kill -9 at any step, and a power loss,
//! after which what was not synced may be there or not. The model owns the disk and the ghosts. What a writer does next
//! is what the shipped code does next.
//!
//! | step here | shipped code it represents |
//! |---|---|
//! | `Starts` | `Home::begin_drain`, `Home::renew_drain` (which first observes the requests), `Home::cancel_drain`: the choice of slots before the first call |
//! | `GoesOn` | the next call on the disk of `marker::begin`, `marker::renew`, `marker::cancel_all_of`, found by running them: see `program.rs` |
//! | `Starts` of a sweep | `Shared::sweep`: the look at a dead request; the removal after it is `marker::cancel` |
//! | `Dies` | kill -9 of a writer |
//! | `LeaseRunsOut` | a named request is dead from now on |
//! | `PowerFails` | each name holds what it held when its directory was last synced, or anything since; a file that was not synced is whole or torn |
//!
//! It leaves out four things:
//!
//! * readers (the `channel` model has a reader that lists),
//! * disks that fail (a replay of every step has them),
//! * drafts, which no reader reads,
//! * the status, which is not synced.

mod program;

use std::fmt;
use std::hash::{Hash, Hasher};

use stateright::{Model, Property};

use self::program::{
    Answer, Call, Id, Owner, Receipt, Run, SHARED, SLOTS, SlotIndex, SlotSet, Task,
};
use crate::design::{Design, Guard};
use crate::packed::{Bits, Intern, Interned};

/// The writers: two processes of the named holder, a user of the shared slot, and a gateway that sweeps.
const WRITERS: usize = 4;

const SHARED_WRITER: usize = 2;

const SWEEPER: usize = 3;

/// The model: how much of everything, and which guards.
#[derive(Clone, Copy, Debug)]
pub struct MarkerModel {
    /// Which guards are on.
    pub design: Design,
    /// The number of requests that all writers make together. Four at most.
    pub requests: u8,
    /// Whether there is also a user of the shared slot.
    pub shared: bool,
    /// Whether states that differ only in what nobody can see are explored once. Nobody can see which of the holder's
    /// processes is the first, or how far a draft without a name is written.
    pub reduced: bool,
}

impl MarkerModel {
    /// Enough of everything for every finding of the ablations.
    #[must_use]
    pub const fn small(design: Design) -> MarkerModel {
        MarkerModel { design, requests: 2, shared: true, reduced: false }
    }

    /// The configuration whose count is published.
    #[must_use]
    pub const fn full(design: Design) -> MarkerModel {
        MarkerModel { design, requests: 3, shared: true, reduced: true }
    }
}

/// A file: the request it holds, and whether it holds all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct File {
    id: Id,
    whole: bool,
}

/// The disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Disk {
    /// The request in each slot.
    files: [Option<File>; SLOTS],
    /// What each slot may hold after a power loss, a bit for each: nothing, or the request of a number.
    may_hold: [u8; SLOTS],
    /// For each request, whether its bytes are written and not synced.
    unsynced: [bool; program::IDS],
    /// The directory of named requests, if there is one: whether it survives a power loss.
    directory: Option<bool>,
}

/// What one owner knows about its requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Claims {
    /// Ghost: the owner has the answer that this request exists, and has started nothing since then.
    begun: Option<Id>,
    /// Ghost: the owner has the answer that it cancelled, and has started nothing since then.
    cancelled: bool,
    /// Ghost: a renewal went on during this cancel. It was killed before it could see the cancel.
    orphaned: bool,
    /// Ghost: the request that the owner began or renewed last. Nobody cancels, and its lease has not run out.
    wanted: Option<Id>,
    /// Ghost: the last request whose begin or renewal was acknowledged to the owner. The owner has not cancelled
    /// since then, and the lease has not run out. While the owner renews it or begins another, one of them survives.
    acknowledged: Option<Id>,
}

/// A writer at work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Writing {
    run: Interned<Run>,
    /// Ghost, for a cancel: a request existed when it began, and nobody else has removed the last one.
    stood: bool,
    /// Ghost: no other task of the owner ran at the same time whose order with this one is open. A renewal during a
    /// cancel does not count: it must see that it is too late.
    undisturbed: bool,
}

/// The whole state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    disk: Disk,
    writers: [Option<Writing>; WRITERS],
    made: u8,
    /// The requests whose lease has run out, a bit each.
    dead: u8,
    power_lost: bool,
    named: Claims,
    shared: Claims,
    /// Ghost: a cancel reported that there was no request, and there was one.
    told_wrong: bool,
}

/// What can happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// A writer starts an operation.
    Starts(usize, Operation),
    /// It makes the next system call, or ends.
    GoesOn(usize),
    /// It is killed.
    Dies(usize),
    /// A request's lease runs out.
    LeaseRunsOut(Id),
    /// Power is lost. Afterwards the slots hold this.
    PowerFails([Option<File>; SLOTS]),
}

/// An operation of a writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// It begins a drain.
    Begin,
    /// It renews the request in this slot.
    Renew(u8),
    /// It cancels the drain.
    Cancel,
    /// It removes the dead request in this slot.
    Sweep(u8),
}

fn bit(file: Option<File>) -> u8 {
    file.map_or(1, |file| 2 << file.id)
}

impl Disk {
    fn empty() -> Disk {
        Disk {
            files: [None; SLOTS],
            may_hold: [bit(None); SLOTS],
            unsynced: [false; program::IDS],
            directory: None,
        }
    }

    fn put(&mut self, place: SlotIndex, file: Option<File>) {
        self.files[usize::from(place)] = file;
        self.may_hold[usize::from(place)] |= bit(file);
    }

    fn file(&self, place: SlotIndex) -> Option<File> {
        self.files[usize::from(place)]
    }

    /// The requests in this owner's slots.
    fn files_of(&self, owner: Owner) -> impl Iterator<Item = File> {
        let places = match owner {
            Owner::Named => 0..SHARED,
            Owner::Shared => SHARED..SHARED + 1,
        };
        places.filter_map(|place| self.file(place))
    }

    fn sync(&mut self, places: std::ops::Range<SlotIndex>) {
        for place in places.map(usize::from) {
            self.may_hold[place] = bit(self.files[place]);
        }
    }

    /// The named slots that hold a request.
    fn named(&self) -> SlotSet {
        let there = (0..SHARED).filter(|place| self.file(*place).is_some());
        there.fold(0, |all, place| all | 1 << place)
    }

    /// Forgets a request without a name: it is gone with its writer.
    fn forget_draft(&mut self, id: Option<Id>) {
        if let Some(id) = id.filter(|id| !self.may_be_found(*id)) {
            self.unsynced[usize::from(id)] = false;
        }
    }

    /// Whether a request exists somewhere, or may exist after a power loss.
    fn may_be_found(&self, id: Id) -> bool {
        let named = bit(Some(File { id, whole: true }));
        self.may_hold.iter().any(|may_hold| may_hold & named != 0)
    }

    /// Makes the next call of a writer with this request. What is switched off is not done, or is done wrongly.
    fn call(&mut self, design: Design, call: Call, id: Option<Id>) -> Answer {
        let in_place = !design.has(Guard::DurableRename);
        let file = |whole| id.map(|id| File { id, whole });
        if let Some(id) = id {
            let unsynced = &mut self.unsynced[usize::from(id)];
            match call {
                Call::Draft(_) => *unsynced = in_place,
                Call::Fill(_) => *unsynced = true,
                Call::Sync(_) => *unsynced &= !design.has(Guard::FileSync),
                _ => {}
            }
        }
        match call {
            // Without drafts, the file itself is opened, and its content is gone.
            Call::Draft(place) if in_place => self.put(place, file(false)),
            Call::Fill(place) if in_place => self.put(place, file(true)),
            Call::Put(place) if !in_place => self.put(place, file(true)),
            Call::Remove(place) if place != SHARED && self.directory.is_none() => {
                return Answer::NoDirectory;
            }
            Call::Remove(place) => {
                let was_there = self.file(place).is_some();
                if was_there {
                    self.put(place, None);
                }
                return Answer::Was(was_there);
            }
            Call::MakeDirectory => {
                let is_new = self.directory.is_none();
                self.directory = self.directory.or(Some(false));
                return Answer::Was(is_new);
            }
            Call::SyncHome if design.has(Guard::DirectorySync) => {
                self.sync(SHARED..SHARED + 1);
                self.directory = self.directory.map(|_| true);
            }
            Call::SyncRequests if self.directory.is_none() => return Answer::NoDirectory,
            Call::SyncRequests if design.has(Guard::DirectorySync) => self.sync(0..SHARED),
            Call::List => return Answer::Listed(self.named()),
            _ => {}
        }
        Answer::Done
    }

    /// Every state of the slots that is possible after a power loss.
    fn after_power_loss(&self) -> Vec<[Option<File>; SLOTS]> {
        let mut all = vec![[None; SLOTS]];
        for place in 0..SLOTS {
            let ids = (0..SHARED).filter(|id| self.may_hold[place] & 2 << id != 0);
            let files = ids.flat_map(|id| {
                let torn = self.unsynced[usize::from(id)];
                let whole = Some(File { id, whole: true });
                [whole, torn.then_some(File { id, whole: false })].into_iter().flatten()
            });
            let nothing = (self.may_hold[place] & bit(None) != 0).then_some(None);
            let found: Vec<_> = nothing.into_iter().chain(files.map(Some)).collect();
            let with = |file| {
                move |mut disk: [Option<File>; SLOTS]| {
                    disk[place] = file;
                    disk
                }
            };
            all = found.into_iter().flat_map(|file| all.iter().copied().map(with(file))).collect();
        }
        if self.directory == Some(false) {
            // If the directory is lost, no named request is found.
            let without = all.clone().into_iter().map(|mut disk| {
                disk[..usize::from(SHARED)].fill(None);
                disk
            });
            all.extend(without.collect::<Vec<_>>());
        }
        all.sort_unstable_by_key(|disk| disk.map(|file| file.map(|it| (it.id, it.whole))));
        all.dedup();
        all
    }
}

impl State {
    fn claims(&mut self, owner: Owner) -> &mut Claims {
        match owner {
            Owner::Named => &mut self.named,
            Owner::Shared => &mut self.shared,
        }
    }

    /// Whether a request of this owner exists, dead or alive.
    fn stands(&self, owner: Owner) -> bool {
        self.disk.files_of(owner).next().is_some()
    }

    /// Whether a live request exists.
    fn is_in_force(&self, owner: Owner) -> bool {
        let mut files = self.disk.files_of(owner);
        files.any(|file| self.lives(file.id))
    }

    /// Whether a request's lease has not run out.
    fn lives(&self, id: Id) -> bool {
        self.dead & 1 << id == 0
    }

    /// The tasks of this owner that are under way, without sweeps.
    fn tasks(&self, owner: Owner) -> impl Iterator<Item = Task> {
        let tasks = self.writers.into_iter().flatten().map(|writing| writing.run.task);
        tasks.filter(move |task| task.owner() == owner && !matches!(task, Task::Sweep(_)))
    }

    fn end(&mut self, writing: Writing, receipt: Receipt) {
        let Writing { run, stood, undisturbed } = writing;
        let task = run.task;
        match receipt {
            Receipt::Begun | Receipt::Renewed(true) => {
                let begun = task.id().filter(|id| undisturbed && self.lives(*id));
                let claims = self.claims(task.owner());
                claims.begun = begun;
                claims.acknowledged = begun.or(claims.acknowledged);
            }
            Receipt::Cancelled(was_there) => {
                self.told_wrong |= !was_there && stood;
                self.claims(task.owner()).cancelled = undisturbed;
            }
            Receipt::Renewed(false) | Receipt::Swept | Receipt::Failed => {}
        }
    }

    /// A writer dies before its end.
    fn die(&mut self, writer: usize) {
        let Some(gone) = self.writers[writer].take() else { return };
        let task = gone.run.task;
        self.disk.forget_draft(task.id());
        // A writer that has made no request yet, or has removed it again, leaves nothing.
        let leaves = task.id().is_some_and(|id| self.disk.may_be_found(id));
        if task.renews() && leaves {
            let claims = self.claims(task.owner());
            claims.orphaned |= std::mem::take(&mut claims.cancelled);
            for beside in self.writers.iter_mut().flatten() {
                beside.undisturbed &= beside.run.task.owner() != task.owner();
            }
        }
    }

    fn is_standing(&self, id: Id) -> bool {
        self.disk.files.iter().flatten().any(|file| file.id == id)
    }

    /// Whether the owner's answers are true.
    fn is_true(&self, owner: Owner, claims: Claims) -> bool {
        let begun = claims.begun.is_none_or(|id| self.is_standing(id));
        // A renewal that is too late makes its request before it sees that. Then it removes the request again.
        let settles = self.tasks(owner).all(Task::cancels);
        begun && (!claims.cancelled || !settles || !self.stands(owner))
    }
}

impl MarkerModel {
    fn task(self, state: &State, writer: usize, start: Operation) -> Option<Task> {
        let design = self.design;
        let owner = if writer == SHARED_WRITER { Owner::Shared } else { Owner::Named };
        let id = state.made;
        let place = match owner {
            Owner::Shared => SHARED,
            Owner::Named if design.has(Guard::ImmutableFiles) => id,
            // Without the guard, each holder has one file, which is written again and again.
            Owner::Named => 0,
        };
        let older = if owner == Owner::Named { state.disk.named() & !(1 << place) } else { 0 };
        let may_make = state.made < self.requests;
        Some(match start {
            Operation::Begin => may_make.then_some(Task::Begin { id, place, older })?,
            Operation::Renew(first) => {
                may_make.then_some(())?;
                state.disk.file(first).filter(|file| state.lives(file.id))?;
                let others = older & !(1 << first);
                if !design.has(Guard::NewBeforeOld) {
                    Task::RemoveThenBegin { id, place, older }
                } else if design.has(Guard::RenewalYields) && first != place {
                    Task::Renew { id, place, first, others }
                } else {
                    Task::RenewRegardless { id, place, older }
                }
            }
            Operation::Cancel if design.has(Guard::CancelLooksAgain) => Task::Cancel(owner),
            Operation::Cancel => Task::CancelOnce(owner),
            Operation::Sweep(place) => {
                state.disk.file(place).filter(|file| !state.lives(file.id))?;
                Task::Sweep(place)
            }
        })
    }

    /// The representative of all states that nobody can tell from this one.
    #[must_use]
    pub fn representative(self, mut state: State) -> State {
        for writer in &mut state.writers {
            while let Some(Writing { run, .. }) = writer
                && self.is_private(run.next())
            {
                let answer = state.disk.call(self.design, run.next(), run.task.id());
                *run = run.answered(answer).intern();
            }
        }
        state.writers[..SHARED_WRITER].sort_unstable_by_key(|writer| {
            writer.map(|it| (it.run.number(), it.stood, it.undisturbed))
        });
        state
    }

    /// Whether a call touches only a draft.
    fn is_private(self, call: Call) -> bool {
        matches!(call, Call::Draft(_) | Call::Fill(_) | Call::Sync(_))
            && self.design.has(Guard::DurableRename)
    }

    /// Whether the next call is switched off: the sync of the new name before the old one is removed.
    fn is_forgotten(self, run: &Run) -> bool {
        !self.design.has(Guard::DurableBeforeRemoval)
            && run.next() == Call::SyncRequests
            && run.task.id().is_some()
            && matches!(run.answered(Answer::Done).next(), Call::Remove(_))
    }

    fn start(self, state: &mut State, writer: usize, start: Operation) -> Option<()> {
        let task = self.task(state, writer, start)?;
        let owner = task.owner();
        let stood = task.cancels() && state.stands(owner);
        let mut undisturbed = true;
        for beside in state.writers.iter_mut().flatten() {
            let other = beside.run.task;
            if other.owner() != owner || matches!(other, Task::Sweep(_)) {
                continue;
            }
            undisturbed &= task.cancels() && other.renews();
            beside.undisturbed &= other.cancels() && task.renews();
        }
        state.writers[writer] = Some(Writing { run: Run::of(task).intern(), stood, undisturbed });
        if let Some(id) = task.id() {
            state.made = id + 1;
            let claims = state.claims(owner);
            (claims.begun, claims.cancelled, claims.orphaned) = (None, false, false);
        } else if task.cancels() {
            *state.claims(owner) = Claims::default();
        }
        Some(())
    }

    fn go_on(self, state: &mut State, writer: usize) -> Option<()> {
        let writing = state.writers[writer]?;
        let run = writing.run;
        if self.is_forgotten(&run) {
            // It skips the sync before the removal of the old request.
            let answered = run.answered(Answer::Done).intern();
            state.writers[writer] = Some(Writing { run: answered, ..writing });
            return Some(());
        }
        let (task, owner) = (run.task, run.task.owner());
        let call = run.next();
        if let Call::Ends(receipt) = call {
            state.writers[writer] = None;
            state.end(writing, receipt);
            return Some(());
        }
        let stood_before = state.stands(owner);
        if let (Call::Remove(place), Some(id)) = (call, task.id()) {
            let removed = state.disk.file(place).map(|file| file.id);
            // If another process of the holder has renewed it in between, the claim ends.
            let comes_later = matches!(task, Task::RemoveThenBegin { .. });
            let lives = state.lives(id) && (comes_later || state.is_standing(id));
            let claims = state.claims(owner);
            for claim in [&mut claims.wanted, &mut claims.acknowledged] {
                if claim.is_some() && *claim == removed {
                    // From now on the new request must exist.
                    *claim = lives.then_some(id);
                }
            }
        }
        let answer = state.disk.call(self.design, call, task.id());
        state.writers[writer] = Some(Writing { run: run.answered(answer).intern(), ..writing });
        if matches!(task, Task::Begin { .. }) && matches!(call, Call::Put(_)) {
            // A cancel at the same time may come before or after the begin.
            let alone = state.tasks(owner).all(|task| !task.cancels());
            state.claims(owner).wanted = task.id().filter(|_| alone);
        }
        if stood_before && !state.stands(owner) {
            // The last request was removed, so another cancel may report that it found none.
            for (other, writing) in state.writers.iter_mut().enumerate() {
                if let Some(writing) = writing
                    && other != writer
                    && writing.run.task.owner() == owner
                {
                    writing.stood = false;
                }
            }
        }
        Some(())
    }
}

impl Model for MarkerModel {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            disk: Disk::empty(),
            writers: [None; WRITERS],
            made: 0,
            dead: 0,
            power_lost: false,
            named: Claims::default(),
            shared: Claims::default(),
            told_wrong: false,
        }]
    }

    /// What is offered here may still turn out to be impossible.
    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for writer in 0..SWEEPER {
            if state.writers[writer].is_some() {
                actions.extend([Action::GoesOn(writer), Action::Dies(writer)]);
            } else if writer != SHARED_WRITER {
                let renewals = (0..SHARED).map(Operation::Renew);
                let starts = renewals.chain([Operation::Begin, Operation::Cancel]);
                actions.extend(starts.map(|start| Action::Starts(writer, start)));
            } else if self.shared {
                let starts = [Operation::Begin, Operation::Cancel];
                actions.extend(starts.map(|start| Action::Starts(writer, start)));
            }
        }
        if state.writers[SWEEPER].is_some() {
            actions.push(Action::GoesOn(SWEEPER));
        } else {
            actions.extend((0..SHARED).map(|it| Action::Starts(SWEEPER, Operation::Sweep(it))));
        }
        actions.extend((0..state.made).map(Action::LeaseRunsOut));
        if !state.power_lost {
            actions.extend(state.disk.after_power_loss().into_iter().map(Action::PowerFails));
        }
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut state = *before;
        match action {
            Action::Starts(writer, start) => self.start(&mut state, writer, start)?,
            Action::GoesOn(writer) => self.go_on(&mut state, writer)?,
            Action::Dies(writer) => state.die(writer),
            Action::LeaseRunsOut(id) => {
                let stands =
                    |place: SlotIndex| state.disk.file(place).is_some_and(|it| it.id == id);
                (state.lives(id) && (0..SHARED).any(stands)).then_some(())?;
                state.dead |= 1 << id;
                state.named.begun = state.named.begun.filter(|begun| *begun != id);
                state.named.wanted = state.named.wanted.filter(|wanted| *wanted != id);
                state.named.acknowledged = state.named.acknowledged.filter(|told| *told != id);
            }
            Action::PowerFails(found) => {
                state.power_lost = true;
                (0..WRITERS).for_each(|writer| state.die(writer));
                state.disk = Disk { files: found, ..Disk::empty() };
                state.disk.directory = before.disk.directory.filter(|durable| *durable);
                state.disk.sync(0..SHARED + 1);
                for owner in [Owner::Named, Owner::Shared] {
                    // One request of an acknowledged drain must exist, no matter which.
                    let claims = *state.claims(owner);
                    let wanted = claims.wanted.filter(|_| claims.acknowledged.is_some());
                    let named = state.disk.files_of(Owner::Named).map(|file| file.id);
                    let live = named.filter(|id| state.lives(*id));
                    let survivor = wanted.filter(|id| state.is_standing(*id)).or(live.min());
                    let survivor = survivor.filter(|_| owner == Owner::Named);
                    state.claims(owner).wanted = wanted.and(survivor.or(wanted));
                }
            }
        }
        debug_assert!(state != *before, "{action} changes something");
        Some(if self.reduced { self.representative(state) } else { state })
    }

    fn properties(&self) -> Vec<Property<MarkerModel>> {
        vec![
            // Property: TG-S12 no_torn_request
            Property::always("no_torn_request_inv", |_, state: &State| {
                state.disk.files.iter().flatten().all(|file| file.whole)
            }),
            Property::always("acknowledged_survives_inv", |_, state: &State| {
                state.is_true(Owner::Named, state.named)
                    && state.is_true(Owner::Shared, state.shared)
            }),
            Property::sometimes("acknowledged_survives_reach", |_, state: &State| {
                // The named holder has begun, and the user of the shared slot has cancelled.
                state.power_lost && state.named.begun.is_some() && state.shared.cancelled
            }),
            // Property: TG-S14 receipt_is_true
            Property::always("receipt_is_true_inv", |_, state: &State| !state.told_wrong),
            Property::sometimes("receipt_is_true_reach", |_, state: &State| {
                let told_nothing = |writing: &Writing| {
                    writing.run.task.cancels()
                        && writing.run.next() == Call::Ends(Receipt::Cancelled(false))
                };
                state.made > 1 && state.writers.iter().flatten().any(told_nothing)
            }),
            Property::always("stays_in_force_inv", |_, state: &State| {
                [(Owner::Named, state.named), (Owner::Shared, state.shared)]
                    .into_iter()
                    .all(|(owner, claims)| claims.wanted.is_none() || state.is_in_force(owner))
            }),
            Property::sometimes("stays_in_force_reach", |_, state: &State| {
                let is_gone = |task: Task| matches!(task, Task::Renew { first, .. } if state.disk.file(first).is_none());
                state.named.wanted.is_some() && state.tasks(Owner::Named).any(is_gone)
            }),
            // Not promised: the request of a renewal that is killed at the wrong moment outlives the cancel.
            Property::sometimes("cancel_is_outlived_gap", |_, state: &State| {
                state.named.orphaned
                    && state.is_in_force(Owner::Named)
                    && state.tasks(Owner::Named).next().is_none()
            }),
        ]
    }
}

impl Hash for State {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        let Disk { files, may_hold, unsynced, directory } = self.disk;
        let files = files.iter().fold(0_u32, |all, file| {
            all << 4 | u32::from(file.map_or(0, |it| 2 * it.id + u8::from(it.whole) + 1))
        });
        let may_hold = may_hold.iter().fold(0_u32, |all, one| all << 5 | u32::from(*one));
        let unsynced = unsynced.iter().fold(0_u32, |all, one| all << 1 | u32::from(*one));
        let claims = |bits: Bits, claims: Claims| {
            bits.put(claims.begun.map_or(0, |id| id + 1), 3)
                .put(claims.cancelled, 1)
                .put(claims.orphaned, 1)
                .put(claims.wanted.map_or(0, |id| id + 1), 3)
                .put(claims.acknowledged.map_or(0, |id| id + 1), 3)
        };
        claims(claims(Bits::default(), self.named), self.shared)
            .put(files, 20)
            .put(may_hold, 25)
            .put(unsynced, 4)
            .put(directory.map_or(0, |durable| 1 + u8::from(durable)), 2)
            .put(self.made, 3)
            .put(self.dead, 4)
            .put(self.power_lost, 1)
            .put(self.told_wrong, 1)
            .finish(hasher);
        let [one, two, three, four] = self.writers.map(|writing| {
            writing.map_or(0, |it| {
                (it.run.number() + 1) << 2 | u32::from(it.stood) << 1 | u32::from(it.undisturbed)
            })
        });
        Bits::default().put(one, 32).put(two, 32).put(three, 32).put(four, 32).finish(hasher);
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |writer: usize| {
            [
                "a process of the named holder",
                "another process of the named holder",
                "the holder of the shared slot",
                "the gateway",
            ][writer]
        };
        match *self {
            Action::Starts(it, Operation::Begin) => write!(f, "{} begins a drain", name(it)),
            Action::Starts(it, Operation::Renew(_)) => write!(f, "{} renews its drain", name(it)),
            Action::Starts(it, Operation::Cancel) => write!(f, "{} cancels its drain", name(it)),
            Action::Starts(it, Operation::Sweep(place)) => {
                write!(f, "{} sees that the request in slot {place} is dead", name(it))
            }
            Action::GoesOn(it) => write!(f, "{} takes its next step", name(it)),
            Action::Dies(it) => write!(f, "{} is killed", name(it)),
            Action::LeaseRunsOut(id) => write!(f, "the lease of request {id} runs out"),
            Action::PowerFails(_) => f.write_str("power is lost"),
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("requests")?;
        for (place, file) in self.disk.files.iter().enumerate() {
            let Some(file) = file else { continue };
            if place == usize::from(SHARED) {
                f.write_str(" shared:")?;
            }
            write!(f, " {}{}", file.id, if file.whole { "" } else { " (torn)" })?;
        }
        for (writer, writing) in self.writers.iter().enumerate() {
            if let Some(writing) = writing {
                write!(f, ", writer {writer} next: {}", writing.run.next())?;
            }
        }
        Ok(())
    }
}
