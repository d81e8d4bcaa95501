//! Performs a script with the code that ships. Each gateway and each controller is a process of its own on one
//! simulated machine. This module judges nothing: it logs its calls and their answers.

use std::ffi::OsStr;
use std::path::Path;
use std::time::Duration;

use tidegate::home::Home;
use tidegate::machine::{Phase, ShutdownCause};
use tidegate::pending::{Goal, PAUSE, PendingDrain, Reached, WaitFailed};
use tidegate::request::{DrainRequest, Holder};
use tidegate::{Builder, ControlError, Ended, Gateway, Origin, StartError};
use tidegate_world::disk::{self, Faults};
use tidegate_world::log::tell;
use tidegate_world::process::{self, ProcessId, ProcessSpec};
use tidegate_world::sync::mpsc::{self, Sender};
use tidegate_world::{host, thread};

use crate::script::{PersonAction, RequestSpec, RequestedBy, Script, ScriptAction, Step, Until};
use crate::view::STRIPES;

/// What somebody does or learns in a world.
#[derive(Clone, Debug)]
#[allow(dead_code, reason = "some of it is only for the story")]
pub enum ScriptEvent {
    /// The inode number of the home.
    Home(u64),
    /// A step of the script begins: its number and its action.
    Action(usize, ScriptAction),
    /// The call with this number begins.
    Calls(u64, Call),
    /// The call with this number has returned.
    Returns(u64, Answer),
    /// A controller has learned that acting is safe for this request, for this long from now.
    Safe(String, Option<Duration>),
    /// A scenario has found this property broken, and says how.
    Broken(&'static str, String),
    /// From here on, no action is taken and nothing fails.
    Quiet,
    /// Whether a reader of the home finds a living gateway.
    SaysAlive(bool),
    /// Everything that must happen has had the time for it.
    Settled,
}

/// A call that is logged.
#[derive(Clone, Debug)]
pub enum Call {
    /// A gateway is started.
    Start,
    /// A drain is begun.
    Begin(RequestedBy),
    /// A request is renewed.
    Renew(RequestedBy),
    /// A holder's requests are cancelled.
    Cancel(RequestedBy),
    /// The requests of all holders are cancelled.
    CancelAll,
    /// A person changes files.
    Person(PersonAction),
    /// The gateway reconciles now.
    Reconcile,
    /// The gateway shuts down, with this grace.
    ShutDown(Duration),
    /// The last handle is dropped.
    Drop,
    /// A thread waits for this.
    Wait(Waiting),
}

/// What a thread of the gateway's process waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// A user turn can start.
    Open,
    /// The gate is closed, and nothing is in flight.
    Idle,
    /// The gateway is quiesced: nothing is in flight, and nothing can start.
    Quiesced,
}

/// The answer of a call.
#[derive(Clone, Debug)]
#[allow(dead_code, reason = "some of it is only for the story")]
pub enum Answer {
    /// It is done.
    Done,
    /// The id of the request that was written.
    Begun(String),
    /// The receipt for a request that was written.
    Receipt {
        /// The request's id.
        id: String,
        /// Whether the gate is closed for it.
        draining: bool,
    },
    /// Whether there was anything to cancel.
    Cancelled(bool),
    /// How a shutdown ended.
    Ended(Ended),
    /// It failed, with this error.
    Failed(String),
    /// It panicked, because of an injected panic.
    Panicked,
}

/// The gateway's home.
pub(crate) const HOME: &str = "/home";
/// Where the home is while it is moved.
pub(crate) const AWAY: &str = "/away";

/// The file names in the home.
pub(crate) const MARKER: &str = ".drain_request.json";
pub(crate) const REQUESTS: &str = ".drain_requests";
pub(crate) const STATUS: &str = "gateway_state.json";
pub(crate) const LOCK: &str = ".tidegate.lock";

/// The time for everything that must happen, after faults have ended.
pub const SETTLES: Duration = Duration::from_secs(20);

