//! The properties, as monitors over a log. A monitor is a small automaton that gets each event, and the state just
//! before it. A finding names the property, and says what the monitor saw.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tidegate::internals::gate::{Arrival, GateEvent, Origin, Word};
use tidegate::machine::Effect;
use tidegate::request::Slot;
use tidegate::{Ended, GatewayEvent};
use tidegate_world::log::{Entry, EventKind};
use tidegate_world::process::ProcessId;

use crate::script::ScriptAction;
use crate::setting::Setting;
use crate::view::{GateView, GatewayView, RequestVersion, View};
use crate::world::{Answer, Call, STATUS, ScriptEvent, Waiting};

/// A property that is broken, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The property, by id and name.
    pub property: &'static str,
    /// What the monitor saw.
    pub saw: String,
    /// The index of the event in the log.
    pub at: usize,
}

/// A promise that a controller acts on.
#[derive(Debug)]
struct Promise {
    id: String,
    until: Duration,
    boot: u64,
    container: u64,
    /// The gateway's run that the request is bound to, if any.
    run: Option<String>,
}

/// A request, and the time by which it must have closed a gate.
#[derive(Debug)]
struct Due {
    boot: u64,
    at: Duration,
    process: ProcessId,
    of: u64,
    slot: Slot,
}

/// All monitors.
#[derive(Debug, Default)]
struct Monitors {
    setting: Setting,
    view: View,
    found: Vec<Finding>,
    promises: Vec<Promise>,
    sequences: BTreeMap<String, u64>,
    /// The requests that a gateway has listed in a status.
    known: BTreeSet<(ProcessId, Option<String>)>,
    /// The gateways whose last status has been on disk.
    reported_stopped: BTreeSet<ProcessId>,
    /// Whether the status on disk is as a gateway wrote it.
    is_own_status: bool,
    closes_due: Vec<Due>,
    /// The requests that existed when the power failed, until the log says what is left.
    before_power_loss: Vec<RequestVersion>,
    /// The requested shutdowns: the grace, and the time of the call by the boot clock and by the clock of waits.
    shutdowns: BTreeMap<u64, (Duration, (Duration, Duration))>,
    /// The time when the machine last woke from suspend, by both clocks.
    woke: Option<(Duration, Duration)>,
    last: (Duration, Duration),
    /// The process that made each draft that is not yet renamed.
    drafts: BTreeMap<(u64, String), ProcessId>,
    was_set: bool,
}

/// The properties.
pub mod names {
    /// TG-S1.
    pub const SHUTDOWN_WINS: &str = "TG-S1 shutdown_wins";
    /// TG-S2.
    pub const NO_NEW_TURN: &str = "TG-S2 no_new_turn_while_draining";
    /// TG-S3.
    pub const BYPASS_IS_BOUNDED: &str = "TG-S3 bypass_is_bounded";
    /// TG-S4.
    pub const QUIESCED_MEANS_IDLE: &str = "TG-S4 quiesced_means_idle";
    /// TG-S5.
    pub const ACK_MEANS_CLOSED: &str = "TG-S5 ack_means_closed";
    /// TG-S6.
    pub const UNTOUCHED: &str = "TG-S6 in_flight_untouched";
    /// TG-S7.
    pub const OWNER_RELEASE: &str = "TG-S7 owner_release";
    /// TG-S8.
    pub const FAITHFUL: &str = "TG-S8 status_is_faithful";
    /// TG-S10.
    pub const FAIL_SAFE: &str = "TG-S10 fail_safe";
    /// TG-S11.
    pub const NEVER_OVERLAP: &str = "TG-S11 observations_never_overlap";
    /// TG-S12.
    pub const NO_TORN: &str = "TG-S12 no_torn_request";
    /// TG-S13.
    pub const STALE_NEVER_CLOSES: &str = "TG-S13 stale_never_closes";
    /// TG-S14.
    pub const RECEIPT_IS_TRUE: &str = "TG-S14 receipt_is_true";
    /// TG-S15.
    pub const HELD_BY_EACH: &str = "TG-S15 held_by_each";
    /// TG-L1.
    pub const CLOSES: &str = "TG-L1 closes";
    /// TG-L2.
    pub const DRAINS: &str = "TG-L2 drains";
    /// TG-L3.
    pub const REOPENS: &str = "TG-L3 reopens";
    /// TG-L4.
    pub const STOPS: &str = "TG-L4 stops";
    /// TG-L5.
    pub const BYPASS_PROGRESS: &str = "TG-L5 bypass_progress";
    /// Nothing panics, and some thread can always go on: part of TG-L2.
    pub const GOES_ON: &str = DRAINS;
}

