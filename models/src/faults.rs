//! The faults in the shipped code that are switched on, for the thread that explores. Only the checking build has
//! faults. Other builds cannot switch off a guard that is inside the shipped code.

#[cfg(tidegate_checking)]
mod imp {
    use tidegate::faults::{self, Fault};

    use crate::design::Guard;

    /// The fault that switches off a guard inside the shipped code.
    const fn of(guard: Guard) -> Option<Fault> {
        match guard {
            Guard::LooksAlone => Some(Fault::LooksOverlap),
            Guard::ReconcileBeforeAdmit => Some(Fault::AdmitsBeforeFirstLook),
            Guard::StickyShutdown => Some(Fault::ShutIsNotSticky),
            Guard::PublisherLock => Some(Fault::WritesOverlap),
            Guard::WriteRepeated => Some(Fault::FailedWriteCounts),
            _ => None,
        }
    }

    pub(crate) const HAS_SWITCHES: bool = true;

    pub(crate) fn without<T>(guards: &[Guard], run: impl FnOnce() -> T) -> T {
        let faults: Vec<Fault> = guards.iter().copied().filter_map(of).collect();
        faults::with(&faults, run)
    }

    /// Runs this with the fault of this name.
    pub(crate) fn with_fault<T>(name: &str, run: impl FnOnce() -> T) -> T {
        faults::with(&[named(name)], run)
    }

    /// The function that has the fault of this name, and what the code does with it.
    pub(crate) fn description(name: &str) -> (String, String) {
        let fault = named(name);
        (fault.place().to_owned(), fault.rule().to_owned())
    }

    fn named(name: &str) -> Fault {
        let found = Fault::ALL.into_iter().find(|fault| fault.as_str() == name);
        found.unwrap_or_else(|| panic!("there is no fault {name} in the shipped code"))
    }

    pub(crate) fn current() -> u128 {
        faults::on()
    }

    const _: () = assert!(
        Fault::ALL.len() == crate::seeded::SEEDED_FAULTS.len(),
        "each fault of the shipped code has its line in `seeded`"
    );
}

#[cfg(not(tidegate_checking))]
mod imp {
    use crate::design::Guard;

    pub(crate) const HAS_SWITCHES: bool = false;

    pub(crate) fn without<T>(_: &[Guard], run: impl FnOnce() -> T) -> T {
        run()
    }

    pub(crate) fn with_fault<T>(_: &str, run: impl FnOnce() -> T) -> T {
        run()
    }

    pub(crate) fn description(_: &str) -> (String, String) {
        (String::new(), String::new())
    }

    pub(crate) const fn current() -> u128 {
        0
    }
}

use std::sync::{Mutex, OnceLock};

pub(crate) use imp::{HAS_SWITCHES, current, description, with_fault, without};

/// The answers of shipped functions. They are asked once for each set of faults.
pub(crate) struct Answers<T: 'static> {
    ask: fn() -> T,
    /// The answers without faults.
    sound: OnceLock<T>,
    /// The answers with these faults. Guards the answers so far.
    faulty: Mutex<Vec<(u128, &'static T)>>,
}

impl<T> Answers<T> {
    pub(crate) const fn new(ask: fn() -> T) -> Answers<T> {
        Answers { ask, sound: OnceLock::new(), faulty: Mutex::new(Vec::new()) }
    }

    pub(crate) fn get(&'static self) -> &'static T {
        let faults = current();
        if faults == 0 {
            return self.sound.get_or_init(self.ask);
        }
        let mut faulty = self.faulty.lock().expect("nobody panics while asking");
        if let Some((_, answers)) = faulty.iter().find(|(of, _)| *of == faults) {
            return answers;
        }
        let answers: &'static T = Box::leak(Box::new((self.ask)()));
        faulty.push((faults, answers));
        answers
    }
}
