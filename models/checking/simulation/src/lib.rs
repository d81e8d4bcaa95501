//! Runs tidegate as it ships on a simulated machine. Scenarios run its threads under every schedule. Worlds of
//! gateways, controllers, people and faults are drawn from a seed. [Monitors](judge) check the properties on the log.
//!
//! | module | what it is for |
//! |---|---|
//! | `schedules` | one process: scenarios small enough to try every choice of the next thread |
//! | `script` | many processes: the actions of a world, drawn from a seed |
//! | `world` | performs a script, with the code that ships |
//! | `view` | the state of files and gates at an event of the log |
//! | `monitors` | the properties |
//! | `setting` | what is known of a world besides its log |
//! | `runs` | runs scenarios and worlds, and shortens a world in which a property breaks |
//! | `results`, `story`, `report` | the outcome, for people and programs |
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