use names::{
    ACK_MEANS_CLOSED, BYPASS_IS_BOUNDED, BYPASS_PROGRESS, CLOSES, DRAINS, FAIL_SAFE, FAITHFUL,
    HELD_BY_EACH, NEVER_OVERLAP, NO_NEW_TURN, NO_TORN, OWNER_RELEASE, QUIESCED_MEANS_IDLE,
    RECEIPT_IS_TRUE, REOPENS, SHUTDOWN_WINS, STALE_NEVER_CLOSES, STOPS, UNTOUCHED,
};

/// Whether a child that is admitted has a parent on its own stripe, or among the internal work.
fn has_parent_there(event: GateEvent, gate: &GateView) -> bool {
    match event {
        GateEvent::UserAdmitted(_, stripe, _) => gate.users[stripe] > 0,
        _ => gate.internal > 0,
    }
}

/// Judges a log.
#[must_use]
pub fn judge(log: &[Entry], setting: Setting) -> Vec<Finding> {
    let mut monitors = Monitors { setting, ..Monitors::default() };
    for (at, entry) in log.iter().enumerate() {
        monitors.sees(at, entry, log);
        monitors.view.takes(at, entry);
        monitors.has_seen(at, entry);
    }
    monitors.found
}

impl Monitors {
    fn breaks(&mut self, property: &'static str, at: usize, saw: impl Into<String>) {
        self.found.push(Finding { property, saw: saw.into(), at });
    }

    /// Judges an event by the state before it.
    fn sees(&mut self, at: usize, entry: &Entry, log: &[Entry]) {
        let (slept, now) = (self.last, (entry.at, entry.waited));
        if now.0.saturating_sub(slept.0) > now.1.saturating_sub(slept.1) {
            self.woke = Some(now);
            self.was_set = true;
        }
        self.last = now;
        self.closes_in_time(at, entry);
        self.draft(at, entry);
        match &entry.what {
            EventKind::Put { dir, name, bytes, .. } => {
                if *dir == self.view.home && name == STATUS {
                    self.is_own_status = self.gateway(entry.process).is_some();
                    self.status(at, entry, bytes);
                }
            }
            EventKind::Gone { dir, name } => {
                self.is_own_status &= name != STATUS;
                if let Some(slot) = self.view.slot(*dir, name) {
                    self.removal(at, entry, &slot);
                }
            }
            EventKind::Booted { lost } => {
                self.promises.clear();
                self.closes_due.clear();
                if *lost {
                    self.before_power_loss = self.view.present().cloned().collect();
                    for version in &mut self.view.versions {
                        version.to.get_or_insert(at);
                    }
                }
            }
            EventKind::Found => self.survives(at),
            EventKind::Began(_) | EventKind::Exited | EventKind::Killed => {}
            EventKind::Program(_) => {
                if let Some(event) = entry.what.program_event::<GateEvent>() {
                    self.gate(at, entry, *event, log);
                }
                if let Some(event) = entry.what.program_event::<GatewayEvent>() {
                    self.look(at, entry, *event);
                }
                if let Some(told) = entry.what.program_event::<ScriptEvent>() {
                    self.told(at, entry, told, log);
                }
            }
        }
    }

    fn gateway(&self, process: ProcessId) -> Option<&GatewayView> {
        self.view.gateways.get(&process)
    }

