//! The result of firing schedules.

/// The result of firing schedules once.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fired {
    /// The number of schedules that were due and that no other worker was firing.
    pub taken: usize,
    /// Runs that were started.
    pub started: u64,
    /// One line for each schedule that could not be fired; it is tried again.
    pub problems: Vec<String>,
}