/// What a gateway's process is asked to do.
type Order = Box<dyn FnOnce(&Gateway) + Send>;

/// A message to a gateway's process.
enum Message {
    /// Do this, in a thread of its own.
    Do(Order),
    /// Drop the gateway.
    Drop,
}

/// The gateway's process that was started last.
#[derive(Default)]
struct Running {
    process: Option<ProcessId>,
    orders: Option<Sender<Message>>,
}

/// Runs a call, and logs it with its answer under a fresh number.
pub(crate) fn call<T>(what: Call, run: impl FnOnce() -> T, answer: impl FnOnce(&T) -> Answer) -> T {
    let number = host::random();
    tell(ScriptEvent::Calls(number, what));
    let goes_on = Returning(number, true);
    let done = run();
    goes_on.has_returned(answer(&done));
    done
}

/// A call in progress. If an injected panic ends it, that is logged as its answer.
struct Returning(u64, bool);

impl Returning {
    fn has_returned(mut self, answer: Answer) {
        self.1 = false;
        tell(ScriptEvent::Returns(self.0, answer));
    }
}

impl Drop for Returning {
    fn drop(&mut self) {
        if self.1 {
            tell(ScriptEvent::Returns(self.0, Answer::Panicked));
        }
    }
}

impl RequestedBy {
    /// The holder.
    #[must_use]
    pub fn holder(self) -> Holder {
        match self {
            RequestedBy::Shared => Holder::Shared,
            RequestedBy::Named(number) => {
                Holder::named(&format!("holder-{number}")).unwrap_or(Holder::Shared)
            }
        }
    }
}

impl RequestSpec {
    fn request(self) -> DrainRequest {
        DrainRequest::new("simulated")
            .with_holder(self.who.holder())
            .with_hold_internal(self.hold)
            .with_lease(self.lease)
            .with_this_run(self.this_run)
    }
}

fn failed(error: &impl ToString) -> Answer {
    Answer::Failed(error.to_string())
}

fn done<T, E: ToString>(result: &Result<T, E>) -> Answer {
    result.as_ref().map_or_else(failed, |_| Answer::Done)
}

fn cancelled(result: &Result<bool, ControlError>) -> Answer {
    result.as_ref().map_or_else(failed, |was| Answer::Cancelled(*was))
}

/// How many stripes the gates have, whatever the real machine has.
pub(crate) fn stripes() -> u32 {
    u32::try_from(STRIPES).expect("few")
}

/// A gateway on the home.
pub(crate) fn builder() -> Builder {
    Gateway::builder(HOME).stripes(stripes())
}

/// The process of a gateway.
fn gateway(interval: Duration, orders: &mpsc::Receiver<Message>) {
    let heartbeat = Duration::from_secs(4);
    let start = || builder().interval(interval).heartbeat(heartbeat).start();
    let started = call(Call::Start, start, done::<Gateway, StartError>);
    let Ok(gateway) = started else { return };
    while let Ok(message) = orders.recv() {
        match message {
            Message::Do(order) => {
                let gateway = gateway.clone();
                let run = thread::Builder::new().name("worker".to_owned());
                let _ = run.spawn(move || order(&gateway));
            }
            Message::Drop => break,
        }
        if gateway.phase() == Phase::Stopped {
            break;
        }
    }
    call(Call::Drop, || drop(gateway), |()| Answer::Done);
    // Other threads may still hold turns, so the process goes on for a while.
    thread::sleep(Duration::from_secs(1));
}

/// Waits as the command does, with one observation after the other.
fn wait(
    home: &Home,
    holder: &Holder,
    request: &tidegate::request::Request,
    goal: Goal,
    within: Duration,
) -> Result<Reached, WaitFailed> {
    let began = host::uptime();
    let mut drain = PendingDrain::new(holder, request);
    loop {
        let (reached, reading) = home.check_drain(&mut drain, goal)?;
        if let Some(reached) = reached {
            return Ok(reached);
        }
        if host::uptime().saturating_sub(began) >= within {
            return Err(WaitFailed::TimedOut(drain.unmet_condition(&reading)));
        }
        thread::sleep(PAUSE * 5);
    }
}