    /// Judges what a gate admits, refuses and counts: TG-S1, TG-S2, TG-S3, TG-S4, TG-S6, TG-L5.
    fn gate(&mut self, at: usize, entry: &Entry, event: GateEvent, log: &[Entry]) {
        let Some(gateway) = self.gateway(entry.process) else { return };
        let (gate, container) = (gateway.gate, gateway.container);
        let incarnation = gateway.incarnation.clone();
        match event {
            GateEvent::UserAdmitted(arrival, ..) | GateEvent::InternalAdmitted(arrival, _) => {
                self.counts_as_its_events(at, event, gate);
                match arrival {
                    Arrival::New(Origin::User) if gate.is_shut => {
                        self.breaks(SHUTDOWN_WINS, at, "a user turn is admitted after a shutdown");
                    }
                    Arrival::New(Origin::User) if gate.is_closed => {
                        self.breaks(NO_NEW_TURN, at, "a user turn is admitted at a closed gate");
                    }
                    Arrival::New(Origin::Internal) if gate.is_sealed => {
                        self.breaks(
                            BYPASS_IS_BOUNDED,
                            at,
                            "internal work is admitted at a sealed gate",
                        );
                    }
                    Arrival::ChildOf(_) if gate.is_stopped || !has_parent_there(event, &gate) => {
                        self.breaks(
                            BYPASS_IS_BOUNDED,
                            at,
                            "a child turn is admitted, but no turn is in flight",
                        );
                    }
                    Arrival::New(_) | Arrival::ChildOf(_) => {}
                }
                let is_broken = |it: &Promise| {
                    // A promise for a run ends with that run.
                    let is_its_run = it.run.as_ref().is_none_or(|run| *run == incarnation);
                    let is_here = (it.boot, it.container) == (entry.boot, container);
                    is_here && is_its_run && entry.at < it.until
                };
                if let Some(promise) = self.promises.iter().find(|it| is_broken(it)) {
                    let saw = format!(
                        "{arrival:?} starts at {:?}; {} was promised that nothing starts before {:?}",
                        entry.at, promise.id, promise.until
                    );
                    self.breaks(QUIESCED_MEANS_IDLE, at, saw);
                }
            }
            GateEvent::Refused(arrival) => {
                let is_open = !gate.is_closed && !gate.is_ordering;
                if arrival == Arrival::New(Origin::User) && is_open {
                    self.breaks(REOPENS, at, "a user turn is refused at an open gate");
                }
                let has_parent = gate.has(arrival.origin());
                if matches!(arrival, Arrival::ChildOf(_)) && has_parent && !gate.is_stopping {
                    self.breaks(BYPASS_PROGRESS, at, "a child of a turn in flight is refused");
                }
            }
            GateEvent::UserReleased(..) | GateEvent::InternalReleased(_) => {
                self.counts_as_its_events(at, event, gate);
            }
            GateEvent::ShareGivenBack | GateEvent::OrderDone(_) => {}
            GateEvent::OrderedStripe(_, before, after) => {
                self.is_ordered(at, gate, before.count() == after.count(), after.is_closed());
            }
            GateEvent::OrderedCenter(before, after) => {
                self.is_ordered(at, gate, before.internal() == after.internal(), after.is_closed());
            }
            GateEvent::Read(word) => {
                if word.is_idle() && !gate.is_idle() {
                    let saw = format!("the gate is read as idle, but it is {gate:?}");
                    self.breaks(QUIESCED_MEANS_IDLE, at, saw);
                }
                let is_missed = gate.is_idle() && !word.is_idle();
                if is_missed || word.internal() != gate.internal {
                    let saw = format!("the gate is read as {word:?}, but it is {gate:?}");
                    self.breaks(DRAINS, at, saw);
                }
            }
            GateEvent::OrderBegan(effect) => {
                let first = self.gateway(entry.process).is_some_and(|it| it.started.is_none());
                if first {
                    self.one_gateway(at, entry);
                }
                match effect {
                    Effect::ReopenGate => self.reopens(at, entry, log),
                    Effect::CloseGate { .. } if first || !gate.is_closed => {
                        self.closes(at, entry, log);
                    }
                    _ => {}
                }
            }
        }
    }

    /// A word counts the turns that were admitted there and have not ended: TG-S3.
    fn counts_as_its_events(&mut self, at: usize, event: GateEvent, gate: GateView) {
        let counts = match event {
            GateEvent::UserAdmitted(_, stripe, before)
            | GateEvent::UserReleased(stripe, before) => before.count() == gate.users[stripe],
            GateEvent::InternalAdmitted(_, before) | GateEvent::InternalReleased(before) => {
                before.internal() == gate.internal
            }
            _ => true,
        };
        if !counts {
            let saw = format!("the gate counts otherwise in {event:?} than its events, {gate:?}");
            self.breaks(BYPASS_IS_BOUNDED, at, saw);
        }
    }

    /// A step of an order ends no turn, and opens nothing after a shutdown: TG-S6, TG-S1.
    fn is_ordered(&mut self, at: usize, gate: GateView, keeps_turns: bool, is_closed: bool) {
        if !keeps_turns {
            self.breaks(UNTOUCHED, at, "an order changes the turns in flight");
        }
        if gate.is_shut && !is_closed {
            self.breaks(SHUTDOWN_WINS, at, "an order reopens the gate after a shutdown");
        }
    }

    /// A home has only one gateway: TG-S8.
    fn one_gateway(&mut self, at: usize, entry: &Entry) {
        let lives = |(process, it): (&ProcessId, &GatewayView)| {
            let goes_on = it.started.is_some() && !it.is_over && !it.gate.is_stopped;
            (goes_on && *process != entry.process).then_some(*process)
        };
        if let Some(other) = self.view.gateways.iter().find_map(lives) {
            self.breaks(FAITHFUL, at, format!("a second gateway starts while {other:?} is alive"));
        }
    }

