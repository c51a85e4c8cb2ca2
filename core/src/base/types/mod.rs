//! Types that the layers pass to each other. The names are explained in docs/internals/words.md: execution, step, lease, epoch, seq, clock.
mod batch;
mod call;
mod claim;
mod history;
mod moment;
mod names;
mod schedules;
mod wakes;
mod worker;

pub use self::batch::*;
pub use self::call::*;
pub use self::claim::*;
pub use self::history::*;
pub use self::moment::*;
pub use self::names::*;
pub use self::schedules::*;
pub use self::wakes::*;
pub use self::worker::*;
