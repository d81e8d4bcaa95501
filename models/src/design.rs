//! The guards of the design, one switch each. A switch changes which shipped function a model *calls*, and with
//! what arguments. It never changes or re-implements one.
//!
//! [`ABLATIONS`](crate::ablations::ABLATIONS) names the incidents that come back without a guard.

use std::fmt;

/// One row for each guard: its name in code, its name in print, and its rule. The rule is also its documentation.
macro_rules! guards {
    ($($guard:ident = $name:literal: $rule:literal,)*) => {
        /// One guard: what it demands and, after "off", what happens without it. If it is switched off, what it
        /// prevents must come back.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Guard {
            $(#[doc = $rule] $guard,)*
        }

        impl Guard {
            /// All of them.
            pub const ALL: [Guard; [$($name),*].len()] = [$(Guard::$guard),*];

            /// What the guard demands, and what happens without it, in one line.
            #[must_use]
            pub(crate) const fn rule(self) -> &'static str {
                match self {
                    $(Guard::$guard => $rule,)*
                }
            }
        }

        impl fmt::Display for Guard {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self {
                    $(Guard::$guard => $name,)*
                })
            }
        }
    };
}

guards! {
    AtomicAdmission = "atomic_admission": "admission checks the gate and claims a place in one step; off: a turn checks, and claims later",
    TransitionLock = "transition_lock": "one lock spans a step of the machine and its effect; off: the effect follows later",
    StickyShutdown = "sticky_shutdown": "a shutdown sets a bit of its own in the gate; off: it closes the gate as a drain does",
    LooksAlone = "looks_alone": "one observation is under way at a time; off: observations overlap",
    Epoch = "epoch": "a request of another boot is dead; off: it closes the gate",
    ReadErrorPolicy = "read_error_policy": "an observation that failed changes nothing; off: it counts as \"no request\"",
    ReconcileBeforeAdmit = "reconcile_before_admit": "the first observation precedes the first admission; off: the gate opens at once",
    // Off, the model writes the word itself, as the original did.
    SingleStatusWriter = "single_status_writer": "the status is derived from machine and gate; off: a release of a drain writes \"running\" without asking either",
    CountedClasses = "counted_classes": "internal work is counted; off: it runs and is not counted",
    OneDoor = "one_door": "internal work enters through the gate; off: it is counted, but does not ask the gate",
    OwnFiles = "own_files": "each holder has files of its own for its requests; off: all holders share one file",
    Lease = "lease": "a request whose lease has run out is dead; off: it lives until it is removed",
    SecondListing = "second_listing": "a listing counts only if a second listing agrees; off: the first one counts",
    DirectoryTimes = "directory_times": "two listings agree only if the directory's times did not change between them; off: they agree if they found the same",
    DirectNotFound = "direct_not_found": "a known request is gone only if its own file was not found; off: also if the observation broke off before it",
    TotalReader = "total_reader": "reading a request never fails; off: a request that cannot be parsed raises an error, and the observation is lost",
    TurnsCountedOut = "turns_counted_out": "a turn is counted out when it is dropped, however it ended; off: a turn that fails is never counted out",
    Deadline = "deadline": "a shutdown has a deadline on a thread of its own; off: it waits for the last turn",
    Children = "children": "work that a live turn needs asks the gate as its child; off: it asks as a new turn",
    DeliveryCounted = "delivery_counted": "a turn is live until its reply is delivered; off: it is live until it is done",
    FollowUpsAsk = "follow_ups_ask": "a message that waited behind a turn asks the gate; off: the same turn continues with it",
    Seal = "seal": "a controller acts on a seal; off: it acts on an idle reading",
    QuiescedUntil = "quiesced_until": "a controller acts only before `quiesced_until`; off: it acts at any time after it has read quiesced",
    OwnPromise = "own_promise": "a controller acts only on a quiesced that names its latest request; off: it acts on any",
    AckAfterClose = "ack_after_close": "a controller acts only on what a live gateway reports; off: it acts if its request exists and nothing is in flight",
    BootClock = "boot_clock": "leases are measured on the boot clock; off: on the wall clock",
    PublisherLock = "publisher_lock": "a publisher holds one lock from its read to the end of its write; off: two publishers read, and write in either order",
    WriteRepeated = "write_repeated": "a status whose write failed is written again; off: it is assumed to be written",
    StartReplaces = "start_replaces": "a process replaces its predecessor's status before anything else; off: it changes its own fields, and keeps the rest",
    HomeLock = "home_lock": "one gateway runs on a home; off: two write one status",
    LockUntilLastStatus = "lock_until_last_status": "the home's lock is released after the last status is written; off: before it",
    AliveByLock = "alive_by_lock": "a gateway is alive if it holds the lock; off: if the status says so",
    WritersLock = "writers_lock": "only a process that may write the lock file can lock it; off: a reader holds it, and it still names a killed gateway",
    DesiredState = "desired_state": "the desired state is kept apart from the observed one; off: the observed state counts as desired",
    DurableRename = "durable_rename": "a request is written to a draft and renamed into its place; off: it is written in its place",
    FileSync = "file_sync": "a request's bytes are on disk before its name is; off: some time later",
    DirectorySync = "directory_sync": "a name that was added or removed is on disk before this is reported; off: some time later",
    ImmutableFiles = "immutable_files": "a named request's file is never written twice; off: a renewal overwrites it, and a sweeper that saw it dead removes the renewed one",
    NewBeforeOld = "new_before_old": "a renewal removes the old request after the new one exists; off: before that",
    DurableBeforeRemoval = "durable_before_removal": "a new request's name is on disk before the old one is removed; off: both reach the disk together",
    RenewalYields = "renewal_yields": "a renewal whose old request is gone removes the new one again; off: the new one stays, even if cancelled",
    CancelLooksAgain = "cancel_looks_again": "a cancel looks for requests until none is left; off: it looks once",
    ReadableOrder = "readable_order": "an order that cannot be read is refused; off: it counts as an empty order, which is a drain",
    RemovalTold = "removal_told": "a removal that failed is reported as failed; off: it is reported as one that found nothing",
    ReadyByGate = "ready_by_gate": "readiness is read from the gate; off: from the status that was published last",
    SecondLook = "second_look": "a waiter checks the gate once more after it has registered; off: it sleeps at once",
    CountedDown = "counted_down": "the last turn of each stripe takes its share from one word, and the last share wakes the waiters; off: it looks at the other stripes, and that look may come before its own end",
    ExchangedClaim = "exchanged_claim": "an arrival is counted in the step that admits it; off: it is counted first, and counted out again at a closed gate",
    ChildWithParent = "child_with_parent": "a child is counted on its parent's stripe; off: on another one",
    RingAfterRelease = "ring_after_release": "the last turn out wakes the waiters after it is counted out; off: before that",
}