    /// The event at which the observation began that led to this effect.
    fn look_began(&self, entry: &Entry) -> usize {
        self.gateway(entry.process).map_or(0, |it| match (it.started, it.look) {
            (None, _) => it.began,
            (Some(started), look) => look.unwrap_or(started),
        })
    }

    /// A gate reopens only if no live request existed throughout the observation: TG-S10, TG-S15.
    fn reopens(&mut self, at: usize, entry: &Entry, log: &[Entry]) {
        let began = self.look_began(entry);
        let Some(gateway) = self.gateway(entry.process) else { return };
        let counts = |it: &&RequestVersion| {
            // The gateway does not know a request that it could never read: an error changes nothing.
            let is_listed = |id| self.known.contains(&(entry.process, Some(id)));
            let is_known = self.setting.reads_all || it.id().is_some_and(is_listed);
            it.from <= began
                && it.is_file
                && !it.is_rewritten
                && is_known
                && !it.is_by_the_wall()
                && View::is_live(&it.request, entry, gateway)
                && View::is_live(&it.request, &log[began], gateway)
        };
        let found = self.view.present().find(counts).cloned();
        if let Some(found) = found {
            let is_corrupt = found.request.request_id().is_none();
            let property = if is_corrupt { FAIL_SAFE } else { HELD_BY_EACH };
            let saw =
                format!("the gate reopens, but {:?} exists since event {}", found.slot, found.from);
            self.breaks(property, at, saw);
        }
    }

    /// A gate closes only if a live request existed at some time of the observation: TG-S13.
    fn closes(&mut self, at: usize, entry: &Entry, log: &[Entry]) {
        if !self.setting.has_files {
            return;
        }
        let began = self.look_began(entry);
        let is_first = self.gateway(entry.process).is_some_and(|it| it.started.is_none());
        if is_first && !self.setting.is_calm {
            // At its start, a gateway that cannot see its requests stays closed.
            return;
        }
        let Some(gateway) = self.gateway(entry.process) else { return };
        let counts = |it: &&RequestVersion| {
            let first = &log[it.from.max(began)];
            let is_live = it.is_by_the_wall() || View::is_live(&it.request, first, gateway);
            it.to.is_none_or(|to| to >= began) && is_live
        };
        // A gateway is closed while another process holds its home.
        let is_taken = self.view.taken.values().any(|(_, to)| to.is_none_or(|to| to >= began));
        if !is_taken && !self.view.versions.iter().any(|it| counts(&it)) {
            self.breaks(STALE_NEVER_CLOSES, at, "the gate closes, but no request is live");
        }
    }

    /// A gateway makes one observation at a time: TG-S11.
    fn look(&mut self, at: usize, entry: &Entry, event: GatewayEvent) {
        let under_way = self.gateway(entry.process).and_then(|it| it.look);
        if let (GatewayEvent::LookBegan, Some(other)) = (event, under_way) {
            self.breaks(
                NEVER_OVERLAP,
                at,
                format!("an observation begins during the one from event {other}"),
            );
        }
    }

