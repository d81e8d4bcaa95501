//! The actions of a world and their times, drawn from a seed. A script is a list of steps, so that it can be shortened.

use std::time::Duration;

use tidegate_world::disk::DiskProperties;

use crate::setting::Setting;

/// The holder of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RequestedBy {
    /// The shared holder.
    Shared,
    /// The named holder with this number.
    Named(u8),
}

/// The properties of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestSpec {
    /// The holder that requests it.
    pub who: RequestedBy,
    /// Whether it holds internal work.
    pub hold: bool,
    /// The lease.
    pub lease: Duration,
    /// Whether it ends with the gateway's run.
    pub this_run: bool,
    /// The container that the controller runs in.
    pub from: u64,
}

/// What a controller waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// The gate is closed.
    Draining,
    /// The gate is closed, and nothing is in flight.
    Idle,
    /// The gate is closed, nothing is in flight, and nothing can start.
    Quiesced,
}

/// What a person with a shell does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PersonAction {
    /// Removes the marker.
    RemovesMarker,
    /// Creates an empty marker.
    TouchesMarker,
    /// Overwrites the marker with text that cannot be parsed.
    RuinsMarker,
    /// Removes one of the named requests.
    RemovesRequest,
    /// Overwrites one of the named requests with other text.
    RewritesRequest,
    /// Removes the status file.
    RemovesStatus,
    /// Writes nonsense into the status file.
    RuinsStatus,
    /// Removes the lock file.
    RemovesLock,
    /// Empties the lock file.
    EmptiesLock,
    /// Replaces the lock file with another file.
    ReplacesLock,
    /// Replaces the lock file with another file, and holds the lock on that for this long.
    TakesLock(Duration),
    /// Moves the home to another path for this long.
    MovesHome(Duration),
    /// Creates a FIFO with the marker's name.
    LaysFifo,
}

/// One action of a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScriptAction {
    /// A gateway starts.
    Starts {
        /// The container that it runs in.
        container: u64,
        /// The number of steps after which it is killed.
        kill_after_steps: Option<u64>,
    },
    /// A turn arrives.
    Turn {
        /// Whether it is a user's turn, or internal work.
        is_user: bool,
        /// Whether it has a child.
        has_child: bool,
        /// Whether it has a label.
        has_label: bool,
        /// How long it lasts.
        lasts: Duration,
    },
    /// A user turn arrives, and waits while the gate is closed.
    WaitsToStart,
    /// A thread of the gateway's process waits for quiesced.
    WaitsForQuiesced,
    /// A thread of the gateway's process waits for idle.
    WaitsForIdle,
    /// The gateway's process begins a drain.
    BeginsInside(RequestSpec),
    /// The gateway's process cancels a holder's requests.
    CancelsInside(RequestedBy),
    /// The gateway's process reconciles now.
    Reconciles,
    /// The gateway shuts down.
    ShutsDown {
        /// The grace of the shutdown.
        grace: Duration,
    },
    /// The process drops its gateway, and runs on for a moment.
    DropsGateway,
    /// A controller begins a drain, and ends.
    Begins(RequestSpec),
    /// A controller renews a holder's request.
    Renews(RequestedBy, Option<Duration>),
    /// A controller cancels a holder's requests.
    Cancels(RequestedBy),
    /// A controller begins a drain, waits, acts while it is safe, and cancels.
    Drains {
        /// The request.
        ask: RequestSpec,
        /// What it waits for.
        until: Until,
        /// How long it waits at most.
        within: Duration,
        /// The number of steps after which it is killed.
        kill_after_steps: Option<u64>,
    },
    /// A person removes every request.
    CancelsAll,
    /// A person changes files.
    Person(PersonAction),
    /// The gateway is killed.
    Kill,
    /// The machine is suspended for this long.
    Suspend(Duration),
    /// The wall clock is set forward by these milliseconds, or back if they are negative.
    SetsClock(i64),
    /// The machine reboots.
    Reboot {
        /// Whether the power fails.
        loses_power: bool,
    },
}

/// An action and its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// The time since the world began.
    pub at: Duration,
    /// The action.
    pub action: ScriptAction,
}

/// The script of one world.
#[derive(Clone, Debug)]
pub struct Script {
    /// The properties of the disk.
    pub properties: DiskProperties,
    /// The time between two observations of a gateway.
    pub interval: Duration,
    /// How many calls to the disk fail, of a thousand.
    pub failing: u64,
    /// How many calls are slow, of a thousand.
    pub slow: u64,
    /// How many calls take a short time, of a thousand.
    pub brief: u64,
    /// How many calls panic, of ten thousand.
    pub panicking: u64,
    /// The actions, in the order of their times.
    pub steps: Vec<Step>,
    /// The time at which all actions are done, and faults end.
    pub ends: Duration,
}

