//! What the simulated machine guarantees.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use tidegate_world::disk::{self, DiskProperties};
use tidegate_world::process::{self, ProcessSpec};
use tidegate_world::sync::{Arc, Mutex};
use tidegate_world::{Director, Outcome, Policy, Tree, World, host, run, thread, time};

#[derive(Default)]
struct All {
    worlds: Vec<World>,
    outcomes: Vec<Outcome>,
}

impl Director for All {
    fn next(&mut self) -> Option<World> {
        self.worlds.pop()
    }

    fn ended(&mut self, outcome: Outcome) {
        self.outcomes.push(outcome);
    }
}

fn policies() -> Vec<Policy> {
    let random = (0..20).map(|seed| Policy::Random { seed, switch_every: 2 });
    let priorities = (0..20).map(|seed| Policy::Priorities { seed, changes: 2, steps: 100 });
    random.chain(priorities).chain([Policy::Every(Tree::up_to(0))]).collect()
}

/// Runs `main` under each policy. Returns the outcomes.
fn in_worlds(main: fn()) -> Vec<Outcome> {
    let world = |policy| World { policy, main: Box::new(main) };
    let worlds = policies().into_iter().map(world).collect();
    let all = Rc::new(RefCell::new(All { worlds, outcomes: Vec::new() }));
    run(&all);
    all.take().outcomes
}

fn hold(main: fn()) {
    for outcome in in_worlds(main) {
        assert_eq!(outcome.broken, Vec::<String>::new());
    }
}

fn spec() -> ProcessSpec {
    ProcessSpec {
        name: "process".to_owned(),
        container: 1,
        kill_after_steps: None,
        is_exposed: false,
    }
}

const HOME: &str = "/home";

#[test]
fn time_passes_where_nobody_can_go_on() {
    hold(|| {
        let began = time::Instant::now();
        let sleeper = thread::spawn(|| thread::sleep(Duration::from_secs(3600)));
        let _ = sleeper.join();
        assert_eq!(began.elapsed(), Duration::from_secs(3600));
        let (up, wall) = (host::uptime(), host::wall_ms());
        host::suspend(Duration::from_secs(5));
        assert_eq!(began.elapsed(), Duration::from_secs(3600), "waits do not count suspend");
        assert_eq!(
            (host::uptime().saturating_sub(up), host::wall_ms() - wall),
            (Duration::from_secs(5), 5000)
        );
        host::step_wall(-9000);
        assert_eq!(host::wall_ms() - wall, -4000);
    });
}

#[test]
fn threads_that_wait_for_each_other_for_ever_are_reported() {
    let outcomes = in_worlds(|| {
        let waits = thread::spawn(thread::park);
        let _ = waits.join();
    });
    assert!(
        outcomes.iter().all(|it| it.broken.iter().any(|why| why.contains("no thread can go on")))
    );
}

#[test]
fn a_killed_process_gives_its_locks_back_and_does_no_more() {
    hold(|| {
        disk::make_home(Path::new(HOME), 0o700);
        let state = Arc::new(Mutex::new(0));
        let counted = Arc::clone(&state);
        let held = process::spawn(spec(), move || {
            let home = disk::open_home(Path::new(HOME)).expect("opens");
            assert!(home.lock().expect("locks"));
            loop {
                let mut count = counted.lock().expect("never poisoned");
                *count += 1;
                drop(count);
                thread::sleep(Duration::from_millis(10));
            }
        });
        thread::sleep(Duration::from_secs(1));
        let home = disk::open_home(Path::new(HOME)).expect("opens");
        assert!(!home.lock().expect("asks"), "the process is alive");
        process::kill(held);
        assert!(process::wait_for(held, Duration::from_secs(1)));
        assert!(home.lock().expect("locks"), "the kernel has released it");
        let count = *state.lock().expect("never poisoned");
        thread::sleep(Duration::from_secs(60));
        assert_eq!(*state.lock().expect("never poisoned"), count);
    });
}

#[test]
fn what_was_synced_survives_a_power_loss() {
    hold(|| {
        disk::make_home(Path::new(HOME), 0o700);
        let home = disk::open_home(Path::new(HOME)).expect("opens");
        let kept = home.create(OsStr::new("kept")).expect("creates");
        kept.write(b"whole").expect("writes");
        kept.sync().expect("syncs");
        home.sync().expect("syncs");
        home.create(OsStr::new("lost")).expect("creates").write(b"gone").expect("writes");
        home.unlink(OsStr::new("kept")).expect("removes");
        host::reboot(true);
        let found = |name| disk::bytes_at(Path::new(HOME), name);
        let kept = found("kept");
        assert!(kept.as_deref().is_none_or(|it| it == b"whole"), "whole or removed");
        assert!(found("lost").as_deref().is_none_or(|it| b"gone".starts_with(it)));
    });
}

/// A name that exists throughout is listed, whatever happens to other names.
#[test]
fn a_listing_misses_nothing_that_stays() {
    hold(|| {
        disk::set_properties(DiskProperties { batch: 1, ..DiskProperties::LOCAL });
        disk::make_home(Path::new(HOME), 0o700);
        let home = disk::open_home(Path::new(HOME)).expect("opens");
        for name in ["a", "b", "c"] {
            home.create(OsStr::new(name)).expect("creates");
        }
        let others = thread::spawn(|| {
            let home = disk::open_home(Path::new(HOME)).expect("opens");
            for number in 0..5 {
                let name = format!("other-{number}");
                home.create(OsStr::new(&name)).expect("creates");
                home.unlink(OsStr::new(&name)).expect("removes");
            }
        });
        let mut listing = home.list().expect("lists");
        let mut seen = Vec::new();
        loop {
            let names = disk::next_names(&mut listing).expect("lists");
            if names.is_empty() {
                break;
            }
            seen.extend(names);
        }
        let _ = others.join();
        assert!(["a", "b", "c"].iter().all(|name| seen.contains(&(*name).into())), "{seen:?}");
    });
}
