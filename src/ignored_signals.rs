//! Reads which signals the process was started to ignore, for example by `nohup` or by a script's `&`. The command
//! compiles this file, too.

/// The signals that this process ignores, one bit each. No bit is set if the system does not report them.
pub(crate) fn ignored_signals() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default()
}
