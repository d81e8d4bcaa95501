//! The seeded faults: which guards are switched off, and what must break. Each guard is in a set of one or two
//! guards without which a property breaks. If another guard covers for it, that guard is named, and the pair is
//! listed too.

use crate::catalogue::{Check, ModelName, entry_of};
use crate::design::Guard;

/// What must happen without the guards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// This property of the model breaks.
    Breaks(&'static str),
    /// Nothing breaks, because this other guard covers for it. The pair is listed too.
    CoveredBy(Guard),
}

/// A seeded fault, and what must break.
#[derive(Clone, Copy, Debug)]
pub struct Ablation {
    /// The guards that are switched off.
    pub off: &'static [Guard],
    /// What must happen then.
    pub expected: Expected,
    /// The codes of the incidents that come back. [`tidegate::guide::incidents`] explains them, and
    /// [`tidegate::guide::requirements`] those that begin with `F`.
    pub incidents: &'static str,
}

/// Every guard, in a set of one or two without which a property breaks.
pub const ABLATIONS: [Ablation; 64] = [
    Ablation {
        off: &[Guard::TransitionLock],
        expected: Expected::Breaks("confirmed_close_refuses_inv"),
        incidents: "I-48",
    },
    Ablation {
        off: &[Guard::TransitionLock],
        expected: Expected::Breaks("confirmed_gate_is_closed_inv"),
        incidents: "I-48",
    },
    Ablation {
        off: &[Guard::CountedDown],
        expected: Expected::Breaks("waiter_is_woken_progress"),
        incidents: "",
    },
    Ablation {
        off: &[Guard::ExchangedClaim],
        expected: Expected::Breaks("idle_means_empty_inv"),
        incidents: "",
    },
    Ablation {
        off: &[Guard::ChildWithParent],
        expected: Expected::Breaks("idle_means_empty_inv"),
        incidents: "",
    },
    Ablation {
        off: &[Guard::AtomicAdmission],
        expected: Expected::Breaks("no_new_turn_while_draining_step"),
        incidents: "I-54, U19, U21",
    },
    Ablation {
        off: &[Guard::TransitionLock],
        expected: Expected::Breaks("no_new_turn_while_draining_step"),
        incidents: "I-48",
    },
    Ablation {
        off: &[Guard::TransitionLock],
        expected: Expected::Breaks("ack_means_closed_inv"),
        incidents: "I-41, I-53",
    },
    Ablation {
        off: &[Guard::StickyShutdown],
        expected: Expected::CoveredBy(Guard::TransitionLock),
        incidents: "",
    },
    Ablation {
        off: &[Guard::StickyShutdown, Guard::TransitionLock],
        expected: Expected::Breaks("shutdown_wins_inv"),
        incidents: "U29, U20",
    },
    Ablation {
        off: &[Guard::LooksAlone],
        expected: Expected::Breaks("no_new_turn_while_draining_step"),
        incidents: "U5",
    },
    Ablation {
        off: &[Guard::ReadErrorPolicy],
        expected: Expected::Breaks("no_new_turn_while_draining_step"),
        incidents: "U3",
    },
    Ablation {
        off: &[Guard::ReconcileBeforeAdmit],
        expected: Expected::Breaks("no_new_turn_while_draining_step"),
        incidents: "U2, U35, U32",
    },
    Ablation {
        off: &[Guard::SingleStatusWriter],
        expected: Expected::Breaks("shutdown_wins_inv"),
        incidents: "U16",
    },
    Ablation {
        off: &[Guard::CountedClasses],
        expected: Expected::Breaks("bypass_is_bounded_inv"),
        incidents: "I-3, I-4, I-5, U23",
    },
    Ablation {
        off: &[Guard::OneDoor],
        expected: Expected::Breaks("bypass_is_bounded_inv"),
        incidents: "I-23, I-26",
    },
    Ablation {
        off: &[Guard::LooksAlone],
        expected: Expected::Breaks("observations_never_overlap_inv"),
        incidents: "U5",
    },
    Ablation {
        off: &[Guard::ReadErrorPolicy],
        expected: Expected::Breaks("fail_safe_inv"),
        incidents: "U3",
    },
    Ablation {
        off: &[Guard::Epoch],
        expected: Expected::Breaks("stale_never_closes_inv"),
        incidents: "I-1",
    },
    Ablation {
        off: &[Guard::OwnFiles],
        expected: Expected::Breaks("owner_release_inv"),
        incidents: "I-35, I-38, U6, U7",
    },
    Ablation {
        off: &[Guard::Lease],
        expected: Expected::Breaks("stale_never_closes_inv"),
        incidents: "I-2",
    },
    Ablation {
        off: &[Guard::SecondListing],
        expected: Expected::Breaks("quiesced_means_idle_inv"),
        incidents: "",
    },
    Ablation {
        off: &[Guard::DirectoryTimes],
        expected: Expected::Breaks("quiesced_means_idle_inv"),
        incidents: "",
    },
    Ablation {
        off: &[Guard::DirectNotFound],
        expected: Expected::Breaks("quiesced_means_idle_inv"),
        incidents: "U3",
    },
    Ablation {
        off: &[Guard::TotalReader],
        expected: Expected::Breaks("closes_progress"),
        incidents: "U34",
    },
    Ablation {
        off: &[Guard::TurnsCountedOut],
        expected: Expected::Breaks("drains_progress"),
        incidents: "I-32",
    },
    Ablation {
        off: &[Guard::Epoch],
        expected: Expected::Breaks("reopens_progress"),
        incidents: "I-1",
    },
    Ablation {
        off: &[Guard::Deadline],
        expected: Expected::Breaks("stops_progress"),
        incidents: "I-10, I-12",
    },
    Ablation {
        off: &[Guard::Children],
        expected: Expected::Breaks("bypass_progress"),
        incidents: "I-43, I-49, I-57",
    },
    Ablation {
        off: &[Guard::DeliveryCounted],
        expected: Expected::Breaks("in_flight_untouched_inv"),
        incidents: "I-14, I-47",
    },
    Ablation {
        off: &[Guard::FollowUpsAsk],
        expected: Expected::Breaks("follow_ups_ask_step"),
        incidents: "U1",
    },
    Ablation {
        off: &[Guard::Seal],
        expected: Expected::Breaks("in_flight_untouched_inv"),
        incidents: "U24",
    },
    Ablation {
        off: &[Guard::QuiescedUntil],
        expected: Expected::Breaks("promise_is_kept_inv"),
        incidents: "U12",
    },
    Ablation {
        off: &[Guard::OwnPromise],
        expected: Expected::Breaks("promise_is_kept_inv"),
        incidents: "I-59, U7",
    },
    Ablation {
        off: &[Guard::AckAfterClose],
        expected: Expected::Breaks("promise_is_kept_inv"),
        incidents: "U4",
    },
    Ablation {
        off: &[Guard::BootClock],
        expected: Expected::Breaks("orphans_run_out_progress"),
        incidents: "U13, U11",
    },
    Ablation {
        off: &[Guard::Lease],
        expected: Expected::Breaks("orphans_run_out_progress"),
        incidents: "I-2, I-60",
    },
    Ablation {
        off: &[Guard::PublisherLock],
        expected: Expected::Breaks("status_is_faithful_inv"),
        incidents: "I-15, U39, U15",
    },
    Ablation {
        off: &[Guard::WriteRepeated],
        expected: Expected::Breaks("status_is_faithful_inv"),
        incidents: "U14",
    },
    Ablation {
        off: &[Guard::StartReplaces],
        expected: Expected::Breaks("status_is_faithful_inv"),
        incidents: "I-16, I-17, U28",
    },
    Ablation {
        off: &[Guard::HomeLock],
        expected: Expected::Breaks("status_is_faithful_inv"),
        incidents: "U30",
    },
    Ablation {
        off: &[Guard::LockUntilLastStatus],
        expected: Expected::Breaks("status_is_faithful_inv"),
        incidents: "U18",
    },
    Ablation {
        off: &[Guard::AliveByLock],
        expected: Expected::Breaks("dead_is_not_believed_inv"),
        incidents: "U17, U41",
    },
    Ablation {
        off: &[Guard::WritersLock],
        expected: Expected::Breaks("dead_is_not_believed_inv"),
        incidents: "F18",
    },
    Ablation {
        off: &[Guard::DesiredState],
        expected: Expected::Breaks("intent_is_separate_inv"),
        incidents: "I-7, I-8",
    },
    Ablation {
        off: &[Guard::ReadableOrder],
        expected: Expected::Breaks("order_is_understood_inv"),
        incidents: "U9, U40",
    },
    Ablation {
        off: &[Guard::RemovalTold],
        expected: Expected::Breaks("cancel_is_told_inv"),
        incidents: "U8, U38",
    },
    Ablation {
        off: &[Guard::ReadyByGate],
        expected: Expected::Breaks("ready_is_told_inv"),
        incidents: "I-28",
    },
    Ablation {
        off: &[Guard::AckAfterClose],
        expected: Expected::Breaks("drain_is_told_inv"),
        incidents: "U4",
    },
    Ablation {
        off: &[Guard::SecondLook],
        expected: Expected::Breaks("waiter_is_woken_progress"),
        incidents: "",
    },
    Ablation {
        off: &[Guard::RingAfterRelease],
        expected: Expected::Breaks("waiter_is_woken_progress"),
        incidents: "",
    },
    Ablation {
        off: &[Guard::DurableRename],
        expected: Expected::Breaks("no_torn_request_inv"),
        incidents: "U37",
    },
    Ablation {
        off: &[Guard::FileSync],
        expected: Expected::Breaks("no_torn_request_inv"),
        incidents: "",
    },
    Ablation {
        off: &[Guard::DirectorySync],
        expected: Expected::Breaks("acknowledged_survives_inv"),
        incidents: "",
    },
    Ablation {
        off: &[Guard::ImmutableFiles],
        expected: Expected::Breaks("stays_in_force_inv"),
        incidents: "I-78",
    },
    Ablation {
        off: &[Guard::NewBeforeOld],
        expected: Expected::Breaks("stays_in_force_inv"),
        incidents: "",
    },
    Ablation {
        off: &[Guard::DurableBeforeRemoval],
        expected: Expected::Breaks("stays_in_force_inv"),
        incidents: "",
    },
    Ablation {
        off: &[Guard::RenewalYields],
        expected: Expected::Breaks("acknowledged_survives_inv"),
        incidents: "",
    },
    Ablation {
        off: &[Guard::CancelLooksAgain],
        expected: Expected::Breaks("receipt_is_true_inv"),
        incidents: "",
    },
    Ablation {
        off: &[Guard::StickyShutdown, Guard::TransitionLock],
        expected: Expected::Breaks("any_shutdown_wins_inv"),
        incidents: "U29",
    },
    Ablation {
        off: &[Guard::LooksAlone],
        expected: Expected::Breaks("any_no_new_turn_while_draining_inv"),
        incidents: "U5",
    },
    Ablation {
        off: &[Guard::CountedClasses],
        expected: Expected::Breaks("any_bypass_is_bounded_inv"),
        incidents: "I-3, I-4, I-5",
    },
    Ablation {
        off: &[Guard::ReadErrorPolicy],
        expected: Expected::Breaks("any_fail_safe_inv"),
        incidents: "U3",
    },
    Ablation {
        off: &[Guard::CountedClasses],
        expected: Expected::Breaks("sealed_admits_nothing_inv"),
        incidents: "I-3, I-4",
    },
];

impl Ablation {
    /// The model in which it is seeded: the one with the property that must break.
    #[must_use]
    pub fn model(&self) -> ModelName {
        self.check().map_or(ModelName::Gateway, |check| check.model)
    }

    pub(crate) fn breaks_liveness(&self) -> bool {
        self.check().is_some_and(Check::is_progress)
    }

    pub(crate) fn check(&self) -> Option<Check> {
        match self.expected {
            Expected::Breaks(property) => entry_of(property).map(|(_, check)| check),
            Expected::CoveredBy(_) => None,
        }
    }
}
