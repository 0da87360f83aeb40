//! What holds whatever bytes arrive: one body for each parser of bytes that others wrote.
//!
//! The bodies stand beside their parsers, in the `checks.rs` of their rooms. The fuzz targets run
//! them over whatever a fuzzer finds (`fuzz/run`), the tests here over seeds and their mutations.
//! A body panics where a promise is broken; input that a parser refuses is no failure.
//!
//! | body | parser | promise |
//! |---|---|---|
//! | [`check_result_line`] | a line of results | any JSON with a `custom_id` gives an outcome; the quick scan of the id agrees |
//! | [`check_answer_json`] | JSON in the text of an answer | what is found is JSON, and stands in the text |
//! | [`check_csv`] | the records of a CSV file | the same records whatever the buffer, and after they are written back |
//! | [`check_parquet_page`] | page headers, levels and indexes of Parquet | no value from bytes that are not there |
//! | [`check_repeated_keys`] | the search for repeated keys in JSON | finds one where a JSON parser drops one |
//! | [`check_batch_body`] | the body of a create call | the same elements however the body is cut, and those that a JSON parser finds |
//! | [`check_job_file`] | a job file | an error names its place; a stored job stays the same job |
//! | [`check_journal`] | the journal of a run | each beginning of a journal is a journal, with the first of its events |

pub use crate::job::checks::check_job_file;
pub use crate::journal::checks::check_journal;
pub use crate::outcome::checks::check_answer_json;
pub use crate::provider::checks::check_result_line;
#[cfg(feature = "simulator")]
pub use crate::simulator::checks::check_batch_body;
pub use crate::source::checks::{check_csv, check_parquet_page, check_repeated_keys};

#[cfg(test)]
mod tests;
