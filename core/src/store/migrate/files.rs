//! The files of `migrations/`, as `build.rs` lists them.
use md5::{Digest, Md5};

pub(super) struct File {
    pub name: &'static str,
    pub sql: &'static str,
}

include!(concat!(env!("OUT_DIR"), "/migrations.rs"));

impl File {
    pub(super) fn checksum(&self) -> String {
        format!("{:x}", Md5::digest(self.sql))
    }

    /// The number in the name of a numbered file.
    pub(super) fn version(&self) -> i32 {
        let number = self.name.split('_').next().unwrap_or_default();
        number.parse().expect("a test reads the names of all files")
    }

    /// A file of `functions/` has one function or one view.
    pub(super) fn is_view(&self) -> bool {
        self.sql.lines().any(|line| line.starts_with("create or replace view "))
    }
}

/// The functions, then the views, each after those that it names. The body of a function may name what comes later, because nothing reads it
/// before it is called.
pub(super) fn in_order() -> Vec<&'static File> {
    let (mut views, mut order): (Vec<_>, Vec<_>) = FUNCTIONS.iter().partition(|file| file.is_view());
    while !views.is_empty() {
        let names = |view: &File, other: &File| {
            view.name != other.name && view.sql.contains(&format!("currant.{} ", other.name))
        };
        let next = views.iter().position(|view| !views.iter().any(|other| names(view, other)));
        order.push(views.remove(next.expect("views do not name each other in a circle")));
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_numbered_by_their_place() {
        for (place, file) in TABLES.iter().enumerate() {
            assert!(file.name.starts_with(&format!("{:04}_", place + 1)), "{}", file.name);
            assert_eq!(file.version() as usize, place + 1);
        }
    }

    #[test]
    fn a_file_of_functions_creates_what_it_is_called_and_nothing_else() {
        for file in FUNCTIONS {
            let creates =
                |line: &&str| line.starts_with("create ") || line.starts_with("drop ") || line.starts_with("alter ");
            let lines: Vec<_> = file.sql.lines().filter(creates).collect();
            let [line] = lines[..] else { panic!("functions/{}.sql: {lines:?}", file.name) };
            let kind = if file.is_view() { "view" } else { "function" };
            let rest = line.strip_prefix(&format!("create or replace {kind} currant.{}", file.name));
            assert!(rest.is_some_and(|rest| rest.starts_with(['(', ' '])), "functions/{}.sql: {line}", file.name);
        }
    }

    #[test]
    fn views_come_after_functions_and_after_the_views_that_they_name() {
        let order = in_order();
        assert!(order.is_sorted_by_key(|file| file.is_view()) && order.len() == FUNCTIONS.len());
        let place = |name: &str| order.iter().position(|file| file.name == name).unwrap();
        assert!(place("ready_executions") < place("queue_stats"));
    }
}
