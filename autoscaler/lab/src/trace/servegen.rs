//! ServeGen: a folder with a file of rates for each client, and the law of each client's gaps between requests.
//!
//! `chunk-N-trace.csv`, no header: start of the window (s), requests a second, coefficient of variation of the gaps, their
//! law (Gamma, Weibull, ...), its two parameters. `chunk-N-dataset.json`, optional: probabilities of token lengths.
//!
//! A window of a client has `round(rate × window × factor)` requests, whose gaps follow the client's law, rescaled to fill
//! the window: drawing until the window ends would make the number of requests, and so the load, depend on the law.

use std::io::BufRead;
use std::path::{Path, PathBuf};

use autoscaler_sim::Request;
use rand_pcg::Pcg64Mcg;

use super::error::TraceError;
use super::lengths::Lengths;
use super::lines::{Lines, open};
use super::pdf::ClientLengths;
use super::random::{exponential, gamma, stream, weibull};
use super::{MOST_SECONDS, MOST_SPAN};

const EXPECTED: &str = "a folder with chunk-0-trace.csv, chunk-1-trace.csv, ...";
const MOST_CLIENTS: usize = 100_000;

/// Law of the gaps between a client's requests; only its shape matters, since gaps are rescaled.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Law {
    Exponential,
    Gamma { shape: f64 },
    Weibull { shape: f64 },
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Window {
    rate: f64,
    law: Law,
}

#[derive(Debug)]
struct Client {
    /// One for each window of the trace; `None` where the recording has a gap.
    windows: Vec<Option<Window>>,
    /// Which of the lengths are its own, or borrowed.
    lengths: Option<usize>,
}

/// All clients of a folder.
#[derive(Debug)]
pub(crate) struct ServeGen {
    window_seconds: f64,
    windows: usize,
    clients: Vec<Client>,
    client_lengths: Vec<ClientLengths>,
    /// For a folder in which no client has lengths.
    default_lengths: Lengths,
}

impl ServeGen {
    /// Reads a folder. A client without lengths borrows those of the next client that has some (in order of the
    /// number in the file's name, from the first again after the last); when none has, `default_lengths` serve all.
    pub(crate) fn load(folder: &Path, default_lengths: Lengths) -> Result<Self, TraceError> {
        let mut rows = Vec::new();
        let mut own = Vec::new();
        for (trace, dataset) in files(folder)? {
            rows.push(read_rows(open(&trace)?, &trace)?);
            own.push(if dataset.exists() { ClientLengths::read(open(&dataset)?, &dataset)? } else { None });
        }
        Self::new(rows, own, default_lengths, folder)
    }

    fn new(
        rows: Vec<Vec<(f64, Window)>>,
        own: Vec<Option<ClientLengths>>,
        default_lengths: Lengths,
        folder: &Path,
    ) -> Result<Self, TraceError> {
        let refuse = |problem: String, expected| TraceError::Content { path: folder.to_owned(), problem, expected };
        let gaps = rows.iter().flat_map(|rows| rows.windows(2).map(|pair| pair[1].0 - pair[0].0));
        let window_seconds = gaps.fold(f64::INFINITY, f64::min);
        if !(1.0..=86_400.0).contains(&window_seconds) {
            return Err(refuse(
                format!("windows of {window_seconds} s"),
                "windows of 1 s to 1 day, in increasing order",
            ));
        }
        let end = rows.iter().flatten().map(|(start, _)| start + window_seconds).fold(0.0, f64::max);
        if end > MOST_SECONDS {
            return Err(refuse(format!("it spans {:.0} days", end / 86_400.0), MOST_SPAN));
        }
        let windows = (end / window_seconds).round() as usize;
        if windows.saturating_mul(rows.len()) > 100_000_000 {
            return Err(refuse(format!("{} clients × {windows} windows", rows.len()), "at most 100 million together"));
        }
        let mut client_lengths = Vec::new();
        let places: Vec<Option<usize>> = own
            .into_iter()
            .map(|lengths| {
                lengths.map(|lengths| {
                    client_lengths.push(lengths);
                    client_lengths.len() - 1
                })
            })
            .collect();
        let clients = rows
            .into_iter()
            .enumerate()
            .map(|(index, rows)| {
                let mut by_window = vec![None; windows];
                for (start, window) in rows {
                    if let Some(place) = by_window.get_mut((start / window_seconds).round() as usize) {
                        *place = Some(window);
                    }
                }
                let lengths = places[index..].iter().chain(&places[..index]).find_map(|place| *place);
                Client { windows: by_window, lengths }
            })
            .collect();
        Ok(Self { window_seconds, windows, clients, client_lengths, default_lengths })
    }

    pub(crate) fn duration_seconds(&self) -> f64 {
        self.windows as f64 * self.window_seconds
    }

    pub(crate) fn grain_seconds(&self) -> f64 {
        self.window_seconds
    }

