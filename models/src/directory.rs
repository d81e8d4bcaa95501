//! The directory of requests and its times as a model. A request comes, goes, or is rewritten in place. A clock stamps
//! files in whole seconds. The file system is local or is not. The gateway lists only when it must. The model owns
//! the interleaving and the ghosts. Every *decision* is the shipped engine's or the shipped stamp's.
//!
//! | step here | shipped code it represents |
//! |---|---|
//! | `RequestComes`, `RequestGoes` | the rename and the unlink in `marker` |
//! | `RequestIsRewritten` | a person writes to the file: no name comes or goes |
//! | `GatewayLooks` | `Shared::observe`, with the disk's answers in one step: `Engine::next_observe_action`, `ObserveMode::may_skip_listing`, `Stamp::of`, `Engine::observed` |
//! | `SecondPasses` | the clock that stamps files |
//!
//! It leaves out how a directory is listed (the `channel` model has it), and more than one request.

use std::fmt;
use std::hash::{Hash, Hasher};

use stateright::{Model, Property};
use tidegate::internals::disk::{Clocks, FileId, FileKind, Stat};
use tidegate::internals::engine::{Engine, EngineConfig, ObserveMode, Reaction};
use tidegate::internals::marker::Stamp;
use tidegate::internals::reconcile::{Listing, Sighting};

use crate::design::Design;

use crate::shell::{NOW, RULES, Shell, SimpleRequest, look_at_once, small_world};

/// The most looks in a row that skip the listing.
const SKIPS: u8 = 2;

/// The last second.
const SECONDS: u8 = 9;

/// How often the request changes.
const CHANGES: u8 = 4;

/// The model. It has no guards of its own.
#[derive(Clone, Copy, Debug)]
pub struct DirectoryModel {
    /// Which guards are on.
    pub design: Design,
}

impl DirectoryModel {
    /// The only configuration.
    #[must_use]
    pub const fn small(design: Design) -> DirectoryModel {
        DirectoryModel { design }
    }
}

/// The world of this model: one named request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct DirectoryWorld;

small_world!(DirectoryWorld, slot: (), request: SimpleRequest, stamp: Stamp, input: Found, named: true);

/// The disk that a look finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Found {
    request: Option<SimpleRequest>,
    /// The second of the directory's last change, by its own times.
    changed: u8,
    now: u8,
    is_local: bool,
}

impl Found {
    fn stamp(self) -> Stamp {
        let at = (i64::from(self.changed), 0);
        let id = FileId { device: 1, inode: 1 };
        let (mode, links, uid, gid, size) = (0o700, 2, 1, 1, 0);
        let (kind, modified, changed) = (FileKind::Directory, at, at);
        let stat = Stat { id, kind, mode, links, uid, gid, size, modified, changed };
        let second = i64::from(self.now);
        Stamp::of(&stat, Clocks { wall: second, since_boot: second }, self.is_local)
    }

    /// Looks at this disk as the shipped driver does.
    fn look(self, engine: &mut Engine<DirectoryWorld>) -> (Reaction, u8) {
        let lives = |_: &SimpleRequest, _| true;
        let mut skips = false;
        let reaction = look_at_once(engine, |engine, order| {
            skips = order.may_skip_listing(&self.stamp());
            if skips {
                let nothing: [((), Sighting<SimpleRequest, ()>); 0] = [];
                let since = order.since().copied();
                engine.observed(nothing, &Listing::Unchanged, since, NOW, lives)
            } else {
                let seen = [((), self.request.map_or(Sighting::Absent, Sighting::Present))];
                engine.observed(seen, &Listing::Whole, Some(self.stamp()), NOW, lives)
            }
        });
        (reaction, u8::from(skips))
    }
}

/// The whole state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    found: Found,
    shell: Shell<DirectoryWorld>,
    /// Ghost: a name has come or gone since the last look.
    names_changed: bool,
    /// Ghost: the number of looks since the last change of any kind.
    looks_since: u8,
    /// Ghost: a look has missed a name that had come or gone.
    missed: bool,
    /// A look has skipped the listing.
    skipped: bool,
    changes_left: u8,
}

impl Hash for State {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.found.hash(hasher);
        self.shell.hash(hasher);
        let flags = [self.names_changed, self.missed, self.skipped];
        (self.looks_since, self.changes_left, flags).hash(hasher);
    }
}

