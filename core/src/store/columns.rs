//! Columns of arrays that go to the database, and of rows that come back.
use crate::base::error::{Error, Result};
use crate::base::types::Kind;

/// The values of one array parameter.
pub(crate) fn column<'a, T, U>(items: &'a [T], value: impl Fn(&'a T) -> U) -> Vec<U> {
    items.iter().map(value).collect()
}

/// The value that a column of the answer must hold; sqlx cannot know that a function's column is never null.
pub(crate) fn there<T>(value: Option<T>) -> Result<T> {
    value.ok_or_else(|| Error::SchemaMismatch("the database answers in an unknown form: run `currant migrate`".into()))
}

pub(crate) fn kind(text: &str) -> Result<Kind> {
    Kind::parse(text).map_err(|unknown| Error::SchemaMismatch(format!("{unknown}: install a newer Currant")))
}