    /// A status on disk was true when it was derived: TG-S1, TG-S4, TG-S8.
    fn status(&mut self, at: usize, entry: &Entry, bytes: &[u8]) {
        let Some(gateway) = self.gateway(entry.process) else { return };
        let started = gateway.started;
        let Ok(said) = serde_json::from_slice::<Value>(bytes) else { return };
        let lifecycle = said["lifecycle"].as_str().unwrap_or_default().to_owned();
        if lifecycle == "starting" {
            if started.is_some() {
                self.breaks(FAITHFUL, at, "the status says starting, but the gateway has started");
            }
            return;
        }
        if lifecycle == "stopped" {
            self.reported_stopped.insert(entry.process);
        }
        let sequence = said["sequence"].as_u64().unwrap_or_default();
        let derived = self.gateway(entry.process).and_then(|it| it.derived.get(&sequence));
        let Some((gate, counted)) = derived.copied() else {
            self.breaks(
                FAITHFUL,
                at,
                format!("the status has sequence {sequence}, which was never derived"),
            );
            return;
        };
        let incarnation = said["incarnation"].as_str().unwrap_or_default().to_owned();
        let last = self.sequences.insert(incarnation, sequence);
        if last.is_some_and(|last| last >= sequence) {
            self.breaks(
                FAITHFUL,
                at,
                format!("the status has sequence {sequence}, after {last:?}"),
            );
        }
        for holder in said["holders"].as_array().into_iter().flatten() {
            let id = holder["request_id"].as_str().map(str::to_owned);
            self.known.insert((entry.process, id));
        }
        // The center was read first, and the end of work may have come before the last stripe was. At a gate that is
        // sealed for good the counts tell as well.
        let word = counted.and_then(|it| it.word);
        let counts_none = said["in_flight"]["user"] == 0 && said["in_flight"]["internal"] == 0;
        let is_sealed_for_good = word.is_some_and(|it| it.is_sealed() && it.is_shut());
        let is_idle = word.is_some_and(Word::is_idle) || (is_sealed_for_good && counts_none);
        let is_at_rest = word.is_some_and(Word::is_at_rest);
        let is_draining = gate.is_closed && !gate.is_shut;
        let (idle, quiesced) = (said["idle"] == true, said["quiesced"] == true);
        if quiesced && !(is_draining && gate.is_sealed && gate.is_idle()) {
            self.breaks(
                QUIESCED_MEANS_IDLE,
                at,
                format!("the status says quiesced, but the gate is {gate:?}"),
            );
        }
        if gate.is_shut && (said["ready"] == true || lifecycle == "running") {
            self.breaks(SHUTDOWN_WINS, at, format!("the status says {lifecycle} after a shutdown"));
        }
        if lifecycle == "externally_draining" && !gate.is_closed {
            self.breaks(ACK_MEANS_CLOSED, at, "the status says draining, but the gate is open");
        }
        let counts = |origin: &str| said["in_flight"][origin].as_u64();
        let internal = counted.and_then(|it| it.word).map(|it| u64::from(it.internal()));
        let is_user = counts("user").is_some_and(|it| counted.is_some_and(|of| of.allows_user(it)));
        let is_faithful = lifecycle == gate.lifecycle()
            && (idle == is_idle)
            && (said["ready"] == true) != gate.is_closed
            && quiesced == (is_draining && is_at_rest)
            && is_user
            && counts("internal") == internal;
        if !is_faithful {
            let text = String::from_utf8_lossy(bytes).into_owned();
            self.breaks(FAITHFUL, at, format!("the gate is {gate:?}, but the status says {text}"));
        }
    }

    /// Only its writer or a person removes a draft, while the writer's gateway is alive: TG-S7.
    fn draft(&mut self, at: usize, entry: &Entry) {
        let is_draft = |name: &str| Path::new(name).extension() == Some(OsStr::new("tmp"));
        match &entry.what {
            EventKind::Put { dir, name, .. } if is_draft(name) => {
                self.drafts.entry((*dir, name.clone())).or_insert(entry.process);
            }
            EventKind::Gone { dir, name } if is_draft(name) => {
                let made = self.drafts.remove(&(*dir, name.clone()));
                let is_anothers = made.is_some_and(|made| {
                    made != entry.process
                        && self.view.gateways.get(&made).is_some_and(|it| !it.is_over)
                });
                let is_person = entry.process == ProcessId(0);
                // After the clock was set forward, a draft may look old.
                if is_anothers && !is_person && !self.was_set {
                    self.breaks(
                        OWNER_RELEASE,
                        at,
                        format!("the draft {name} is removed while {made:?} writes it"),
                    );
                }
            }
            _ => {}
        }
        let action = entry.what.program_event::<ScriptEvent>();
        self.was_set |= matches!(action, Some(ScriptEvent::Action(_, ScriptAction::SetsClock(_))));
    }

    /// Only its holder, a person, or a gateway that sweeps a dead request removes a request: TG-S7.
    fn removal(&mut self, at: usize, entry: &Entry, slot: &Slot) {
        let call = self.view.call_of(entry.task);
        let is_allowed = match call {
            Some(Call::Cancel(who) | Call::Begin(who) | Call::Renew(who)) => {
                slot.is_held_by(&who.holder())
            }
            Some(Call::CancelAll | Call::Person(_)) => true,
            _ => {
                let gateway = self.gateway(entry.process);
                let found = self.view.present().find(|it| it.slot == *slot).zip(gateway);
                let is_dead = |(it, gateway): (&RequestVersion, &GatewayView)| {
                    it.is_by_the_wall() || !View::is_live(&it.request, entry, gateway)
                };
                found.is_some_and(is_dead) && *slot != Slot::Shared
            }
        };
        if !is_allowed {
            self.breaks(
                OWNER_RELEASE,
                at,
                format!("the request {slot:?} is removed by the call {call:?}"),
            );
        }
    }