impl Guard {
    /// Whether the guard is inside the code that ships, and not in how a model calls it. A fault switches it off,
    /// and only the checking build has faults.
    #[must_use]
    pub const fn is_in_shipped_code(self) -> bool {
        matches!(
            self,
            Guard::LooksAlone
                | Guard::ReconcileBeforeAdmit
                | Guard::StickyShutdown
                | Guard::PublisherLock
                | Guard::WriteRepeated
        )
    }

    const fn bit(self) -> u64 {
        1 << self as u8
    }
}

/// Which guards are on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Design {
    off: u64,
}

impl Design {
    /// The design that ships: every guard on.
    #[must_use]
    pub const fn tidegate() -> Design {
        Design { off: 0 }
    }

    /// The original contract: that of the implementation from which tidegate grew (0.19.0). It has one event loop,
    /// so transitions do not interleave. It has an epoch, a deadline and one lock for each home. It has no named
    /// requests, no seal and no lease.
    #[must_use]
    pub fn original() -> Design {
        let kept = [
            Guard::TransitionLock,
            Guard::StickyShutdown,
            Guard::Epoch,
            Guard::Children,
            Guard::TurnsCountedOut,
            Guard::Deadline,
            Guard::BootClock,
            Guard::SecondListing,
            Guard::DirectoryTimes,
            Guard::DirectNotFound,
            Guard::HomeLock,
            Guard::DurableRename,
            Guard::FileSync,
            Guard::SecondLook,
            Guard::RingAfterRelease,
            Guard::CountedDown,
            Guard::ExchangedClaim,
            Guard::ChildWithParent,
        ];
        let off = Guard::ALL.into_iter().filter(|guard| !kept.contains(guard));
        Design::tidegate().without(&off.collect::<Vec<_>>())
    }

    /// The same design without these guards.
    #[must_use]
    pub fn without(self, guards: &[Guard]) -> Design {
        Design { off: guards.iter().fold(self.off, |off, guard| off | guard.bit()) }
    }

    /// The guards that are off.
    pub(crate) fn off(self) -> Vec<Guard> {
        Guard::ALL.into_iter().filter(|guard| !self.has(*guard)).collect()
    }

    /// Whether the guard is on.
    #[must_use]
    pub const fn has(self, guard: Guard) -> bool {
        self.off & guard.bit() == 0
    }
}
