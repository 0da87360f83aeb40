//! The Anthropic Message Batches API.
