//! Random runs of the gateway model, replayed step by step on a real gateway with real files. After each step,
//! the gateway's own status must agree with the model. This shows that the table in `src/gateway.rs`, from steps
//! to shipped code, is true. It covers beginning, cancelling, corrupting, looking, admitting, ending and shutting
//! down. Other tests cover looks that fail or wait for each other, restarts and deadlines.

use std::fs;
use std::time::Duration;

use stateright::Model;
use tidegate::home::Home;
use tidegate::internals::status::Condition;
use tidegate::machine::ShutdownCause;
use tidegate::request::{DrainRequest, Holder};
use tidegate::{Ending, Gateway, Origin, Turn};
use tidegate_models::design::Design;
use tidegate_models::gateway::{Action, GatewayModel, State};

const RUNS: u64 = 150;

const STEPS: usize = 60;

/// A real gateway, and its turns.
struct Real {
    home: Home,
    gateway: Gateway,
    users: Vec<Turn>,
    children: Vec<Turn>,
    internals: Vec<Turn>,
    ending: Option<Ending>,
}

impl Real {
    fn start(dir: &tempfile::TempDir) -> Real {
        let gateway = Gateway::builder(dir.path()).manual().start().expect("starts");
        let home = Home::at(dir.path());
        let none = Vec::new;
        Real { home, gateway, users: none(), children: none(), internals: none(), ending: None }
    }

    /// Does what the model does. `false` if the gateway refuses.
    fn step(&mut self, action: Action) -> bool {
        let marker = self.home.marker_path();
        match action {
            Action::ControllerBegins { hold } => {
                let ask = DrainRequest::new("a controller").with_hold_internal(hold);
                self.home.begin_drain(&ask).expect("begins");
            }
            Action::ControllerCancels => {
                self.home.cancel_drain(&Holder::Shared).expect("cancels");
            }
            Action::MarkerIsCorrupted => fs::write(marker, "{\"action\":\"dra").expect("writes"),
            Action::WatcherApplies { .. } => self.gateway.reconcile_now(),
            Action::UserArrives => return keep(&mut self.users, self.gateway.admit(Origin::User)),
            Action::InternalArrives => {
                return keep(&mut self.internals, self.gateway.admit(Origin::Internal));
            }
            Action::ChildArrives | Action::ChildStartsChild => {
                // Any live turn may have a child, also a child whose parent has ended.
                let parent = self.users.first().or(self.children.first());
                let child = parent.expect("the model has one").child();
                return keep(&mut self.children, child);
            }
            Action::UserTurnEnds => drop(self.users.pop()),
            Action::ChildEnds => drop(self.children.pop()),
            Action::InternalTurnEnds => drop(self.internals.pop()),
            Action::SignalArrives => {
                let grace = Duration::from_secs(3600);
                self.ending = Some(self.gateway.shut_down(ShutdownCause::Sigterm, grace));
            }
            Action::TimerRounds { .. } => {
                let _ = self.ending.take().expect("it was asked for").wait();
            }
            other => unreachable!("{other} is not replayed"),
        }
        true
    }

    /// What the gateway reports about itself.
    fn says(&self) -> (String, bool, bool, u64, u32, u32) {
        let status = self.gateway.status();
        let in_flight = status.in_flight;
        let (user, internal) = (in_flight.user, in_flight.internal);
        let phase = self.gateway.phase().to_string();
        (phase, status.idle, status.quiesced, status.generation, user, internal)
    }
}

fn keep<E>(turns: &mut Vec<Turn>, admitted: Result<Turn, E>) -> bool {
    admitted.map(|turn| turns.push(turn)).is_ok()
}

fn said(it: Condition) -> (String, bool, bool, u64, u32, u32) {
    let (user, internal) = (it.in_flight.user, it.in_flight.internal);
    (it.phase.to_string(), it.idle, it.quiesced, it.generation, user, internal)
}

/// Whether the step can be done to a process, without killing it.
fn is_replayed(action: Action) -> bool {
    !matches!(
        action,
        Action::WatcherLooks { fails: true, .. }
            | Action::CallerBegins
            | Action::WatcherWaits { .. }
            | Action::WatcherFails { .. }
            | Action::QuiescedIsRead
            | Action::LoopEnds
            | Action::TimerRounds { .. }
            | Action::StatusIsPublished
            | Action::ProcessDies
            | Action::MachineReboots
            | Action::ProcessStarts { .. }
    )
}

/// Whether only the gate can refuse this step.
fn is_up_to_the_gate(model: &GatewayModel, action: Action, real: &Real) -> bool {
    let users = u8::try_from(real.users.len()).expect("few");
    let [children, internals] = [real.children.len(), real.internals.len()];
    let others = usize::from(model.others);
    match action {
        Action::UserArrives => users < model.users,
        Action::ChildArrives => children < usize::from(model.children) && users > 0,
        Action::ChildStartsChild => children < usize::from(model.children) && children > 0,
        Action::InternalArrives => internals < others,
        _ => false,
    }
}

#[test]
fn a_real_gateway_goes_where_the_model_goes() {
    let model = GatewayModel {
        begins: 7,
        restarts: 0,
        users: 3,
        children: 2,
        others: 2,
        watchers: 1,
        caller: false,
        ..GatewayModel::small(Design::tidegate())
    };
    let (mut steps, mut refused, mut quiesced, mut stopped) = (0, 0, 0, 0);
    for seed in 0..RUNS {
        let mut dice = fastrand::Rng::with_seed(seed);
        let dir = tempfile::tempdir().expect("temp dir");
        let mut real = Real::start(&dir);
        let mut state: State = model.init_states()[0];
        for step in 0..STEPS {
            let mut actions = Vec::new();
            model.actions(&state, &mut actions);
            actions.retain(|action| is_replayed(*action));
            // A signal is rare. Otherwise every run would soon be over.
            if dice.u8(..8) != 0 {
                actions.retain(|action| *action != Action::SignalArrives);
            }
            let Some(action) = dice.choice(actions) else { break };
            let what = format!("seed {seed}, step {step}: {action}");
            let may_be_refused = is_up_to_the_gate(&model, action, &real);
            let Some(next) = model.next_state(&state, action) else {
                if may_be_refused {
                    assert!(!real.step(action), "{what}: the model refuses it");
                    refused += 1;
                }
                continue;
            };
            state = next;
            // Looking and applying are one call in a gateway that is driven by hand.
            if let Action::WatcherLooks { watcher, .. } = action {
                let applies = Action::WatcherApplies { watcher };
                state = model.next_state(&state, applies).expect("it has looked");
                real.step(applies);
            } else {
                assert!(real.step(action), "{what}: the model admits it");
            }
            // The timer thread runs by itself, and makes its round at once.
            let round = Action::TimerRounds { late: false };
            let emptied = model.next_state(&state, round);
            if let Some(emptied) = emptied {
                state = emptied;
                real.step(round);
            }
            let condition = state.condition().expect("it lives");
            assert_eq!(real.says(), said(condition), "{what}");
            steps += 1;
            quiesced += u32::from(condition.quiesced);
            if emptied.is_some() {
                stopped += 1;
                break;
            }
        }
    }
    println!("{steps} steps, {refused} refused, {quiesced} times quiesced, {stopped} stopped");
    let enough = steps > 2000 && refused > 200 && quiesced > 50 && stopped > 20;
    assert!(enough, "too little is replayed");
}
