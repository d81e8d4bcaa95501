//! The state at an event of the log: the files that exist, and the state of each gateway's gate, computed as simply
//! as possible. This module judges nothing.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::rc::Rc;
use std::time::Duration;

use serde_json::Value;
use tidegate::GatewayEvent;
use tidegate::epoch::{Epoch, Now};
use tidegate::internals::gate::{GateEvent, Origin, Word};
use tidegate::judge::{Judge, Validity};
use tidegate::machine::Effect;
use tidegate::request::{Request, Slot};
use tidegate_world::host;
use tidegate_world::log::{Entry, EventKind};
use tidegate_world::process::ProcessId;

use crate::script::PersonAction;
use crate::world::{Answer, Call, MARKER, REQUESTS, STATUS, ScriptEvent};

/// How many stripes a simulated gate has.
pub const STRIPES: usize = 2;

/// The state of a gate, computed from its events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GateView {
    pub is_closed: bool,
    pub is_held: bool,
    pub is_sealed: bool,
    pub is_shut: bool,
    /// An order is on its way.
    pub is_ordering: bool,
    /// It is being sealed for good.
    pub is_stopping: bool,
    pub is_stopped: bool,
    /// The turns of users, by stripe.
    pub users: [u32; STRIPES],
    pub internal: u32,
    /// How many stripes are closed and empty, but their last turn has not yet given the share back.
    owed: u32,
}

impl GateView {
    pub fn in_flight(&self) -> u32 {
        self.user() + self.internal
    }

    pub fn user(&self) -> u32 {
        self.users.iter().sum()
    }

    /// Closed, with nothing in flight, and the gate can know it.
    pub fn is_idle(&self) -> bool {
        self.is_closed && !self.is_ordering && self.in_flight() == 0 && self.owed == 0
    }

    pub fn lifecycle(&self) -> &'static str {
        match self {
            GateView { is_stopped: true, .. } => "stopped",
            GateView { is_shut: true, .. } => "shutting_down",
            GateView { is_closed: true, .. } => "externally_draining",
            GateView { .. } => "running",
        }
    }

    fn seals(&mut self) {
        self.is_sealed |= self.is_held && self.is_idle();
    }

    fn performs(&mut self, effect: Effect) {
        self.is_ordering = false;
        match effect {
            Effect::CloseGate { hold_internal } | Effect::AmendDrain { hold_internal } => {
                (self.is_closed, self.is_held) = (true, hold_internal);
                self.is_sealed &= hold_internal;
            }
            // It is open from the beginning of the order: while the stripes open, either answer is right.
            Effect::ReopenGate => {}
            Effect::ShutGate => (self.is_closed, self.is_shut, self.is_held) = (true, true, true),
            Effect::SealGate => (self.is_sealed, self.is_stopped) = (true, true),
        }
        self.seals();
    }

    fn begins(&mut self, effect: Effect) {
        self.is_ordering = true;
        match effect {
            Effect::ReopenGate if !self.is_shut => {
                (self.is_closed, self.is_held, self.is_sealed) = (false, false, false);
            }
            Effect::SealGate => self.is_stopping = true,
            _ => {}
        }
    }

    /// Whether a turn of this origin is in flight.
    pub fn has(&self, origin: Origin) -> bool {
        if origin == Origin::User { self.user() > 0 } else { self.internal > 0 }
    }
}

/// The bounds of what a thread can have counted that goes from word to word while turns come and go.
#[derive(Clone, Copy, Debug)]
pub struct Counted {
    /// The central word that it has read.
    pub word: Option<Word>,
    low: GateView,
    high: GateView,
}

impl Counted {
    fn from(word: Option<Word>, gate: GateView) -> Counted {
        Counted { word, low: gate, high: gate }
    }

    fn changes(&mut self, gate: &GateView) {
        for (index, now) in gate.users.into_iter().enumerate() {
            self.low.users[index] = self.low.users[index].min(now);
            self.high.users[index] = self.high.users[index].max(now);
        }
        self.low.internal = self.low.internal.min(gate.internal);
        self.high.internal = self.high.internal.max(gate.internal);
    }

    /// Whether it can have counted so many user turns.
    pub fn allows_user(&self, user: u64) -> bool {
        (u64::from(self.low.user())..=u64::from(self.high.user())).contains(&user)
    }

    /// Whether it can have counted so many turns.
    pub fn allows(&self, total: u64) -> bool {
        (u64::from(self.low.in_flight())..=u64::from(self.high.in_flight())).contains(&total)
    }
}

/// A gateway's process.
#[derive(Clone, Debug, Default)]
pub struct GatewayView {
    /// The event at which it started; `None` until the first observation is applied.
    pub started: Option<usize>,
    pub began: usize,
    pub boot: u64,
    pub container: u64,
    /// The incarnation in its status.
    pub incarnation: String,
    pub gate: GateView,
    /// The event at which the current observation began.
    pub look: Option<usize>,
    /// The event at which the last applied observation began.
    pub last_look: Option<usize>,
    /// The state of the gate when a status was derived, by the status's sequence number.
    pub derived: BTreeMap<u64, (GateView, Option<Counted>)>,
    /// What each thread can have counted since it last read the central word, or began an order.
    counted: BTreeMap<usize, Counted>,
    /// The last event at which it was draining.
    pub draining_last: Option<usize>,
    /// The time since boot at which it stopped.
    pub stopped: Option<Duration>,
    /// The number of turns in flight when it stopped.
    pub left_at_stop: Option<Counted>,
    pub is_over: bool,
}