    /// Requests at a factor of 1.
    pub(crate) fn requests(&self) -> f64 {
        self.rates().iter().sum::<f64>() * self.window_seconds
    }

    /// Requests in each step of `step_seconds`, in the mean, with windows that lie in it by their starts.
    pub(crate) fn counts(&self, step_seconds: f64) -> Vec<f64> {
        let mut counts = vec![0.0; (self.duration_seconds() / step_seconds).ceil() as usize];
        for (index, rate) in self.rates().iter().enumerate() {
            let place = (index as f64 * self.window_seconds / step_seconds) as usize;
            if let Some(count) = counts.get_mut(place) {
                *count += rate * self.window_seconds;
            }
        }
        counts
    }

    fn rates(&self) -> Vec<f64> {
        let mut rates = vec![0.0; self.windows];
        for client in &self.clients {
            for (rate, window) in rates.iter_mut().zip(&client.windows) {
                *rate += window.map_or(0.0, |window| window.rate);
            }
        }
        rates
    }

    pub(crate) fn visit(&self, factor: f64, from: f64, to: f64, seed: u64, each: &mut dyn FnMut(&Request)) {
        let mut requests = Vec::new();
        let first = (from.max(0.0) / self.window_seconds).floor() as usize;
        for window in first..self.windows {
            if window as f64 * self.window_seconds >= to {
                break;
            }
            requests.clear();
            for client in 0..self.clients.len() {
                self.fill(factor, client, window, seed, &mut requests);
            }
            // The requests of each client are in order already, which this sort makes use of.
            requests.sort_by(|a, b| a.arrival_seconds.total_cmp(&b.arrival_seconds));
            let inside = |request: &&Request| (from..to).contains(&request.arrival_seconds);
            requests.iter().filter(inside).for_each(&mut *each);
        }
    }

    fn fill(&self, factor: f64, client: usize, window: usize, seed: u64, requests: &mut Vec<Request>) {
        let Some(Client { windows, lengths }) = self.clients.get(client) else { return };
        let Some(Window { rate, law }) = windows.get(window).copied().flatten() else { return };
        let count = (rate * self.window_seconds * factor).round() as usize;
        if count == 0 {
            return;
        }
        let mut random = stream(&[seed, client as u64, window as u64]);
        // One gap more than requests: from the window's start to the first, between them, and from the last to its end.
        let gaps: Vec<f64> = (0..=count).map(|_| law.draw(&mut random)).collect();
        let total: f64 = gaps.iter().sum();
        let (start, lengths) =
            (window as f64 * self.window_seconds, lengths.and_then(|place| self.client_lengths.get(place)));
        let mut sum = 0.0;
        for (index, gap) in gaps.iter().take(count).enumerate() {
            sum += gap;
            // A law so bursty that its gaps cannot be told from 0: requests at even distances.
            let share = if total > 0.0 && total.is_finite() { sum / total } else { index as f64 / count as f64 };
            let arrival_seconds = (start + share * self.window_seconds).min((start + self.window_seconds).next_down());
            let (prompt_tokens, output_tokens) = match lengths {
                Some(lengths) => lengths.draw(arrival_seconds, &mut random),
                None => self.default_lengths.draw(&mut random),
            };
            requests.push(Request { arrival_seconds, prompt_tokens, output_tokens, prefix_group: 0, shared_tokens: 0 });
        }
    }
}

impl Law {
    fn draw(self, random: &mut Pcg64Mcg) -> f64 {
        match self {
            Self::Exponential => exponential(random),
            Self::Gamma { shape } => gamma(random, shape),
            Self::Weibull { shape } => weibull(random, shape),
        }
    }
}

/// Whether a folder has client files.
pub(crate) fn is_folder(folder: &Path) -> bool {
    files(folder).is_ok()
}

/// The clients' files in order of their numbers: trace, and dataset whether it exists or not.
fn files(folder: &Path) -> Result<Vec<(PathBuf, PathBuf)>, TraceError> {
    let unreadable = |source| TraceError::Read { path: folder.to_owned(), source };
    let refuse = |problem: String| TraceError::Content { path: folder.to_owned(), problem, expected: EXPECTED };
    if folder.is_file() {
        return Err(refuse("this is a file".into()));
    }
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let name = entry.map_err(unreadable)?.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix("chunk-")?.strip_suffix("-trace.csv"));
        numbers.extend(number.and_then(|number| number.parse::<u64>().ok()));
    }
    numbers.sort_unstable();
    if numbers.is_empty() {
        return Err(refuse("no client files in it".into()));
    }
    if numbers.len() > MOST_CLIENTS {
        return Err(refuse(format!("{} client files", numbers.len())));
    }
    let of = |number: &u64| {
        (folder.join(format!("chunk-{number}-trace.csv")), folder.join(format!("chunk-{number}-dataset.json")))
    };
    Ok(numbers.iter().map(of).collect())
}

