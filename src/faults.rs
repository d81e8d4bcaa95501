//! Faults that can be switched on in a checking build, to see which property finds each. An ordinary build has no
//! switch: here it knows one constant, and each fault's place in the code compiles to nothing. Only an unpublished
//! package of the repository (`models/checking`) sets the `cfg`, so no feature can.

#[cfg(tidegate_checking)]
mod switches {
    use std::cell::Cell;
    use std::fmt;

    /// One row a fault: its name in code and in print, and what the code does then.
    macro_rules! faults {
        ($($fault:ident = $name:literal in $place:literal: $rule:literal,)*) => {
            /// A fault in the code that ships: what it does then.
            #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
            pub enum Fault {
                $(#[doc = $rule] $fault,)*
            }

            impl Fault {
                /// All of them.
                pub const ALL: [Fault; [$($name),*].len()] = [$(Fault::$fault),*];

                /// Its name.
                #[must_use]
                pub const fn as_str(self) -> &'static str {
                    match self {
                        $(Fault::$fault => $name,)*
                    }
                }

                /// The function that it is in.
                #[must_use]
                pub const fn place(self) -> &'static str {
                    match self {
                        $(Fault::$fault => $place,)*
                    }
                }

                /// What the code does then.
                #[must_use]
                pub const fn rule(self) -> &'static str {
                    match self {
                        $(Fault::$fault => $rule,)*
                    }
                }
            }
        };
    }

    faults! {
        LooksOverlap = "looks_overlap" in "ObservationQueue::turn": "a look begins while another one is under way",
        NeverListsAnew = "never_lists_anew" in "ObservationQueue::turn": "a directory is never listed only because it was not for long",
        TimesNeverDoubted = "times_never_doubted" in "ObservationQueue::turn": "a directory's times are believed on any file system",
        LookServesLateCallers = "look_serves_late_callers" in "ObservationQueue::ended": "a look also answers callers that asked after it had begun",
        AbandonedLookServes = "abandoned_look_serves" in "ObservationQueue::abandoned": "a look that came to nothing answers those who waited for it",
        LookNeverEnds = "look_never_ends" in "ObservationQueue::ended": "a look that has ended still counts as under way",
        SetClockBelieved = "set_clock_believed" in "Stamp::proves_unchanged": "a directory's times are believed after the clock was set",
        TimesAlwaysBelieved = "times_always_believed" in "Stamp::of": "a directory's times are believed as soon as they are read",
        AdmitsBeforeFirstLook = "admits_before_first_look" in "Engine::start": "the gate opens before the first look is applied",
        BlindStartHoldsNothing = "blind_start_holds_nothing" in "Engine::start": "a start that sees nothing lets internal work in",
        ReopeningWakesNobody = "reopening_wakes_nobody" in "Engine::observed": "a reopened gate wakes none of those who wait",
        ShutdownWakesNobody = "shutdown_wakes_nobody" in "Engine::shutdown_asked": "a shutdown does not wake the timer",
        EndToldBeforeLastStatus = "end_told_before_last_status" in "Engine::gate_done": "the end of a shutdown is reported before the last status is written",
        ReceiptForAnyRequest = "receipt_for_any_request" in "Engine::receipt": "a receipt does not ask whose request closed the gate",
        ReceiptIgnoresPhase = "receipt_ignores_phase" in "Engine::receipt": "a receipt says draining in any phase",
        CancelAlwaysReleases = "cancel_always_releases" in "Engine::is_unreleased": "a cancel is answered without looking whether the drain is gone",
        DeadlineIgnored = "deadline_ignored" in "ShutdownProgress::due": "a shutdown waits for the last turn, however long",
        EmptyGateIgnored = "empty_gate_ignored" in "ShutdownProgress::due": "an empty gate is waited for until the deadline",
        CleanWhateverIsLeft = "clean_whatever_is_left" in "Ended::with": "a shutdown that left turns behind is called clean",
        WritesOverlap = "writes_overlap" in "Publishing::turn": "a status is written while another one is being written",
        FailedWriteCounts = "failed_write_counts" in "Publishing::written": "a status whose write failed counts as written",
        DirtyForgotten = "dirty_forgotten" in "Publishing::turn": "what a status says beyond its condition is never written again",
        HomeNeverGivenBack = "home_never_given_back" in "Publishing::written": "the home is kept after the last status",
        HomeGivenBackEarly = "home_given_back_early" in "Publishing::written": "the home is given back before the last status",
        ShutIsNotSticky = "shut_is_not_sticky" in "Word::perform": "a shutdown closes the gate as a drain does",
        CloseAdmitsUsers = "close_admits_users" in "Word::admit": "a closed gate admits user turns",
        SealAdmitsInternal = "seal_admits_internal" in "Word::admit": "a sealed gate admits internal work",
        ChildrenRefused = "children_refused" in "Word::admit": "a closed gate refuses children",
        NeverSeals = "never_seals" in "Word::release": "the last turn out does not seal a held gate",
        SealsWithWork = "seals_with_work" in "Word::closed": "a gate is sealed while turns are in flight",
        ReopenKeepsSeal = "reopen_keeps_seal" in "Word::perform": "a reopened gate stays sealed",
        DrainTakesTurns = "drain_takes_turns" in "Word::perform": "closing the gate clears the count of user turns",
        ShutdownIsUndone = "shutdown_is_undone" in "machine::step": "the end of a drain ends a shutdown",
        NewTermsIgnored = "new_terms_ignored" in "machine::step": "other terms do not amend a drain",
        RequestsNeverAdd = "requests_never_add" in "RequestTable::wanted": "only the last holder counts",
        UnseenIsAbsent = "unseen_is_absent" in "RequestTable::first": "what cannot be read at the start counts as nothing",
        UnreadableIsGone = "unreadable_is_gone" in "RequestTable::see": "a request that cannot be read is gone",
        RuinedIsGone = "ruined_is_gone" in "RequestTable::see": "a request that says nothing is gone",
        PromiseOfTheLongest = "promise_of_the_longest" in "RequestTable::held_until": "the longest lease is promised to all",
        OneListingCounts = "one_listing_counts" in "Scan::listed": "the first listing counts",
        TimesIgnored = "times_ignored" in "Scan::listed": "two equal listings count whatever the directory's times say",
        EpochIgnored = "epoch_ignored" in "Judge::validity": "a request of another boot counts",
        LeaseIgnored = "lease_ignored" in "Judge::validity": "a request whose lease has run out counts",
        RunIgnored = "run_ignored" in "Judge::validity": "a request for a run of the gateway that is over counts",
        WallAtEachLook = "wall_at_each_look" in "Judge::first_seen": "a lease of another clock is judged by the wall clock at each look",
        NeighbourIgnored = "neighbour_ignored" in "OpenHome::require_no_foreign_gateway": "a gateway of another make on the same home is not looked for",
        RecipientNotChecked = "recipient_not_checked" in "Home::begin_drain": "a request stays that was written for a gateway that is gone",
        RecipientIgnored = "recipient_ignored" in "Recipient::stated": "a request is stamped with the sender's own epoch",
        ForeignClockStamped = "foreign_clock_stamped" in "Recipient::stamp": "a request is stamped with the time of a boot clock that is not the gateway's",
        LeaseByTheWall = "lease_by_the_wall" in "Judge::lease_ends_at_uptime": "leases are measured on the wall clock",
        QuiescedIsIdle = "quiesced_is_idle" in "status::condition": "an idle gate is reported as quiesced",
        ReadyWhileShutting = "ready_while_shutting" in "status::condition": "a status says ready whatever the phase",
        ShutdownSaysRunning = "shutdown_says_running" in "status::gateway_state": "a status of a shutdown says running",
        WantsWhatIs = "wants_what_is" in "status::desired_state": "what the gateway is at counts as what is wanted",
        DeadIsAlive = "dead_is_alive" in "Reading::new": "a status counts as a living gateway's, even if another process holds the lock",
        AckByAnyone = "ack_by_anyone" in "Reading::is_draining_for": "a drain is confirmed without asking for whom",
        CutOrderIsRead = "cut_order_is_read" in "ControlOrder::parse": "an order that cannot be read is an empty one",
        FailedCancelIsOk = "failed_cancel_is_ok" in "CancelOutcome::of": "a cancel that failed is answered as done",
        ReadyWhileClosed = "ready_while_closed" in "status::is_ready": "a closed gate is ready",
        SlotsShared = "slots_shared" in "Slot::is_held_by": "every named request is everybody's",
        FileNotSynced = "file_not_synced" in "marker::replace": "a request's bytes are not synced before its name is",
        DirectoryNotSynced = "directory_not_synced" in "marker::sync": "a name that came or went is not synced",
        RenewalRemovesFirst = "renewal_removes_first" in "marker::renew": "a renewal removes the old request before the new one is there",
        EffectAfterUnlock = "effect_after_unlock" in "Shared::look": "the gate does what a look ordered after the lock was given back",
        LostTurn = "lost_turn" in "Shared::look": "a look that has ended does not wake those who wait for their turn",
        LostWrite = "lost_write" in "Shared::write": "a write that has ended does not wake those who wait to publish",
        StaleWord = "stale_word" in "Shared::publish_status": "the gate is read before the lock is taken",
        TimerWakesNobody = "timer_wakes_nobody" in "Shared::timer_round": "a round of the timer wakes none of those who wait",
        SweepsLive = "sweeps_live" in "Shared::sweep_dead": "a request that counts is swept",
        UnparksBeforeRinging = "unparks_before_ringing" in "Wakeup::wake": "the thread is woken before the wakeup is set",
        NoSecondLook = "no_second_look" in "Wait::poll": "a waiter does not look again after it has registered",
        RingsBeforeLeaving = "rings_before_leaving" in "Gate::release": "the last turn out rings before it is counted out",
        SuccessorIsALoss = "successor_is_a_loss" in "PendingDrain::evaluate": "a drain is called lost when the gateway's successor has not seen it yet",
        ElsewhereBelieved = "elsewhere_believed" in "Observer::look": "a home whose name leads elsewhere is used as if it did not",
        LostLockStays = "lost_lock_stays" in "OpenHome::check_lock": "a lock file that was removed is not made again",
        TakenHomeIgnored = "taken_home_ignored" in "Observer::look": "a home that another process holds is used as one's own",
        RenewalStays = "renewal_stays" in "marker::renew": "a renewal whose old request is gone stays",
    }

    thread_local! {
        /// One bit a fault.
        static ON: Cell<u128> = const { Cell::new(0) };
    }

    const _: () = assert!(Fault::ALL.len() <= 128, "a bit each");

    impl fmt::Display for Fault {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.pad(self.as_str())
        }
    }

    /// Whether the fault is on, for this thread.
    pub(crate) fn is_on(fault: Fault) -> bool {
        ON.get() & 1 << fault as u32 != 0
    }

    /// The faults that are on, for this thread: a bit each.
    #[must_use]
    pub fn on() -> u128 {
        ON.get()
    }

    /// Runs this with these faults on, and no others, for this thread.
    pub fn with<T>(faults: &[Fault], run: impl FnOnce() -> T) -> T {
        struct Restore(u128);
        impl Drop for Restore {
            fn drop(&mut self) {
                ON.set(self.0);
            }
        }
        let restore = Restore(ON.get());
        ON.set(faults.iter().fold(0, |all, fault| all | 1 << *fault as u32));
        let done = run();
        drop(restore);
        done
    }
}

#[cfg(tidegate_checking)]
pub(crate) use switches::is_on;
#[cfg(tidegate_checking)]
pub use switches::{Fault, on, with};

/// Whether this fault is on.
#[cfg(tidegate_checking)]
macro_rules! fault {
    ($fault:ident) => {
        $crate::faults::is_on($crate::faults::Fault::$fault)
    };
}

/// Whether this fault is on.
#[cfg(not(tidegate_checking))]
macro_rules! fault {
    ($fault:ident) => {
        $crate::faults::NONE
    };
}

/// No fault is on.
#[cfg(not(tidegate_checking))]
pub(crate) const NONE: bool = false;

pub(crate) use fault;