    fn told(&mut self, at: usize, entry: &Entry, told: &ScriptEvent, log: &[Entry]) {
        match told {
            ScriptEvent::Calls(number, Call::ShutDown(grace)) => {
                self.shutdowns.insert(*number, (*grace, (entry.at, entry.waited)));
            }
            ScriptEvent::Safe(id, left) => {
                let is_there = self.view.present().any(|it| it.id().as_ref() == Some(id));
                self.check_safe(at, entry, is_there);
                // If the request was removed since the controller's last look, its promise is over.
                if let (true, Some(left)) = (is_there, left) {
                    // By the machine's clock, whatever the controller's clock shows.
                    let (id, until, boot) = (id.clone(), entry.at + *left, entry.boot);
                    let lives = |it: &&GatewayView| {
                        it.started.is_some() && !it.is_over && !it.gate.is_stopped
                    };
                    let container = self.view.gateways.values().find(lives);
                    let container = container.map_or(1, |it| it.container);
                    let told = self.view.present().find(|it| it.id().as_ref() == Some(&id));
                    let run = told.and_then(|it| it.request.incarnation().map(str::to_owned));
                    self.promises.push(Promise { id, until, boot, container, run });
                }
            }
            ScriptEvent::Returns(number, answer) => {
                let Some((call, ..)) = self.view.calls.get(number).cloned() else { return };
                self.answer(at, entry, *number, &call, answer, log);
            }
            ScriptEvent::SaysAlive(is_alive) => self.check_reported_alive(at, *is_alive),
            ScriptEvent::Settled => self.settled(at, entry),
            ScriptEvent::Broken(property, saw) => self.breaks(property, at, saw.clone()),
            ScriptEvent::Home(_)
            | ScriptEvent::Action(..)
            | ScriptEvent::Calls(..)
            | ScriptEvent::Quiet => {}
        }
    }

    /// A living gateway is reported alive, whatever happens to its lock file or the home's name: TG-S8.
    fn check_reported_alive(&mut self, at: usize, is_alive: bool) {
        let lives = |it: &GatewayView| it.started.is_some() && !it.is_over && !it.gate.is_stopped;
        if !is_alive && self.is_own_status && self.view.gateways.values().any(lives) {
            self.breaks(FAITHFUL, at, "a gateway is alive, but its home reports none");
        }
    }

    /// A controller learns that acting is safe only while the gate is sealed: TG-S4.
    fn check_safe(&mut self, at: usize, entry: &Entry, is_there: bool) {
        let is_open = |it: &&GatewayView| {
            let lives = it.started.is_some() && !it.is_over && !it.gate.is_stopped;
            lives && it.boot == entry.boot && !it.gate.is_sealed
        };
        let open = self.view.gateways.values().find(is_open).map(|it| it.gate);
        if let Some(gate) = open.filter(|_| is_there) {
            self.breaks(
                QUIESCED_MEANS_IDLE,
                at,
                format!("a controller learns that it is safe, but the gate is {gate:?}"),
            );
        }
    }

    /// The answer of a call is true: TG-S5, TG-S11, TG-S14, TG-L4.
    fn answer(
        &mut self,
        at: usize,
        entry: &Entry,
        number: u64,
        call: &Call,
        answer: &Answer,
        log: &[Entry],
    ) {
        let is_call = |it: &Entry| matches!(it.what.program_event::<ScriptEvent>(), Some(ScriptEvent::Calls(of, _)) if *of == number);
        let Some(called) = log[..at].iter().rposition(is_call) else { return };
        match (call, answer) {
            (_, Answer::Receipt { id, draining }) => {
                let written = self.view.versions.iter().find(|it| it.id().as_ref() == Some(id));
                let written = written.map_or(called, |it| it.from);
                let Some(gateway) = self.gateway(entry.process) else { return };
                let is_draining = gateway.gate.is_closed && !gateway.gate.is_shut;
                let was_draining =
                    is_draining || gateway.draining_last.is_some_and(|last| last >= written);
                if *draining && !was_draining {
                    self.breaks(
                        ACK_MEANS_CLOSED,
                        at,
                        format!("the receipt of {id} says draining, but the gate did not close"),
                    );
                }
                self.rests_on_a_look(at, entry, written);
                self.acknowledge(id);
            }
            (_, Answer::Begun(id)) => self.acknowledge(id),
            (Call::Cancel(who), Answer::Cancelled(_)) => {
                let holder = who.holder();
                let was_there =
                    |it: &&RequestVersion| it.slot.is_held_by(&holder) && it.from < called;
                let found = self.view.present().find(was_there).cloned();
                if let Some(found) = found {
                    let saw = format!("{:?} is reported cancelled, but still exists", found.slot);
                    self.breaks(RECEIPT_IS_TRUE, at, saw);
                }
                let there: Vec<u64> = self.view.present().map(|it| it.of).collect();
                for version in &mut self.view.versions {
                    version.is_removed_for_good |= version.slot.is_held_by(&holder)
                        && version.to.is_some()
                        && !there.contains(&version.of);
                }
                if self.gateway(entry.process).is_some_and(|it| it.started.is_some()) {
                    self.rests_on_a_look(at, entry, called);
                }
            }
            (Call::Reconcile, Answer::Done) => self.rests_on_a_look(at, entry, called),
            (Call::ShutDown(_), Answer::Ended(ended)) => {
                let Some(gateway) = self.gateway(entry.process) else { return };
                let (left_at_stop, stopped) = (gateway.left_at_stop, gateway.stopped);
                let left = if let Ended::TimedOut { in_flight } = ended { *in_flight } else { 0 };
                if !left_at_stop.is_some_and(|it| it.allows(left)) {
                    let saw = format!(
                        "the shutdown reports {ended:?}, but {left_at_stop:?} were in flight"
                    );
                    self.breaks(RECEIPT_IS_TRUE, at, saw);
                }
                let is_reported = self.reported_stopped.contains(&entry.process);
                let waited = stopped.map(|at| entry.at.saturating_sub(at));
                if !is_reported
                    && self.setting.has_files
                    && self.setting.is_calm
                    && waited.is_some_and(|it| it < Duration::from_secs(2))
                {
                    let saw = "a shutdown is reported ended before the last status is written";
                    self.breaks(RECEIPT_IS_TRUE, at, saw);
                }
                let Some((grace, since)) = self.shutdowns.get(&number).copied() else { return };
                // The call waits for the last status, and a thread that sleeps sees a deadline when it wakes. A
                // deadline that passes during suspend is seen soon after.
                let soon = Duration::from_secs(4);
                let due = since.1 + grace + soon;
                let slept = self.woke.filter(|(up, _)| *up >= since.0 + grace);
                let due = slept.map_or(due, |(_, waited)| due.min(waited.max(since.1) + soon));
                if entry.waited > due {
                    self.breaks(
                        STOPS,
                        at,
                        format!("shutdown requested at {since:?}, ended at {:?}", entry.waited),
                    );
                }
            }
            _ => {}
        }
    }

