//! Sentences about runs, their journals, results and outputs.
