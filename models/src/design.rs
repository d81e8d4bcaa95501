//! The guards of the design, one switch each. A switch changes which shipped function a model *calls*, and with
//! what arguments. It never changes or re-implements one.
//!
//! The codes in parentheses are the incidents that come back without the guard. Their key is
//! [`tidegate::guide::incidents`], and for `F` [`tidegate::guide::requirements`].

use std::fmt;

/// One guard. If it is switched off, what it prevents must come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Guard {
    /// Admission checks the gate and claims a place in one step. Off: a turn checks, and claims later (I-54, U19).
    AtomicAdmission,
    /// One lock spans a step of the machine and its effect. Off: the effect follows later (I-48).
    TransitionLock,
    /// A shutdown sets a bit of its own in the gate. Off: it closes the gate as a drain does.
    StickyShutdown,
    /// An observation applies only if no other was applied since it began. Off: it applies at any time (U5).
    ObservationOrder,
    /// A request of another boot is dead. Off: it closes the gate (I-1).
    Epoch,
    /// An observation that failed changes nothing. Off: it counts as "no request" (U3).
    ReadErrorPolicy,
    /// The first observation precedes the first admission. Off: the gate opens at once (U2, U35).
    ReconcileBeforeAdmit,
    /// The status is derived from machine and gate. Off: a release of a drain writes "running" without asking
    /// either (U16). The model then writes the status itself, as that code did.
    SingleStatusWriter,
    /// Internal work is counted. Off: it runs and is not counted (I-3, I-4, I-5).
    CountedClasses,
    /// Internal work enters by the gate. Off: it enters elsewhere, is counted, and asks nothing (I-23, I-26).
    OneDoor,
    /// Each holder has files of its own for its requests. Off: all holders share one file (I-35, I-38).
    OwnFiles,
    /// A request whose lease has run out is dead. Off: it lives until it is removed (I-2).
    Lease,
    /// A listing counts only if a second one agrees. Off: the first one counts.
    SecondListing,
    /// Two listings agree only if the directory's times did not change between them. Off: they agree if they
    /// found the same.
    DirectoryTimes,
    /// A known request is gone only if its own file was not found. Off: it is also gone if the observation
    /// broke off before it.
    DirectNotFound,
    /// Reading a request never fails. Off: a request that cannot be parsed raises an error, and the observation
    /// is lost (U34).
    TotalReader,
    /// A turn is counted out when it is dropped, however it ended. Off: a turn that fails is never counted out
    /// (I-32).
    TurnsCountedOut,
    /// A shutdown has a deadline on a thread of its own. Off: it waits for the last turn (I-10, I-12).
    Deadline,
    /// Work that a live turn needs asks the gate as its child. Off: it asks as a new turn (I-43, I-49, I-57).
    Children,
    /// A turn is live until its reply is delivered. Off: it is live until it is done (I-14, I-47).
    DeliveryCounted,
    /// A message that waited behind a turn asks the gate. Off: the turn goes on with it (U1).
    FollowUpsAsk,
    /// A controller acts on a seal. Off: it acts on an idle reading (U24).
    Seal,
    /// A controller acts only before `quiesced_until`. Off: it acts at any time after it has read quiesced (U12).
    QuiescedUntil,
    /// A controller acts only on a quiesced that names its latest request. Off: it acts on any (I-59, U7).
    OwnPromise,
    /// A controller acts only on what a live gateway reports. Off: it acts if its request exists and nothing is
    /// in flight (U4).
    AckAfterClose,
    /// Leases are measured on the boot clock. Off: on the wall clock (U13).
    BootClock,
    /// A publisher holds one lock from its read to the end of its write. Off: two publishers read, and write in
    /// either order (I-15, U39).
    PublisherLock,
    /// A status whose write failed is written again. Off: it is assumed to be written (U14).
    WriteRepeated,
    /// A process replaces its predecessor's status before anything else. Off: it changes its own fields, and
    /// keeps the rest (I-16, I-17, U28).
    StartReplaces,
    /// One gateway runs on a home. Off: two write one status (U30).
    HomeLock,
    /// The home's lock is released after the last status is written. Off: before it (U18).
    LockUntilLastStatus,
    /// A gateway is alive if it holds the lock. Off: if the status says so (U17, U41).
    AliveByLock,
    /// The home's lock is of a kind that only a process that may write the file can take. Off: a mere reader holds
    /// it, and it still names a killed gateway (F18).
    WritersLock,
    /// The desired state is kept apart from the observed one. Off: the observed state counts as desired (I-7,
    /// I-8).
    DesiredState,
    /// A request is written to a draft and renamed into its place. Off: it is written in its place (U37).
    DurableRename,
    /// A request's bytes are on disk before its name is. Off: some time later.
    FileSync,
    /// A name that was added or removed is on disk before this is reported. Off: some time later.
    DirectorySync,
    /// A named request's file is never written twice. Off: a renewal overwrites it, and a sweeper that saw it dead
    /// removes the renewed one (I-78).
    ImmutableFiles,
    /// A renewal removes the old request after the new one exists. Off: before.
    NewBeforeOld,
    /// A new request's name is on disk before the old one is removed. Off: both reach the disk together.
    DurableBeforeRemoval,
    /// A renewal whose old request is gone removes the new one again. Off: the new one stays, even if cancelled.
    RenewalYields,
    /// A cancel looks for requests until none is left. Off: it looks once.
    CancelLooksAgain,
    /// An order that cannot be read is refused. Off: it counts as an empty order, which is a drain (U9, U40).
    ReadableOrder,
    /// A removal that failed is reported as failed. Off: as one that found nothing (U8, U38).
    RemovalTold,
    /// Readiness is read from the gate. Off: from the status that was published last.
    ReadyByGate,
    /// A waiter checks the gate once more after it has registered. Off: it sleeps at once.
    SecondLook,
    /// The last turn out rings the bell after it was counted out. Off: before that.
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

    /// What the guard demands, and what happens without it, in one line.
    #[must_use]
    #[expect(clippy::too_many_lines, reason = "one sentence for each guard")]
    pub(crate) const fn rule(self) -> &'static str {
        match self {
            Guard::AtomicAdmission => {
                "admission checks the gate and claims a place in one step; off: a turn checks, and claims later"
            }
            Guard::TransitionLock => {
                "one lock spans a step of the machine and its effect; off: the effect follows later"
            }
            Guard::StickyShutdown => {
                "a shutdown sets a bit of its own in the gate; off: it closes the gate as a drain does"
            }
            Guard::ObservationOrder => {
                "an observation applies only if no other was applied since it began; off: it applies at any time"
            }
            Guard::Epoch => "a request of another boot is dead; off: it closes the gate",
            Guard::ReadErrorPolicy => {
                "an observation that failed changes nothing; off: it counts as \"no request\""
            }
            Guard::ReconcileBeforeAdmit => {
                "the first observation precedes the first admission; off: the gate opens at once"
            }
            Guard::SingleStatusWriter => {
                "the status is derived from machine and gate; off: a release of a drain writes \"running\" without asking either"
            }
            Guard::CountedClasses => "internal work is counted; off: it runs and is not counted",
            Guard::OneDoor => {
                "internal work enters by the gate; off: it enters elsewhere, is counted, and asks nothing"
            }
            Guard::OwnFiles => {
                "each holder has files of its own for its requests; off: all holders share one file"
            }
            Guard::Lease => {
                "a request whose lease has run out is dead; off: it lives until it is removed"
            }
            Guard::SecondListing => {
                "a listing counts only if a second one agrees; off: the first one counts"
            }
            Guard::DirectoryTimes => {
                "two listings agree only if the directory's times did not change between them; off: they agree if they found the same"
            }
            Guard::DirectNotFound => {
                "a known request is gone only if its own file was not found; off: it is also gone if the observation broke off before it"
            }
            Guard::TotalReader => {
                "reading a request never fails; off: a request that cannot be parsed raises an error, and the observation is lost"
            }
            Guard::TurnsCountedOut => {
                "a turn is counted out when it is dropped, however it ended; off: a turn that fails is never counted out"
            }
            Guard::Deadline => {
                "a shutdown has a deadline on a thread of its own; off: it waits for the last turn"
            }
            Guard::Children => {
                "work that a live turn needs asks the gate as its child; off: it asks as a new turn"
            }
            Guard::DeliveryCounted => {
                "a turn is live until its reply is delivered; off: it is live until it is done"
            }
            Guard::FollowUpsAsk => {
                "a message that waited behind a turn asks the gate; off: the turn goes on with it"
            }
            Guard::Seal => "a controller acts on a seal; off: it acts on an idle reading",
            Guard::QuiescedUntil => {
                "a controller acts only before `quiesced_until`; off: it acts at any time after it has read quiesced"
            }
            Guard::OwnPromise => {
                "a controller acts only on a quiesced that names its latest request; off: it acts on any"
            }
            Guard::AckAfterClose => {
                "a controller acts only on what a live gateway reports; off: it acts if its request exists and nothing is in flight"
            }
            Guard::BootClock => "leases are measured on the boot clock; off: on the wall clock",
            Guard::PublisherLock => {
                "a publisher holds one lock from its read to the end of its write; off: two publishers read, and write in either order"
            }
            Guard::WriteRepeated => {
                "a status whose write failed is written again; off: it is assumed to be written"
            }
            Guard::StartReplaces => {
                "a process replaces its predecessor's status before anything else; off: it changes its own fields, and keeps the rest"
            }
            Guard::HomeLock => "one gateway runs on a home; off: two write one status",
            Guard::LockUntilLastStatus => {
                "the home's lock is released after the last status is written; off: before it"
            }
            Guard::AliveByLock => {
                "a gateway is alive if it holds the lock; off: if the status says so"
            }
            Guard::WritersLock => {
                "the home's lock is of a kind that only a process that may write the file can take; off: a mere reader holds it, and it still names a killed gateway"
            }
            Guard::DesiredState => {
                "the desired state is kept apart from the observed one; off: the observed state counts as desired"
            }
            Guard::DurableRename => {
                "a request is written to a draft and renamed into its place; off: it is written in its place"
            }
            Guard::FileSync => {
                "a request's bytes are on disk before its name is; off: some time later"
            }
            Guard::DirectorySync => {
                "a name that was added or removed is on disk before this is reported; off: some time later"
            }
            Guard::ImmutableFiles => {
                "a named request's file is never written twice; off: a renewal overwrites it, and a sweeper that saw it dead removes the renewed one"
            }
            Guard::NewBeforeOld => {
                "a renewal removes the old request after the new one exists; off: before"
            }
            Guard::DurableBeforeRemoval => {
                "a new request's name is on disk before the old one is removed; off: both reach the disk together"
            }
            Guard::RenewalYields => {
                "a renewal whose old request is gone removes the new one again; off: the new one stays, even if cancelled"
            }
            Guard::CancelLooksAgain => {
                "a cancel looks for requests until none is left; off: it looks once"
            }
            Guard::ReadableOrder => {
                "an order that cannot be read is refused; off: it counts as an empty order, which is a drain"
            }
            Guard::RemovalTold => {
                "a removal that failed is reported as failed; off: as one that found nothing"
            }
            Guard::ReadyByGate => {
                "readiness is read from the gate; off: from the status that was published last"
            }
            Guard::SecondLook => {
                "a waiter checks the gate once more after it has registered; off: it sleeps at once"
            }
            Guard::RingAfterRelease => {
                "the last turn out wakes the waiters after it was counted out; off: before that"
            }
        }
    }

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

    /// The original contract: that of the implementation which tidegate grew from (0.19.0). It has one event loop,
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
        ];
        let off = Guard::ALL.into_iter().filter(|guard| !kept.contains(guard));
        Design::tidegate().without(&off.collect::<Vec<_>>())
    }

    /// The same design without these guards.
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