/// What a slot contained from one event to another.
#[derive(Clone, Debug)]
pub struct RequestVersion {
    pub slot: Slot,
    pub of: u64,
    pub is_file: bool,
    pub bytes: Rc<[u8]>,
    pub request: Request,
    pub from: usize,
    pub to: Option<usize>,
    /// Whether it was written into an existing file. The directory's times do not show that: a gateway may need 64
    /// observations to see it.
    pub is_rewritten: bool,
    /// Whether its removal was reported to the caller that removed it.
    pub is_removed_for_good: bool,
    /// Whether its write was reported to the caller that wrote it.
    pub is_acknowledged: bool,
}

impl RequestVersion {
    /// Whether its lease has no time on a boot clock. A gateway then computes the time left from the wall clock once,
    /// at first sight, and counts it down.
    pub fn is_by_the_wall(&self) -> bool {
        let body = self.request.body();
        let is_leased = body.read::<f64>("lease_s").is_some();
        is_leased && body.read::<u64>("requested_uptime_ms").is_none()
    }

    /// The request's id.
    pub fn id(&self) -> Option<String> {
        if self.slot == Slot::Shared {
            return self.request.request_id().map(str::to_owned);
        }
        self.slot.request_id()
    }
}

/// The state at one event.
#[derive(Debug, Default)]
pub struct View {
    pub home: u64,
    pub requests: Option<u64>,
    pub versions: Vec<RequestVersion>,
    pub gateways: BTreeMap<ProcessId, GatewayView>,
    /// The calls that have not returned, by number, with the task and the process that made them.
    pub calls: BTreeMap<u64, (Call, usize, usize)>,
    pub status: Option<Rc<[u8]>>,
    /// The calls by which a person takes the lock file, from one event to another.
    pub taken: BTreeMap<u64, (usize, Option<usize>)>,
}

impl View {
    /// The slot that a name in a directory is, if it is one.
    pub fn slot(&self, dir: u64, name: &str) -> Option<Slot> {
        if dir == self.home && name == MARKER {
            return Some(Slot::Shared);
        }
        (Some(dir) == self.requests).then(|| Slot::of_file(OsStr::new(name)))?
    }

    /// What the slots contain now.
    pub fn present(&self) -> impl Iterator<Item = &RequestVersion> {
        self.versions.iter().filter(|it| it.to.is_none())
    }

    /// Whether a request is live for this gateway at the time of `entry`.
    pub fn is_live(request: &Request, entry: &Entry, gateway: &GatewayView) -> bool {
        let (boot_id, stat) = (host::boot_id(entry.boot), host::stat(gateway.container));
        let epoch = Epoch::from_texts(Some(&boot_id), Some(&stat));
        let wall = chrono::DateTime::from_timestamp_millis(entry.wall_ms).unwrap_or_default();
        let now = Now { uptime: entry.at, wall };
        let judge = Judge::new(&epoch, now).for_run(&gateway.incarnation);
        judge.validity(request) == Validity::Live
    }

    /// The call that a task is in.
    pub fn call_of(&self, task: usize) -> Option<&Call> {
        self.calls.values().filter(|it| it.1 == task).map(|it| &it.0).next_back()
    }

    fn ends(&mut self, slot: &Slot, at: usize) {
        for version in self.versions.iter_mut().filter(|it| it.slot == *slot) {
            version.to.get_or_insert(at);
        }
    }

