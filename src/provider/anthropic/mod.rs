//! The Anthropic Message Batches API.
//!
//! [`Anthropic`] speaks it to the API itself or to a gateway with the same paths. Every URL is
//! built from the base URL, the one of the results too: what `results_url` names is never followed,
//! since behind a gateway it may name another host.
//!
//! A create whose answer is good but cannot be read is an error of
//! [`Delivery::Unknown`](super::Delivery::Unknown): the batch may exist.
//!
//! **Source**: the vendor's reference and clients of 2026-11; what the API does beyond them is
//! noted where the code depends on it.

mod calls;
mod client;
mod files;
mod format;
pub mod result_line;
mod spec;
mod wire;

pub use client::Anthropic;
pub use format::{ENVELOPE, FORMAT, LIMITS, NAME};
pub use spec::{AnthropicSpec, Credential, custom_headers};

/// Where the API lives.
pub const BASE_URL: &str = "https://api.anthropic.com";
/// The newest version of the API this room was written for.
pub const API_VERSION: &str = "2026-10-21";
/// The header with which the simulator says what it is, in every answer.
pub const SIMULATOR_HEADER: &str = "rowmill-simulator";

#[cfg(test)]
mod tests;