    /// An observation that began after this event is applied: TG-S11.
    fn rests_on_a_look(&mut self, at: usize, entry: &Entry, after: usize) {
        let Some(gateway) = self.gateway(entry.process) else { return };
        let rests = gateway.last_look.is_some_and(|began| began > after);
        if !rests && !gateway.gate.is_stopped {
            let saw =
                format!("last observation {:?}, requested at event {after}", gateway.last_look);
            self.breaks(NEVER_OVERLAP, at, saw);
        }
    }

    fn acknowledge(&mut self, id: &str) {
        // A file that a person has rewritten is no longer the acknowledged request.
        let is_own = |it: &&mut RequestVersion| it.id().as_deref() == Some(id) && !it.is_rewritten;
        for version in self.view.versions.iter_mut().filter(is_own) {
            version.is_acknowledged = true;
        }
    }

    /// A power loss neither loses an acknowledged request nor brings back a cancelled one: TG-S12.
    fn survives(&mut self, at: usize) {
        for version in std::mem::take(&mut self.before_power_loss) {
            let found = self.view.present().find(|it| it.slot == version.slot).cloned();
            if version.is_acknowledged && found.as_ref().is_none_or(|it| it.bytes != version.bytes)
            {
                let saw = format!("{:?} was acknowledged, and is now {found:?}", version.slot);
                self.breaks(NO_TORN, at, saw);
            }
        }
        let returned: Vec<Slot> = self
            .view
            .present()
            .filter(|now| {
                let same = |it: &&RequestVersion| it.of == now.of && it.slot == now.slot;
                self.view.versions.iter().filter(same).any(|it| it.is_removed_for_good)
            })
            .map(|it| it.slot.clone())
            .collect();
        for slot in returned {
            self.breaks(NO_TORN, at, format!("{slot:?} was reported cancelled, but exists again"));
        }
    }

    /// A gate closes within two ticks: TG-L1, as safety.
    fn closes_in_time(&mut self, at: usize, entry: &Entry) {
        let due = std::mem::take(&mut self.closes_due);
        for it in due {
            let Some(gateway) = self.gateway(it.process) else { continue };
            let present = self.view.present().find(|version| version.of == it.of);
            let is_live = present.is_some_and(|it| {
                !it.is_by_the_wall() && View::is_live(&it.request, entry, gateway)
            });
            if gateway.gate.is_closed || gateway.is_over || !is_live || it.boot != entry.boot {
                continue;
            }
            if entry.at >= it.at {
                let saw =
                    format!("{:?} exists for more than two ticks, but the gate is open", it.slot);
                self.breaks(CLOSES, at, saw);
            } else {
                self.closes_due.push(it);
            }
        }
    }

