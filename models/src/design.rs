//! The guards of the design, one switch each. A switch alters which shipped function a model *calls*,
//! and with what; it never alters or re-implements one.

use std::fmt;

/// One guard. Switching it off must bring back what it is there to prevent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Guard {
    /// Admission checks and claims in one step. Off: a turn checks, and claims later (I-54, U19).
    AtomicAdmission,
    /// One lock spans a step and its effect. Off: the effect follows later (I-48).
    TransitionLock,
    /// A shutdown sets a bit of its own in the gate. Off: it closes the gate as a drain does.
    StickyShutdown,
    /// A look applies only if none was applied since it began. Off: whenever it likes (U5).
    ObservationOrder,
    /// A request of another boot is dead. Off: it closes the gate (I-1).
    Epoch,
    /// A look that could not see changes nothing. Off: it counts as "no request" (U3).
    ReadErrorPolicy,
    /// The first look comes before the first admission. Off: the gate opens at once (U2, U35).
    ReconcileBeforeAdmit,
    /// The status is derived from machine and gate. Off: who releases a drain writes "running" without
    /// asking either (U16); the model then writes the word itself, as that code did.
    SingleStatusWriter,
    /// Internal work is counted. Off: it runs beside the count (I-3, I-4, I-5).
    CountedClasses,
    /// Internal work enters by the gate. Off: by a door of its own, which counts it and asks nobody
    /// (I-23, I-26).
    OneDoor,
    /// A holder's requests are files of his own. Off: all share one place (I-35, I-38).
    OwnFiles,
    /// A request whose lease has run out is dead. Off: it lives until it is removed (I-2).
    Lease,
    /// A listing counts once a second one agrees. Off: the first one counts.
    SecondListing,
    /// Two listings agree only if the directory's times did not move between them. Off: if they found the
    /// same.
    DirectoryTimes,
    /// A known request goes only when its own place was found empty. Off: also when the look broke off
    /// before it.
    DirectNotFound,
    /// Reading a request never fails. Off: what cannot be parsed raises, and the look is lost (U34).
    TotalReader,
    /// A turn is counted out when it is dropped, whatever became of it. Off: one that fails never is
    /// (I-32).
    TurnsCountedOut,
    /// A shutdown has a deadline on a thread of its own. Off: it waits for the last turn (I-10, I-12).
    Deadline,
    /// Work that a live turn needs asks as its child. Off: it asks as a new turn (I-43, I-49, I-57).
    Children,
    /// A turn is live until its reply is delivered. Off: until it is done (I-14, I-47).
    DeliveryCounted,
    /// A message that waited behind a turn asks the gate. Off: the turn goes on with it (U1).
    FollowUpsAsk,
    /// A controller acts on a seal. Off: on an idle reading (U24).
    Seal,
    /// A controller acts only before `quiesced_until`. Off: whenever he likes, once he has read quiesced
    /// (U12).
    QuiescedUntil,
    /// A controller acts only on a quiesced that names the request he made last. Off: on any (I-59, U7).
    OwnPromise,
    /// A controller acts only on what a live gateway says. Off: on his request being there, and nothing
    /// being in flight (U4).
    AckAfterClose,
    /// Leases are judged on the boot clock. Off: on the wall clock (U13).
    BootClock,
    /// Who publishes holds one lock from reading to having written. Off: two read, and write in either
    /// order (I-15, U39).
    PublisherLock,
    /// A status that could not be written is written again. Off: it is taken to be there (U14).
    WriteRepeated,
    /// A process replaces its predecessor's status before anything else. Off: it changes what it has to
    /// say, and keeps the rest (I-16, I-17, U28).
    StartReplaces,
    /// One gateway a home. Off: two write one status (U30).
    HomeLock,
    /// The home's lock is given back after the last status. Off: before it (U18).
    LockUntilLastStatus,
    /// Alive is who holds the lock. Off: whoever's status says so (U17, U41).
    AliveByLock,
    /// The home's lock is of a kind that only who may write the file can take. Off: a mere reader holds it, and
    /// a killed gateway's name is still in it (F18).
    WritersLock,
    /// What is wanted stands beside what is. Off: what is is taken for what is wanted (I-7, I-8).
    DesiredState,
    /// A request is written beside its place and renamed over it. Off: where it stands (U37).
    DurableRename,
    /// A request's bytes are on disk before its name is. Off: some time later.
    FileSync,
    /// A name that has come or gone is on disk before anybody is told. Off: some time later.
    DirectorySync,
    /// A named request's file is never written twice. Off: a renewal writes over it, and who saw it dead
    /// removes it all the same (I-78).
    ImmutableFiles,
    /// A renewal removes the old request after the new one stands. Off: before.
    NewBeforeOld,
    /// A new request's name is on disk before the old one is removed. Off: with that removal.
    DurableBeforeRemoval,
    /// A renewal whose old request is gone takes back the new one. Off: it stands, cancelled or not.
    RenewalYields,
    /// Who cancels looks until nothing is left. Off: once.
    CancelLooksAgain,
    /// An order that cannot be read is none. Off: it is an order without a word, which is a drain (U9, U40).
    ReadableOrder,
    /// A removal that failed is told as one. Off: as one that found nothing (U8, U38).
    RemovalTold,
    /// Readiness is asked of the gate. Off: of what was published last.
    ReadyByGate,
    /// Who waits looks once more after it has registered. Off: it sleeps at once.
    SecondLook,
    /// The last turn out rings after it was counted out. Off: before that.
    RingAfterRelease,
}