/// The rows of one client: start of the window and what it says, in increasing order of starts.
fn read_rows(reader: impl BufRead, path: &Path) -> Result<Vec<(f64, Window)>, TraceError> {
    let mut lines = Lines::new(reader, path);
    let mut rows: Vec<(f64, Window)> = Vec::new();
    while let Some(line) = lines.next_line()? {
        let [start, rate, _variation, law, shape, _scale] =
            line.columns("`start,rate,variation,law,parameter,parameter`")?;
        let start = line.number("window start", start, "seconds, at least 0", |s: &f64| (0.0..1e11).contains(s))?;
        if rows.last().is_some_and(|(before, _)| start <= *before) {
            return Err(line.refuse("window start", line.text, "a window after that of the line before"));
        }
        let rate = if rate.is_empty() { "0" } else { rate };
        let rate = line.number("rate", rate, "requests a second, at least 0", |r: &f64| (0.0..1e9).contains(r))?;
        let shape = || line.number("parameter", shape, "the law's shape, above 0", |s: &f64| s.is_finite() && *s > 0.0);
        let law = match law {
            _ if rate <= 0.0 => Law::Exponential,
            "Gamma" => Law::Gamma { shape: shape()? },
            "Weibull" => Law::Weibull { shape: shape()? },
            _ => Law::Exponential,
        };
        rows.push((start, Window { rate, law }));
    }
    Ok(rows)
}

/// For property tests: reads one client's file from bytes and walks it.
#[cfg(test)]
pub(crate) fn read_client(bytes: &[u8], path: &Path) -> Result<ServeGen, TraceError> {
    ServeGen::new(vec![read_rows(bytes, path)?], vec![None], Lengths::conversation(), path)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: &str = "0,1.5,2,Gamma,0.25,3\n600,0,0,,0,0\n1200,0.1,1,Pareto,1,1\n1800,2,.8,Weibull,1.3,1\n";

    fn visited(trace: &ServeGen, factor: f64, from: f64, to: f64) -> Vec<Request> {
        let mut all = Vec::new();
        trace.visit(factor, from, to, 5, &mut |request| all.push(*request));
        all
    }

    #[test]
    fn each_window_has_its_rounded_number_of_requests() {
        let trace = read_client(CLIENT.as_bytes(), Path::new("c")).unwrap();
        let all = visited(&trace, 0.5, 0.0, 2400.0);
        let in_window = |w: f64| all.iter().filter(|r| (w..w + 600.0).contains(&r.arrival_seconds)).count();
        assert_eq!([in_window(0.0), in_window(600.0), in_window(1200.0), in_window(1800.0)], [450, 0, 30, 600]);
        assert_eq!(trace.counts(1200.0), [900.0, 1260.0]);
    }

    #[test]
    fn stretches_fit_together_and_are_in_order() {
        let trace = read_client(CLIENT.as_bytes(), Path::new("c")).unwrap();
        let mut parts = visited(&trace, 1.0, 0.0, 600.0);
        parts.extend(visited(&trace, 1.0, 600.0, 2400.0));
        let whole = visited(&trace, 1.0, 0.0, 2400.0);
        assert_eq!(whole, parts);
        assert!(whole.windows(2).all(|pair| pair[0].arrival_seconds <= pair[1].arrival_seconds));
    }

    #[test]
    fn a_client_without_lengths_borrows_those_of_the_next_that_has_some() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        for client in 0..3 {
            write(&format!("chunk-{client}-trace.csv"), CLIENT);
        }
        write("chunk-1-dataset.json", r#"{"0": {"input_tokens": "{77: 1.0}", "output_tokens": "{5: 1.0}"}}"#);
        let trace = ServeGen::load(folder.path(), Lengths::fixed(1, 1)).unwrap();
        assert!(visited(&trace, 1.0, 0.0, 2400.0).iter().all(|r| (r.prompt_tokens, r.output_tokens) == (77, 5)));
        assert!((trace.requests() - 3.0 * 2160.0).abs() < 1e-6);
    }

    #[test]
    fn errors_name_file_line_and_column() {
        let message = |text: &str| read_client(text.as_bytes(), Path::new("c")).unwrap_err().to_string();
        assert!(message("0,1,1,Gamma,1,1\n600,x,1,Gamma,1,1\n").contains("c, line 2, rate: found `x`"));
        assert!(message("0,1,1,Gamma,0,1\n").contains("line 1, parameter: found `0`"));
        assert!(message("0,1,1\n").contains("start,rate,variation"));
        assert!(message("600,1,1,Gamma,1,1\n0,1,1,Gamma,1,1\n").contains("a window after"));
        let empty = tempfile::tempdir().unwrap();
        let error = ServeGen::load(empty.path(), Lengths::fixed(1, 1)).unwrap_err().to_string();
        assert!(error.contains("no client files in it; expected a folder with chunk-0-trace.csv"), "{error}");
    }
}
