//! The demand of each plan step in a file of its own: after a restart the plan knows the days before it, Prometheus or not.
//!
//! `ts,value` lines, begin of the step in seconds since 1970 and demand in replicas: what `autoscaler backtest` and
//! `simulate --format series` read.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use autoscaler_plan::{DemandHistory, Rhythm};

const HEADER: &str = "ts,value";

/// Demand of one model, appended to as it comes. Bounded: the older half goes when there is twice what a forecast looks at.
#[derive(Debug)]
pub struct DemandFile {
    path: PathBuf,
    step_seconds: f64,
    most_lines: usize,
    lines: usize,
    next: u64,
    is_torn: bool,
}

impl DemandFile {
    /// Opens the file and reads what is of use in it.
    ///
    /// # Errors
    /// If the file is there and cannot be read as text.
    pub fn open(path: &Path, rhythm: &Rhythm) -> io::Result<(Self, DemandHistory)> {
        let step_seconds = rhythm.step_seconds();
        let most_lines = 2 * DemandHistory::most_steps(rhythm);
        let mut file = Self { path: path.to_owned(), step_seconds, most_lines, lines: 0, next: 0, is_torn: false };
        let mut kept = DemandHistory::default();
        let text = match fs::read_to_string(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            read => read?,
        };
        for line in text.lines() {
            file.lines += 1;
            if let Some((step, replicas)) = file.parse(line) {
                kept.add(step, replicas);
            }
        }
        // The last write may have been cut off.
        file.is_torn = !text.is_empty() && !text.ends_with('\n');
        let drop = kept.replicas.len().saturating_sub(most_lines / 2);
        kept.replicas.drain(..drop);
        kept.first_step += drop as u64;
        file.next = kept.next_step();
        Ok((file, kept))
    }

    /// Step and demand of a line; `None` for the header, for half a line, and for a line of another plan step.
    fn parse(&self, line: &str) -> Option<(u64, f32)> {
        let (ts, value) = line.split_once(',')?;
        let (ts, value): (f64, f32) = (ts.parse().ok()?, value.parse().ok()?);
        let step = (ts / self.step_seconds).round();
        let is_on_step = (step * self.step_seconds - ts).abs() <= self.step_seconds / 4.0;
        (is_on_step && step >= 0.0 && value.is_finite() && value >= 0.0).then_some((step as u64, value))
    }

    /// Index of the step that is written next.
    #[must_use]
    pub fn next_step(&self) -> u64 {
        self.next
    }

    /// Appends demand of steps that have ended; a gap before them is written as one.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn append(&mut self, news: &DemandHistory) -> io::Result<()> {
        if news.replicas.is_empty() {
            return Ok(());
        }
        if self.lines >= self.most_lines {
            self.forget_older_half()?;
        }
        let mut text = if std::mem::take(&mut self.is_torn) { "\n".to_owned() } else { String::new() };
        if self.lines == 0 {
            text += HEADER;
            text.push('\n');
            self.lines = 1;
        }
        for (step, replicas) in (news.first_step..).zip(&news.replicas) {
            text += &format!("{},{replicas}\n", step as f64 * self.step_seconds);
        }
        OpenOptions::new().create(true).append(true).open(&self.path)?.write_all(text.as_bytes())?;
        self.lines += news.replicas.len();
        self.next = news.next_step();
        Ok(())
    }

    fn forget_older_half(&mut self) -> io::Result<()> {
        let text = fs::read_to_string(&self.path)?;
        let lines: Vec<&str> = text.lines().collect();
        let kept = &lines[lines.len().saturating_sub(self.most_lines / 2)..];
        let fresh = self.path.with_extension("csv.fresh");
        fs::write(&fresh, format!("{HEADER}\n{}\n", kept.join("\n")))?;
        fs::rename(fresh, &self.path)?;
        self.lines = kept.len() + 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rhythm() -> Rhythm {
        Rhythm::new(60.0, 1.0 / 80.0, 0.25).expect("valid")
    }

    fn history(first_step: u64, replicas: &[f32]) -> DemandHistory {
        DemandHistory { first_step, replicas: replicas.to_vec() }
    }

    #[test]
    fn what_was_appended_is_read_again_in_one_piece() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.csv");
        let (mut file, kept) = DemandFile::open(&path, &rhythm()).unwrap();
        assert_eq!(kept, DemandHistory::default());
        for news in [history(1000, &[1.0, 2.5]), history(1002, &[]), history(1002, &[3.0])] {
            file.append(&news).unwrap();
        }
        let (file, kept) = DemandFile::open(&path, &rhythm()).unwrap();
        assert_eq!((kept, file.next_step()), (history(1000, &[1.0, 2.5, 3.0]), 1003));
        assert_eq!(fs::read_to_string(&path).unwrap(), "ts,value\n250,1\n250.25,2.5\n250.5,3\n");
    }

    #[test]
    fn a_short_gap_is_held_a_long_one_begins_anew_and_what_is_no_line_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.csv");
        fs::write(
            &path,
            "ts,value\n1,9\n10000,1\n10000.25,2\n10000.5,x\n10000.75,4\n10000.85,5\n10000.25,7\n10001,6,8\n",
        )
        .unwrap();
        let (_, kept) = DemandFile::open(&path, &rhythm()).unwrap();
        assert_eq!(kept, history(40_000, &[1.0, 2.0, 2.0, 4.0]));
    }

    #[test]
    fn a_write_that_was_cut_off_spoils_no_line_after_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.csv");
        fs::write(&path, "ts,value\n10,1\n10.25,2\n10.").unwrap();
        let (mut file, kept) = DemandFile::open(&path, &rhythm()).unwrap();
        assert_eq!(kept, history(40, &[1.0, 2.0]));
        file.append(&history(42, &[3.0])).unwrap();
        assert_eq!(DemandFile::open(&path, &rhythm()).unwrap().1, history(40, &[1.0, 2.0, 3.0]));
    }

    #[test]
    fn the_file_stays_bounded_and_keeps_what_a_forecast_looks_at() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.csv");
        let (mut file, _) = DemandFile::open(&path, &rhythm()).unwrap();
        let looked_at = DemandHistory::most_steps(&rhythm());
        for step in 0..5 * looked_at as u64 {
            file.append(&history(step, &[step as f32])).unwrap();
        }
        let (_, kept) = DemandFile::open(&path, &rhythm()).unwrap();
        assert_eq!((kept.replicas.len(), kept.next_step()), (looked_at, 5 * looked_at as u64));
        assert!(fs::read_to_string(&path).unwrap().lines().count() <= 2 * looked_at + 1);
    }
}