/// Draws from a seed.
pub(crate) struct Draw(pub(crate) fastrand::Rng);

impl Draw {
    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.0.usize(0..of.len())]
    }

    fn chance(&mut self, one_in: u32) -> bool {
        self.0.u32(0..one_in) == 0
    }

    fn millis(&mut self, below: u64) -> Duration {
        Duration::from_millis(self.0.u64(0..below.max(1)))
    }

    fn who(&mut self) -> RequestedBy {
        self.one(&[
            RequestedBy::Shared,
            RequestedBy::Named(0),
            RequestedBy::Named(0),
            RequestedBy::Named(1),
        ])
    }

    fn ask(&mut self) -> RequestSpec {
        let lease = match self.0.u32(0..4) {
            0 => Duration::from_millis(500) + self.millis(3000),
            1 => Duration::from_secs(5) + self.millis(10_000),
            _ => Duration::from_secs(3600),
        };
        let (who, hold) = (self.who(), !self.chance(3));
        RequestSpec { who, hold, lease, this_run: self.chance(5), from: self.one(&[1, 1, 3, 4]) }
    }

    fn dies(&mut self, one_in: u32, below: u64) -> Option<u64> {
        self.chance(one_in).then(|| self.0.u64(1..below))
    }

    /// Draws an action of one of these kinds.
    fn action(&mut self, kinds: &[ActionKind]) -> ScriptAction {
        match self.one(kinds) {
            ActionKind::Turn => ScriptAction::Turn {
                is_user: !self.chance(3),
                has_child: self.chance(3),
                has_label: self.chance(4),
                lasts: self.millis(4000),
            },
            ActionKind::Waits => self.one(&[
                ScriptAction::WaitsToStart,
                ScriptAction::WaitsForQuiesced,
                ScriptAction::WaitsForIdle,
            ]),
            ActionKind::Inside => match self.0.u32(0..3) {
                0 => ScriptAction::BeginsInside(self.ask()),
                1 => ScriptAction::CancelsInside(self.who()),
                _ => ScriptAction::Reconciles,
            },
            ActionKind::Begins => ScriptAction::Begins(self.ask()),
            ActionKind::Renews => {
                let lease = self.chance(2).then(|| Duration::from_secs(1) + self.millis(9000));
                ScriptAction::Renews(self.who(), lease)
            }
            ActionKind::Cancels if self.chance(6) => ScriptAction::CancelsAll,
            ActionKind::Cancels => ScriptAction::Cancels(self.who()),
            ActionKind::Drains => ScriptAction::Drains {
                ask: self.ask(),
                until: self.one(&[Until::Draining, Until::Idle, Until::Quiesced, Until::Quiesced]),
                within: Duration::from_secs(2) + self.millis(8000),
                kill_after_steps: self.dies(6, 400),
            },
            ActionKind::Marker => ScriptAction::Person(
                self.one(&[PersonAction::RemovesMarker, PersonAction::TouchesMarker]),
            ),
            ActionKind::ShutsDown if self.chance(3) => ScriptAction::DropsGateway,
            ActionKind::ShutsDown => ScriptAction::ShutsDown { grace: self.millis(4000) },
            ActionKind::Starts => ScriptAction::Starts {
                container: self.one(&[1, 1, 1, 2]),
                kill_after_steps: self.dies(3, 900),
            },
            ActionKind::Vandal => ScriptAction::Person(self.one(&[
                PersonAction::RuinsMarker,
                PersonAction::RemovesRequest,
                PersonAction::RewritesRequest,
                PersonAction::RemovesStatus,
                PersonAction::RuinsStatus,
                PersonAction::LaysFifo,
            ])),
            ActionKind::HomeLost => {
                let away = self.millis(5000);
                ScriptAction::Person(self.one(&[
                    PersonAction::RemovesLock,
                    PersonAction::EmptiesLock,
                    PersonAction::ReplacesLock,
                    PersonAction::TakesLock(away),
                    PersonAction::MovesHome(away),
                ]))
            }
            ActionKind::Kill => ScriptAction::Kill,
            ActionKind::Suspend => ScriptAction::Suspend(self.millis(120_000)),
            ActionKind::SetsClock => {
                let little = -i64::from(self.0.u32(500..5000));
                ScriptAction::SetsClock(
                    self.one(&[little, little, little, -7_200_000, 1500, 86_400_000]),
                )
            }
            ActionKind::Reboot => ScriptAction::Reboot { loses_power: !self.chance(3) },
        }
    }
}

/// A kind of action. Each world has only some kinds, so that each kind is sometimes drawn among few others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ActionKind {
    Turn,
    Waits,
    Inside,
    Begins,
    Renews,
    Cancels,
    Drains,
    Marker,
    ShutsDown,
    Starts,
    Vandal,
    HomeLost,
    Kill,
    Suspend,
    SetsClock,
    Reboot,
}

