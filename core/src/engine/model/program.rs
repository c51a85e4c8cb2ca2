//! The programs of workflows in small worlds.
use std::collections::BTreeSet;

use uuid::Uuid;

use crate::base::types::*;
pub use crate::engine::decide::fixtures::START;
use crate::engine::decide::fixtures::{call, claimed};
use crate::engine::items::Command;

/// When timers are due, and what the clock reads once time has passed.
pub const DUE: Micros = START + 1_000_000;
pub const LATER: Micros = START + 2_000_000;
pub const TASK: &str = "f";
pub const SIGNAL: &str = "s";

/// The program of a run: its commands follow from the outcomes delivered to it so far, (key, status) in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// A task and, at the same time, a signal or its time-out. The run ends when both outcomes were delivered.
    Both,
    /// A signal or its time-out.
    Waits,
    /// A signal, then a task.
    Listens,
    /// A task.
    One,
    /// A task that may not be started twice.
    Once,
    /// Two tasks at once.
    FanOut,
    /// Two tasks at once, and when both have ended a third.
    FanOutThen,
}

pub type Delivered = Vec<(String, Status)>;

impl Program {
    /// The program's commands after the last of these outcomes.
    pub fn commands(self, delivered: &[(String, Status)]) -> Vec<Command> {
        let task = |key: &str| Command::Execute { key: key.into(), call: call(TASK) };
        let at_most_once = |key: &str| {
            let mut call = call(TASK);
            call.options.max_worker_losses = 0;
            Command::Execute { key: key.into(), call }
        };
        let signal = |due| Command::Signal { key: "1".into(), name: SIGNAL.into(), due };
        match (self, delivered.len()) {
            (Program::Both, 0) => vec![task("0"), signal(Some(DUE))],
            (Program::Waits, 0) => vec![signal(Some(DUE))],
            (Program::One, 0) => vec![task("0")],
            (Program::Once, 0) => vec![at_most_once("0")],
            (Program::Waits | Program::One | Program::Once, 1) => vec![Command::Complete(result(delivered))],
            (Program::Listens, 0) => vec![signal(None)],
            (Program::Listens, 1) => vec![task("2")],
            (Program::FanOutThen, 2) => vec![task("3")],
            (Program::FanOut | Program::FanOutThen, 0) => vec![task("0"), task("2")],
            (_, 2 | 3) => vec![Command::Complete(result(delivered))],
            _ => vec![],
        }
    }

    pub fn listens(self) -> bool {
        !matches!(self, Program::One | Program::Once | Program::FanOut | Program::FanOutThen)
    }

    pub fn has_timer(self) -> bool {
        matches!(self, Program::Both | Program::Waits)
    }

    /// All step keys that the program has used so far.
    pub fn asked(self, delivered: &[(String, Status)]) -> BTreeSet<String> {
        let commands = (0..=delivered.len()).flat_map(|length| self.commands(&delivered[..length]));
        commands
            .filter_map(|command| match command {
                Command::Execute { key, .. } | Command::Signal { key, .. } => Some(key),
                _ => None,
            })
            .collect()
    }
}

/// The result says which outcomes came in which order.
pub fn result(delivered: &[(String, Status)]) -> Vec<u8> {
    delivered.iter().map(|(key, status)| format!("{key}:{status};")).collect::<String>().into_bytes()
}

pub fn bare_claim(id: Uuid, kind: Kind) -> Claimed {
    Claimed { id, root: id, ..claimed(kind) }
}
