//! The tasks of a program: any end that was not asked for ends the process with an error.

use std::fmt::Display;
use std::future::Future;

use tokio::task::JoinSet;

/// A task of the program ended although nobody asked for it.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    /// The task returned an error.
    #[error("task {name} failed: {message}")]
    Failed {
        /// Name given to [`Tasks::spawn`].
        name: &'static str,
        /// Its error, with the chain of causes.
        message: String,
    },
    /// The task panicked.
    #[error("a task panicked: {0}")]
    Panicked(tokio::task::JoinError),
}

/// A set of named tasks that live and die together. Dropping it aborts them.
#[derive(Debug, Default)]
pub struct Tasks {
    set: JoinSet<(&'static str, Result<(), String>)>,
}

impl Tasks {
    /// Runs `future` as a part of the program. `Ok` means that it was asked to end.
    pub fn spawn<E: Display + Send + 'static>(
        &mut self,
        name: &'static str,
        future: impl Future<Output = Result<(), E>> + Send + 'static,
    ) {
        self.set.spawn(async move { (name, future.await.map_err(|error| format!("{error:#}"))) });
    }

    /// Waits until all tasks have ended as asked.
    ///
    /// # Errors
    /// As soon as one task fails or panics; the others are aborted when `self` is dropped.
    pub async fn finish(mut self) -> Result<(), TaskError> {
        while let Some(joined) = self.set.join_next().await {
            match joined {
                Ok((name, Ok(()))) => tracing::debug!(task = name, "task ended"),
                Ok((name, Err(message))) => return Err(TaskError::Failed { name, message }),
                Err(error) if error.is_cancelled() => {}
                Err(error) => return Err(TaskError::Panicked(error)),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_failing_task_ends_the_program_and_is_named() {
        let mut tasks = Tasks::default();
        tasks.spawn("watch pods", async { Err("connection refused") });
        tasks.spawn("serve", std::future::pending::<Result<(), String>>());
        let error = tasks.finish().await.unwrap_err();
        assert_eq!(error.to_string(), "task watch pods failed: connection refused");
    }

    #[tokio::test]
    async fn tasks_that_end_as_asked_are_no_failure() {
        let mut tasks = Tasks::default();
        tasks.spawn("serve", async { Ok::<_, String>(()) });
        tasks.finish().await.unwrap();
    }
}
