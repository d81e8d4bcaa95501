//! Up to three controllers and time as a model: each begins, renews, reads, acts, cancels, or dies at any step.
//! Leases run out on a clock of ticks; the wall clock may be set back. Acting kills the process, so a
//! promise that is not kept cuts off work. The model owns the interleaving and the ghosts. Every
//! *decision* is a call of a shipped function.
//!
//! | step here | shipped code it represents |
//! |---|---|
//! | `Begins`, `Renews`, `Cancels` | `Home::begin_drain`, `Home::renew_drain`, `Home::cancel_drain`, of a named holder |
//! | `GatewayLooks` | a look, as in `Shared::observe`: `Engine::observed`, with `Judge::validity`, and `Gate::perform` |
//! | `Reads` | one reading of `drain --wait`: `Engine::condition`, `RequestTable::held_until`, and whether the controller's latest request is named, as in `Reading::is_quiesced_for` |
//! | `Acts` | what a control plane does then, in less than a tick: the process is gone |
//! | `Ticks` | the boot clock, and the wall clock with it |
//! | `WallClockIsSetBack` | an operator, or NTP |
//! | `UserArrives`, `InternalArrives`, `UserEnds`, `InternalEnds` | `Word::admit`, `Word::release` |
//!
//! A request's age represents the time at which it was made, so that there is no last tick. The second
//! controller does not hold internal work, the others do. The model leaves out how a directory is listed
//! (the `channel` model has it), and shutdown and restarts (the `gateway` model has them).

use std::fmt;
use std::hash::{Hash, Hasher};
use std::time::Duration;

use stateright::{Model, Property};
use tidegate::epoch::{Epoch, Now};
use tidegate::internals::engine::Engine;
use tidegate::internals::gate::{Arrival, Origin};
use tidegate::internals::reconcile::{Demand, Listing, Sighting};
use tidegate::judge::{Judge, LeaseEnd, Validity};
use tidegate::machine::{Phase, Terms};
use tidegate::request::DrainRequest;

use crate::design::{Design, Guard};
use crate::faults::Answers;
use crate::liveness::{FairnessConstraint, LivenessProperty};
use crate::packed::Bits;
use crate::shell::{Instant, NOW, NoStamp, RULES, Shell, look_at_once, small_world};

/// The length of a lease, in ticks.
const LEASE: u8 = 2;

/// The number of controllers.
const CONTROLLERS: usize = 3;

/// The model: how much of everything, and which guards.
#[derive(Clone, Copy, Debug)]
pub struct ControllersModel {
    /// Which guards are on.
    pub design: Design,
    /// The number of requests that each controller makes, renewals included.
    pub requests: [u8; CONTROLLERS],
}

impl ControllersModel {
    /// Enough of everything for every finding of the ablations.
    #[must_use]
    pub const fn small(design: Design) -> ControllersModel {
        ControllersModel { design, requests: [2, 1, 1] }
    }

    /// The configuration whose count is published.
    #[must_use]
    pub const fn full(design: Design) -> ControllersModel {
        ControllersModel { design, requests: [3, 3, 2] }
    }
}

/// A request: its controller, and its number among that controller's requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ControllerRequest {
    by: usize,
    number: u8,
}

impl Demand for ControllerRequest {
    fn terms(&self) -> Option<Terms> {
        // The second one does not hold.
        Some(Terms::default().with_hold_internal(self.by != 1))
    }
}

/// The age of a request in ticks, by each of the clocks. It never exceeds the lease.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Age {
    by_boot: u8,
    by_wall: u8,
}

/// A permission to act.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Promise {
    /// For this many ticks from now.
    For(u8),
    /// Without an end.
    Timeless,
}

/// A controller.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Controller {
    /// The number of requests that it has made.
    made: u8,
    /// It has begun a drain, and has not cancelled it.
    asks: bool,
    dead: bool,
    /// It has read that it may act.
    promise: Option<Promise>,
}

/// The whole state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    /// Each controller's existing request: its number and its age.
    files: Files,
    controllers: [Controller; CONTROLLERS],
    shell: Shell<ControllersWorld>,
    user: bool,
    internal: bool,
    /// A controller has acted: the process is gone.
    acted: bool,
    /// Ghost: work was live when a controller acted.
    cut_off: bool,
    /// Ghost: a user turn has started while a live request existed that was seen.
    admitted_wrongly: bool,
}

impl Hash for State {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        let bits = Bits::default()
            .put(self.shell.engine.number(), 20)
            .put_gate(self.shell.gate)
            .put(self.user, 1)
            .put(self.internal, 1)
            .put(self.acted, 1)
            .put(self.cut_off, 1)
            .put(self.admitted_wrongly, 1);
        let bits = (0..CONTROLLERS).fold(bits, |bits, by| self.pack(by, bits));
        bits.finish(hasher);
    }
}

