//! What the command line says. It decides nothing about drains.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use tidegate::home::Home;
use tidegate::order::{LEASE_MAX, LEASE_MIN};
use tidegate::request::{DrainRequest, Holder};

use crate::Failure;

/// Drains a gateway through its home directory, and releases it again.
///
/// Exit codes: 0 done, 1 failed, 2 wrong usage, 3 timed out, 4 drain lost or refused, 5 gateway gone.
#[derive(Parser)]
#[command(version)]
pub struct Arguments {
    #[command(flatten)]
    pub place: Where,
    /// Print one line of JSON.
    #[arg(long, global = true)]
    pub json: bool,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Args)]
pub struct Where {
    /// The gateway's home directory [default: $TIDEGATE_HOME, else $HERMES_HOME].
    #[arg(long, global = true)]
    home: Option<PathBuf>,
    /// The permission bits of files it writes, in octal, such as 640. Without it, the group may read them
    /// where it may read the gateway's own.
    #[arg(long, global = true, value_parser = octal)]
    mode: Option<u32>,
}

#[derive(Subcommand)]
pub enum Command {
    /// Ask for a drain. Asking again refreshes the request.
    Drain(Ask),
    /// Ask again for what the holder asks already, without a gap.
    Renew {
        /// Whose request; the shared marker without it.
        #[arg(long, value_parser = Holder::named)]
        holder: Option<Holder>,
        /// How long it lives from now; as long as before without it.
        #[arg(long, value_parser = lease)]
        lease: Option<Duration>,
    },
    /// Cancel the request. Exit code 0 also where there was none.
    Cancel {
        /// Whose request; the shared marker without it.
        #[arg(long, value_parser = Holder::named, conflicts_with = "all")]
        holder: Option<Holder>,
        /// Everybody's: for when the one who asked is gone.
        #[arg(long, requires = "force")]
        all: bool,
        /// Also what others ask for.
        #[arg(long, requires = "all")]
        force: bool,
        /// Who does this, for the log [default: the user, by $USER or number].
        #[arg(long)]
        by: Option<OsString>,
    },
    /// Show what the gateway says of itself, and whether it is alive.
    Status {
        /// Print nothing, and exit with 0 if this is so, with 1 if it is not or cannot be seen: for health
        /// checks and probes.
        #[arg(long, value_enum, conflicts_with = "watch")]
        check: Option<Check>,
        /// Show it again and again, every second or as often as given, until interrupted.
        #[arg(long, value_name = "EVERY", num_args = 0..=1, require_equals = true,
            default_missing_value = "1s", value_parser = humantime::parse_duration)]
        watch: Option<Duration>,
    },
    /// Wait until the gateway is ready, or until none is alive.
    Wait {
        /// What to wait for.
        #[arg(value_enum)]
        until: Until,
        /// How long to wait; exit code 3 after that.
        #[arg(long, value_parser = humantime::parse_duration, default_value = "30s")]
        timeout: Duration,
    },
    /// Show what a gateway on this machine would see.
    Observe,
    /// Print the identity of this boot and container.
    Epoch,
    /// Print a completion script for a shell.
    Completions {
        /// Which.
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
    /// Print the manual page, or write all of them into a directory.
    Man {
        /// Where to write them, one for each command.
        #[arg(long, value_name = "DIR")]
        to: Option<PathBuf>,
    },
}

/// What `status --check` asks.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Check {
    /// A new user turn would be admitted.
    Ready,
    /// A gateway holds the home's lock.
    Alive,
    /// The gateway promises that nothing is in flight and nothing is admitted.
    Quiesced,
}

/// What `wait` waits for.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Until {
    /// A new user turn would be admitted.
    Ready,
    /// No gateway holds the home's lock.
    Stopped,
}

#[derive(Args)]
pub struct Ask {
    /// Who asks, with a request of its own that nobody else's touches; the shared marker without it.
    #[arg(long, value_parser = Holder::named)]
    holder: Option<Holder>,
    /// Who signs [default: the user, by $USER or number].
    #[arg(long)]
    principal: Option<String>,
    /// Ask the gateway not to tell its users.
    #[arg(long)]
    suppress_notification: bool,
    /// Ask for the gate to be sealed once idle, so that internal work waits too. --wait asks for it
    /// unless given --idle-is-enough.
    #[arg(long)]
    hold_internal: bool,
    /// How long the request lives unless renewed: from a second to a year.
    #[arg(long, value_parser = lease, default_value = "1h")]
    pub lease: Duration,
    /// Wait until the gateway is quiesced: until a live one promises, for this very request, that
    /// nothing is in flight and nothing will be admitted. Where that cannot be had the request is
    /// cancelled.
    #[arg(long)]
    pub wait: bool,
    /// How long to wait.
    #[arg(long, value_parser = humantime::parse_duration, default_value = "30s", requires = "wait")]
    pub timeout: Duration,
    /// Be content with an idle instant, which internal work may end.
    #[arg(long, requires = "wait", conflicts_with = "hold_internal")]
    pub idle_is_enough: bool,
    /// Leave the request in place where waiting fails or is interrupted.
    #[arg(long, requires = "wait")]
    pub keep: bool,
}

/// Who runs this.
pub fn user() -> String {
    let name = std::env::var("USER").ok().filter(|name| !name.is_empty());
    name.unwrap_or_else(|| format!("uid:{}", rustix::process::getuid().as_raw()))
}

fn octal(text: &str) -> Result<u32, String> {
    u32::from_str_radix(text, 8)
        .ok()
        .filter(|mode| *mode <= 0o777)
        .ok_or_else(|| "permission bits are up to three octal digits, as in 640".to_owned())
}

fn lease(text: &str) -> Result<Duration, String> {
    let lease = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if (LEASE_MIN..=LEASE_MAX).contains(&lease) {
        Ok(lease)
    } else {
        Err("a lease lasts from 1s to 366days; give one in between, and renew it".to_owned())
    }
}

impl Where {
    pub fn home(&self) -> Result<Home, Failure> {
        let from =
            |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let path =
            self.home.clone().or_else(|| from("TIDEGATE_HOME")).or_else(|| from("HERMES_HOME"));
        let home = Home::at(path.ok_or(Failure::NoHome)?);
        Ok(match self.mode {
            Some(mode) => home.with_mode(mode),
            None => home,
        })
    }
}

impl Ask {
    pub fn holder(&self) -> Holder {
        self.holder.clone().unwrap_or_default()
    }

    pub fn request(&self) -> DrainRequest {
        DrainRequest::by(self.principal.clone().unwrap_or_else(user))
            .holder(self.holder())
            .suppress_notification(self.suppress_notification)
            .hold_internal(self.hold_internal || (self.wait && !self.idle_is_enough))
            .lease(self.lease)
    }
}
