//! Faults that can be switched on in a checking build, to see which property finds each. An ordinary build has no
//! switches: it has one constant, and each fault's place in the code compiles to nothing. Only an unpublished package
//! of the repository (`models/checking`) sets the `cfg`, so no feature can.

#[cfg(tidegate_checking)]
mod switches {
    use std::cell::Cell;
    use std::fmt;

    /// One row for each fault: its names in code and in print, its place, and the behaviour of the code with it.
    macro_rules! faults {
        ($($fault:ident = $name:literal in $place:literal: $rule:literal,)*) => {
            /// A fault in the shipped code. Each variant says what the code does with it.
            #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
            pub enum Fault {
                $(#[doc = $rule] $fault,)*
            }

            impl Fault {
                /// All faults.
                pub const ALL: [Fault; [$($name),*].len()] = [$(Fault::$fault),*];

                /// The name in print.
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

                /// The behaviour of the code with this fault.
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
        NeverListsAnew = "never_lists_anew" in "ObservationQueue::turn": "a directory that was not listed for many looks is not listed again because of that",
        TimesNeverDoubted = "times_never_doubted" in "ObservationQueue::turn": "a directory's times are believed on any file system",
        LookServesLateCallers = "look_serves_late_callers" in "ObservationQueue::ended": "a look also answers callers that asked after it had begun",
        AbandonedLookServes = "abandoned_look_serves" in "ObservationQueue::abandoned": "a look that was abandoned answers the callers that waited for it",
        LookNeverEnds = "look_never_ends" in "ObservationQueue::ended": "a look that has ended still counts as under way",
        SetClockBelieved = "set_clock_believed" in "Stamp::proves_unchanged": "a directory's times are believed after the clock was set",
        TimesAlwaysBelieved = "times_always_believed" in "Stamp::of": "a directory's times are believed as soon as they are read",
        AdmitsBeforeFirstLook = "admits_before_first_look" in "Engine::start": "the gate opens before the first look is applied",
        BlindStartHoldsNothing = "blind_start_holds_nothing" in "Engine::start": "a start that cannot see the requests admits internal work",
        ReopeningWakesNobody = "reopening_wakes_nobody" in "Engine::observed": "a reopened gate does not wake the waiters",
        ShutdownWakesNobody = "shutdown_wakes_nobody" in "Engine::shutdown_asked": "a shutdown does not wake the timer",
        EndToldBeforeLastStatus = "end_told_before_last_status" in "Engine::gate_done": "the end of a shutdown is reported before the last status is written",
        ReceiptForAnyRequest = "receipt_for_any_request" in "Engine::receipt": "a receipt says draining for any live request in the slot",
        ReceiptIgnoresPhase = "receipt_ignores_phase" in "Engine::receipt": "a receipt says draining in any phase",
        CancelAlwaysReleases = "cancel_always_releases" in "Engine::is_unreleased": "a cancel is answered without a check that the drain is over",
        DeadlineIgnored = "deadline_ignored" in "ShutdownProgress::due": "a shutdown waits for the last turn without a deadline",
        EmptyGateIgnored = "empty_gate_ignored" in "ShutdownProgress::due": "a shutdown waits until the deadline, even if nothing is in flight",
        CleanWhateverIsLeft = "clean_whatever_is_left" in "Ended::with": "a shutdown that ends with turns in flight is reported as clean",
        WritesOverlap = "writes_overlap" in "Publishing::turn": "a status is written while another one is being written",
        FailedWriteCounts = "failed_write_counts" in "Publishing::written": "a status whose write failed counts as written",
        DirtyForgotten = "dirty_forgotten" in "Publishing::turn": "a status is not written again if only values outside its condition change",
        HomeNeverGivenBack = "home_never_given_back" in "Publishing::written": "the home is not released after the last status",
        HomeGivenBackEarly = "home_given_back_early" in "Publishing::written": "the home is released before the last status",
        ShutIsNotSticky = "shut_is_not_sticky" in "Word::shut, StripeWord::shut": "a shutdown closes the gate as a drain does",
        CloseAdmitsUsers = "close_admits_users" in "StripeWord::admit": "a closed gate admits user turns",
        SealAdmitsInternal = "seal_admits_internal" in "Word::admit": "a sealed gate admits internal work",
        ChildrenRefused = "children_refused" in "StripeWord::admit": "a closed gate refuses children",
        NeverSeals = "never_seals" in "Word::sealed_at_the_end": "the end of the last turn does not seal a held gate",
        SealsWithWork = "seals_with_work" in "Word::closed": "a gate is sealed while turns are in flight",
        ReopenKeepsSeal = "reopen_keeps_seal" in "Word::unsealed": "a reopened gate stays sealed",
        DrainTakesTurns = "drain_takes_turns" in "StripeWord::closed": "closing the gate clears the count of user turns",
        LastTurnKeepsShare = "last_turn_keeps_share" in "StripeWord::gives_share_back": "the last turn of a closed stripe does not give its share back",
        OrderTakesNoShares = "order_takes_no_shares" in "OrderSteps::center": "an order takes no shares, so the gate can be idle while a stripe is open",
        SpareSharesKept = "spare_shares_kept" in "OrderSteps::after_stripe": "the shares of stripes that are empty when they are closed are not given back",
        ReopeningKeepsShares = "reopening_keeps_shares" in "OrderSteps::after_stripe": "a reopening does not give back the shares of stripes that still have turns",
        ReopeningSkipsAStripe = "reopening_skips_a_stripe" in "OrderSteps::stripe": "a reopening leaves the last of several stripes closed",
        CenterOpensFirst = "center_opens_first" in "OrderSteps::center": "a reopening opens the central word before the stripes",
        FoundLeavesOutUsers = "found_leaves_out_users" in "OrderSteps::after_stripe": "an order does not count the user turns that it finds",
        SealedStripeAdmitsChildren = "sealed_stripe_admits_children" in "StripeWord::admit": "a child of a user turn starts after the gateway has stopped",
        ConfirmedBeforeStripes = "confirmed_before_stripes" in "OrderSteps::after_center": "an order is done after the central word, before the stripes",
        ShutdownIsUndone = "shutdown_is_undone" in "machine::step": "the end of a drain ends a shutdown",
        NewTermsIgnored = "new_terms_ignored" in "machine::step": "new terms do not change a drain that has begun",
        RequestsNeverAdd = "requests_never_add" in "RequestTable::wanted": "only the terms of the last holder count",
        UnseenIsAbsent = "unseen_is_absent" in "RequestTable::first": "a request that cannot be read at the start counts as absent",
        UnreadableIsGone = "unreadable_is_gone" in "RequestTable::see": "a request that can no longer be read counts as gone",
        RuinedIsGone = "ruined_is_gone" in "RequestTable::see": "a request that has lost its content counts as gone",
        PromiseOfTheLongest = "promise_of_the_longest" in "RequestTable::held_until": "the promise to all holders lasts as long as the longest lease",
        OneListingCounts = "one_listing_counts" in "Scan::listed": "the first listing counts, without a second one",
        TimesIgnored = "times_ignored" in "Scan::listed": "two equal listings count, even if the directory's times changed between them",
        EpochIgnored = "epoch_ignored" in "Judge::validity": "a request from another boot counts",
        LeaseIgnored = "lease_ignored" in "Judge::validity": "a request whose lease has run out counts",
        RunIgnored = "run_ignored" in "Judge::validity": "a request for an ended run of the gateway counts",
        WallAtEachLook = "wall_at_each_look" in "Judge::first_seen": "at each look the wall clock judges a lease that is on another clock",
        NeighbourIgnored = "neighbour_ignored" in "OpenHome::require_no_foreign_gateway": "a foreign gateway on the same home is not looked for",
        RecipientNotChecked = "recipient_not_checked" in "Home::begin_drain": "a request that was written for a gateway that is gone stays",
        RecipientIgnored = "recipient_ignored" in "Recipient::stated": "a request is stamped with the sender's own epoch",
        ForeignClockStamped = "foreign_clock_stamped" in "Recipient::stamp": "a request gets a time since boot, even if the gateway has another boot clock",
        LeaseByTheWall = "lease_by_the_wall" in "Judge::lease_ends_at_uptime": "the wall clock measures the leases",
        QuiescedIsIdle = "quiesced_is_idle" in "status::condition": "an idle gate is reported as quiesced",
        ReadyWhileShutting = "ready_while_shutting" in "status::condition": "a status says ready in every phase",
        ShutdownSaysRunning = "shutdown_says_running" in "status::gateway_state": "a status says running during a shutdown",
        WantsWhatIs = "wants_what_is" in "status::desired_state": "the desired state of every shutdown is stopped, whatever its cause",
        DeadIsAlive = "dead_is_alive" in "Reading::new": "a status counts as a living gateway's, even if another process holds the lock",
        AckByAnyone = "ack_by_anyone" in "Reading::is_draining_for": "a drain is confirmed without a check of the holder",
        CutOrderIsRead = "cut_order_is_read" in "ControlOrder::parse": "an order that cannot be read counts as an empty one",
        FailedCancelIsOk = "failed_cancel_is_ok" in "CancelOutcome::of": "a cancel that failed is answered as done",
        ReadyWhileClosed = "ready_while_closed" in "status::is_ready": "a closed gate is reported as ready",
        SlotsShared = "slots_shared" in "Slot::is_held_by": "every named request counts as a request of each named holder",
        FileNotSynced = "file_not_synced" in "marker::replace": "a request's bytes are not synced before its name is",
        DirectoryNotSynced = "directory_not_synced" in "marker::sync": "a new or removed name is not synced",
        RenewalRemovesFirst = "renewal_removes_first" in "marker::renew": "a renewal removes the old request before the new one is durable",
        EffectAfterUnlock = "effect_after_unlock" in "Shared::look": "the gate applies the effect of a look after the lock was released",
        LostTurn = "lost_turn" in "Shared::look": "a look that has ended does not wake the callers that wait for their turn",
        LostWrite = "lost_write" in "Shared::write": "a write that has ended does not wake the callers that wait to publish",
        StaleWord = "stale_word" in "Shared::publish_status": "the gate is read before the lock is taken",
        TimerWakesNobody = "timer_wakes_nobody" in "Shared::timer_round": "a round of the timer does not wake the waiters",
        SweepsLive = "sweeps_live" in "Shared::sweep_dead": "the sweep also removes live requests",
        UnparksBeforeRinging = "unparks_before_ringing" in "Wakeup::wake": "the thread is woken before the wakeup is set",
        NoSecondLook = "no_second_look" in "Wait::poll": "a waiter does not check again after it has registered",
        RingsBeforeLeaving = "rings_before_leaving" in "Center::end": "the last turn wakes the timer before its end is counted",
        SuccessorIsALoss = "successor_is_a_loss" in "PendingDrain::evaluate": "a drain counts as lost if the gateway's successor has not seen it yet",
        ElsewhereBelieved = "elsewhere_believed" in "Observer::look": "a home whose path leads to another directory is used as before",
        LostLockStays = "lost_lock_stays" in "OpenHome::check_lock": "a lock file that was removed is not made again",
        TakenHomeIgnored = "taken_home_ignored" in "Observer::look": "a home that another process holds is used as the gateway's own",
        RenewalStays = "renewal_stays" in "marker::renew": "a renewal stays, even if its old request was cancelled meanwhile",
    }

    thread_local! {
        /// The faults that are on, one bit each.
        static ON: Cell<u128> = const { Cell::new(0) };
    }

    const _: () = assert!(Fault::ALL.len() <= 128, "each fault has its own bit");

    impl fmt::Display for Fault {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.pad(self.as_str())
        }
    }

    /// Whether the fault is on, for this thread.
    pub(crate) fn is_on(fault: Fault) -> bool {
        ON.get() & 1 << fault as u32 != 0
    }

    /// The faults that are on for this thread, one bit each.
    #[must_use]
    pub fn on() -> u128 {
        ON.get()
    }

    /// Runs this with exactly these faults on, for this thread.
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
