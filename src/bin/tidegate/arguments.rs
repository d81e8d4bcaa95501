//! The command line: commands, options and their help. It decides nothing about drains.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use tidegate::home::Home;
use tidegate::request::{DrainRequest, Holder};
use tidegate::request::{LEASE_MAX, LEASE_MIN};

use crate::Failure;

/// Drains a gateway through its home directory and releases it again.
///
/// Exit codes: 0 done, 1 failed, 2 wrong usage, 3 timed out, 4 drain lost or refused,
/// 5 no running gateway.
#[derive(Parser)]
#[command(version)]
pub struct Arguments {
    #[command(flatten)]
    pub place: HomeArgs,
    /// Print the answer as one line of JSON.
    #[arg(long, global = true)]
    pub json: bool,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Args)]
pub struct HomeArgs {
    /// The gateway's home directory [default: $TIDEGATE_HOME, else $HERMES_HOME].
    #[arg(long, global = true)]
    home: Option<PathBuf>,
    /// The permission bits of the files that this command writes, in octal, such as 640. By default the
    /// owner can read them, and so can each user who can read the gateway's own files.
    #[arg(long, global = true, value_parser = octal)]
    mode: Option<u32>,
}

#[derive(Subcommand)]
pub enum Command {
    /// Request a drain. A second call replaces the holder's request.
    Drain(DrainArgs),
    /// Renew the holder's live request. The drain continues without a gap.
    Renew {
        /// The holder whose request is renewed [default: the shared marker].
        #[arg(long, value_parser = Holder::named)]
        holder: Option<Holder>,
        /// How long the request lives from now [default: the same lease as before].
        #[arg(long, value_parser = lease)]
        lease: Option<Duration>,
    },
    /// Cancel the holder's request. The exit code is 0 even if there was none.
    Cancel {
        /// The holder whose request is cancelled [default: the shared marker].
        #[arg(long, value_parser = Holder::named, conflicts_with = "all")]
        holder: Option<Holder>,
        /// Cancel the requests of all holders, for example when a holder no longer exists. Needs --force.
        #[arg(long, requires = "force")]
        all: bool,
        /// Confirm that --all also cancels the requests of other holders.
        #[arg(long, requires = "all")]
        force: bool,
        /// The name of the user who cancels, for the log [default: $USER, else uid:NUMBER].
        #[arg(long)]
        by: Option<OsString>,
    },
    /// Show the gateway's status, and whether a gateway is running.
    Status {
        /// Print nothing. Exit with 0 if this is true, and with 1 if it is false or cannot be read. For
        /// health checks and probes.
        #[arg(long, value_enum, conflicts_with = "watch")]
        check: Option<Check>,
        /// Show the status again every second, or at the given interval, until interrupted.
        #[arg(long, value_name = "EVERY", num_args = 0..=1, require_equals = true,
            default_missing_value = "1s", value_parser = humantime::parse_duration)]
        watch: Option<Duration>,
    },
    /// Wait until a gateway is ready, or until no gateway is running.
    Wait {
        /// What to wait for.
        #[arg(value_enum)]
        until: WaitGoal,
        /// How long to wait. After that the exit code is 3.
        #[arg(long, value_parser = humantime::parse_duration, default_value = "30s")]
        timeout: Duration,
    },
    /// Show what a gateway on this machine would conclude from the requests.
    Observe,
    /// Print the identity of this boot and container.
    Epoch,
    /// Print a completion script for a shell.
    Completions {
        /// The shell.
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
    /// Print the manual page, or write all manual pages to a directory.
    Man {
        /// The directory for the pages, one page for each command.
        #[arg(long, value_name = "DIR")]
        to: Option<PathBuf>,
    },
}

/// What `status --check` checks.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Check {
    /// A new user turn would be admitted.
    Ready,
    /// A gateway holds the home's lock and has published its status.
    Alive,
    /// The gateway promises that nothing is in flight and nothing is admitted.
    Quiesced,
}

/// What `wait` waits for.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum WaitGoal {
    /// A new user turn would be admitted.
    Ready,
    /// No gateway holds the home's lock.
    Stopped,
}

#[derive(Args)]
pub struct DrainArgs {
    /// The holder of this drain. Each holder has a request of its own [default: the shared marker].
    #[arg(long, value_parser = Holder::named)]
    holder: Option<Holder>,
    /// The name that signs the request [default: $USER, else uid:NUMBER].
    #[arg(long)]
    principal: Option<String>,
    /// Ask the gateway not to notify its users.
    #[arg(long)]
    suppress_notification: bool,
    /// Hold internal work too: once nothing is in flight, the gate admits nothing at all. --wait implies
    /// this, unless --idle-is-enough is given.
    #[arg(long)]
    hold_internal: bool,
    /// How long the request lives unless it is renewed: from 1s to 366days.
    #[arg(long, value_parser = lease, default_value = "1h")]
    pub lease: Duration,
    /// Let the request end with this run of the gateway: the next start admits again. For ExecStop and preStop
    /// hooks. Needs a running gateway.
    #[arg(long)]
    this_run: bool,
    /// Wait until the gateway is quiesced: a running gateway promises, for this request, that nothing is
    /// in flight and nothing will be admitted. If the wait fails, the request is cancelled.
    #[arg(long)]
    pub wait: bool,
    /// How long to wait. After that the exit code is 3.
    #[arg(long, value_parser = humantime::parse_duration, default_value = "30s", requires = "wait")]
    pub timeout: Duration,
    /// Wait only until nothing is in flight. Internal work may start again at any time.
    #[arg(long, requires = "wait", conflicts_with = "hold_internal")]
    pub idle_is_enough: bool,
    /// Keep the request if the wait fails or is interrupted.
    #[arg(long, requires = "wait")]
    pub keep: bool,
}

/// The name of the user who runs this command.
pub fn user() -> String {
    let name = std::env::var("USER").ok().filter(|name| !name.is_empty());
    name.unwrap_or_else(|| format!("uid:{}", rustix::process::getuid().as_raw()))
}

fn octal(text: &str) -> Result<u32, String> {
    u32::from_str_radix(text, 8)
        .ok()
        .filter(|mode| *mode <= 0o777)
        .ok_or_else(|| "give up to three octal digits, such as 640".to_owned())
}

fn lease(text: &str) -> Result<Duration, String> {
    let lease = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if (LEASE_MIN..=LEASE_MAX).contains(&lease) {
        Ok(lease)
    } else {
        Err("a lease must be from 1s to 366days; for a longer drain, renew it".to_owned())
    }
}

impl HomeArgs {
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

impl DrainArgs {
    pub fn holder(&self) -> Holder {
        self.holder.clone().unwrap_or_default()
    }

    pub fn request(&self) -> DrainRequest {
        DrainRequest::new(self.principal.clone().unwrap_or_else(user))
            .with_holder(self.holder())
            .with_suppress_notification(self.suppress_notification)
            .with_hold_internal(self.hold_internal || (self.wait && !self.idle_is_enough))
            .with_lease(self.lease)
            .with_this_run(self.this_run)
    }
}