/// The world of this model: a named request of each controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct ControllersWorld;

small_world!(ControllersWorld, slot: usize, request: ControllerRequest, stamp: NoStamp, input: ObservationInput, named: true);

/// Each controller's request: its number and its age.
type Files = [Option<(u8, Age)>; CONTROLLERS];

/// The engine's input: a look that found these requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct ObservationInput {
    files: Files,
    has_leases: bool,
    on_boot_clock: bool,
}

fn age(files: &Files, request: ControllerRequest) -> Age {
    match files[request.by] {
        Some((number, age)) if number == request.number => age,
        // A request that no longer exists is as old as possible.
        _ => Age { by_boot: LEASE, by_wall: LEASE },
    }
}

/// What can happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// A controller begins a drain.
    Begins(usize),
    /// It renews the drain.
    Renews(usize),
    /// It cancels the drain.
    Cancels(usize),
    /// It reads that it may act.
    Reads(usize),
    /// It acts.
    Acts(usize),
    /// It dies, and its request stays.
    Dies(usize),
    /// The gateway looks, and applies what it saw.
    GatewayLooks,
    /// Both clocks tick.
    Ticks,
    /// The wall clock is set back.
    WallClockIsSetBack,
    /// A user turn is admitted.
    UserArrives,
    /// It ends.
    UserEnds,
    /// Internal work is admitted.
    InternalArrives,
    /// It ends.
    InternalEnds,
}

/// Whether the shipped judge takes a request of this age for live, and when it says that the lease ends.
fn judged(age: Age, knows_its_epoch: bool) -> (bool, LeaseEnd) {
    const AGES: usize = LEASE as usize + 1;
    type Table = [[[(bool, LeaseEnd); 2]; AGES]; AGES];

    static TABLE: Answers<Table> = Answers::new(|| {
        let tick = |ticks: usize| Duration::from_secs(ticks as u64);
        let epoch = Epoch::from_texts(Some("this-boot"), None);
        let made = Now { uptime: made_at(), wall: std::time::UNIX_EPOCH.into() };
        let ask = DrainRequest::default().with_lease(tick(LEASE.into()));
        let request = ask.stamp("r", &epoch, made);
        std::array::from_fn(|by_boot| {
            std::array::from_fn(|by_wall| {
                let now =
                    Now { uptime: made.uptime + tick(by_boot), wall: made.wall + tick(by_wall) };
                [Epoch::default(), epoch.clone()].map(|epoch| {
                    let judge = Judge::new(&epoch, now);
                    let live = judge.validity(&request) == Validity::Live;
                    (live, judge.lease_end(&request, now.uptime))
                })
            })
        })
    });
    TABLE.get()[usize::from(age.by_boot)][usize::from(age.by_wall)][usize::from(knows_its_epoch)]
}

/// The time on the boot clock at which every request was made.
const fn made_at() -> Duration {
    Duration::from_secs(1000)
}

impl State {
    /// Packs one controller into fifteen bits.
    fn pack(&self, by: usize, bits: Bits) -> Bits {
        let Controller { made, asks, dead, promise } = self.controllers[by];
        let promise = match promise {
            None => 0,
            Some(Promise::Timeless) => 1,
            Some(Promise::For(ticks)) => 2 + ticks,
        };
        let (number, age) = self.files[by].unwrap_or_default();
        bits.put(self.files[by].is_some(), 1)
            .put(number, 2)
            .put(age.by_boot, 2)
            .put(age.by_wall, 2)
            .put(made, 3)
            .put(asks, 1)
            .put(dead, 1)
            .put(promise, 3)
    }

    fn look(&mut self, design: Design) {
        let sees = ObservationInput {
            files: self.files,
            has_leases: design.has(Guard::Lease),
            on_boot_clock: design.has(Guard::BootClock),
        };
        self.shell.step(sees, |engine, _| {
            let sightings = sees.files.iter().enumerate().map(|(by, file)| {
                let request = |(number, _): &(u8, Age)| ControllerRequest { by, number: *number };
                (by, file.as_ref().map(request).map_or(Sighting::Absent, Sighting::Present))
            });
            let is_live = |request: &ControllerRequest, _: Instant| {
                !sees.has_leases || judged(age(&sees.files, *request), sees.on_boot_clock).0
            };
            let reaction = look_at_once(engine, |engine, _| {
                engine.observed(sightings, &Listing::Whole, None, NOW, is_live)
            });
            (reaction, 0)
        });
    }

