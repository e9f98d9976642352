//! The last words of a program that cannot go on.

use std::backtrace::BacktraceStatus;
use std::io::Write as _;
use std::process::ExitCode;

/// Prints `program: error`, and returns the exit code that says so.
///
/// The causes follow on one line, those left out that the words before already say. With `RUST_BACKTRACE=1` each has its
/// own, and where the error arose stands beneath.
#[must_use]
pub fn failure(program: &str, error: &anyhow::Error) -> ExitCode {
    // Standard error may be closed: there is nobody left to tell then.
    drop(writeln!(std::io::stderr(), "{}", last_words(program, error)));
    ExitCode::FAILURE
}

fn last_words(program: &str, error: &anyhow::Error) -> String {
    if error.backtrace().status() == BacktraceStatus::Captured {
        return format!("{program}: {error:?}");
    }
    error.chain().fold(program.to_owned(), |words, cause| {
        let cause = cause.to_string();
        if words.contains(&cause) { words } else { format!("{words}: {cause}") }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    // Whether a backtrace is taken is up to the environment, which a test must not change: tests of the programs do it.
    #[test]
    fn the_program_the_error_and_its_causes_are_named() {
        let error = anyhow::anyhow!("connection refused").context("read the lease");
        let words = last_words("autoscaler", &error);
        assert!(words.starts_with("autoscaler: read the lease") && words.contains("connection refused"), "{words}");
    }
}