/// The kinds of action in a world in which nothing goes wrong.
const PEACEFUL: [ActionKind; 10] = [
    ActionKind::Turn,
    ActionKind::Waits,
    ActionKind::Inside,
    ActionKind::Begins,
    ActionKind::Renews,
    ActionKind::Cancels,
    ActionKind::Drains,
    ActionKind::Marker,
    ActionKind::ShutsDown,
    ActionKind::Starts,
];

/// The further kinds of action in other worlds.
const HOSTILE: [ActionKind; 6] = [
    ActionKind::Vandal,
    ActionKind::HomeLost,
    ActionKind::Kill,
    ActionKind::Suspend,
    ActionKind::SetsClock,
    ActionKind::Reboot,
];

impl Script {
    /// The same, without these of its steps.
    #[must_use]
    pub fn without(mut self, left_out: &[usize]) -> Script {
        let mut number = 0;
        self.steps.retain(|_| {
            number += 1;
            !left_out.contains(&(number - 1))
        });
        self
    }

    /// What is known of its world besides the log.
    #[must_use]
    pub fn setting(&self) -> Setting {
        let interferes = |action: &ScriptAction| match action {
            ScriptAction::Kill
            | ScriptAction::Reboot { .. }
            | ScriptAction::Suspend(_)
            | ScriptAction::SetsClock(_) => true,
            ScriptAction::Person(shell) => {
                matches!(shell, PersonAction::MovesHome(_) | PersonAction::TakesLock(_))
            }
            _ => false,
        };
        let takes_time = self.failing + self.slow + self.brief + self.panicking > 0;
        let is_calm = !takes_time && !self.steps.iter().any(|step| interferes(&step.action));
        let (interval, reads_all) = (self.interval, self.failing == 0);
        Setting { interval, is_calm, reads_all, has_files: true }
    }

    /// The world of this seed.
    #[must_use]
    pub fn of(seed: u64) -> Script {
        let mut draw = Draw(fastrand::Rng::with_seed(seed));
        let is_hostile = !draw.chance(3);
        let mut kinds: Vec<ActionKind> = PEACEFUL.into_iter().filter(|_| !draw.chance(3)).collect();
        kinds.push(ActionKind::Turn);
        if is_hostile {
            kinds.extend(HOSTILE.into_iter().filter(|_| draw.chance(3)));
            // A kill is useful only if a gateway starts again.
            kinds.extend(kinds.contains(&ActionKind::Kill).then_some(ActionKind::Starts));
        }
        let properties = match draw.0.u32(0..9) {
            0 | 8 => DiskProperties { tick_ns: 1_000_000_000, ..DiskProperties::LOCAL },
            1 => DiskProperties { tick_ns: 2_000_000_000, batch: 1, ..DiskProperties::LOCAL },
            2 => DiskProperties { is_known: false, times_move: false, ..DiskProperties::LOCAL },
            3 => {
                DiskProperties { is_known: false, tick_ns: 1_000_000_000, ..DiskProperties::LOCAL }
            }
            4 => DiskProperties { batch: 16, tick_ns: 1, ..DiskProperties::LOCAL },
            _ => DiskProperties::LOCAL,
        };
        // A clock that is set matters most if file times are coarse.
        let is_set = kinds.contains(&ActionKind::SetsClock) && draw.chance(2);
        let properties = if is_set {
            DiskProperties { tick_ns: 2_000_000_000, ..DiskProperties::LOCAL }
        } else {
            properties
        };
        let interval = draw.one(&[1000, 1000, 1000, 200, 3000]);
        let (failing, slow, brief) = match draw.0.u32(0..4) {
            _ if !is_hostile => (0, 0, draw.one(&[0, 30])),
            0 => (0, 2, 50),
            1 => (10, 0, 50),
            2 => (60, 4, 100),
            _ => (3, 1, 0),
        };
        let panicking = if is_hostile && draw.chance(6) { 40 } else { 0 };
        let many = draw.0.usize(6..28);
        let mut steps: Vec<Step> = (0..many)
            .map(|_| {
                let at = draw.millis(12_000);
                // Whole seconds bring some actions to the same instant.
                let at = if draw.chance(2) { at } else { Duration::from_secs(at.as_secs()) };
                Step { at, action: draw.action(&kinds) }
            })
            .collect();
        steps.push(Step {
            at: Duration::ZERO,
            action: ScriptAction::Starts { container: 1, kill_after_steps: None },
        });
        steps.sort_by_key(|step| step.at);
        Script {
            properties,
            interval: Duration::from_millis(interval),
            failing,
            slow,
            brief,
            panicking,
            steps,
            ends: Duration::from_secs(14),
        }
    }
}
