//! The router as a process, over real sockets, against engines that do what each test needs.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod bad_input;
mod bytes_pass;
mod drain;
mod emulator;
mod fake;
mod fleet;
mod harness;
mod overload;
mod queue;
mod reload;
mod retry;
mod stream;