    /// Judges an event by the state after it.
    fn has_seen(&mut self, at: usize, entry: &Entry) {
        let held: Vec<String> = self.view.present().filter_map(RequestVersion::id).collect();
        self.promises.retain(|it| held.contains(&it.id));
        if !self.setting.is_calm {
            return;
        }
        // Only a request that has just appeared, and the gateways that are open.
        let Some(new) = self.view.versions.last().filter(|it| it.from == at && it.is_file) else {
            return;
        };
        let open = self.view.gateways.iter().filter(|(_, it)| {
            it.started.is_some() && !it.is_over && !it.gate.is_closed && it.boot == entry.boot
        });
        let (at, boot) = (entry.at + self.setting.interval * 2, entry.boot);
        let at = at + Duration::from_millis(100);
        let due = open.map(|(process, _)| {
            let (process, of, slot) = (*process, new.of, new.slot.clone());
            Due { boot, at, process, of, slot }
        });
        self.closes_due.extend(due);
    }

    /// Everything that must happen has happened by now, if nothing prevents it: TG-L1 to TG-L4.
    fn settled(&mut self, at: usize, entry: &Entry) {
        let lives = |it: &&GatewayView| it.started.is_some() && !it.is_over && !it.gate.is_stopped;
        let Some(gateway) = self.view.gateways.values().find(lives).cloned() else { return };
        let gate = gateway.gate;
        let is_special =
            |it: &RequestVersion| !it.is_file || it.is_rewritten || it.is_by_the_wall();
        let is_live =
            |it: &&RequestVersion| !is_special(it) && View::is_live(&it.request, entry, &gateway);
        let special = self.view.present().any(is_special);
        let live = self.view.present().find(is_live).map(|it| it.slot.clone());
        match live {
            Some(slot) if !gate.is_closed => {
                self.breaks(CLOSES, at, format!("{slot:?} exists, but the gate is open"));
            }
            None if gate.is_closed && !gate.is_shut && !special => {
                self.breaks(REOPENS, at, "no request is live, but the gate is closed");
            }
            _ => {}
        }
        let said = self.view.status.as_ref().and_then(|it| serde_json::from_slice(it).ok());
        let said: Value = said.unwrap_or_default();
        // A status that a person removed or ruined is written again with the next change.
        if self.is_own_status && said["lifecycle"] != gate.lifecycle() {
            self.breaks(
                FAITHFUL,
                at,
                format!("the gate is {gate:?}, but the status says {}", said["lifecycle"]),
            );
        }
        if self.is_own_status && gate.is_closed && gate.in_flight() == 0 && said["idle"] != true {
            self.breaks(DRAINS, at, "nothing is in flight, but the status does not say idle");
        }
        let holds = |it: &&RequestVersion| is_live(it) && it.request.terms().hold_internal;
        if self.view.present().any(|it| holds(&it)) && gate.is_closed && !gate.is_held {
            self.breaks(DRAINS, at, "a request holds internal work, but the gate does not");
        }
        let listed = |it: &Value| it["request_id"].as_str().map(str::to_owned);
        let mut said: Vec<Option<String>> =
            said["holders"].as_array().into_iter().flatten().map(listed).collect();
        let mut there: Vec<Option<String>> =
            self.view.present().filter(is_live).map(RequestVersion::id).collect();
        said.sort_unstable();
        there.sort_unstable();
        if self.is_own_status && !gate.is_shut && !special && said != there {
            self.breaks(FAITHFUL, at, format!("the status lists {said:?}, but {there:?} exist"));
        }
        let waits: Vec<Call> = self.view.calls.values().map(|it| it.0.clone()).collect();
        for call in waits {
            self.still_waits(at, &call, gate);
        }
    }

    /// A thread that waits is woken when what it waits for has happened: TG-L2, TG-L3, TG-L4.
    fn still_waits(&mut self, at: usize, call: &Call, gate: GateView) {
        match call {
            Call::Wait(Waiting::Open) if !gate.is_closed => {
                self.breaks(REOPENS, at, "the gate is open, but a thread still waits for that");
            }
            Call::Wait(Waiting::Idle) if gate.is_closed && gate.in_flight() == 0 => {
                self.breaks(DRAINS, at, "the gate is idle, but a thread still waits for that");
            }
            Call::Wait(Waiting::Quiesced) if gate.is_sealed || !gate.is_closed => {
                self.breaks(
                    DRAINS,
                    at,
                    "the gate is sealed or open, but a thread still waits for quiesced",
                );
            }
            Call::ShutDown(_) => self.breaks(STOPS, at, "a shutdown has not ended"),
            Call::Begin(_) | Call::Cancel(_) | Call::Reconcile | Call::Drop => {
                self.breaks(DRAINS, at, format!("{call:?} has not returned"));
            }
            _ => {}
        }
    }
}
