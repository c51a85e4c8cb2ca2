//! The bridge: `currant._core`, the extension module. It translates and does nothing more; `core/python/currant/_core.pyi` has its signatures.
mod commands;
mod convert;
mod core;
mod engine;
mod errors;
mod items;
mod mailbox;
mod values;
mod verbs;

use pyo3::prelude::*;

use self::values::to_id;
use crate::base::limits::{LENGTHS, RANGES};

/// The ranges of numbers, (name, least, most): `currant._base.limits` is made of them.
#[pyfunction]
fn ranges() -> Vec<(&'static str, f64, f64)> {
    RANGES.iter().map(|range| (range.name, range.least, range.most)).collect()
}

/// The most characters of names, (name, most).
#[pyfunction]
fn lengths() -> Vec<(&'static str, usize)> {
    LENGTHS.iter().map(|length| (length.name, length.most)).collect()
}

/// A UUID version 7.
#[pyfunction]
fn new_id() -> String {
    crate::base::ids::new_id().to_string()
}

/// The id of what a run starts under a step key.
#[pyfunction]
fn derive_id(run_id: &str, key: &str) -> PyResult<String> {
    Ok(crate::base::ids::derive_id(to_id(run_id)?, key).to_string())
}

/// Makes the module usable in the child of a fork. Call it there before anything else of this module.
#[pyfunction]
fn after_fork() {
    crate::base::runtime::after_fork();
}

#[pymodule]
fn _core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<mailbox::Mailbox>()?;
    module.add_class::<core::Core>()?;
    module.add_class::<engine::PyEngine>()?;
    module.add_function(wrap_pyfunction!(new_id, module)?)?;
    module.add_function(wrap_pyfunction!(derive_id, module)?)?;
    module.add_function(wrap_pyfunction!(after_fork, module)?)?;
    module.add_function(wrap_pyfunction!(ranges, module)?)?;
    module.add_function(wrap_pyfunction!(lengths, module)?)?;
    module.add_function(wrap_pyfunction!(verbs::verb_signatures, module)?)?;
    Ok(())
}
