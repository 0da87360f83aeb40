//! Sentences about templates and media.
