//! What a process costs, read from `/proc` (proc(5)): CPU ticks and resident memory.

use std::io;
use std::time::Instant;

/// Clock ticks a second in `/proc/PID/stat`: USER_HZ, 100 on every Linux architecture we run on.
const USER_HZ: f64 = 100.0;

/// A process looked at once.
#[derive(Debug, Clone, Copy)]
pub struct Glance {
    at: Instant,
    ticks: u64,
    /// Resident memory in KiB.
    pub rss_kib: u64,
}

/// Looks at a process.
///
/// # Errors
/// It is gone, or `/proc` does not look like Linux.
pub fn glance(pid: u32) -> io::Result<Glance> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let odd = || io::Error::new(io::ErrorKind::InvalidData, format!("/proc/{pid} is not understood"));
    Ok(Glance { at: Instant::now(), ticks: ticks(&stat).ok_or_else(odd)?, rss_kib: resident(&status).ok_or_else(odd)? })
}

impl Glance {
    /// Percent of one core used between an earlier look and this one.
    pub fn cpu_percent_since(&self, earlier: &Self) -> f64 {
        let seconds = self.at.duration_since(earlier.at).as_secs_f64();
        if seconds == 0.0 { 0.0 } else { (self.ticks - earlier.ticks) as f64 / USER_HZ / seconds * 100.0 }
    }
}

/// User and system time: fields 14 and 15, counted behind the command name, which may itself hold spaces and brackets.
fn ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

fn resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_name_with_brackets_does_not_shift_the_fields() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 9 0 1 2 3";
        assert_eq!(ticks(stat), Some(300));
        assert_eq!(ticks("7 (a) S 1"), None);
    }

    #[test]
    fn our_own_process_has_memory() {
        assert!(glance(std::process::id()).unwrap().rss_kib > 100);
        assert_eq!(resident("VmPeak:\t 9 kB\nVmRSS:\t  4312 kB\n"), Some(4312));
    }
}
