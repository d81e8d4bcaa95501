//! The events of the log. This module writes none.

use std::any::Any;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

/// The number of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProcessId(pub usize);

/// One event.
#[derive(Debug)]
pub struct Entry {
    /// The time since boot.
    pub at: Duration,
    /// The number of the boot.
    pub boot: u64,
    /// The time since the world began, without suspend.
    pub waited: Duration,
    /// The wall clock, in milliseconds since 1970.
    pub wall_ms: i64,
    /// The number of steps up to the event.
    pub step: u64,
    /// The process of the event.
    pub process: ProcessId,
    /// The running thread.
    pub task: usize,
    /// What happened.
    pub what: EventKind,
}

/// What happened.
pub enum EventKind {
    /// A name now leads to this file, or the file with this name has changed.
    Put {
        /// The directory's number.
        dir: u64,
        /// The name.
        name: String,
        /// The inode number of what has the name now.
        of: u64,
        /// Whether that is a file.
        is_file: bool,
        /// The bytes of the file now.
        bytes: Rc<[u8]>,
    },
    /// A name was removed.
    Gone {
        /// The directory's number.
        dir: u64,
        /// The name.
        name: String,
    },
    /// A process started, in this container.
    Began(u64),
    /// A process ended by itself.
    Exited,
    /// A process was killed.
    Killed,
    /// The machine was rebooted.
    Booted {
        /// Whether the power failed, and unsynced data is lost. What is left follows, name by name, up to `Found`.
        lost: bool,
    },
    /// All that is left after a power loss is now logged.
    Found,
    /// An event that the program itself logs.
    Program(Box<dyn ProgramEvent>),
}

/// An event of the program. This crate knows nothing of it.
pub trait ProgramEvent: Any + fmt::Debug {}

impl<T: Any + fmt::Debug> ProgramEvent for T {}

impl EventKind {
    /// The program's event, if it has this type.
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
            EventKind::Gone { dir, name } => write!(f, "removed {dir}/{name}"),
            EventKind::Began(container) => write!(f, "process starts in container {container}"),
            EventKind::Exited => f.write_str("process exits"),
            EventKind::Killed => f.write_str("process is killed"),
            EventKind::Booted { lost } => write!(f, "machine reboots; power lost: {lost}"),
            EventKind::Found => f.write_str("all that the power loss has left is listed"),
            EventKind::Program(told) => told.fmt(f),
        }
    }
}
