//! How a gateway comes up: lock, `starting`, first look, then the gate.

use std::path::PathBuf;
use std::time::Duration;

use crate::disk::RealDisk;
use crate::epoch::{Clock, Epoch, ProcessContext, start_time};
use crate::error::StartError;
use crate::home::{DEFAULT_MODE, Home, OpenHome};
use crate::host;
use crate::id::fresh_id;
use crate::status::ProcessIdentity;
use crate::sync::Arc;
use crate::watcher::Worker;

use super::Gateway;
use super::handle::Handle;
use super::predecessor;
use super::shared::{Settings, Shared, ThreadWakeups};
use super::store::Store;

/// How often the watcher looks by default (R9).
const DEFAULT_INTERVAL: Duration = Duration::from_secs(1);

/// How often an unchanged status is written by default.
const DEFAULT_HEARTBEAT: Duration = Duration::from_secs(60);

/// A gateway about to start. See [`Gateway::builder`].
///
/// ```
/// use std::time::Duration;
/// use tidegate::Gateway;
/// let home = tempfile::tempdir()?;
/// let gateway = Gateway::builder(home.path())
///     .kind("chat")                              // in the status, and the metrics' label `gateway`
///     .interval(Duration::from_millis(500))      // how often the watcher looks at the home
///     .mode(0o660)                               // the permissions of its files
///     .start()?;
/// assert!(gateway.is_ready());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "the gateway runs only after `start`"]
pub struct Builder {
    home: Option<Home>,
    kind: String,
    mode: Option<u32>,
    manual: bool,
    settings: Settings,
}

impl Builder {
    pub(super) fn on_files(home: PathBuf) -> Builder {
        Builder { home: Some(Home::at(home)), ..Builder::in_memory() }
    }

    pub(super) fn in_memory() -> Builder {
        Builder {
            home: None,
            kind: "tidegate".to_owned(),
            mode: None,
            manual: false,
            settings: Settings {
                epoch: Epoch::current(),
                clock: Clock::System,
                interval: DEFAULT_INTERVAL,
                stripes: default_stripes(),
                unleased_max_age: None,
                heartbeat: DEFAULT_HEARTBEAT,
                incarnation: String::new(),
            },
        }
    }

    /// The name of this gateway in the status file, and the label `gateway` of its metrics. The default is
    /// `tidegate`.
    pub fn kind(mut self, kind: impl Into<String>) -> Builder {
        self.kind = kind.into();
        self
    }

    /// How often the watcher looks at the home; one second by default, one millisecond at least.
    pub fn interval(mut self, interval: Duration) -> Builder {
        self.settings.interval = interval.max(Duration::from_millis(1));
        self
    }

    /// How many parts the count of user turns has. Each part is a cache line of its own, and each thread uses one, so
    /// threads that use different parts do not slow each other down. The number is rounded up to a power of two, 1024 at
    /// most. Each part takes 128 bytes, and makes each close and reopening some ten nanoseconds longer. By default there
    /// are four for each processor that the process may use. Threads take the parts in turn, so those of a pool mostly
    /// have different ones, and those that come and go rarely meet.
    ///
    /// The architecture page says [what a turn costs](crate::guide::architecture#what-a-turn-costs).
    ///
    /// ```
    /// use tidegate::Gateway;
    /// let gateway = Gateway::in_memory().stripes(1).start()?; // a gateway with one busy thread
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn stripes(mut self, stripes: u32) -> Builder {
        self.settings.stripes = stripes;
        self
    }

    /// How often the status is written where nothing in it has changed; one minute by default, one second at least.
    /// It keeps the status from looking old to those who go by its time, as readers of the original implementation do.
    /// It is no sign of life: for that, see [`Reading::is_alive`](crate::status::Reading::is_alive).
    pub fn heartbeat(mut self, heartbeat: Duration) -> Builder {
        self.settings.heartbeat = heartbeat.max(Duration::from_secs(1));
        self
    }

    /// The permission bits of the status file, the lock and the requests that this gateway writes, such as `0o640`.
    /// The default is `0o600`: see [`Home::with_mode`].
    pub fn mode(mut self, mode: u32) -> Builder {
        self.mode = Some(mode);
        self
    }

    /// Bounds a request without a lease, made by hand or corrupt. It is ignored once this gateway has seen it for
    /// this long, by the boot clock. Without a bound it lives until it is removed, and an orphan closes the gate for
    /// good.
    ///
    /// [I-1](crate::guide::incidents#i-1),
    /// [I-2](crate::guide::incidents#i-2)
    pub fn unleased_max_age(mut self, age: Duration) -> Builder {
        self.settings.unleased_max_age = Some(age);
        self
    }

