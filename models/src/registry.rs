//! What belongs to each model: its guards, its sizes, its pinned counts. Only this module knows all of them. A
//! model without a line in one of these tables does not compile.

use std::fmt::{Debug, Display};
use std::hash::Hash;

use stateright::Model;

use crate::catalogue::ModelName;
use crate::channel::ChannelModel;
use crate::controllers::ControllersModel;
use crate::design::{Design, Guard};
use crate::directory::DirectoryModel;
use crate::endpoint::EndpointModel;
use crate::gate::GateModel;
use crate::gateway::GatewayModel;
use crate::gateway::any_number::AnyNumberModel;
use crate::liveness::LivenessProperty;
use crate::marker::MarkerModel;
use crate::status::StatusModel;
use crate::work::WorkModel;

/// A model as the suite checks it: by stateright and by the explorer. Its liveness properties are checked by
/// searching for fair cycles.
pub trait VerifiedModel:
    Model<
        State: Clone + Debug + Display + Eq + Hash + Send + Sync,
        Action: Clone + Debug + Display + PartialEq + Send + Sync,
    > + Send
    + Sync
    + Sized
    + 'static
{
    /// Its liveness properties.
    fn liveness_properties(&self) -> Vec<LivenessProperty<Self>> {
        Vec::new()
    }
}

impl VerifiedModel for GatewayModel {
    fn liveness_properties(&self) -> Vec<LivenessProperty<GatewayModel>> {
        crate::gateway::liveness::liveness_properties()
    }
}

impl VerifiedModel for ChannelModel {}

impl VerifiedModel for AnyNumberModel {}

impl VerifiedModel for ControllersModel {
    fn liveness_properties(&self) -> Vec<LivenessProperty<ControllersModel>> {
        ControllersModel::liveness_properties()
    }
}

impl VerifiedModel for GateModel {
    fn liveness_properties(&self) -> Vec<LivenessProperty<GateModel>> {
        GateModel::liveness_properties()
    }
}

impl VerifiedModel for DirectoryModel {}

impl VerifiedModel for EndpointModel {}

impl VerifiedModel for MarkerModel {}

impl VerifiedModel for StatusModel {
    fn liveness_properties(&self) -> Vec<LivenessProperty<StatusModel>> {
        StatusModel::liveness_properties()
    }
}

impl VerifiedModel for WorkModel {
    fn liveness_properties(&self) -> Vec<LivenessProperty<WorkModel>> {
        WorkModel::liveness_properties()
    }
}

/// The guards that a model uses.
#[must_use]
pub const fn guards_of(model: ModelName) -> &'static [Guard] {
    match model {
        // Each step of the crowd model is a step of the gateway model.
        ModelName::Gateway | ModelName::Crowd => &[
            Guard::AtomicAdmission,
            Guard::TransitionLock,
            Guard::StickyShutdown,
            Guard::LooksAlone,
            Guard::Epoch,
            Guard::ReadErrorPolicy,
            Guard::ReconcileBeforeAdmit,
            Guard::SingleStatusWriter,
            Guard::CountedClasses,
            Guard::OneDoor,
            Guard::TotalReader,
            Guard::TurnsCountedOut,
            Guard::Deadline,
        ],
        ModelName::Marker => &[
            Guard::DurableRename,
            Guard::FileSync,
            Guard::DirectorySync,
            Guard::ImmutableFiles,
            Guard::NewBeforeOld,
            Guard::DurableBeforeRemoval,
            Guard::RenewalYields,
            Guard::CancelLooksAgain,
        ],
        ModelName::Controllers => &[
            Guard::Lease,
            Guard::BootClock,
            Guard::OwnPromise,
            Guard::AckAfterClose,
            Guard::QuiescedUntil,
        ],
        ModelName::Gate => &[
            Guard::TransitionLock,
            Guard::CountedClasses,
            Guard::SecondLook,
            Guard::RingAfterRelease,
            Guard::CountedDown,
            Guard::ExchangedClaim,
            Guard::ChildWithParent,
        ],
        ModelName::Status => &[
            Guard::PublisherLock,
            Guard::WriteRepeated,
            Guard::StartReplaces,
            Guard::HomeLock,
            Guard::LockUntilLastStatus,
            Guard::AliveByLock,
            Guard::WritersLock,
            Guard::DesiredState,
        ],
        ModelName::Endpoint => {
            &[Guard::AckAfterClose, Guard::ReadableOrder, Guard::RemovalTold, Guard::ReadyByGate]
        }
        // It has no guard in how it calls the code: faults inside the shipped code break its properties.
        ModelName::Directory => &[],
        ModelName::Work => {
            &[Guard::Children, Guard::DeliveryCounted, Guard::FollowUpsAsk, Guard::Seal]
        }
        ModelName::Channel => &[
            Guard::OwnFiles,
            Guard::Epoch,
            Guard::Lease,
            Guard::SecondListing,
            Guard::DirectoryTimes,
            Guard::DirectNotFound,
        ],
    }
}

