//! Looks at generated directory trees: whatever is created, changed and removed, in any order, a gateway and a plain
//! oracle conclude the same. A status of any bytes makes no gateway idle.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use tidegate::home::Home;
use tidegate::machine::Phase;
use tidegate::{Gateway, Origin};

/// A thing that can be at a place.
#[derive(Clone, Debug)]
enum Thing {
    Nothing,
    Live { hold: bool },
    Stale,
    Bytes(Vec<u8>),
    Directory,
    Fifo,
    Link,
}

fn things() -> impl Strategy<Value = Thing> {
    prop_oneof![
        3 => Just(Thing::Nothing),
        3 => any::<bool>().prop_map(|hold| Thing::Live { hold }),
        1 => Just(Thing::Stale),
        // Bytes that are never a JSON object, so that the oracle does not have to parse.
        2 => prop::collection::vec(any::<u8>(), 0..64).prop_map(|mut bytes| {
            bytes.insert(0, b'!');
            Thing::Bytes(bytes)
        }),
        1 => Just(Thing::Directory),
        1 => Just(Thing::Fifo),
        1 => Just(Thing::Link),
    ]
}

fn lay(path: &Path, thing: &Thing) {
    if fs::symlink_metadata(path).is_ok_and(|found| found.is_dir()) {
        fs::remove_dir(path).expect("rmdir");
    } else {
        let _ = fs::remove_file(path);
    }
    match thing {
        Thing::Nothing => {}
        Thing::Live { hold } => {
            fs::write(path, format!(r#"{{"hold_internal":{hold}}}"#)).expect("writes");
        }
        Thing::Stale => fs::write(path, r#"{"epoch":"another:1"}"#).expect("writes"),
        Thing::Bytes(bytes) => fs::write(path, bytes).expect("writes"),
        Thing::Directory => fs::create_dir(path).expect("mkdir"),
        Thing::Fifo => mknodat(CWD, path, FileType::Fifo, Mode::RUSR, 0).expect("mkfifo"),
        Thing::Link => symlink("/dev/null", path).expect("links"),
    }
}

/// The conclusion about one place: `Some` if a request is there, with whether it holds internal work.
type Belief = Option<bool>;

/// The conclusion after a look. `first` is set at the start, when there is no earlier one.
fn believe(before: Belief, thing: &Thing, first: bool) -> Belief {
    match thing {
        Thing::Nothing | Thing::Stale => None,
        Thing::Live { hold } => Some(*hold),
        // The presence of a file means drain, and a ruined request keeps its earlier terms.
        Thing::Bytes(_) => Some(before.unwrap_or(false)),
        Thing::Directory | Thing::Fifo | Thing::Link if first => Some(false),
        Thing::Directory | Thing::Fifo | Thing::Link => before,
    }
}

const PLACES: usize = 4;

fn config() -> ProptestConfig {
    let regressions = concat!(env!("CARGO_MANIFEST_DIR"), "/proptest-regressions/prop_trees.txt");
    let persistence = FileFailurePersistence::Direct(regressions);
    let failure_persistence = Some(Box::new(persistence) as _);
    ProptestConfig { cases: 200, failure_persistence, ..ProptestConfig::default() }
}

fn places(home: &Home) -> [PathBuf; PLACES] {
    let named = ["a.1.json", "a.2.json", "b.json"].map(|name| home.requests_path().join(name));
    let [one, two, three] = named;
    [home.marker_path(), one, two, three]
}

proptest! {
    #![proptest_config(config())]

    /// Property: TG-S10 fail_safe.
    #[test]
    fn a_gateway_believes_what_an_oracle_does(
        first in prop::collection::vec(things(), PLACES),
        steps in prop::collection::vec((0..PLACES, things(), any::<bool>()), 0..24),
    ) {
        let dir = tempfile::tempdir().expect("temp dir");
        let home = Home::at(dir.path());
        fs::create_dir(home.requests_path()).expect("mkdir");
        let places = places(&home);
        let mut things: Vec<Thing> = first;
        for (place, thing) in places.iter().zip(&things) {
            lay(place, thing);
        }
        let gateway = Gateway::builder(dir.path()).manual().start().expect("starts");
        let mut beliefs: Vec<Belief> =
            things.iter().map(|thing| believe(None, thing, true)).collect();
        agree(&gateway, &beliefs)?;
        for (place, thing, looks) in steps {
            lay(&places[place], &thing);
            things[place] = thing;
            if looks {
                gateway.reconcile_now();
                for (belief, thing) in beliefs.iter_mut().zip(&things) {
                    *belief = believe(*belief, thing, false);
                }
                agree(&gateway, &beliefs)?;
            }
        }
    }

    #[test]
    fn a_status_of_any_bytes_makes_nobody_idle(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
        let dir = tempfile::tempdir().expect("temp dir");
        let home = Home::at(dir.path());
        fs::write(home.status_path(), bytes).expect("writes");
        let reading = home.status().expect("reads");
        prop_assert!(!reading.is_alive() && !reading.is_idle() && !reading.is_quiesced());
        prop_assert!(!reading.is_drainable() && !reading.is_ready());
    }
}

fn agree(gateway: &Gateway, beliefs: &[Belief]) -> Result<(), TestCaseError> {
    let closed = beliefs.iter().any(Option::is_some);
    let held = beliefs.contains(&Some(true));
    prop_assert_eq!(gateway.phase() == Phase::ExternallyDraining, closed, "{:?}", beliefs);
    prop_assert_eq!(gateway.admit(Origin::User).is_err(), closed);
    prop_assert_eq!(gateway.admit(Origin::Internal).is_err(), held, "{:?}", beliefs);
    Ok(())
}
