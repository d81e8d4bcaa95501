//! The models by name: the one place that knows all of them. What is done with one is the suite's
//! business.

use std::fmt::{Debug, Display};
use std::hash::Hash;

use stateright::Model;

use crate::catalogue::{CHANNEL, CONTROLLERS, GATE, GATEWAY, STATUS, WORK};
use crate::channel::ChannelModel;
use crate::controllers::ControllersModel;
use crate::design::Design;
use crate::gate::GateModel;
use crate::gateway::GatewayModel;
use crate::liveness::Progress;
use crate::status::StatusModel;
use crate::suite::Size;
use crate::work::WorkModel;

/// A model as the suite checks it: by stateright, by the explorer, and, where it promises that something
/// comes, by searching runs that go on for ever.
pub trait Checked:
    Model<
        State: Clone + Debug + Display + Eq + Hash + Send + Sync,
        Action: Clone + Debug + Display + PartialEq + Send + Sync,
    > + Send
    + Sync
    + Sized
    + 'static
{
    /// What must come of it.
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

impl Checked for StatusModel {}

impl Checked for WorkModel {
    fn promises(&self) -> Vec<Progress<WorkModel>> {
        WorkModel::promises()
    }
}

/// The names of the models.
pub const MODELS: [&str; 6] = [GATEWAY, CHANNEL, CONTROLLERS, STATUS, WORK, GATE];

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
    /// What is searched for runs that go on for ever: the whole graph is kept.
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
        (GATE, _) => visit.visit(GateModel::small(design)),
        (STATUS, Of(Size::Small) | Endless) => visit.visit(StatusModel::small(design)),
        (STATUS, Of(Size::Full)) => visit.visit(StatusModel::full(design)),
        (WORK, Of(Size::Small) | Endless) => visit.visit(WorkModel::small(design)),
        (WORK, Of(Size::Full)) => visit.visit(WorkModel::full(design)),
        (_, Of(Size::Small) | Endless) => visit.visit(ChannelModel::small(design)),
        (_, Of(Size::Full)) => visit.visit(ChannelModel::full(design)),
    }
}
