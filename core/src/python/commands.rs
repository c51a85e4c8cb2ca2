//! Commands of workflows, from the tuples that `Engine.commands` takes. `docs/internals/engine.md` lists them.
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use super::convert::to_new_execution;
use super::values::FromPython;
use super::values::to_id;
use crate::base::types::Call;
use crate::engine::items::{Command, Verb};

fn field<'a, 'py, T>(command: &'a Bound<'py, PyTuple>, place: usize) -> PyResult<T>
where
    T: for<'b> FromPyObjectOwned<'py>,
{
    command.get_item(place)?.extract::<T>().map_err(Into::into)
}

pub(super) fn to_command(command: &Bound<'_, PyTuple>) -> PyResult<Command> {
    let name: String = field(command, 0)?;
    Ok(match name.as_str() {
        "execute" => Command::Execute { key: field(command, 1)?, call: Call::from_python(&command.get_item(2)?)? },
        "detach" => Command::Detach { key: field(command, 1)?, call: Call::from_python(&command.get_item(2)?)? },
        "timer" => Command::Timer { key: field(command, 1)?, due: field(command, 2)? },
        "signal" => Command::Signal { key: field(command, 1)?, name: field(command, 2)?, due: field(command, 3)? },
        "cancel" => Command::Cancel { key: field(command, 1)? },
        "version" => Command::Version { key: field(command, 1)?, name: field(command, 2)?, value: field(command, 3)? },
        "side_effect" => Command::SideEffect { key: field(command, 1)?, value: field(command, 2)? },
        "verb" => Command::Verb { key: field(command, 1)?, verb: to_verb(command)? },
        "enqueue" => {
            let execution = to_new_execution(&field(command, 2)?)?;
            Command::Verb { key: field(command, 1)?, verb: Verb::Enqueue(Box::new(execution)) }
        }
        "headers" => Command::Headers(field(command, 1)?),
        "complete" => Command::Complete(field(command, 1)?),
        "fail" => Command::Fail { error: field(command, 1)?, retry: command.len() < 3 || field::<bool>(command, 2)? },
        "cancelled" => Command::Cancelled,
        "hold" => Command::Hold(field(command, 1)?),
        other => return Err(PyValueError::new_err(format!("unknown command {other:?}"))),
    })
}

fn to_verb(command: &Bound<'_, PyTuple>) -> PyResult<Verb> {
    let target = to_id(&field::<String>(command, 3)?)?;
    let verb: String = field(command, 2)?;
    Ok(match verb.as_str() {
        "signal" => Verb::Signal { target, name: field(command, 4)?, payload: field(command, 5)? },
        "cancel" => Verb::Cancel { target, force: field::<Vec<u8>>(command, 5)? == b"true" },
        "status" => Verb::Status { target },
        "result" => Verb::Result { target },
        other => return Err(PyValueError::new_err(format!("unknown verb {other:?}"))),
    })
}
