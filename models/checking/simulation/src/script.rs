//! What is done in a world, and when: drawn from a seed, one line per action, so that a story can be told and shortened.

use std::time::Duration;

use tidegate_world::disk::DiskProperties;

use crate::setting::Setting;

/// Whose request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RequestedBy {
    /// The shared one.
    Shared,
    /// A holder with this number.
    Named(u8),
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestSpec {
    /// By whom.
    pub who: RequestedBy,
    /// Whether internal work is to be held.
    pub hold: bool,
    /// For how long.
    pub lease: Duration,
    /// Whether it ends with the gateway's run.
    pub this_run: bool,
    /// In which container the controller runs.
    pub from: u64,
}

/// What a controller waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// The gate is closed.
    Draining,
    /// And nothing is in flight.
    Idle,
    /// And nothing will be.
    Quiesced,
}

/// What somebody with a shell does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PersonAction {
    /// Removes the marker.
    RemovesMarker,
    /// Makes a marker with nothing in it.
    TouchesMarker,
    /// Writes a marker that cannot be read, where it lies.
    RuinsMarker,
    /// Removes one of the named requests.
    RemovesRequest,
    /// Writes something else into one of the named requests, where it lies.
    RewritesRequest,
    /// Removes the status file.
    RemovesStatus,
    /// Writes nonsense into the status file.
    RuinsStatus,
    /// Removes the lock file.
    RemovesLock,
    /// Removes what the lock file says.
    EmptiesLock,
    /// Puts another file in the place of the lock file.
    ReplacesLock,
    /// Does so, and holds the lock on it for so long.
    TakesLock(Duration),
    /// Has the home's name lead nowhere for so long.
    MovesHome(Duration),
    /// Leaves a FIFO where the marker would be.
    LaysFifo,
}

/// One thing that is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScriptAction {
    /// A gateway starts, in the container with this number; killed after so many steps.
    Starts {
        /// The container.
        container: u64,
        /// After how many steps.
        kill_after_steps: Option<u64>,
    },
    /// A turn comes, and lasts so long; it may need a child.
    Turn {
        /// For a user, or the gateway's own.
        is_user: bool,
        /// With a child.
        has_child: bool,
        /// With a label.
        has_label: bool,
        /// How long.
        lasts: Duration,
    },
    /// Work that waits at a closed gate.
    WaitsToStart,
    /// Somebody in the process waits until it is quiesced.
    WaitsForQuiesced,
    /// Somebody in the process waits until it is idle.
    WaitsForIdle,
    /// The process itself asks for a drain.
    BeginsInside(RequestSpec),
    /// The process itself cancels.
    CancelsInside(RequestedBy),
    /// The process looks now.
    Reconciles,
    /// The process is asked to end.
    ShutsDown {
        /// For how long it waits.
        grace: Duration,
    },
    /// The process drops its gateway, and goes on.
    DropsGateway,
    /// A controller asks for a drain, and leaves.
    Begins(RequestSpec),
    /// A controller renews.
    Renews(RequestedBy, Option<Duration>),
    /// A controller cancels.
    Cancels(RequestedBy),
    /// A controller asks for a drain, waits, acts for as long as it was told that it may, and cancels; killed after
    /// so many steps.
    Drains {
        /// What it asks for.
        ask: RequestSpec,
        /// What it waits for.
        until: Until,
        /// For how long.
        within: Duration,
        /// After how many steps it is killed.
        kill_after_steps: Option<u64>,
    },
    /// A person removes every request.
    CancelsAll,
    /// A person has a shell.
    Person(PersonAction),
    /// The gateway is killed.
    Kill,
    /// The machine sleeps.
    Suspend(Duration),
    /// The wall clock is set.
    SetsClock(i64),
    /// The machine boots anew.
    Reboot {
        /// After its power was lost.
        loses_power: bool,
    },
}

/// One action at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Since the world began.
    pub at: Duration,
    /// What.
    pub action: ScriptAction,
}

/// A world to be.
#[derive(Clone, Debug)]
pub struct Script {
    /// What the disk is like.
    pub properties: DiskProperties,
    /// How often a gateway looks.
    pub interval: Duration,
    /// How many calls to the disk fail, of a thousand, and how many are slow.
    pub failing: u64,
    /// How many are slow.
    pub slow: u64,
    /// How many take a little.
    pub brief: u64,
    /// How many panic, of ten thousand.
    pub panicking: u64,
    /// What is done.
    pub steps: Vec<Step>,
    /// When all is done, and nothing fails any more.
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

    /// One of the kinds that this world has.
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

/// A kind of action. Each world has some of them, so that each is now and then among few others.
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

/// What is done to a gateway in a world where nothing goes wrong.
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

/// And what else in others.
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
            // What kills is of use where something starts again.
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
        // A clock that is set matters most where times are coarse.
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
                // Close to others, now and then to the very instant.
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
