//! A configuration file that may change while the program runs.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::{ConfigError, ConfigText};

/// How often the file is read. A mounted ConfigMap changes by a swapped symlink, a minute after it was applied; reading
/// needs no watch on either, and a file of some kilobytes costs nothing.
const PERIOD: Duration = Duration::from_secs(1);

/// Follows the file that a program started with, until `stop`.
///
/// `take` gets each text that differs from the one before it, the first one compared with `used`: a change made while the
/// program started is taken, and what it started with is not taken again. It gets an error, once while it lasts, when the
/// file cannot be read; whoever does nothing about an error keeps the last good configuration. After an error it gets the
/// text again even if that is the old one, so that the error can be taken back.
pub async fn follow(used: ConfigText, stop: CancellationToken, mut take: impl FnMut(Result<ConfigText, ConfigError>)) {
    let path = used.path().to_owned();
    let mut seen = Ok(used);
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let path = path.clone();
        // A read that panicked would be a bug of ours: the next one tells.
        let Ok(read) = tokio::task::spawn_blocking(move || ConfigText::read(&path)).await else { continue };
        let now = read.as_ref().map(ConfigText::clone).map_err(ToString::to_string);
        if now != seen {
            seen = now;
            take(read);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde::Deserialize;
    use tokio::sync::mpsc;

    use super::*;

    #[derive(Deserialize)]
    struct Example {
        limit: u32,
    }

    /// Follows `path` from `used` on; what is taken arrives at the receiver, as the limit or the error's words.
    fn followed(used: ConfigText, stop: &CancellationToken) -> mpsc::UnboundedReceiver<Result<u32, String>> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let take = move |read: Result<ConfigText, ConfigError>| {
            let limit = read.and_then(|text| text.parse::<Example>()).map(|example| example.limit);
            sender.send(limit.map_err(|error| error.to_string())).unwrap();
        };
        tokio::spawn(follow(used, stop.clone(), take));
        receiver
    }

    /// Lets some periods pass.
    async fn later() {
        tokio::time::sleep(PERIOD * 5).await;
    }

    fn file(limit: u32) -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.yaml");
        write(&path, limit);
        (folder, path)
    }

    fn write(path: &Path, limit: u32) {
        std::fs::write(path, format!("limit: {limit}\n")).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_between_load_and_follow_is_taken_once() {
        let (_folder, path) = file(1);
        let used = ConfigText::read(&path).unwrap();
        write(&path, 2);
        let mut taken = followed(used, &CancellationToken::new());
        later().await;
        assert_eq!(taken.try_recv(), Ok(Ok(2)));
        assert!(taken.try_recv().is_err(), "nothing has changed since");
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_program_started_with_is_not_taken_again() {
        let (_folder, path) = file(1);
        let mut taken = followed(ConfigText::read(&path).unwrap(), &CancellationToken::new());
        later().await;
        // Touched, and replaced by a copy of itself: neither is a change.
        write(&path, 1);
        later().await;
        assert!(taken.try_recv().is_err());
        write(&path, 3);
        later().await;
        assert_eq!(taken.try_recv(), Ok(Ok(3)));
    }

    #[tokio::test(start_paused = true)]
    async fn an_error_is_told_once_and_the_old_text_takes_it_back() {
        let (_folder, path) = file(1);
        let mut taken = followed(ConfigText::read(&path).unwrap(), &CancellationToken::new());
        std::fs::remove_file(&path).unwrap();
        later().await;
        assert!(taken.try_recv().unwrap().unwrap_err().contains("check --config"));
        assert!(taken.try_recv().is_err(), "the same error is no news");
        std::fs::write(&path, "limit: many\n").unwrap();
        later().await;
        assert!(taken.try_recv().unwrap().unwrap_err().contains("limit"));
        write(&path, 1);
        later().await;
        assert_eq!(taken.try_recv(), Ok(Ok(1)));
    }

    #[tokio::test(start_paused = true)]
    async fn it_ends_when_it_is_told_to() {
        let (_folder, path) = file(1);
        let stop = CancellationToken::new();
        let mut taken = followed(ConfigText::read(&path).unwrap(), &stop);
        later().await;
        stop.cancel();
        assert_eq!(taken.recv().await, None, "the sender is gone with the task");
        write(&path, 2);
        later().await;
        assert!(taken.try_recv().is_err());
    }
}
