//! Which signals the process was started to ignore, as `nohup` and a script's `&` have it. The command compiles
//! this file, too.

/// The signals that this process ignores, a bit each. None where the system does not say.
pub(crate) fn ignored_signals() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default()
}
