//! Sentences about faults of a provider.