    /// No watcher: the author calls [`Gateway::reconcile_now`]. Deadlines and waits still have a
    /// thread of their own.
    pub fn manual(mut self) -> Builder {
        self.manual = true;
        self
    }

    /// Reads the time from this clock instead of the system's.
    #[cfg(feature = "test-util")]
    pub fn clock(mut self, clock: crate::epoch::ManualClock) -> Builder {
        self.settings.clock = Clock::Manual(clock);
        self
    }

    /// Takes the home's lock, looks at the home once, and opens the gate unless a drain is asked for. Only then it
    /// returns the handle that admits work.
    ///
    /// # Errors
    ///
    /// [`StartError::HomeInUse`], [`StartError::HomeInUseByForeignGateway`], [`StartError::HomeHeld`] where another
    /// gateway is alive on this home; [`StartError::Home`], [`StartError::Thread`].
    ///
    /// [F6](crate::guide::requirements#f6),
    /// [F17](crate::guide::requirements#f17)
    pub fn start(self) -> Result<Gateway, StartError> {
        let mut settings = self.settings;
        let identity = identity(self.kind, &settings.epoch);
        settings.incarnation.clone_from(&identity.incarnation);
        let mut promised = None;
        let store = match self.home {
            Some(home) => {
                // A relative home must not move when the process changes its directory.
                let path = std::path::absolute(home.path())
                    .map_err(|source| StartError::Home { path: home.path().to_owned(), source })?;
                let home = Home::at(path).with_mode(self.mode.unwrap_or(DEFAULT_MODE));
                let home = OpenHome::open(RealDisk, &home).map_err(StartError::of_home)?;
                let lock = home.lock(&identity.owner())?;
                home.require_no_foreign_gateway()?;
                // A look at a directory that is there costs less.
                if let Err(error) = home.make_requests() {
                    tracing::warn!(%error, "cannot create the directory for named requests");
                }
                // What the predecessor left in the file is replaced before anything else happens (I-16, U28).
                promised = predecessor::replace_status(&home, &identity, settings.clock.now());
                Store::files(home, lock)
            }
            None => Store::memory().map_err(StartError::of_home)?,
        };
        let thread = |source| StartError::Thread { source };
        let mut timer = Worker::prepare("tidegate-timer").map_err(thread)?;
        let mut watcher = (!self.manual)
            .then(|| Worker::prepare("tidegate-watcher"))
            .transpose()
            .map_err(thread)?;

        let threads =
            ThreadWakeups { timer: timer.wakeup(), watcher: watcher.as_ref().map(Worker::wakeup) };
        let shared = Shared::start(store, promised, identity, settings, threads);
        let shared = Arc::new(shared);
        shared.publish();

        let kept = Arc::clone(&shared);
        let tell = |shared: &Arc<Shared>| {
            let shared = Arc::clone(shared);
            move || shared.gate.metrics().watcher_error()
        };
        timer.begin(move || kept.timer_round(), tell(&shared));
        if let Some(watcher) = &mut watcher {
            let watched = Arc::clone(&shared);
            #[cfg(feature = "notify")]
            let (mut events, again) = (shared.file_events(watcher.wakeup()), watcher.wakeup());
            let round = move || {
                let next = watched.watch_round();
                #[cfg(feature = "notify")]
                if let Some(events) = &mut events
                    && events.follow(watched.listed())
                {
                    again.wake();
                }
                next
            };
            watcher.begin(round, tell(&shared));
        }
        Ok(Gateway { handle: Arc::new(Handle { shared, timer, watcher }) })
    }
}

/// Four for each thread that can run at once: with one, two threads of many would often have the same.
fn default_stripes() -> u32 {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    u32::try_from(processors).unwrap_or(u32::MAX).saturating_mul(4)
}

fn identity(kind: String, epoch: &Epoch) -> ProcessIdentity {
    let ProcessContext { pid_namespace, time_namespace, .. } = ProcessContext::here();
    let stat = host::proc_text("/proc/self/stat").unwrap_or_default();
    ProcessIdentity {
        pid: host::pid(),
        kind,
        argv: std::env::args_os().map(|argument| argument.to_string_lossy().into_owned()).collect(),
        start_time: start_time(&stat).and_then(|ticks| ticks.parse().ok()),
        epoch: epoch.as_str().to_owned(),
        incarnation: fresh_id(),
        pid_namespace,
        time_namespace,
    }
}
