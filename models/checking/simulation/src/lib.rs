//! tidegate as it ships, on a simulated machine: its threads under every schedule, and worlds of gateways,
//! controllers, people and faults, drawn from a seed. The properties are [monitors](judge) over what happened.
//!
//! | module | what it is for |
//! |---|---|
//! | `schedules` | one process: scenarios small enough for every choice of who goes on |
//! | `script` | many processes: what is done in a world, drawn from a seed |
//! | `world` | does what a script says, with the code that ships |
//! | `view` | what a log amounts to at one of its events |
//! | `monitors` | the properties |
//! | `setting` | what is known of a world besides its log |
//! | `runs` | runs scenarios and worlds, and shortens what broke |
//! | `results`, `story`, `report` | what came of it, for people and programs |
//! | `seeds` | every seed that ever failed |

mod monitors;
mod report;
mod results;
mod runs;
mod schedules;
mod script;
mod seeds;
mod setting;
mod story;
mod view;
mod world;

pub use monitors::{Finding, judge};
pub use report::Report;
pub use results::BrokenProperty;
pub use runs::{Options, kill, simulate};
pub use script::Script;
pub use seeds::REGRESSION_SEEDS;
pub use setting::Setting;