    /// The number of ticks for which the status lets the holders act.
    fn promised(&self, design: Design) -> Promise {
        let until = self.shell.engine.table().held_until(|request, _| {
            let age = age(&self.files, *request);
            let (_, end) = judged(age, design.has(Guard::BootClock));
            match end {
                // All requests were made at the same time. Each is judged at its own age.
                LeaseEnd::At(end) => {
                    let left = end.saturating_sub(made_at()).as_secs();
                    let left = u8::try_from(left).expect("a lease of a few ticks");
                    LeaseEnd::At(left.saturating_sub(age.by_boot))
                }
                LeaseEnd::Never => LeaseEnd::Never,
                LeaseEnd::ByWallClock => LeaseEnd::ByWallClock,
            }
        });
        until.map_or(Promise::Timeless, Promise::For)
    }

    /// The number of controllers that hold the gate. Their request exists and was seen, and its lease has not run out
    /// on either clock.
    fn holders(&self) -> usize {
        let files = self.files.iter().enumerate();
        let holds = files.filter(|(by, file)| {
            let Some((number, Age { by_boot, by_wall })) = file else { return false };
            let seen = self.shell.engine.table().entry(by).and_then(|it| it.request());
            *by_boot < LEASE && *by_wall < LEASE && seen.is_some_and(|it| it.number == *number)
        });
        holds.count()
    }

    /// The permission to act that this controller reads, if there is one.
    fn permission_to_act(&self, design: Design, by: usize) -> Option<Promise> {
        let condition = self.shell.condition();
        let latest = ControllerRequest { by, number: self.controllers[by].made.checked_sub(1)? };
        let entry = self.shell.engine.table().entry(&by)?;
        let named =
            entry.is_live() && entry.request() == Some(&latest) && entry.terms().hold_internal;
        let quiesced = condition.quiesced && (named || !design.has(Guard::OwnPromise));
        if design.has(Guard::AckAfterClose) {
            quiesced.then(|| self.promised(design))
        } else {
            // The request exists, so the controller assumes that the gate is closed. Nothing is in flight.
            let there = self.files[by].is_some_and(|(number, _)| number == latest.number);
            (there && condition.in_flight.total() == 0).then_some(Promise::For(LEASE))
        }
    }
}

impl ControllersModel {
    fn step(self, state: &mut State, action: Action) -> Option<()> {
        let design = self.design;
        match action {
            Action::Begins(by) | Action::Renews(by) => {
                let controller = &mut state.controllers[by];
                state.files[by] = Some((controller.made, Age::default()));
                // A promise to the old request is no promise to the new one.
                (controller.made, controller.asks, controller.promise) =
                    (controller.made + 1, true, None);
            }
            Action::Cancels(by) => {
                let controller = &mut state.controllers[by];
                (controller.asks, controller.promise) = (false, None);
                state.files[by] = None;
            }
            Action::Reads(by) => {
                state.controllers[by].promise = Some(state.permission_to_act(design, by)?);
            }
            Action::Acts(by) => {
                let in_time = matches!(state.controllers[by].promise, Some(Promise::For(1..)));
                (in_time || !design.has(Guard::QuiescedUntil)).then_some(())?;
                state.cut_off |= state.user || state.internal;
                state.acted = true;
            }
            Action::Dies(by) => {
                let controller = &mut state.controllers[by];
                (controller.dead, controller.promise) = (true, None);
            }
            Action::GatewayLooks => state.look(design),
            Action::Ticks => {
                for (_, age) in state.files.iter_mut().flatten() {
                    age.by_boot = (age.by_boot + 1).min(LEASE);
                    age.by_wall = (age.by_wall + 1).min(LEASE);
                }
                for controller in &mut state.controllers {
                    if let Some(Promise::For(ticks)) = &mut controller.promise {
                        *ticks = ticks.saturating_sub(1);
                    }
                }
            }
            Action::WallClockIsSetBack => {
                state.files.iter_mut().flatten().for_each(|(_, age)| age.by_wall = 0);
            }
            Action::UserArrives => {
                state.user = true;
                state.shell.admit(Arrival::New(Origin::User))?;
                state.admitted_wrongly |= state.holders() > 0;
            }
            Action::UserEnds => {
                state.user = false;
                state.shell.release(Origin::User);
            }
            Action::InternalArrives => {
                state.internal = true;
                state.shell.admit(Arrival::New(Origin::Internal))?;
            }
            Action::InternalEnds => {
                state.internal = false;
                state.shell.release(Origin::Internal);
            }
        }
        Some(())
    }

