//! Sentences about estimates, prices and the ledger.