impl Guard {
    /// All of them.
    pub const ALL: [Guard; 47] = [
        Guard::AtomicAdmission,
        Guard::TransitionLock,
        Guard::StickyShutdown,
        Guard::ObservationOrder,
        Guard::Epoch,
        Guard::ReadErrorPolicy,
        Guard::ReconcileBeforeAdmit,
        Guard::SingleStatusWriter,
        Guard::CountedClasses,
        Guard::OneDoor,
        Guard::OwnFiles,
        Guard::Lease,
        Guard::SecondListing,
        Guard::DirectoryTimes,
        Guard::DirectNotFound,
        Guard::TotalReader,
        Guard::TurnsCountedOut,
        Guard::Deadline,
        Guard::Children,
        Guard::DeliveryCounted,
        Guard::FollowUpsAsk,
        Guard::Seal,
        Guard::QuiescedUntil,
        Guard::OwnPromise,
        Guard::AckAfterClose,
        Guard::BootClock,
        Guard::PublisherLock,
        Guard::WriteRepeated,
        Guard::StartReplaces,
        Guard::HomeLock,
        Guard::LockUntilLastStatus,
        Guard::AliveByLock,
        Guard::WritersLock,
        Guard::DesiredState,
        Guard::DurableRename,
        Guard::FileSync,
        Guard::DirectorySync,
        Guard::ImmutableFiles,
        Guard::NewBeforeOld,
        Guard::DurableBeforeRemoval,
        Guard::RenewalYields,
        Guard::CancelLooksAgain,
        Guard::ReadableOrder,
        Guard::RemovalTold,
        Guard::ReadyByGate,
        Guard::SecondLook,
        Guard::RingAfterRelease,
    ];

    const fn bit(self) -> u64 {
        1 << self as u8
    }
}

impl fmt::Display for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Guard::AtomicAdmission => "atomic_admission",
            Guard::TransitionLock => "transition_lock",
            Guard::StickyShutdown => "sticky_shutdown",
            Guard::ObservationOrder => "observation_order",
            Guard::Epoch => "epoch",
            Guard::ReadErrorPolicy => "read_error_policy",
            Guard::ReconcileBeforeAdmit => "reconcile_before_admit",
            Guard::SingleStatusWriter => "single_status_writer",
            Guard::CountedClasses => "counted_classes",
            Guard::OneDoor => "one_door",
            Guard::OwnFiles => "own_files",
            Guard::Lease => "lease",
            Guard::SecondListing => "second_listing",
            Guard::DirectoryTimes => "directory_times",
            Guard::DirectNotFound => "direct_not_found",
            Guard::TotalReader => "total_reader",
            Guard::TurnsCountedOut => "turns_counted_out",
            Guard::Deadline => "deadline",
            Guard::Children => "children",
            Guard::DeliveryCounted => "delivery_counted",
            Guard::FollowUpsAsk => "follow_ups_ask",
            Guard::Seal => "seal",
            Guard::QuiescedUntil => "quiesced_until",
            Guard::OwnPromise => "own_promise",
            Guard::AckAfterClose => "ack_after_close",
            Guard::BootClock => "boot_clock",
            Guard::PublisherLock => "publisher_lock",
            Guard::WriteRepeated => "write_repeated",
            Guard::StartReplaces => "start_replaces",
            Guard::HomeLock => "home_lock",
            Guard::LockUntilLastStatus => "lock_until_last_status",
            Guard::AliveByLock => "alive_by_lock",
            Guard::WritersLock => "writers_lock",
            Guard::DesiredState => "desired_state",
            Guard::DurableRename => "durable_rename",
            Guard::FileSync => "file_sync",
            Guard::DirectorySync => "directory_sync",
            Guard::ImmutableFiles => "immutable_files",
            Guard::NewBeforeOld => "new_before_old",
            Guard::DurableBeforeRemoval => "durable_before_removal",
            Guard::RenewalYields => "renewal_yields",
            Guard::CancelLooksAgain => "cancel_looks_again",
            Guard::ReadableOrder => "readable_order",
            Guard::RemovalTold => "removal_told",
            Guard::ReadyByGate => "ready_by_gate",
            Guard::SecondLook => "second_look",
            Guard::RingAfterRelease => "ring_after_release",
        })
    }
}

/// Which guards are on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Design {
    off: u64,
}

impl Design {
    /// The design that ships: every guard on.
    #[must_use]
    pub const fn tidegate() -> Design {
        Design { off: 0 }
    }

    /// The contract as first shipped, in the implementation that this one grew from (0.19.0): one event
    /// loop, so transitions did not interleave; an epoch, a deadline and a lock of its own a home. What
    /// it had no words for (named requests, a seal, a lease) it did without.
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
        ];
        let off = Guard::ALL.into_iter().filter(|guard| !kept.contains(guard));
        Design::tidegate().without(&off.collect::<Vec<_>>())
    }

    /// The same without these guards.
    #[must_use]
    pub fn without(self, guards: &[Guard]) -> Design {
        Design { off: guards.iter().fold(self.off, |off, guard| off | guard.bit()) }
    }

    /// Whether the guard is on.
    #[must_use]
    pub const fn has(self, guard: Guard) -> bool {
        self.off & guard.bit() == 0
    }
}