fn drains(ask: RequestSpec, until: Until, within: Duration) {
    let (home, holder) = (Home::at(HOME), ask.who.holder());
    let begun = begins(ask);
    let Ok(request) = begun else { return };
    let goal = match until {
        Until::Draining => Goal::Draining,
        Until::Idle => Goal::Idle,
        Until::Quiesced => Goal::Quiesced,
    };
    if let Ok(Reached { safe, .. }) = wait(&home, &holder, &request, goal, within)
        && until == Until::Quiesced
    {
        let id = request.request_id().unwrap_or_default().to_owned();
        let left = safe.map(|safe| safe.left);
        tell(ScriptEvent::Safe(id, left));
        // The controller acts, while it is safe.
        let left = left.unwrap_or(Duration::from_secs(2));
        thread::sleep(left.min(Duration::from_secs(3)));
    }
    cancels(ask.who);
}

fn begins(ask: RequestSpec) -> Result<tidegate::request::Request, ControlError> {
    let begin = || Home::at(HOME).begin_drain(&ask.request());
    call(Call::Begin(ask.who), begin, |begun| match begun {
        Ok(request) => Answer::Begun(request.request_id().unwrap_or_default().to_owned()),
        Err(error) => failed(error),
    })
}

fn cancels(who: RequestedBy) {
    let cancel = || Home::at(HOME).cancel_drain(&who.holder());
    let _ = call(Call::Cancel(who), cancel, cancelled);
}

/// Starts a controller: a process of its own, in this container.
fn controller(
    name: &str,
    container: u64,
    kill_after_steps: Option<u64>,
    run: impl FnOnce() + Send + 'static,
) {
    let name = name.to_owned();
    process::spawn(ProcessSpec { name, container, kill_after_steps, is_exposed: true }, run);
}

/// Does what a person with a shell does.
pub(crate) fn shell(what: PersonAction) {
    let done = || -> Option<()> {
        let home = disk::open_home(Path::new(HOME)).ok()?;
        let [marker, status, lock] = [MARKER, STATUS, LOCK].map(OsStr::new);
        let write = |at: &disk::Dir, name: &OsStr, text: &[u8]| {
            let file = at.open(name).or_else(|_| at.create(name)).ok()?;
            let _ = file.truncate();
            file.write(text).ok()
        };
        let requests = || home.open_dir(OsStr::new(REQUESTS)).ok();
        let request = |at: &disk::Dir| {
            let mut names = disk::next_names(&mut at.list().ok()?).ok()?;
            names.sort_unstable();
            (!names.is_empty()).then(|| names.swap_remove(host::choose(names.len())))
        };
        match what {
            PersonAction::RemovesMarker => home.unlink(marker).ok(),
            PersonAction::TouchesMarker => home.create(marker).ok().map(drop),
            PersonAction::RuinsMarker => write(&home, marker, b"{\"action\": \"dr"),
            PersonAction::RemovesRequest => {
                let requests = requests()?;
                requests.unlink(&request(&requests)?).ok()
            }
            PersonAction::RewritesRequest => {
                let requests = requests()?;
                let name = request(&requests)?;
                write(&requests, &name, if host::choose(2) == 0 { b"{" } else { b"{}" })
            }
            PersonAction::RemovesStatus => home.unlink(status).ok(),
            PersonAction::RuinsStatus => write(&home, status, b"{\"gateway_state\": "),
            PersonAction::RemovesLock => home.unlink(lock).ok(),
            PersonAction::EmptiesLock => home.open(lock).ok()?.truncate().ok(),
            PersonAction::ReplacesLock => {
                home.unlink(lock).ok()?;
                home.create(lock).ok().map(drop)
            }
            PersonAction::TakesLock(for_how_long) => {
                let draft = OsStr::new("draft");
                let file = home.create(draft).ok()?;
                file.lock().ok()?;
                home.rename(draft, lock).ok()?;
                thread::sleep(for_how_long);
                Some(())
            }
            PersonAction::LaysFifo => home.make_special(marker, disk::Kind::Fifo).ok(),
            PersonAction::MovesHome(for_how_long) => {
                disk::move_home(Path::new(HOME), Path::new(AWAY));
                thread::sleep(for_how_long);
                disk::move_home(Path::new(AWAY), Path::new(HOME));
                Some(())
            }
        }
    };
    call(Call::Person(what), done, |_| Answer::Done);
}

