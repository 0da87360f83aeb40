//! Sentences about sources, tables and profiles of columns.
