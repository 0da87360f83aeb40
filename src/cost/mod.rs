//! Tokens × dated prices → money, exactly.

mod money;

pub use money::{Money, MoneyError};
