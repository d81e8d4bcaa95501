//! The models by name. Only this module knows all of them.

use std::fmt::{Debug, Display};
use std::hash::Hash;

use stateright::Model;

use crate::catalogue::{
    CHANNEL, CONTROLLERS, CROWD, ENDPOINT, GATE, GATEWAY, MARKER, STATUS, WORK,
};
use crate::channel::ChannelModel;
use crate::controllers::ControllersModel;
use crate::design::{Design, Guard};
use crate::endpoint::EndpointModel;
use crate::gate::GateModel;
use crate::gateway::GatewayModel;
use crate::gateway::crowd::CrowdModel;
use crate::liveness::Progress;
use crate::marker::MarkerModel;
use crate::status::StatusModel;
use crate::suite::Size;
use crate::work::WorkModel;

/// A model as the suite checks it: by stateright and by the explorer. Its liveness properties are checked by
/// searching for fair cycles.
pub trait Checked:
    Model<
        State: Clone + Debug + Display + Eq + Hash + Send + Sync,
        Action: Clone + Debug + Display + PartialEq + Send + Sync,
    > + Send
    + Sync
    + Sized
    + 'static
{
    /// Its liveness properties.
    fn promises(&self) -> Vec<Progress<Self>> {
        Vec::new()
    }
}

impl Checked for GatewayModel {
    fn promises(&self) -> Vec<Progress<GatewayModel>> {
        crate::gateway::progress::promises()
    }
}

impl Checked for ChannelModel {}

impl Checked for CrowdModel {}

impl Checked for ControllersModel {
    fn promises(&self) -> Vec<Progress<ControllersModel>> {
        ControllersModel::promises()
    }
}

impl Checked for GateModel {
    fn promises(&self) -> Vec<Progress<GateModel>> {
        GateModel::promises()
    }
}

impl Checked for EndpointModel {}

impl Checked for MarkerModel {}

impl Checked for StatusModel {}

impl Checked for WorkModel {
    fn promises(&self) -> Vec<Progress<WorkModel>> {
        WorkModel::promises()
    }
}

/// The names of the models.
pub const MODELS: [&str; 9] =
    [GATEWAY, CROWD, CHANNEL, MARKER, CONTROLLERS, STATUS, ENDPOINT, WORK, GATE];

/// The guards that a model uses.
#[must_use]
pub fn guards_of(model: &str) -> &'static [Guard] {
    match model {
        // Each step of a crowd is one of the gateway model's.
        GATEWAY | CROWD => &[
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
            Guard::TotalReader,
            Guard::TurnsCountedOut,
            Guard::Deadline,
        ],
        MARKER => &[
            Guard::DurableRename,
            Guard::FileSync,
            Guard::DirectorySync,
            Guard::ImmutableFiles,
            Guard::NewBeforeOld,
            Guard::DurableBeforeRemoval,
            Guard::RenewalYields,
            Guard::CancelLooksAgain,
        ],
        CONTROLLERS => &[
            Guard::Lease,
            Guard::BootClock,
            Guard::OwnPromise,
            Guard::AckAfterClose,
            Guard::QuiescedUntil,
        ],
        GATE => &[Guard::CountedClasses, Guard::SecondLook, Guard::RingAfterRelease],
        STATUS => &[
            Guard::PublisherLock,
            Guard::WriteRepeated,
            Guard::StartReplaces,
            Guard::HomeLock,
            Guard::LockUntilLastStatus,
            Guard::AliveByLock,
            Guard::WritersLock,
            Guard::DesiredState,
        ],
        ENDPOINT => {
            &[Guard::AckAfterClose, Guard::ReadableOrder, Guard::RemovalTold, Guard::ReadyByGate]
        }
        WORK => &[Guard::Children, Guard::DeliveryCounted, Guard::FollowUpsAsk, Guard::Seal],
        _ => &[
            Guard::OwnFiles,
            Guard::Epoch,
            Guard::Lease,
            Guard::SecondListing,
            Guard::DirectoryTimes,
            Guard::DirectNotFound,
        ],
    }
}

/// What is done with a model, whichever it is.
pub(crate) trait Visit {
    type Out;
    fn visit<M: Checked>(self, model: M) -> Self::Out;
}

/// A configuration of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Configuration {
    /// What is explored.
    Of(Size),
    /// What is searched for fair cycles. The whole graph is kept.
    Endless,
}

/// Does it with the model of this name.
pub(crate) fn visit<V: Visit>(
    name: &str,
    configuration: Configuration,
    design: Design,
    visit: V,
) -> V::Out {
    use Configuration::{Endless, Of};
    match (name, configuration) {
        (GATEWAY, Of(Size::Small)) => visit.visit(GatewayModel::small(design)),
        (GATEWAY, Of(Size::Full)) => visit.visit(GatewayModel::full(design)),
        (GATEWAY, Endless) => visit.visit(GatewayModel::endless(design)),
        (CONTROLLERS, Of(Size::Small) | Endless) => visit.visit(ControllersModel::small(design)),
        (CONTROLLERS, Of(Size::Full)) => visit.visit(ControllersModel::full(design)),
        (CROWD, _) => visit.visit(CrowdModel::any(design)),
        (GATE, _) => visit.visit(GateModel::small(design)),
        (MARKER, Of(Size::Small) | Endless) => visit.visit(MarkerModel::small(design)),
        (MARKER, Of(Size::Full)) => visit.visit(MarkerModel::full(design)),
        (STATUS, Of(Size::Small) | Endless) => visit.visit(StatusModel::small(design)),
        (STATUS, Of(Size::Full)) => visit.visit(StatusModel::full(design)),
        (ENDPOINT, Of(Size::Small) | Endless) => visit.visit(EndpointModel::small(design)),
        (ENDPOINT, Of(Size::Full)) => visit.visit(EndpointModel::full(design)),
        (WORK, Of(Size::Small) | Endless) => visit.visit(WorkModel::small(design)),
        (WORK, Of(Size::Full)) => visit.visit(WorkModel::full(design)),
        (_, Of(Size::Small) | Endless) => visit.visit(ChannelModel::small(design)),
        (_, Of(Size::Full)) => visit.visit(ChannelModel::full(design)),
    }
}
