//! What is printed, and what becomes of it where nobody can read it. It never panics: a full disk or a
//! closed pipe is no reason to forget what was done.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fd::AsFd;
use serde::Serialize;
use tidegate::internals::text::{printable, printable_json};

use crate::Failure;

/// An answer that adds nothing to the exit code is not waited for longer than this.
const RECEIPT_TIMEOUT: Duration = Duration::from_secs(5);

/// How answers are printed.
#[derive(Clone, Copy)]
pub struct Output {
    pub json: bool,
}

impl Output {
    /// Prints the answer: one line of JSON, or the text, of which every part is printable.
    pub fn answer(self, reply: &impl Serialize, text: &str) -> Result<(), Failure> {
        self.answer_while(reply, text, &|| true)
    }

    /// As [`answer`](Output::answer), while `go_on` says so.
    pub fn answer_while(
        self,
        reply: &impl Serialize,
        text: &str,
        go_on: &dyn Fn() -> bool,
    ) -> Result<(), Failure> {
        print_while(&self.text(reply, text)?, go_on)
    }

    fn text(self, reply: &impl Serialize, text: &str) -> Result<String, Failure> {
        if !self.json {
            return Ok(format!("{text}\n"));
        }
        let line = serde_json::to_string(reply).map_err(io::Error::from)?;
        Ok(format!("{}\n", printable_json(&line)))
    }

    /// Prints the answer about a change that was made. The exit code says so, also where nobody can read it.
    pub fn receipt(self, reply: &impl Serialize, text: &str) {
        let until = Instant::now() + RECEIPT_TIMEOUT;
        if let Err(error) = self.answer_while(reply, text, &|| Instant::now() < until) {
            note(&format!("{error}; the command itself succeeded: {text}"));
        }
    }

    /// Prints the answer about something that failed, for programs. The failure says the rest.
    pub fn failed(self, reply: &impl Serialize) {
        let until = Instant::now() + RECEIPT_TIMEOUT;
        if self.json
            && let Err(error) = self.answer_while(reply, "", &|| Instant::now() < until)
        {
            note(&error.to_string());
        }
    }
}

/// Prints this, whole, for as long as it takes.
pub fn print(text: &str) -> Result<(), Failure> {
    print_while(text, &|| true)
}

/// Prints this while `go_on` says so. A pipe that is full and that nobody reads would hold the program up for
/// ever, deaf to its timeout and to signals.
pub fn print_while(text: &str, go_on: &dyn Fn() -> bool) -> Result<(), Failure> {
    Ok(write(&io::stdout(), text, go_on)?)
}

/// Tells people something, on one line. Nobody may be there to read it, which changes nothing.
pub fn note(text: &str) {
    let until = Instant::now() + NOTE_TIMEOUT;
    let line = format!("tidegate: {}\n", printable(text));
    let _ = write(&io::stderr(), &line, &|| Instant::now() < until);
}

/// A note that cannot be written by then is dropped.
const NOTE_TIMEOUT: Duration = Duration::from_millis(200);

/// How long it is waited for room before `go_on` is asked again.
const PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

/// A pipe that has room at all has room for this many bytes: POSIX's `PIPE_BUF`, at the least.
const CHUNK: usize = 512;

/// Writes in pieces that do not block, and waits for room in between.
fn write(file: &impl AsFd, text: &str, go_on: &dyn Fn() -> bool) -> io::Result<()> {
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        let mut ready = [PollFd::new(file, PollFlags::OUT)];
        match rustix::event::poll(&mut ready, Some(&PAUSE)) {
            Ok(0) | Err(rustix::io::Errno::INTR) if go_on() => continue,
            Ok(0) | Err(rustix::io::Errno::INTR) => {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "no program reads it"));
            }
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        match rustix::io::write(file, &rest[..rest.len().min(CHUNK)]) {
            Ok(written) => rest = &rest[written..],
            Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Where the library's warnings go.
pub fn show_warnings() {
    let subscriber = tracing_subscriber::fmt()
        .with_writer(|| Stderr)
        .with_max_level(tracing::Level::WARN)
        .with_ansi(false)
        .with_target(false)
        .without_time()
        .log_internal_errors(false)
        .finish();
    // There is none before.
    let _ = tracing::subscriber::set_global_default(subscriber);
}

/// A stderr that swallows its errors.
struct Stderr;

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        note(String::from_utf8_lossy(bytes).trim_end());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
