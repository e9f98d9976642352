//! Results as people and scripts read them.

mod html;
mod json;
mod markdown;
mod summary;
mod table;
mod why;
mod words;

pub use html::html;
pub use json::json_lines;
pub use markdown::markdown;
pub use summary::{Summary, summaries};
pub use table::{policy_list, table};

#[cfg(test)]
mod golden;
