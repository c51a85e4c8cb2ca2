//! The methods of `currant._core.Core` that do nothing but call a verb of the client. Each line of `client/verbs/list.rs` makes one method.
use pyo3::prelude::*;
use uuid::Uuid;

use super::core::Core;
use super::mailbox::Reply;
use super::values::{FromPython, PythonType};
use crate::client::verbs::{self, Json, for_each_verb};
use crate::store::read::Filters;

macro_rules! methods {
    ($(
        $(#[$about:meta])*
        $name:ident = $method:ident($($field:ident: $type:ty $(= $default:tt)?),*) -> $answer:ty
            = |$conn:ident| $try:expr $(, { $($override:tt)* })?;
    )*) => {
        #[pymethods]
        impl Core {$(
            $(#[$about])*
            #[pyo3(signature = ($($field $(= $default)?,)* reply = None))]
            fn $method(
                &self,
                py: Python<'_>,
                $(#[pyo3(from_py_with = <$type as FromPython>::from_python)] $field: $type,)*
                reply: Option<Reply>,
            ) -> PyResult<Py<PyAny>> {
                self.ask(py, reply, verbs::$name { $($field),* })
            }
        )*}

        /// These methods as `_core.pyi` writes them: `scripts/generate/core_stub.py` puts them there.
        #[pyfunction]
        pub(super) fn verb_signatures() -> Vec<String> {
            vec![$({
                let arguments: Vec<String> =
                    vec![$(argument::<$type>(stringify!($field), None$(.or(Some(stringify!($default))))?)),*];
                let (arguments, answer) = (arguments.concat(), <$answer>::python_type());
                format!("def {}(self, {arguments}reply: _Reply | None = None) -> {answer}: ...", stringify!($method))
            }),*]
        }
    };
}

fn argument<T: PythonType>(name: &str, default: Option<&str>) -> String {
    let default = match default {
        Some("false") => " = False",
        Some("true") => " = True",
        Some(_) => " = ...",
        None => "",
    };
    format!("{name}: {}{default}, ", T::python_type())
}

for_each_verb!(methods);
