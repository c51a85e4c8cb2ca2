//! Values that go between Python and Rust: the type in Python, and the translation in both directions.
use pyo3::IntoPyObjectExt;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyList;
use uuid::Uuid;

use super::errors::to_python;
use crate::store::read::Filters;

pub(super) fn to_id(text: &str) -> PyResult<Uuid> {
    Uuid::parse_str(text).map_err(|_| PyValueError::new_err(format!("not the id of an execution: {text:?}")))
}

/// The type in Python's notation, for `_core.pyi`.
pub(super) trait PythonType {
    fn python_type() -> String;
}

pub(super) trait FromPython: PythonType + Sized {
    fn from_python(value: &Bound<'_, PyAny>) -> PyResult<Self>;
}

pub(super) trait ToPython: PythonType + Send + 'static {
    fn to_python(self, py: Python<'_>) -> PyResult<Py<PyAny>>;
}

/// Types that pyo3 translates as they are.
macro_rules! plain {
    ($($type:ty = $python:literal),*) => {$(
        impl PythonType for $type {
            fn python_type() -> String {
                $python.into()
            }
        }

        impl FromPython for $type {
            fn from_python(value: &Bound<'_, PyAny>) -> PyResult<Self> {
                value.extract()
            }
        }

        impl ToPython for $type {
            fn to_python(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
                self.into_py_any(py)
            }
        }
    )*};
}

plain!(i16 = "int", i32 = "int", i64 = "int", f64 = "float", bool = "bool", String = "str", Vec<u8> = "bytes");

impl PythonType for () {
    fn python_type() -> String {
        "None".into()
    }
}

impl ToPython for () {
    fn to_python(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        Ok(py.None())
    }
}

/// Ids are text in Python.
impl PythonType for Uuid {
    fn python_type() -> String {
        "str".into()
    }
}

impl FromPython for Uuid {
    fn from_python(value: &Bound<'_, PyAny>) -> PyResult<Self> {
        to_id(value.extract()?)
    }
}

impl ToPython for Uuid {
    fn to_python(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.to_string().into_py_any(py)
    }
}

impl PythonType for Filters {
    fn python_type() -> String {
        "bytes".into()
    }
}

impl FromPython for Filters {
    fn from_python(value: &Bound<'_, PyAny>) -> PyResult<Self> {
        Filters::parse(value.extract()?).map_err(to_python)
    }
}

impl<T: PythonType> PythonType for Option<T> {
    fn python_type() -> String {
        format!("{} | None", T::python_type())
    }
}

impl<T: FromPython> FromPython for Option<T> {
    fn from_python(value: &Bound<'_, PyAny>) -> PyResult<Self> {
        if value.is_none() { Ok(None) } else { T::from_python(value).map(Some) }
    }
}

impl<T: PythonType> PythonType for Vec<T> {
    fn python_type() -> String {
        format!("list[{}]", T::python_type())
    }
}

impl<T: FromPython> FromPython for Vec<T> {
    fn from_python(value: &Bound<'_, PyAny>) -> PyResult<Self> {
        let items: Vec<Bound<'_, PyAny>> = value.extract()?;
        items.iter().map(T::from_python).collect()
    }
}

impl<T: ToPython> ToPython for Vec<T> {
    fn to_python(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let items: PyResult<Vec<_>> = self.into_iter().map(|item| item.to_python(py)).collect();
        PyList::new(py, items?)?.into_py_any(py)
    }
}

/// Tuples of values.
macro_rules! tuples {
    ($(($($part:ident $place:tt),*)),*) => {$(
        impl<$($part: PythonType),*> PythonType for ($($part,)*) {
            fn python_type() -> String {
                format!("tuple[{}]", [$($part::python_type()),*].join(", "))
            }
        }

        impl<$($part: FromPython),*> FromPython for ($($part,)*) {
            fn from_python(value: &Bound<'_, PyAny>) -> PyResult<Self> {
                let parts: [Bound<'_, PyAny>; [$($place),*].len()] = value.extract::<tuples!(@any $($part),*)>()?.into();
                Ok(($($part::from_python(&parts[$place])?,)*))
            }
        }

        impl<$($part: ToPython),*> ToPython for ($($part,)*) {
            fn to_python(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
                ($(self.$place.to_python(py)?,)*).into_py_any(py)
            }
        }
    )*};
    (@any $($part:ident),*) => { ($(tuples!(@one $part),)*) };
    (@one $part:ident) => { Bound<'_, PyAny> };
}

tuples!((A 0, B 1), (A 0, B 1, C 2), (A 0, B 1, C 2, D 3));
