//! How outcomes of verbs reach Python: in a mailbox, or by waiting with the interpreter's lock released.
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple};

use super::errors::to_python;
use super::values::ToPython;
use crate::base::error::{Error, Result};
use crate::base::runtime;

/// A value on its way to Python: it becomes a Python object when it is taken.
type Value = Box<dyn FnOnce(Python<'_>) -> PyResult<Py<PyAny>> + Send>;

struct Letter {
    token: i64,
    outcome: Result<Value>,
}

struct Shared {
    letters: Mutex<Vec<Letter>>,
    sender: UnixStream,
    receiver: UnixStream,
}

impl Shared {
    fn letters(&self) -> MutexGuard<'_, Vec<Letter>> {
        self.letters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes one byte for the first answer after a `take`: a batch of answers wakes the loop once.
    fn post(&self, letter: Letter) {
        let mut letters = self.letters();
        letters.push(letter);
        if letters.len() == 1 {
            // The socket is full or closed: it is readable already, or nobody reads any more.
            let _ = (&self.sender).write(&[1]);
        }
    }

    fn take(&self) -> Vec<Letter> {
        let mut letters = self.letters();
        let _ = (&self.receiver).read(&mut [0; 16]);
        std::mem::take(&mut *letters)
    }
}

#[pyclass(module = "currant._core", frozen)]
pub struct Mailbox {
    shared: Arc<Shared>,
}

#[pymethods]
impl Mailbox {
    #[new]
    fn new() -> PyResult<Mailbox> {
        let (sender, receiver) = UnixStream::pair()?;
        sender.set_nonblocking(true)?;
        receiver.set_nonblocking(true)?;
        Ok(Mailbox { shared: Arc::new(Shared { letters: Mutex::default(), sender, receiver }) })
    }

    fn fileno(&self) -> i32 {
        self.shared.receiver.as_raw_fd()
    }

    /// The answers that have arrived: a list of (token, value, None) and (token, None, exception).
    fn take<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let entries: PyResult<Vec<_>> = self.shared.take().into_iter().map(|letter| entry(py, letter)).collect();
        PyList::new(py, entries?)
    }

    /// The descriptor stays open until the mailbox is gone; after this nothing makes it readable.
    fn close(&self) {
        let _ = self.shared.sender.shutdown(std::net::Shutdown::Both);
        self.shared.letters().clear();
    }
}

fn entry(py: Python<'_>, letter: Letter) -> PyResult<Bound<'_, PyTuple>> {
    let outcome = letter.outcome.map_err(to_python).and_then(|value| value(py));
    match outcome {
        Ok(value) => (letter.token, value, py.None()).into_pyobject(py),
        Err(error) => (letter.token, py.None(), error).into_pyobject(py),
    }
}

/// The argument `reply=(mailbox, token)`.
#[derive(FromPyObject)]
pub(super) struct Reply(Py<Mailbox>, i64);

/// Runs a verb. With a `reply` this returns None at once, and the outcome is posted; without, it waits: others may use the
/// interpreter meanwhile, and a signal (Ctrl-C) ends the wait.
pub(super) fn answer<T: ToPython>(
    py: Python<'_>,
    reply: Option<Reply>,
    verb: impl Future<Output = Result<T>> + Send + 'static,
) -> PyResult<Py<PyAny>> {
    match reply {
        Some(Reply(mailbox, token)) => {
            let shared = mailbox.get().shared.clone();
            runtime::handle().spawn(async move {
                let outcome = verb.await.map(|answer| Box::new(move |py: Python<'_>| answer.to_python(py)) as Value);
                shared.post(Letter { token, outcome });
            });
            Ok(py.None())
        }
        None => wait(py, verb)?.to_python(py),
    }
}

const BETWEEN_SIGNAL_CHECKS: Duration = Duration::from_millis(100);

fn wait<T: ToPython>(py: Python<'_>, verb: impl Future<Output = Result<T>> + Send + 'static) -> PyResult<T> {
    let (sender, receiver) = sync_channel(1);
    let task = runtime::handle().spawn(async move {
        let _ = sender.send(verb.await);
    });
    // Only one thread waits at a time; `detach` wants proof, a mutex is one.
    let receiver = Mutex::new(receiver);
    loop {
        let received =
            py.detach(|| receiver.lock().unwrap_or_else(PoisonError::into_inner).recv_timeout(BETWEEN_SIGNAL_CHECKS));
        match received {
            Ok(outcome) => return outcome.map_err(to_python),
            Err(RecvTimeoutError::Timeout) => {
                if let Err(interrupt) = py.check_signals() {
                    task.abort();
                    return Err(interrupt);
                }
            }
            Err(RecvTimeoutError::Disconnected) => {
                return Err(to_python(Error::Other("the verb ended without an answer".into())));
            }
        }
    }
}