    /// Updates the state with the next event.
    pub fn takes(&mut self, at: usize, entry: &Entry) {
        match &entry.what {
            EventKind::Put { dir, name, of, is_file, bytes } => {
                if *dir == self.home && name == REQUESTS {
                    self.requests = Some(*of);
                }
                if *dir == self.home && name == STATUS {
                    self.status = Some(Rc::clone(bytes));
                    let said: Option<Value> = serde_json::from_slice(bytes).ok();
                    let incarnation =
                        said.and_then(|it| Some(it["incarnation"].as_str()?.to_owned()));
                    if let Some(gateway) = self.gateways.get_mut(&entry.process)
                        && let Some(incarnation) = incarnation
                    {
                        gateway.incarnation = incarnation;
                    }
                }
                let Some(slot) = self.slot(*dir, name) else { return };
                let is_same = |it: &&mut RequestVersion| it.to.is_none() && it.slot == slot;
                if let Some(found) = self.versions.iter_mut().find(is_same)
                    && found.bytes == *bytes
                    && found.of == *of
                {
                    return;
                }
                let is_rewritten = slot != Slot::Shared
                    && self.present().any(|it| it.slot == slot && it.of == *of);
                self.ends(&slot, at);
                self.versions.push(RequestVersion {
                    is_rewritten,
                    slot,
                    of: *of,
                    is_file: *is_file,
                    bytes: Rc::clone(bytes),
                    request: Request::parse(bytes),
                    from: at,
                    to: None,
                    is_removed_for_good: false,
                    is_acknowledged: false,
                });
            }
            EventKind::Gone { dir, name } => {
                if *dir == self.home && name == STATUS {
                    self.status = None;
                }
                if let Some(slot) = self.slot(*dir, name) {
                    self.ends(&slot, at);
                }
            }
            EventKind::Began(container) => {
                let (boot, container) = (entry.boot, *container);
                let gate = GateView { is_closed: true, ..GateView::default() };
                let gateway =
                    GatewayView { began: at, boot, container, gate, ..GatewayView::default() };
                self.gateways.insert(entry.process, gateway);
            }
            EventKind::Exited | EventKind::Killed => {
                self.calls.retain(|_, it| it.2 != entry.process.0 || entry.process.0 == 0);
                if let Some(gateway) = self.gateways.get_mut(&entry.process) {
                    gateway.is_over = true;
                }
            }
            EventKind::Booted { .. } | EventKind::Found => {}
            EventKind::Program(_) => self.told(at, entry),
        }
    }

    fn told(&mut self, at: usize, entry: &Entry) {
        if let Some(told) = entry.what.program_event::<ScriptEvent>() {
            match told {
                ScriptEvent::Home(number) => self.home = *number,
                ScriptEvent::Calls(number, call) => {
                    if matches!(call, Call::Person(PersonAction::TakesLock(_))) {
                        self.taken.insert(*number, (at, None));
                    }
                    self.calls.insert(*number, (call.clone(), entry.task, entry.process.0));
                }
                ScriptEvent::Returns(number, answer) => {
                    if let Some(taken) = self.taken.get_mut(number) {
                        taken.1 = Some(at);
                    }
                    let call = self.calls.remove(number);
                    // After a start that panics there is no gateway.
                    if let (Some((Call::Start, ..)), Answer::Panicked) = (call, answer)
                        && let Some(gateway) = self.gateways.get_mut(&entry.process)
                    {
                        gateway.is_over = true;
                    }
                }
                ScriptEvent::Broken(..)
                | ScriptEvent::Action(..)
                | ScriptEvent::SaysAlive(_)
                | ScriptEvent::Safe(..)
                | ScriptEvent::Quiet
                | ScriptEvent::Settled => {}
            }
        }
        let Some(gateway) = self.gateways.get_mut(&entry.process) else { return };
        if let Some(event) = entry.what.program_event::<GateEvent>() {
            let gate = &mut gateway.gate;
            match *event {
                GateEvent::UserAdmitted(_, stripe, _) => gate.users[stripe] += 1,
                GateEvent::InternalAdmitted(..) => gate.internal += 1,
                GateEvent::Refused(..)
                | GateEvent::OrderedCenter(..)
                | GateEvent::OrderedStripe(..) => {}
                GateEvent::UserReleased(stripe, before) => {
                    gate.users[stripe] = gate.users[stripe].saturating_sub(1);
                    gate.owed += u32::from(before.is_closed() && gate.users[stripe] == 0);
                }
                GateEvent::ShareGivenBack => {
                    gate.owed = gate.owed.saturating_sub(1);
                    gate.seals();
                }
                GateEvent::InternalReleased(_) => {
                    gate.internal = gate.internal.saturating_sub(1);
                    gate.seals();
                }
                GateEvent::OrderBegan(effect) => {
                    gate.begins(effect);
                    gateway.counted.insert(entry.task, Counted::from(None, *gate));
                }
                GateEvent::OrderDone(effect) => {
                    gateway.started.get_or_insert(at);
                    gate.performs(effect);
                    if gate.is_stopped && gateway.left_at_stop.is_none() {
                        gateway.left_at_stop = gateway.counted.get(&entry.task).copied();
                    }
                }
                GateEvent::Read(word) => {
                    gateway.counted.insert(entry.task, Counted::from(Some(word), *gate));
                }
            }
            gateway.counted.values_mut().for_each(|it| it.changes(&gateway.gate));
            if gateway.gate.is_closed && !gateway.gate.is_shut {
                gateway.draining_last = Some(at);
            }
            if gateway.gate.is_stopped {
                gateway.stopped.get_or_insert(entry.at);
            }
        }
        if let Some(event) = entry.what.program_event::<GatewayEvent>() {
            match event {
                GatewayEvent::LookBegan => gateway.look = Some(at),
                GatewayEvent::LookApplied => gateway.last_look = gateway.look.take(),
                GatewayEvent::LookAbandoned => gateway.look = None,
                GatewayEvent::StatusDerived(sequence) => {
                    let counted = gateway.counted.get(&entry.task).copied();
                    gateway.derived.insert(*sequence, (gateway.gate, counted));
                }
            }
        }
    }
}