/// Has the gateway's process do something, if there is one.
fn inside(running: &Running, order: impl FnOnce(&Gateway) + Send + 'static) {
    if let Some(orders) = &running.orders {
        let _ = orders.send(Message::Do(Box::new(order)));
    }
}

fn waits(waiting: Waiting) -> impl FnOnce(&Gateway) + Send + 'static {
    move |gateway| {
        let wait = || match waiting {
            Waiting::Open => match gateway.admit_when_open(Origin::User).wait() {
                Ok(turn) => drop(turn),
                Err(_refused) => {}
            },
            Waiting::Idle => drop(gateway.idle().wait()),
            Waiting::Quiesced => drop(gateway.quiesced().wait()),
        };
        call(Call::Wait(waiting), wait, |()| Answer::Done);
    }
}

fn turn(is_user: bool, has_child: bool, has_label: bool, lasts: Duration) -> impl FnOnce(&Gateway) {
    move |gateway| {
        let origin = if is_user { Origin::User } else { Origin::Internal };
        if has_label {
            let turn = gateway.admit_labelled(origin, "labelled");
            thread::sleep(lasts);
            drop(turn);
            return;
        }
        let Ok(turn) = gateway.admit(origin) else { return };
        thread::sleep(lasts / 2);
        let child = if has_child { turn.child().ok() } else { None };
        thread::sleep(lasts / 2);
        drop(turn);
        // A child may outlive its parent.
        if child.is_some() {
            thread::sleep(lasts / 4);
        }
    }
}

/// Starts a gateway's process. It becomes the running one, unless the last one is still alive.
fn starts(
    running: &mut Running,
    container: u64,
    kill_after_steps: Option<u64>,
    interval: Duration,
) {
    let (orders, taken) = mpsc::channel();
    let spec =
        ProcessSpec { name: "gateway".to_owned(), container, kill_after_steps, is_exposed: true };
    let is_alive = running.process.is_some_and(|it| !process::wait_for(it, Duration::ZERO));
    let process = process::spawn(spec, move || gateway(interval, &taken));
    // A second start must fail because the home is in use; the first gateway goes on.
    if !is_alive {
        *running = Running { process: Some(process), orders: Some(orders) };
    }
}

