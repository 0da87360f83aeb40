//! Sentences about requests and their options.
