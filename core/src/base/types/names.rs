//! Kinds, states and statuses: each an enum with one table of the texts that stand for it in the database, in the protocol and in SQL.

/// A text that no value of a table stands for: it was written by a newer Currant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} {text:?} is unknown")]
pub struct Unknown {
    pub what: &'static str,
    pub text: String,
}

/// `enum Name ("what it is in a message") { Variant = "text", }` with `as_str`, `parse` and `ALL`.
macro_rules! named {
    ($(#[$about:meta])* $name:ident ($what:literal) { $($(#[$variant_about:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$variant_about])* $variant,)*
        }

        impl $name {
            pub const ALL: &[$name] = &[$($name::$variant,)*];

            pub const fn as_str(self) -> &'static str {
                match self {
                    $($name::$variant => $text,)*
                }
            }

            pub fn parse(text: &str) -> Result<$name, Unknown> {
                match text {
                    $($text => Ok($name::$variant),)*
                    _ => Err(Unknown { what: $what, text: text.into() }),
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

named! {
    /// The kind of an execution: the function that it runs.
    Kind ("the kind of execution") {
        Task = "task",
        Workflow = "workflow",
    }
}

named! {
    /// How an execution stands.
    ExecutionState ("the state") {
        Pending = "pending",
        Running = "running",
        Suspended = "suspended",
        Completed = "completed",
        Failed = "failed",
        Cancelled = "cancelled",
    }
}

impl ExecutionState {
    pub const fn has_ended(self) -> bool {
        matches!(self, ExecutionState::Completed | ExecutionState::Failed | ExecutionState::Cancelled)
    }
}

named! {
    /// A step of a run that is not an execution.
    StepKind ("the kind of step") {
        Timer = "timer",
        /// A wait for a signal.
        Signal = "signal",
        Version = "version",
        SideEffect = "side_effect",
        /// A client's verb.
        Verb = "verb",
        /// The start of an execution of its own.
        Detach = "detach",
        /// The run is cancelled, and that was delivered to it.
        Cancel = "cancel",
        /// The run's time is over, and that was delivered to it.
        Timeout = "timeout",
    }
}

impl StepKind {
    /// Whether the code of the workflow asked for the step. If not, it happened to the run.
    pub const fn is_command(self) -> bool {
        !matches!(self, StepKind::Cancel | StepKind::Timeout)
    }

    /// Whether the step's value is decided when it is recorded, so that a replay gets it back.
    pub const fn has_value(self) -> bool {
        matches!(self, StepKind::Version | StepKind::SideEffect)
    }
}

named! {
    /// How a step, or the child that is one, ended.
    Status ("the status of a step") {
        Completed = "completed",
        Failed = "failed",
        Cancelled = "cancelled",
        /// A timer.
        Fired = "fired",
        /// A wait for a signal that ended without one.
        Timeout = "timeout",
    }
}

named! {
    /// The change of an execution with a commit.
    Action ("the action") {
        Complete = "complete",
        Fail = "fail",
        Cancel = "cancel",
        Retry = "retry",
        Handback = "handback",
        Suspend = "suspend",
        Hold = "hold",
    }
}

impl Action {
    /// How the step that waits for the execution has ended with it, or None if the execution goes on.
    pub const fn status(self) -> Option<Status> {
        match self {
            Action::Complete => Some(Status::Completed),
            Action::Fail => Some(Status::Failed),
            Action::Cancel => Some(Status::Cancelled),
            Action::Retry | Action::Handback | Action::Suspend | Action::Hold => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_text_stands_for_one_value_and_back() {
        macro_rules! round_trip {
            ($($name:ident)*) => {$(
                for value in $name::ALL {
                    assert_eq!($name::parse(value.as_str()), Ok(*value));
                }
            )*};
        }
        round_trip!(Kind ExecutionState StepKind Status Action);
    }

    #[test]
    fn a_text_in_no_table_is_told_with_what_it_should_be() {
        let message = StepKind::parse("lottery").expect_err("there is no such kind").to_string();
        assert_eq!(message, r#"the kind of step "lottery" is unknown"#);
        assert!(Kind::parse("Task").is_err(), "letters count");
    }
}
