//! Every atomic access of the gate and its wakeup with its ordering, its pair, and the loom test that fails where it is
//! weaker. The code names these orderings only through this table, except some that are Relaxed and need no pair. Under loom one entry at a time can be weakened, and a
//! test does so for each. It owns no atomic and decides nothing.
//!
//! | access | operation | ordering | pairs with | without it | loom test |
//! |---|---|---|---|---|---|
//! | `Admit` | compare-and-swap on a stripe | Acquire | `OrderStripe` | a turn that a reopened gate admits misses what was done before | `a_user_turn_after_a_migration_sees_it` |
//! | `Refuse` | load of a stripe | Acquire | `OrderStripe` | a refusal states an older generation | `a_refusal_states_its_close` |
//! | `Leave` | subtraction on a stripe | Release | `LastLeaves`, `OrderStripe` | idle is read before a turn's work is seen | `idle_shows_what_all_turns_did` |
//! | `LastLeaves` | load of the stripe by its last turn | Acquire | `Leave` | the same, for the work of a turn that left the stripe earlier | `idle_shows_what_all_turns_did` |
//! | `GiveShareBack` | exchange on the center | Release | `State`, `OrderCenter` | the same, for the last turn of a stripe | `idle_shows_what_all_turns_did` |
//! | `State` | load of the center | Acquire | `GiveShareBack`, `LeaveInternal`, `OrderCenter` | the same, for its reader | `idle_shows_what_all_turns_did` |
//! | `StripeCount` | load of a stripe | Acquire | `Leave` | a gate that is sealed for good is read as idle before its turns' work is seen | `a_stopped_gate_shows_what_its_turns_did` |
//! | `AdmitInternal` | compare-and-swap on the center | Acquire | `OrderCenter` | internal work that an unsealed gate admits misses what was done before | `internal_work_after_a_migration_sees_it` |
//! | `RefuseInternal` | load of the center | Acquire | `OrderCenter` | a refusal states an older generation | `a_refusal_of_internal_work_states_its_close` |
//! | `LeaveInternal` | exchange on the center | Release | `State`, `OrderCenter` | idle is read before the work is seen | `idle_shows_what_internal_work_did` |
//! | `OrderCenter` | exchange on the center | Acquire | `LeaveInternal` | a clean end is reported before the work is seen | `a_clean_end_shows_what_internal_work_did` |
//! | | | Release | `AdmitInternal`, `RefuseInternal`, `State` | as there; and idle is read before the work is seen of a turn whose stripe was found empty | `an_unsealed_gate_shows_what_came_before` |
//! | `OrderStripe` | exchange on a stripe | Acquire | `Leave` | the same | `idle_shows_what_earlier_turns_did` |
//! | | | Release | `Admit`, `Refuse` | as there | `a_reopened_gate_shows_what_came_before` |
//! | `OrderCenterSeen`, `OrderStripeSeen` | load before the exchange | Relaxed | | nothing: the exchange decides | |
//! | `Generation` | store and load | Relaxed | | nothing: the words order it | |
//! | none | store of the words of a gate that is gone, in `pool` | Relaxed | | nothing: no other thread has them | |
//! | `Wake` | swap in `Wakeup::wake` | Release | `Wakes` | the listener wakes, finds the gate not yet idle, and sleeps for good | `the_last_turns_wake_the_waiter` |
//! | `Wakes` | swap in `Wakeup::wait` | Acquire | `Wake` | the same | `the_last_turns_wake_the_waiter` |
//!
//! No access is sequentially consistent: who was last is decided by one word, the center, to which each share is given
//! back once. A refusal that reads a second word only adds how far the same drain has come.
//!
//! loom explores the C11 model as far as it implements it: no reordering of a load before an earlier store of the same
//! thread to another word is missed here, since each decision is one read-modify-write. It does not see time, the
//! allocator, cache lines or the reference counts inside `std::sync::Arc`, and it treats SeqCst fences only in part.

// Not from `sync`, which uses this table. loom's is the same type.
use std::sync::atomic::Ordering;

macro_rules! accesses {
    ($($access:ident: $ordering:ident,)*) => {
        /// An atomic access.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Access {
            $($access,)*
        }

        impl Access {
            const fn as_shipped(self) -> Ordering {
                match self {
                    $(Access::$access => Ordering::$ordering,)*
                }
            }
        }
    };
}

accesses! {
    Admit: Acquire,
    Refuse: Acquire,
    Leave: Release,
    LastLeaves: Acquire,
    GiveShareBack: Release,
    State: Acquire,
    StripeCount: Acquire,
    AdmitInternal: Acquire,
    RefuseInternal: Acquire,
    LeaveInternal: Release,
    OrderCenter: AcqRel,
    OrderCenterSeen: Relaxed,
    OrderStripe: AcqRel,
    OrderStripeSeen: Relaxed,
    Generation: Relaxed,
    Wake: Release,
    Wakes: Acquire,
}

impl Access {
    /// Its ordering.
    #[cfg(not(all(test, tidegate_loom)))]
    #[inline]
    pub(crate) const fn ordering(self) -> Ordering {
        self.as_shipped()
    }

    /// Its ordering, or a weaker one where a test says so.
    #[cfg(all(test, tidegate_loom))]
    pub(crate) fn ordering(self) -> Ordering {
        match WEAKENED.get() {
            Some((access, weaker)) if access == self => weaker,
            _ => self.as_shipped(),
        }
    }
}

#[cfg(all(test, tidegate_loom))]
thread_local! {
    /// loom runs the threads of a model on the thread that called it.
    pub(crate) static WEAKENED: std::cell::Cell<Option<(Access, Ordering)>> = const { std::cell::Cell::new(None) };
}