/// What can happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// A request is written.
    RequestComes,
    /// It is removed.
    RequestGoes,
    /// A person writes other terms into its file.
    RequestIsRewritten,
    /// The gateway looks.
    GatewayLooks,
    /// A second passes.
    SecondPasses,
}

impl State {
    /// The request that the gateway believes in.
    fn believed(&self) -> Option<SimpleRequest> {
        self.shell.engine.table().entry(&()).and_then(|it| it.request().copied())
    }

    fn name_changes(&mut self, request: Option<SimpleRequest>) {
        self.found.request = request;
        // A file system of another machine may show a change of its times late, or not at all.
        if self.found.is_local {
            self.found.changed = self.found.now;
        }
        (self.names_changed, self.looks_since) = (true, 0);
    }
}

impl Model for DirectoryModel {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let start = |is_local| {
            let found = Found { request: None, changed: 0, now: 0, is_local };
            let order: ObserveMode<Stamp> = ObserveMode::first();
            let stamp = (!order.may_skip_listing(&found.stamp())).then(|| found.stamp());
            let rules = EngineConfig { skips: SKIPS, ..RULES };
            let first = [((), Sighting::<SimpleRequest, ()>::Absent)];
            let lives = |_: &SimpleRequest, _| true;
            let started = Engine::start(rules, first, &Listing::Whole, stamp, None, NOW, lives);
            let shell = Shell::started(started);
            State {
                found,
                shell,
                names_changed: false,
                looks_since: 0,
                missed: false,
                skipped: false,
                changes_left: CHANGES,
            }
        };
        vec![start(true), start(false)]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        match state.found.request {
            _ if state.changes_left == 0 => {}
            None => actions.push(Action::RequestComes),
            Some(_) => actions.extend([Action::RequestGoes, Action::RequestIsRewritten]),
        }
        actions.push(Action::GatewayLooks);
        if state.found.now < SECONDS {
            actions.push(Action::SecondPasses);
        }
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut state = *before;
        if matches!(action, Action::RequestComes | Action::RequestGoes | Action::RequestIsRewritten)
        {
            state.changes_left -= 1;
        }
        match action {
            Action::RequestComes => {
                state.name_changes(Some(SimpleRequest { hold: false, number: 0 }));
            }
            Action::RequestGoes => state.name_changes(None),
            Action::RequestIsRewritten => {
                let SimpleRequest { hold, .. } = state.found.request?;
                state.found.request = Some(SimpleRequest { hold: !hold, number: 0 });
                state.looks_since = 0;
            }
            Action::GatewayLooks => {
                let found = state.found;
                let skipped = state.shell.step(found, |engine, _| found.look(engine));
                state.skipped |= skipped == 1;
                state.looks_since = (state.looks_since + 1).min(SKIPS + 1);
                let is_there = |request: Option<SimpleRequest>| request.is_some();
                let agrees = is_there(state.believed()) == is_there(found.request);
                state.missed |= state.names_changed && !agrees;
                state.names_changed = false;
            }
            Action::SecondPasses => state.found.now += 1,
        }
        (state != *before).then_some(state)
    }

    fn properties(&self) -> Vec<Property<DirectoryModel>> {
        vec![
            // Property: TG-L1 closes, as safety: the next look finds what came; and TG-L3 reopens, what went.
            Property::always("names_are_seen_at_once_inv", |_, state: &State| !state.missed),
            Property::sometimes("names_are_seen_at_once_reach", |_, state: &State| {
                // The request came and was seen, after a look that had skipped the listing.
                state.skipped && state.found.is_local && state.shell.gate.state().is_closed()
            }),
            // Property: TG-L1 closes. Where the times do not tell, so many looks find it.
            Property::always("changes_are_seen_in_time_inv", |_, state: &State| {
                state.looks_since <= SKIPS || state.believed() == state.found.request
            }),
            Property::sometimes("changes_are_seen_in_time_reach", |_, state: &State| {
                state.looks_since > SKIPS
                    && !state.found.is_local
                    && state.shell.gate.state().is_closed()
            }),
        ]
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Action::RequestComes => "a request is written",
            Action::RequestGoes => "the request is removed",
            Action::RequestIsRewritten => "a person writes to the request's file",
            Action::GatewayLooks => "the gateway observes the requests",
            Action::SecondPasses => "a second passes",
        })
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Found { request, changed, now, is_local } = self.found;
        let disk = if is_local { "local" } else { "remote" };
        let believed = self.believed();
        write!(
            f,
            "{disk}, second {now}, directory changed at {changed}, there {request:?}, believed {believed:?}"
        )
    }
}
