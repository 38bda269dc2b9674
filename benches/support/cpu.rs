//! CPU time of a process, its ended threads included.

use std::time::Duration;

use anyhow::Context;

/// The unit of `/proc/PID/stat`: fixed on every Linux that we run on, whatever the kernel's own tick.
const TICK: Duration = Duration::from_millis(10);

/// User and system time so far.
pub fn time(pid: u32) -> anyhow::Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let stat = std::fs::read_to_string(&path).context(path)?;
    // The program's name may hold spaces and brackets; the numbers follow the last one.
    let numbers = stat.rsplit_once(')').map_or("", |(_, numbers)| numbers);
    let ticks = numbers.split_whitespace().skip(11).take(2).map(str::parse::<u32>);
    let ticks = ticks.sum::<Result<u32, _>>().context("two numbers of ticks")?;
    Ok(TICK * ticks)
}