    /// TG-L3, when the controllers are dead or want no drain.
    #[must_use]
    pub fn liveness_properties() -> Vec<LivenessProperty<ControllersModel>> {
        vec![
            // Property: TG-L3 reopens
            LivenessProperty {
                name: "orphans_run_out_progress",
                premise: |_, state| {
                    !state.acted
                        && state
                            .controllers
                            .iter()
                            .all(|controller| controller.dead || !controller.asks)
                },
                goal: |_, state| {
                    state.shell.phase() == Phase::Running && !state.shell.gate.state().is_closed()
                },
                ended: |_| false,
                fair: vec![
                    FairnessConstraint::weak("a clock ticks", |action| {
                        matches!(action, Action::Ticks)
                    }),
                    FairnessConstraint::weak("the gateway observes the requests", |action| {
                        matches!(action, Action::GatewayLooks)
                    }),
                ],
            },
        ]
    }
}

impl Model for ControllersModel {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let nothing: [(usize, Sighting<ControllerRequest, ()>); 0] = [];
        let started = Engine::start(RULES, nothing, &Listing::Whole, None, None, NOW, |_, _| false);
        let shell = Shell::started(started);
        vec![State {
            files: [None; CONTROLLERS],
            controllers: [Controller::default(); CONTROLLERS],
            shell,
            user: false,
            internal: false,
            acted: false,
            cut_off: false,
            admitted_wrongly: false,
        }]
    }

    /// What is offered here may still turn out to be impossible.
    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        use Action as A;
        if state.acted {
            return;
        }
        for (by, controller) in state.controllers.iter().enumerate() {
            if controller.dead {
                continue;
            }
            if controller.made < self.requests[by] {
                actions.push(if controller.asks { A::Renews(by) } else { A::Begins(by) });
            }
            if controller.asks {
                actions.extend([A::Cancels(by), A::Dies(by)]);
                actions.push(if controller.promise.is_none() { A::Reads(by) } else { A::Acts(by) });
            }
        }
        actions.extend([A::GatewayLooks, A::Ticks, A::WallClockIsSetBack]);
        actions.push(if state.user { A::UserEnds } else { A::UserArrives });
        actions.push(if state.internal { A::InternalEnds } else { A::InternalArrives });
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut state = *before;
        self.step(&mut state, action)?;
        (state != *before).then_some(state)
    }

    fn properties(&self) -> Vec<Property<ControllersModel>> {
        vec![
            // Property: TG-S15 held_by_each
            Property::always("held_by_each_inv", |_, state: &State| {
                (state.holders() == 0 || state.shell.gate.state().is_closed())
                    && !state.admitted_wrongly
            }),
            Property::sometimes("held_by_each_reach", |_, state: &State| {
                // Two controllers held it, one has cancelled, and a user turn is still in flight.
                let gone = |it: &Controller| it.made > 0 && !it.asks;
                state.holders() > 0 && state.user && state.controllers.iter().any(gone)
            }),
            // Property: TG-S4 quiesced_means_idle
            Property::always("promise_is_kept_inv", |_, state: &State| !state.cut_off),
            Property::sometimes("promise_is_kept_reach", |_, state: &State| {
                state.acted && state.controllers[0].made > 1 && state.controllers[1].made > 0
            }),
        ]
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |by: usize| {
            ["the first controller", "the second controller", "the third controller"][by]
        };
        match *self {
            Action::Begins(by) => write!(f, "{} begins a drain", name(by)),
            Action::Renews(by) => write!(f, "{} renews its drain", name(by)),
            Action::Cancels(by) => write!(f, "{} cancels its drain", name(by)),
            Action::Reads(by) => write!(f, "{} concludes that it may act", name(by)),
            Action::Acts(by) => write!(f, "{} acts, which kills the process", name(by)),
            Action::Dies(by) => write!(f, "{} dies, and its request stays", name(by)),
            Action::GatewayLooks => f.write_str("the gateway observes the requests"),
            Action::Ticks => f.write_str("time passes"),
            Action::WallClockIsSetBack => f.write_str("the wall clock is set back"),
            Action::UserArrives => f.write_str("a user turn starts"),
            Action::UserEnds => f.write_str("the user turn ends"),
            Action::InternalArrives => f.write_str("internal work starts"),
            Action::InternalEnds => f.write_str("internal work ends"),
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("requests")?;
        for (by, file) in self.files.iter().enumerate() {
            if let Some((number, age)) = file {
                let holder = ["first", "second", "third"][by];
                write!(f, " {holder}.{number} (age {})", age.by_boot)?;
            }
        }
        write!(f, ", {}, gate {:?}", self.shell.phase(), self.shell.gate)
    }
}
