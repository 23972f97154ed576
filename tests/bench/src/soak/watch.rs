//! What a process holds, from /proc: memory over time, and the rest before and after.

use std::fmt;

use anyhow::{Context as _, Result};

/// How much more resident memory the last fifth of a soak may have than its second: what allocators and
/// caches take their time to fill.
const MEMORY_SLACK: f64 = 1.10;
/// The same in MiB, for a process of some dozens.
const MEMORY_SLACK_MIB: f64 = 6.0;

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
        let entries = |folder: &str| std::fs::read_dir(folder).with_context(|| format!("{folder} is read"));
        let of = |entry: std::io::Result<std::fs::DirEntry>| {
            let target = std::fs::read_link(entry.ok()?.path()).ok()?.display().to_string();
            Some(target.split(":[").next().unwrap_or_default().to_owned())
        };
        let mut descriptors: Vec<String> = entries("/proc/self/fd")?.filter_map(of).collect();
        descriptors.sort_unstable();
        Ok(Self {
            descriptors,
            threads: entries("/proc/self/task")?.count(),
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

/// Resident memory over time, in MiB.
#[derive(Debug, Default)]
pub struct Watch(Vec<f64>);

impl Watch {
    /// One more sample.
    ///
    /// # Errors
    /// Where there is no /proc.
    pub fn take(&mut self) -> Result<()> {
        let status = std::fs::read_to_string("/proc/self/status")?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("the kernel tells VmRSS")?;
        let kib: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
        self.0.push(kib / 1024.0);
        Ok(())
    }

    /// The median of each fifth.
    fn fifths(&self) -> Vec<f64> {
        let size = self.0.len().div_ceil(5).max(1);
        let median = |samples: &[f64]| {
            let mut samples = samples.to_vec();
            samples.sort_by(f64::total_cmp);
            samples.get(samples.len() / 2).copied().unwrap_or_default()
        };
        self.0.chunks(size).map(median).collect()
    }

    /// Says that memory grew, if it did after the first fifth.
    pub fn grown(&self) -> Option<String> {
        let fifths = self.fifths();
        let (early, late) = (*fifths.get(1)?, *fifths.last()?);
        let grown = late > early * MEMORY_SLACK && late > early + MEMORY_SLACK_MIB;
        grown.then(|| format!("resident memory grew from {early:.1} to {late:.1} MiB"))
    }
}

impl fmt::Display for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fifths: Vec<String> = self.fifths().iter().map(|mib| format!("{mib:.1}")).collect();
        write!(f, "{} MiB, medians of fifths of {} samples", fifths.join(" · "), self.0.len())
    }
}
