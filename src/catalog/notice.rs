//! Models at the end of their life.

use std::fmt;

use jiff::civil::Date;
use serde::Serialize;

use super::{Catalog, Lifecycle};

/// How long before its end a model is warned about, in days. The provider gives notice at least 60
/// days before.
const NOTICE_DAYS: i64 = 60;

/// That a model is retired, or will be soon.
///
/// Prints as a fragment for error messages: ``model `a` was retired on 2026-11-30; its successor is
/// `b` ``.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum RetirementNotice {
    /// It is retired, and calls fail.
    Retired {
        /// The model, as it was asked for.
        model: String,
        /// The day it was retired.
        date: Option<Date>,
        /// The model to use instead.
        successor: Option<String>,
    },
    /// Its last day has passed, and it is not known to be retired.
    Overdue {
        /// The model, as it was asked for.
        model: String,
        /// The day that was set for its end.
        date: Date,
        /// The model to use instead.
        successor: Option<String>,
    },
    /// It will be retired soon.
    Soon {
        /// The model, as it was asked for.
        model: String,
        /// The day that is set for its end.
        date: Date,
        /// Days until then; 0 is today.
        days: i64,
        /// The model to use instead.
        successor: Option<String>,
    },
}

impl Catalog {
    /// Whether a model is retired today, or will be within 60 days. `None` where neither is so, and
    /// for an unknown id.
    #[must_use]
    pub fn advice(&self, id: &str, today: Date) -> Option<RetirementNotice> {
        let model = id.to_owned();
        if let Some((_, retired)) = self.retired(id) {
            return Some(RetirementNotice::Retired {
                model,
                date: retired.retires,
                successor: retired.successor.clone(),
            });
        }
        let (_, found) = self.model(id)?;
        let successor = found.successor.clone();
        let date = found
            .retires
            .filter(|_| found.lifecycle == Lifecycle::Deprecated)?;
        match days_between(today, date) {
            ..0 => Some(RetirementNotice::Overdue {
                model,
                date,
                successor,
            }),
            days @ ..=NOTICE_DAYS => Some(RetirementNotice::Soon {
                model,
                date,
                days,
                successor,
            }),
            _ => None,
        }
    }
}

impl fmt::Display for RetirementNotice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let successor = match self {
            RetirementNotice::Retired {
                model,
                date,
                successor,
            } => {
                write!(f, "model `{model}` was retired")?;
                if let Some(date) = date {
                    write!(f, " on {date}")?;
                }
                successor
            }
            RetirementNotice::Overdue {
                model,
                date,
                successor,
            } => {
                write!(
                    f,
                    "model `{model}` was to be retired on {date}, so every row may fail"
                )?;
                successor
            }
            RetirementNotice::Soon {
                model,
                date,
                days,
                successor,
            } => {
                match days {
                    0 => write!(f, "model `{model}` is retired today")?,
                    1 => write!(f, "model `{model}` is retired tomorrow, on {date}")?,
                    days => write!(f, "model `{model}` is retired in {days} days, on {date}")?,
                }
                successor
            }
        };
        match successor {
            Some(successor) => write!(f, "; its successor is `{successor}`"),
            None => Ok(()),
        }
    }
}

/// Days from one day to another, negative backwards.
fn days_between(from: Date, to: Date) -> i64 {
    i64::from((to - from).get_days())
}
