//! Every sentence a person reads, made from the typed facts of the library; one file for each group
//! of rooms.
//!
//! A sentence is made by variant, with the formats of [`super::format`]. To word a new fact: an arm
//! in the function of its type.

pub(crate) mod budget;
pub(crate) mod call;
pub(crate) mod engine;
pub(crate) mod estimate;
pub(crate) mod journal;
pub(crate) mod provider;
pub(crate) mod prune;
pub(crate) mod request;
pub(crate) mod reuse;
pub(crate) mod run;
pub(crate) mod source;
pub(crate) mod state;
pub(crate) mod template;
