//! What firing schedules came to.

/// What firing came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fired {
    /// Schedules that were looked at.
    pub taken: usize,
    /// Runs that were started.
    pub started: u64,
    /// One line for each schedule that could not be fired; it is tried again.
    pub problems: Vec<String>,
}
