//! Comparisons as SQL has them: one with a null, or with a NaN, is false, whatever the operator and
//! the side.
//!
//! The engine orders values of different kinds by their kind, so that a null is greater than every
//! number, text and date. Its operators cannot be replaced, but filters and tests can. So the
//! operators of a template are written as filters of this room before it is compiled, operator by
//! operator, in place:
//!
//! ```text
//!   {% if score > 5 and x not in y %}   ──▶  {% if (score) |__RmGt( 5) and (x) |__RmNotIn( y) %}
//!   {{ 0 < a <= 9 }}                    ──▶  {{ ((0) |__RmLt( a) and ( a) |__RmLe( 9)) }}
//! ```
//!
//! Nothing else of the text changes, line ends included, so that errors name the lines of the file.
//!
//! The rewriting works on the engine's tokens and not on its syntax tree, for two reasons: the
//! engine compiles text only, there is no way to hand it a changed tree; and the tree keeps neither
//! brackets nor the place of an operator, and gives an operation the place of the token before it,
//! so that text cannot be replaced by it. Only the grouping of operands is written here; a test
//! compares it with what the engine does for expressions of every kind.
//!
//! * `!=` and `not in` are false for a null, too: `not (x == 5)` is how to ask for everything else.
//! * Whether a cell is null is asked with `is none`; whether a number is NaN, with `is nan`.
//! * The tests `eq`, `ne`, `lt`, `le`, `gt`, `ge`, `in`, `startingwith`, `endingwith` and their
//!   other names follow the same rule, so `select` and `selectattr` do.
//! * `min` and `max` skip nulls and NaN; `sort` puts them last (first, where it is reversed).
//!
//! ```text
//! operators.rs  the filters and tests that compare      rewrite.rs  operators → filters, in the text
//! ```

mod operators;
mod rewrite;

pub(super) use operators::add;
pub(super) use rewrite::rewrite;