/// How much is explored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// Seconds, for a unit test.
    Small,
    /// The published counts.
    Full,
}

impl Size {
    /// The exact number of a model's distinct states. It is pinned: if a change of the code adds or removes
    /// behaviour, a review sees a changed number.
    pub(crate) const fn pinned_states(self, model: ModelName) -> u64 {
        match (self, model) {
            (Size::Small, ModelName::Gateway) => 2_799_821,
            (Size::Full, ModelName::Gateway) => 55_678_041,
            (_, ModelName::Crowd) => 89_044,
            (Size::Small, ModelName::Channel) => 4_222_142,
            (Size::Full, ModelName::Channel) => 71_507_766,
            (Size::Small, ModelName::Marker) => 2_084_904,
            (Size::Full, ModelName::Marker) => 40_964_586,
            (Size::Small, ModelName::Controllers) => 346_205,
            (Size::Full, ModelName::Controllers) => 15_997_033,
            (Size::Small, ModelName::Status) => 27_984,
            (Size::Full, ModelName::Status) => 12_055_437,
            (Size::Small, ModelName::Endpoint) => 6_995,
            (Size::Full, ModelName::Endpoint) => 123_264,
            (_, ModelName::Directory) => 51_626,
            (Size::Small, ModelName::Work) => 192,
            (Size::Full, ModelName::Work) => 812,
            (_, ModelName::Gate) => 936_998,
        }
    }
}

/// Something that can be done with any model.
pub(crate) trait ModelVisitor {
    type Out;
    fn visit<M: VerifiedModel>(self, model: M) -> Self::Out;
}

/// A configuration of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Configuration {
    /// The configuration that is explored.
    Of(Size),
    /// The configuration that is searched for fair cycles. Its whole graph is kept.
    Liveness,
}

/// Runs the visitor on this model.
pub(crate) fn visit<V: ModelVisitor>(
    model: ModelName,
    configuration: Configuration,
    design: Design,
    visit: V,
) -> V::Out {
    use Configuration::{Liveness, Of};
    match (model, configuration) {
        (ModelName::Gateway, Of(Size::Small)) => visit.visit(GatewayModel::small(design)),
        (ModelName::Gateway, Of(Size::Full)) => visit.visit(GatewayModel::full(design)),
        (ModelName::Gateway, Liveness) => visit.visit(GatewayModel::for_liveness(design)),
        (ModelName::Crowd, Of(_) | Liveness) => visit.visit(AnyNumberModel::any(design)),
        (ModelName::Channel, Of(Size::Small) | Liveness) => {
            visit.visit(ChannelModel::small(design))
        }
        (ModelName::Channel, Of(Size::Full)) => visit.visit(ChannelModel::full(design)),
        (ModelName::Marker, Of(Size::Small) | Liveness) => visit.visit(MarkerModel::small(design)),
        (ModelName::Marker, Of(Size::Full)) => visit.visit(MarkerModel::full(design)),
        (ModelName::Controllers, Of(Size::Small) | Liveness) => {
            visit.visit(ControllersModel::small(design))
        }
        (ModelName::Controllers, Of(Size::Full)) => visit.visit(ControllersModel::full(design)),
        (ModelName::Status, Of(Size::Small) | Liveness) => visit.visit(StatusModel::small(design)),
        (ModelName::Status, Of(Size::Full)) => visit.visit(StatusModel::full(design)),
        (ModelName::Endpoint, Of(Size::Small) | Liveness) => {
            visit.visit(EndpointModel::small(design))
        }
        (ModelName::Endpoint, Of(Size::Full)) => visit.visit(EndpointModel::full(design)),
        (ModelName::Directory, Of(_) | Liveness) => visit.visit(DirectoryModel::small(design)),
        (ModelName::Work, Of(Size::Small) | Liveness) => visit.visit(WorkModel::small(design)),
        (ModelName::Work, Of(Size::Full)) => visit.visit(WorkModel::full(design)),
        (ModelName::Gate, Of(_) | Liveness) => visit.visit(GateModel::small(design)),
    }
}
