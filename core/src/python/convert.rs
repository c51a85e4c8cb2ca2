//! Python's named tuples (`Call`, `NewExecution`) to the core's types.
use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedStr;
use pyo3::types::PyTuple;

use super::values::{FromPython, PythonType, to_id};
use crate::base::types::{Call, Kind, LastOptions, Micros, NewExecution, Options};

/// Makes a struct of the core from the NamedTuple that has the same fields in the same order. Their names are compared once, with the first
/// value.
macro_rules! named_tuple {
    ($type:ident { $($field:ident),* $(,)? }) => {
        impl PythonType for $type {
            fn python_type() -> String {
                stringify!($type).into()
            }
        }

        impl FromPython for $type {
            fn from_python(value: &Bound<'_, PyAny>) -> PyResult<$type> {
                static COMPARED: AtomicBool = AtomicBool::new(false);
                let tuple = value.cast::<PyTuple>()?;
                if !COMPARED.load(Ordering::Relaxed) {
                    compare_fields(tuple, &[$(stringify!($field)),*])?;
                    COMPARED.store(true, Ordering::Relaxed);
                }
                let mut places = 0..;
                Ok($type { $($field: field(tuple, places.next().unwrap_or_default(), stringify!($field))?),* })
            }
        }
    };
}

/// `Call` as Python has it: its options are the JSON of `options_of`.
struct PythonCall {
    kind: Kind,
    function: String,
    queue: String,
    priority: i16,
    args: Vec<u8>,
    options: String,
    delay: Option<f64>,
    run_at: Option<Micros>,
    given: Vec<String>,
    headers: Option<String>,
}

named_tuple!(PythonCall { kind, function, queue, priority, args, options, delay, run_at, given, headers });

impl PythonType for Call {
    fn python_type() -> String {
        "Call".into()
    }
}

impl FromPython for Call {
    fn from_python(value: &Bound<'_, PyAny>) -> PyResult<Call> {
        let PythonCall { kind, function, queue, priority, args, options, delay, run_at, given, headers } =
            PythonCall::from_python(value)?;
        let options = options_of(kind, options)?;
        Ok(Call { kind, function, queue, priority, args, options, delay, run_at, given, headers })
    }
}

thread_local! {
    /// Most calls of a thread have the options of the one before.
    static LAST_OPTIONS: RefCell<LastOptions> = const { RefCell::new(LastOptions::NONE) };
}

/// Reads options in the form in which they are stored.
fn options_of(kind: Kind, json: String) -> PyResult<Options> {
    LAST_OPTIONS
        .with_borrow_mut(|last| last.parse(kind, Some(json)))
        .map_err(|error| PyValueError::new_err(error.to_string()))
}

fn compare_fields(tuple: &Bound<'_, PyTuple>, names: &[&str]) -> PyResult<()> {
    let fields: Vec<String> = tuple.getattr("_fields")?.extract()?;
    if fields == names {
        return Ok(());
    }
    Err(PyTypeError::new_err(format!("the extension expects the fields {names:?}, not {fields:?}")))
}

/// The error names the field, unless its value has said more.
fn field<T: FromPython>(tuple: &Bound<'_, PyTuple>, place: usize, name: &str) -> PyResult<T> {
    let value = tuple.get_borrowed_item(place)?;
    T::from_python(&value).map_err(|error| {
        let py = tuple.py();
        if error.is_instance_of::<PyTypeError>(py) {
            PyTypeError::new_err(format!("{name}: {}", error.value(py)))
        } else {
            error
        }
    })
}

impl PythonType for Kind {
    fn python_type() -> String {
        "str".into()
    }
}

impl FromPython for Kind {
    fn from_python(value: &Bound<'_, PyAny>) -> PyResult<Kind> {
        let kind: PyBackedStr = value.extract()?;
        Kind::parse(&kind)
            .map_err(|_| PyValueError::new_err(format!("kind must be 'task' or 'workflow', not {:?}", &*kind)))
    }
}

/// Most calls of a batch differ only in their arguments. The other objects are the same ones, and are translated once.
pub(super) fn to_new_executions(items: &[Bound<'_, PyTuple>]) -> PyResult<Vec<NewExecution>> {
    let mut last = None;
    items.iter().map(|item| new_execution(item, &mut last)).collect()
}

pub(super) fn to_new_execution(item: &Bound<'_, PyTuple>) -> PyResult<NewExecution> {
    new_execution(item, &mut None)
}

/// A call and what it was translated to, without its arguments.
type Translated<'py> = (Bound<'py, PyTuple>, Call);

fn new_execution<'py>(item: &Bound<'py, PyTuple>, last: &mut Option<Translated<'py>>) -> PyResult<NewExecution> {
    let (id, tuple, idempotency_key, checked): (PyBackedStr, Bound<'_, PyTuple>, _, _) = item.extract()?;
    let call = match last {
        Some((other, call)) if alike(&tuple, other)? => {
            Call { args: tuple.get_borrowed_item(ARGS)?.extract()?, ..call.clone() }
        }
        _ => {
            let call = Call::from_python(&tuple)?;
            *last = Some((tuple, Call { args: Vec::new(), ..call.clone() }));
            call
        }
    };
    Ok(NewExecution { id: to_id(&id)?, call, idempotency_key, checked })
}

/// The place of the arguments in the NamedTuple.
const ARGS: usize = 4;

fn alike(call: &Bound<'_, PyTuple>, other: &Bound<'_, PyTuple>) -> PyResult<bool> {
    if call.len() != other.len() {
        return Ok(false);
    }
    for place in (0..call.len()).filter(|place| *place != ARGS) {
        if !call.get_borrowed_item(place)?.is(other.get_borrowed_item(place)?) {
            return Ok(false);
        }
    }
    Ok(true)
}
