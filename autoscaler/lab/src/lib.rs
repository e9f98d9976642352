//! The laboratory: traces in, policies side by side, tables and reports out.

pub mod trace;
