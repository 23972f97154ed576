//! What a process holds, from /proc: memory over time, and the rest before and after.

use std::fmt;

use anyhow::{Context as _, Result};

/// How much more of something the last fifth of a soak may have than its second: what allocators and caches take their
/// time to fill.
const SLACK: f64 = 1.10;

/// What the descriptors of a process are of, without numbers. `process` is its id, or `self`.
///
/// # Errors
/// Where there is no /proc, or the process is hardened and this one not root's.
pub fn descriptors(process: &str) -> Result<Vec<String>> {
    let folder = format!("/proc/{process}/fd");
    let of = |entry: std::io::Result<std::fs::DirEntry>| {
        let target = std::fs::read_link(entry.ok()?.path()).ok()?.display().to_string();
        Some(target.split(":[").next().unwrap_or_default().to_owned())
    };
    let entries = std::fs::read_dir(&folder).with_context(|| format!("{folder} is read, as root if need be"))?;
    let mut all: Vec<String> = entries.filter_map(of).collect();
    all.sort_unstable();
    Ok(all)
}

/// The resident memory of a process, in MiB.
///
/// # Errors
/// Where there is no /proc.
pub fn resident(process: &str) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("the kernel tells VmRSS")?;
    let kib: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kib / 1024.0)
}

/// What is held at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// What each is of, without numbers.
    descriptors: Vec<String>,
    threads: usize,
    tasks: usize,
}

impl Reading {
    /// What this process holds now.
    ///
    /// # Errors
    /// Where there is no /proc.
    pub fn now() -> Result<Self> {
        Ok(Self {
            descriptors: descriptors("self")?,
            threads: std::fs::read_dir("/proc/self/task")?.count(),
            tasks: tokio::runtime::Handle::current().metrics().num_alive_tasks(),
        })
    }

    /// What there is more of than `before`. Threads that wait for work to block on are no leak while they are few.
    pub fn grown_from(&self, before: &Self) -> Vec<String> {
        let all = [
            ("descriptors", self.descriptors.len(), before.descriptors.len()),
            ("tasks", self.tasks, before.tasks),
            ("threads", self.threads.saturating_sub(16), before.threads),
        ];
        let grown = all.into_iter().filter(|(_, now, then)| now > then);
        let mut grown: Vec<String> =
            grown.map(|(what, now, then)| format!("{what}: {now}, and {then} before")).collect();
        if self.descriptors.len() > before.descriptors.len() {
            grown.push(format!("descriptors now: {:?}\nand before: {:?}", self.descriptors, before.descriptors));
        }
        grown
    }
}

impl fmt::Display for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} descriptors, {} tasks, {} threads", self.descriptors.len(), self.tasks, self.threads)
    }
}

/// Something over time.
#[derive(Debug)]
pub struct Watch {
    what: &'static str,
    unit: &'static str,
    /// What more of it may be there at the end, however little there was.
    slack: f64,
    samples: Vec<f64>,
}

impl Watch {
    /// Nothing noted yet.
    pub const fn of(what: &'static str, unit: &'static str, slack: f64) -> Self {
        Self { what, unit, slack, samples: Vec::new() }
    }

    /// One more sample.
    pub fn note(&mut self, sample: f64) {
        self.samples.push(sample);
    }

    /// The median of each fifth.
    fn fifths(&self) -> Vec<f64> {
        let size = self.samples.len().div_ceil(5).max(1);
        let median = |samples: &[f64]| {
            let mut samples = samples.to_vec();
            samples.sort_by(f64::total_cmp);
            samples.get(samples.len() / 2).copied().unwrap_or_default()
        };
        self.samples.chunks(size).map(median).collect()
    }

    /// Says that it grew, if it did after the first fifth.
    pub fn grown(&self) -> Option<String> {
        let fifths = self.fifths();
        let (early, late) = (*fifths.get(1)?, *fifths.last()?);
        let grown = late > early * SLACK && late > early + self.slack;
        grown.then(|| format!("{} grew from {early:.1} to {late:.1} {}", self.what, self.unit))
    }
}

impl fmt::Display for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fifths: Vec<String> = self.fifths().iter().map(|median| format!("{median:.1}")).collect();
        write!(f, "{} {}, medians of fifths of {} samples", fifths.join(" · "), self.unit, self.samples.len())
    }
}
