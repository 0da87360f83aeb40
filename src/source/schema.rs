//! The columns of a source: of its files, which must agree, with the types that the job gives them.

use std::collections::HashSet;
use std::path::Path;

use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use indexmap::IndexMap;

use super::error::{listed, nearest};
use super::{Error, convert, logical, types, unreadable};

/// Refuses columns without a name and names that come twice.
pub(super) fn check_names<'a>(
    path: &Path,
    names: impl Iterator<Item = &'a str>,
) -> Result<(), Error> {
    let mut seen: IndexMap<&str, usize> = IndexMap::new();
    for (i, name) in names.enumerate() {
        if name.is_empty() {
            return Err(Error::ColumnUnnamed {
                path: path.to_path_buf(),
                column: i + 1,
            });
        }
        if let Some(first) = seen.insert(name, i) {
            return Err(Error::ColumnTwice {
                path: path.to_path_buf(),
                name: name.to_owned(),
                first: first + 1,
                second: i + 1,
            });
        }
    }
    if seen.is_empty() {
        return Err(Error::NoColumns {
            path: path.to_path_buf(),
        });
    }
    Ok(())
}

/// The columns of the first file, once another is known to have the same; a column may be null
/// where it may be in either.
///
/// Columns may stand in another order, and a type may be laid out differently.
pub(super) fn agree(
    first: (&Path, &mut Vec<FieldRef>),
    other: (&Path, &Schema),
) -> Result<(), Error> {
    let ((first_path, fields), (path, schema)) = (first, other);
    for field in fields.iter_mut() {
        let Ok(found) = schema.field_with_name(field.name()) else {
            return Err(missing(field.name(), first_path, path));
        };
        if !types::are_compatible(field.data_type(), found.data_type()) {
            return Err(Error::TypeDiffers {
                path: path.to_path_buf(),
                column: field.name().clone(),
                found: types::name(found.data_type()),
                expected: types::name(field.data_type()),
                first: first_path.to_path_buf(),
            });
        }
        // The finer unit holds what either file has, and a value that it does not reach is an error
        // of its row.
        if let (DataType::Timestamp(unit, _), DataType::Timestamp(finer, _)) =
            (field.data_type(), found.data_type())
            && finer > unit
        {
            *field = field
                .as_ref()
                .clone()
                .with_data_type(found.data_type().clone())
                .into();
        }
        if !logical::have_same_kinds(field, found) {
            *field = logical::without_kinds(field);
        }
        if unreadable::reason(found).is_some() {
            let mut marked = field.as_ref().clone();
            unreadable::inherit(&mut marked, found);
            *field = marked.into();
        }
        if found.is_nullable() && !field.is_nullable() {
            *field = field.as_ref().clone().with_nullable(true).into();
        }
    }
    let known: HashSet<&str> = fields.iter().map(|field| field.name().as_str()).collect();
    match schema
        .fields()
        .iter()
        .find(|field| !known.contains(field.name().as_str()))
    {
        Some(extra) => Err(missing(extra.name(), path, first_path)),
        None => Ok(()),
    }
}

fn missing(column: &str, present: &Path, absent: &Path) -> Error {
    Error::ColumnMissing {
        column: column.to_owned(),
        present: present.to_path_buf(),
        absent: absent.to_path_buf(),
    }
}

/// The types of `source.columns`, each of which must name a column.
pub(super) fn asked_types<'a>(
    asked: &IndexMap<String, String>,
    known: impl Iterator<Item = &'a str>,
) -> Result<IndexMap<String, DataType>, Error> {
    let known: Vec<&str> = known.collect();
    asked
        .iter()
        .map(|(column, name)| {
            if !known.contains(&column.as_str()) {
                return Err(unknown_column(
                    column,
                    "`source.columns`",
                    known.iter().copied(),
                ));
            }
            let data_type = types::parse(name).ok_or_else(|| Error::UnknownType {
                column: column.clone(),
                name: name.clone(),
                known: types::KNOWN,
            })?;
            Ok((column.clone(), data_type))
        })
        .collect()
}

/// A field with the type asked for.
pub(super) fn with_type(field: &FieldRef, asked: Option<&DataType>) -> Result<FieldRef, Error> {
    match asked {
        None => Ok(field.clone()),
        Some(data_type) if convert::can_convert(field.data_type(), data_type) => {
            let mut new = Field::new(field.name(), data_type.clone(), field.is_nullable());
            unreadable::inherit(&mut new, field);
            Ok(new.into())
        }
        Some(data_type) => Err(Error::NoCast {
            column: field.name().clone(),
            from: types::name(field.data_type()),
            to: types::name(data_type),
        }),
    }
}

/// Names a column that is not there, with what there is.
pub(super) fn unknown_column<'a>(
    name: &str,
    wanted_by: &'static str,
    known: impl ExactSizeIterator<Item = &'a str> + Clone,
) -> Error {
    Error::UnknownColumn {
        name: name.to_owned(),
        wanted_by,
        nearest: nearest(name, known.clone()),
        known: listed(known),
    }
}
