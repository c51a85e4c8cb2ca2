//! The one map from the core's errors to the classes of `currant.errors`.
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;

use crate::base::error::Error;

fn class(error: &Error) -> Option<&'static str> {
    Some(match error {
        Error::Unavailable(_) | Error::Refused(_) | Error::Conflict(_) | Error::Locked(_) => "DatabaseUnavailable",
        Error::SchemaMismatch(_) => "SchemaMismatch",
        Error::NotFound(_) => "NotFound",
        Error::NotRunning(_) => "NotRunning",
        Error::UncheckedInput(_) => "UncheckedInput",
        Error::Other(_) => "CurrantError",
        Error::Invalid(_) | Error::Data { .. } => return None,
    })
}

/// The caller must have the interpreter's lock. An argument that the core or the database refuses is a `ValueError`.
pub(super) fn to_python(error: Error) -> PyErr {
    let message = error.to_string();
    let Some(class) = class(&error) else { return PyValueError::new_err(message) };
    Python::attach(|py| {
        let raised = py
            .import("currant.errors")
            .and_then(|errors| errors.getattr(class))
            .and_then(|class| class.call1((&message,)))
            .map(PyErr::from_value);
        raised.unwrap_or_else(|_| PyRuntimeError::new_err(message))
    })
}
