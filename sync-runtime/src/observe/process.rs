//! The process itself, read from `/proc` at a scrape; what cannot be read is absent.

use std::fs;

use super::gather::Rows;

/// Clock ticks a second in `/proc/*/stat`: fixed by the kernel's interface on every platform.
const TICKS: f64 = 100.0;

pub(crate) fn rows(rows: &mut Rows) {
    let Ok(stat) = fs::read_to_string("/proc/self/stat") else { return };
    // The name in parentheses may hold blanks: fields are counted after it, from the third.
    let Some((_, fields)) = stat.rsplit_once(')') else { return };
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let field = |at: usize| fields.get(at - 3).and_then(|text| text.parse::<u64>().ok());
    if let (Some(user), Some(system)) = (field(14), field(15)) {
        rows.number("process_cpu_seconds_total", [], (user + system) as f64 / TICKS);
    }
    if let (Some(ticks), Some(boot)) = (field(22), boot_time()) {
        rows.number("process_start_time_seconds", [], boot as f64 + ticks as f64 / TICKS);
    }
    if let Some(bytes) = resident() {
        rows.count("process_resident_memory_bytes", [], bytes);
    }
    if let Ok(fds) = fs::read_dir("/proc/self/fd") {
        // One of them is the directory that is read.
        rows.count("process_open_fds", [], (fds.count() as u64).saturating_sub(1));
    }
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    if let Some(max) = limit.current {
        rows.count("process_max_fds", [], max);
    }
}

/// Resident memory in bytes.
pub fn resident() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

fn boot_time() -> Option<u64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}