fn does(action: ScriptAction, now: &mut Running, interval: Duration) {
    match action {
        ScriptAction::Starts { container, kill_after_steps } => {
            starts(now, container, kill_after_steps, interval);
        }
        ScriptAction::Turn { is_user, has_child, has_label, lasts } => {
            inside(now, turn(is_user, has_child, has_label, lasts));
        }
        ScriptAction::WaitsToStart => inside(now, waits(Waiting::Open)),
        ScriptAction::WaitsForQuiesced => inside(now, waits(Waiting::Quiesced)),
        ScriptAction::WaitsForIdle => inside(now, waits(Waiting::Idle)),
        ScriptAction::BeginsInside(ask) => inside(now, move |gateway| {
            let begin = || gateway.begin_drain(&ask.request());
            let _ = call(Call::Begin(ask.who), begin, |begun| match begun {
                Ok(receipt) => Answer::Receipt {
                    id: receipt.request.request_id().unwrap_or_default().to_owned(),
                    draining: receipt.draining,
                },
                Err(error) => failed(error),
            });
        }),
        ScriptAction::CancelsInside(who) => inside(now, move |gateway| {
            let cancel = || gateway.cancel_drain(&who.holder());
            let _ = call(Call::Cancel(who), cancel, cancelled);
        }),
        ScriptAction::Reconciles => inside(now, |gateway| {
            call(Call::Reconcile, || gateway.reconcile_now(), |()| Answer::Done);
        }),
        ScriptAction::ShutsDown { grace } => inside(now, move |gateway| {
            let shut = || gateway.shut_down(ShutdownCause::Sigterm, grace).wait();
            let _ = call(Call::ShutDown(grace), shut, |ended| Answer::Ended(*ended));
        }),
        ScriptAction::DropsGateway => {
            if let Some(orders) = &now.orders {
                let _ = orders.send(Message::Drop);
            }
        }
        ScriptAction::Begins(ask) => {
            controller("begins", ask.from, None, move || drop(begins(ask)));
        }
        ScriptAction::Renews(who, lease) => controller("renews", 1, None, move || {
            let renew = || Home::at(HOME).renew_drain(&who.holder(), lease);
            let _ = call(Call::Renew(who), renew, |renewed| match renewed {
                Ok(request) => Answer::Begun(request.request_id().unwrap_or_default().to_owned()),
                Err(error) => failed(error),
            });
        }),
        ScriptAction::Cancels(who) => controller("cancels", 1, None, move || cancels(who)),
        ScriptAction::Drains { ask, until, within, kill_after_steps } => {
            controller("drains", ask.from, kill_after_steps, move || drains(ask, until, within));
        }
        ScriptAction::CancelsAll => controller("cancels all", 1, None, || {
            let all = || Home::at(HOME).cancel_all("somebody");
            let _ = call(Call::CancelAll, all, |(_, result)| done(result));
        }),
        ScriptAction::Person(what) => process::actor("person", move || shell(what)),
        ScriptAction::Kill => {
            if let Some(process) = now.process {
                process::kill(process);
            }
        }
        ScriptAction::Suspend(how_long) => host::suspend(how_long),
        ScriptAction::SetsClock(by) => host::step_wall(by),
        ScriptAction::Reboot { loses_power } => {
            *now = Running::default();
            host::reboot(loses_power);
        }
    }
}

/// Creates the home, and logs its number.
pub(crate) fn home_is_made() {
    let home = Path::new(HOME);
    disk::make_home(home, 0o700);
    tell(ScriptEvent::Home(disk::number_of(home).unwrap_or_default()));
}

/// Performs the script, and then waits for everything that must happen.
pub fn play(script: &Script) {
    disk::set_properties(script.properties);
    home_is_made();
    let Script { failing, slow, brief, panicking, ends, interval, .. } = *script;
    disk::set_faults(Faults {
        failing,
        slow,
        brief,
        panicking,
        slow_for: Duration::from_secs(4),
        until: ends,
    });
    let mut running = Running::default();
    let mut at = Duration::ZERO;
    for (number, step) in script.steps.iter().enumerate() {
        let Step { at: then, action } = *step;
        if then > at {
            thread::sleep(then.saturating_sub(at));
            at = then;
        }
        tell(ScriptEvent::Action(number, action));
        does(action, &mut running, interval);
    }
    thread::sleep(ends.saturating_sub(at));
    starts(&mut running, 1, None, interval);
    // Controllers that have begun end within this time, with their waits and actions.
    thread::sleep(Duration::from_secs(16));
    tell(ScriptEvent::Quiet);
    thread::sleep(SETTLES);
    let says = Home::at(HOME).status();
    tell(ScriptEvent::SaysAlive(says.is_ok_and(|it| it.is_alive())));
    tell(ScriptEvent::Settled);
}
