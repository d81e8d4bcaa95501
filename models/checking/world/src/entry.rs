//! Events, as the log has them. It writes none.

use std::any::Any;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

/// Which process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProcessId(pub usize);

/// One event.
#[derive(Debug)]
pub struct Entry {
    /// The time since boot.
    pub at: Duration,
    /// Which boot it was.
    pub boot: u64,
    /// The time since the world began, without the times that it slept.
    pub waited: Duration,
    /// What the wall clock said, in milliseconds since 1970.
    pub wall_ms: i64,
    /// After how many steps.
    pub step: u64,
    /// Whose process.
    pub process: ProcessId,
    /// Which thread.
    pub task: usize,
    /// What happened.
    pub what: EventKind,
}

/// What happened.
pub enum EventKind {
    /// A name was given to a file, or the file with this name was written to: what is in it now.
    Put {
        /// The directory's number.
        dir: u64,
        /// The name.
        name: String,
        /// The number of what has it now.
        of: u64,
        /// Whether that is a file.
        is_file: bool,
        /// The bytes.
        bytes: Rc<[u8]>,
    },
    /// A name was removed.
    Gone {
        /// The directory's number.
        dir: u64,
        /// The name.
        name: String,
    },
    /// A process began, in this container.
    Began(u64),
    /// A process ended by itself.
    Exited,
    /// A process was killed.
    Killed,
    /// The machine was booted anew. `lost` where the power failed.
    Booted {
        /// What was not synced was lost. What is left follows, name by name, up to `Found`.
        lost: bool,
    },
    /// All that is left after a power loss was told.
    Found,
    /// What the program that runs here says of itself.
    Program(Box<dyn ProgramEvent>),
}

/// An event that this crate knows nothing of.
pub trait ProgramEvent: Any + fmt::Debug {}

impl<T: Any + fmt::Debug> ProgramEvent for T {}

impl EventKind {
    /// The event, where it is of this type.
    #[must_use]
    pub fn program_event<T: ProgramEvent>(&self) -> Option<&T> {
        match self {
            EventKind::Program(told) => (&**told as &dyn Any).downcast_ref(),
            _ => None,
        }
    }
}

impl fmt::Debug for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EventKind::Put { dir, name, bytes, .. } => {
                let text = String::from_utf8_lossy(bytes);
                let text: String = text.chars().take(160).collect();
                write!(f, "put {dir}/{name}: {text:?}")
            }
            EventKind::Gone { dir, name } => write!(f, "gone {dir}/{name}"),
            EventKind::Began(container) => write!(f, "process begins in container {container}"),
            EventKind::Exited => f.write_str("process exits"),
            EventKind::Killed => f.write_str("process is killed"),
            EventKind::Booted { lost } => write!(f, "machine boots; power lost: {lost}"),
            EventKind::Found => f.write_str("that is what is left"),
            EventKind::Program(told) => told.fmt(f),
        }
    }
}
