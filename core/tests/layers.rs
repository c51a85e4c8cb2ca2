//! Which part of the crate may use which, read from its sources. Layers are directories.
//!
//! One file uses another when it names something of it by a path: in a `use`, or in the middle of the code; after `crate::`, `super::` or
//! `self::`, or beginning with a child module. The file is that of the deepest module in the path. `mod child;` is no use. So a child may
//! use what its parent's `mod.rs` defines, as long as the parent names nothing of that child; a parent that does both is a cycle.
//!
//! Code for tests (`#[cfg(test)]`: an item, or the files of a module) keeps to the layers too, but may form cycles.
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// The rooms of the crate, and which others each may use beside itself. The longest name that fits a module is its room.
const ROOMS: &[(&str, &[&str])] = &[
    ("base", &[]),
    ("store", &["base"]),
    ("client", &["base", "store"]),
    ("engine::items", &["base"]),
    ("engine::decide", &["base", "engine::items"]),
    ("engine::model", &["base", "engine::items", "engine::decide"]),
    ("engine::drive", &["base", "store", "client", "engine::items", "engine::decide"]),
    ("engine", &["base", "client", "engine::items", "engine::decide", "engine::drive"]),
    ("python", &["base", "store", "client", "engine", "engine::items", "engine::decide"]),
];

/// Decisions do no I/O, start no threads and wait for nothing.
const NOT_IN_DECISIONS: &[&str] =
    &["tokio::", "sqlx::", "std::net", "std::fs", "std::thread", "std::process", "hyper::", "async ", ".await"];

/// The driver's own connections, pools and transactions, and what makes them. A file that has one could run a statement outside
/// `Conn::run` and `Conn::transaction`, and a transaction pooler would then lead its two halves to two servers.
const RAW: &[&str] = &[
    "PgConnection",
    "PgPool",
    "PoolConnection",
    "PgListener",
    "Transaction<",
    "connect_with",
    ".begin(",
    ".begin_with(",
];

/// A file: its module, its code, and its code for tests. In both, comments and texts in quotes are blank.
struct Source {
    module: Vec<String>,
    code: String,
    tests: String,
}

struct Crate {
    sources: Vec<Source>,
}

// ---- reading

/// The same text with its comments, and the inside of its quotes, blank.
fn without_comments_and_quotes(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = end_of_blank(&chars, at);
        if end > at {
            out.extend(chars[at..end].iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
            at = end;
        } else {
            out.push(chars[at]);
            at += 1;
        }
    }
    out
}

/// Where a comment, a text or a character that begins here ends; `at` if none does.
fn end_of_blank(chars: &[char], at: usize) -> usize {
    let ahead = |n: usize| chars.get(at + n).copied().unwrap_or(' ');
    let find = |from: usize, what: &str| {
        let what: Vec<char> = what.chars().collect();
        (from..=chars.len().saturating_sub(what.len()))
            .find(|place| chars[*place..].starts_with(&what))
            .map_or(chars.len(), |place| place + what.len())
    };
    let before = at.checked_sub(1).map_or(' ', |place| chars[place]);
    match chars[at] {
        '/' if ahead(1) == '/' => find(at, "\n") - 1,
        '/' if ahead(1) == '*' => find(at + 2, "*/"),
        '"' => {
            let mut end = at + 1;
            while end < chars.len() && chars[end] != '"' {
                end += if chars[end] == '\\' { 2 } else { 1 };
            }
            (end + 1).min(chars.len())
        }
        'r' if !before.is_alphanumeric() && before != '_' && matches!(ahead(1), '"' | '#') => {
            let hashes = chars[at + 1..].iter().take_while(|c| **c == '#').count();
            if ahead(1 + hashes) == '"' { find(at + 2 + hashes, &format!("\"{}", "#".repeat(hashes))) } else { at }
        }
        '\'' if ahead(1) == '\\' => find(at + 3, "'"),
        '\'' if ahead(2) == '\'' => at + 3,
        _ => at,
    }
}

/// The end of the item that begins at `from`: behind its closing brace, `;` or `,`, or before a brace that it is inside of.
fn end_of_item(code: &str, from: usize) -> usize {
    let mut depth = 0;
    for (place, byte) in code.bytes().enumerate().skip(from) {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' if depth == 0 => return place,
            b')' | b']' => depth -= 1,
            b'}' => {
                depth -= 1;
                if depth == 0 {
                    return place + 1;
                }
            }
            b';' | b',' if depth == 0 => return place + 1,
            _ => {}
        }
    }
    code.len()
}

const FOR_TESTS: &str = "#[cfg(test)]";

/// Code and code for tests, and the names of the modules in files of their own that are for tests.
fn parted(code: &str) -> (String, String, Vec<String>) {
    let (mut rest, mut tests, mut modules) = (String::new(), String::new(), Vec::new());
    let mut at = 0;
    while let Some(found) = code[at..].find(FOR_TESTS) {
        let start = at + found;
        let mut item = start + FOR_TESTS.len();
        while let Some(more) = code[item..].trim_start().strip_prefix("#[") {
            item = code.len() - more.len() + closing(more, b'[', b']') + 1;
        }
        let end = end_of_item(code, item);
        rest.push_str(&code[at..start]);
        let text = code[item..end].trim();
        match module_file(text) {
            Some(name) => modules.push(name),
            None => tests.push_str(text),
        }
        tests.push('\n');
        at = end;
    }
    rest.push_str(&code[at..]);
    (rest, tests, modules)
}

/// The name in `mod name;`, perhaps `pub(...)`.
fn module_file(item: &str) -> Option<String> {
    let declared = item.strip_suffix(';')?;
    let (visibility, name) = declared.rsplit_once("mod ")?;
    let fits = visibility.is_empty() || visibility.starts_with("pub");
    fits.then(|| name.trim().to_owned())
}

impl Crate {
    /// Of (path below `src`, text).
    fn of(files: impl IntoIterator<Item = (String, String)>) -> Crate {
        let mut sources = Vec::new();
        let mut for_tests: Vec<Vec<String>> = Vec::new();
        for (path, text) in files {
            let path = path.trim_end_matches(".rs").trim_end_matches("/mod");
            let module: Vec<String> = path.split('/').filter(|part| *part != "lib").map(str::to_owned).collect();
            let (code, tests, modules) = parted(&without_comments_and_quotes(&text));
            for_tests.extend(modules.into_iter().map(|name| [module.clone(), vec![name]].concat()));
            sources.push(Source { module, code, tests });
        }
        for source in &mut sources {
            if for_tests.iter().any(|module| source.module.starts_with(module)) {
                source.tests.push_str(&std::mem::take(&mut source.code));
            }
        }
        Crate { sources }
    }

    fn read() -> Crate {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut files = Vec::new();
        let mut directories = vec![root.clone()];
        while let Some(directory) = directories.pop() {
            for entry in fs::read_dir(directory).expect("the sources are there") {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    directories.push(path);
                } else if path.extension().is_some_and(|extension| extension == "rs") {
                    let name = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
                    files.push((name, fs::read_to_string(&path).unwrap()));
                }
            }
        }
        Crate::of(files)
    }

    // ---- paths

    fn is_module(&self, path: &[String]) -> bool {
        self.sources.iter().any(|source| source.module == path)
    }

    /// The modules that the code of a module names.
    fn used_by(&self, module: &[String], code: &str) -> BTreeSet<Vec<String>> {
        let mut used = BTreeSet::new();
        for (place, name) in names(code) {
            let before = code[..place].trim_end();
            if before.ends_with("::") || before.ends_with("(in") {
                continue; // the middle of a path; a visibility
            }
            let child = [module, &[name.to_owned()]].concat();
            let start = match name {
                "crate" => Vec::new(),
                "self" => module.to_vec(),
                "super" => module[..module.len().saturating_sub(1)].to_vec(),
                _ if self.is_module(&child) => child,
                _ => continue,
            };
            if let Some(tree) = code[place + name.len()..].trim_start().strip_prefix("::") {
                self.follow(start, tree, &mut used);
            }
        }
        used.remove(module);
        used
    }

    /// Adds what a path, or a tree of paths in braces, leads to from `at`.
    fn follow(&self, at: Vec<String>, tree: &str, used: &mut BTreeSet<Vec<String>>) {
        let tree = tree.trim_start();
        if let Some(inner) = tree.strip_prefix('{') {
            let mut rest = &inner[..closing(inner, b'{', b'}')];
            while !rest.trim().is_empty() {
                let end = end_of_item(rest, 0);
                self.follow(at.clone(), rest[..end].trim_end_matches(','), used);
                rest = &rest[end..];
            }
            return;
        }
        let name: String = tree.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        let next = match name.as_str() {
            "super" => at[..at.len().saturating_sub(1)].to_vec(),
            "self" => at.clone(),
            _ => [at.clone(), vec![name.clone()]].concat(),
        };
        if !self.is_module(&next) && name != "super" {
            used.insert(self.deepest(&at));
            return;
        }
        match tree[name.len()..].trim_start().strip_prefix("::") {
            Some(more) => self.follow(next, more, used),
            None => drop(used.insert(self.deepest(&next))),
        }
    }

    /// The nearest module with a file: a path may begin in a module inside of one.
    fn deepest(&self, path: &[String]) -> Vec<String> {
        let known = (0..=path.len()).rev().map(|length| &path[..length]).find(|path| self.is_module(path));
        known.unwrap_or_default().to_vec()
    }

    // ---- rules; each gives what breaks it

    fn upward_uses(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        for source in &self.sources {
            let mut used = self.used_by(&source.module, &source.code);
            // One level down: `super` of a module for tests is the file itself.
            let inside = [source.module.clone(), vec!["tests".to_owned()]].concat();
            used.extend(self.used_by(&inside, &source.tests));
            used.extend(self.used_by(&source.module, &source.tests));
            if source.module.is_empty() {
                continue; // lib.rs names them all
            }
            let (room, may_use) = room(&source.module);
            for other in used.iter().filter(|other| !other.is_empty()) {
                let (used_room, _) = self::room(other);
                if used_room != room && !may_use.contains(&used_room) {
                    wrong.push(format!("{} uses {}", source.module.join("::"), other.join("::")));
                }
            }
        }
        wrong
    }

    /// The files of each cycle.
    fn cycles(&self) -> Vec<Vec<String>> {
        let edges: BTreeMap<Vec<String>, BTreeSet<Vec<String>>> =
            self.sources.iter().map(|s| (s.module.clone(), self.used_by(&s.module, &s.code))).collect();
        let reachable = |from: &Vec<String>| {
            let mut seen = BTreeSet::new();
            let mut open = vec![from];
            while let Some(module) = open.pop() {
                open.extend(edges.get(module).into_iter().flatten().filter(|next| seen.insert((*next).clone())));
            }
            seen
        };
        let reach: BTreeMap<_, _> = edges.keys().map(|module| (module.clone(), reachable(module))).collect();
        let mut cycles = BTreeSet::new();
        for (module, reached) in reach.iter().filter(|(module, reached)| reached.contains(*module)) {
            let together = reached.iter().filter(|other| reach.get(*other).is_some_and(|back| back.contains(module)));
            cycles.insert(together.map(|module| module.join("::")).collect::<Vec<_>>());
        }
        cycles.into_iter().collect()
    }

    /// (module, part) of the files that hold one of these parts; only modules that are `concerned`.
    fn holding(&self, parts: &[&'static str], concerned: impl Fn(&str) -> bool) -> Vec<(String, &'static str)> {
        let mut found = Vec::new();
        for source in &self.sources {
            let module = source.module.join("::");
            let all = format!("{}\n{}", source.code, source.tests);
            found.extend(
                parts.iter().filter(|part| concerned(&module) && all.contains(**part)).map(|p| (module.clone(), *p)),
            );
        }
        found
    }
}

/// The place where the bracket is closed that was opened just before this text.
fn closing(text: &str, open: u8, close: u8) -> usize {
    let mut depth = 0;
    for (place, byte) in text.bytes().enumerate() {
        if byte == close && depth == 0 {
            return place;
        }
        depth += i32::from(byte == open) - i32::from(byte == close);
    }
    text.len()
}

/// Every name in the code, with its place.
fn names(code: &str) -> impl Iterator<Item = (usize, &str)> {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = at + code[at..].find(is_part)?;
        let end = code[start..].find(|c| !is_part(c)).map_or(code.len(), |length| start + length);
        at = end;
        Some((start, &code[start..end]))
    })
}

fn room(module: &[String]) -> (&'static str, &'static [&'static str]) {
    let path = module.join("::");
    let fits = |name: &str| path == name || path.starts_with(&format!("{name}::"));
    let known = ROOMS.iter().filter(|(name, _)| fits(name)).max_by_key(|(name, _)| name.len());
    *known.unwrap_or_else(|| panic!("src/{} is in no room that tests/layers.rs knows", path.replace("::", "/")))
}

#[test]
fn every_file_uses_only_its_own_room_and_those_below_it() {
    let wrong = Crate::read().upward_uses();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_files_use_each_other_in_a_circle() {
    let cycles = Crate::read().cycles();
    assert!(cycles.is_empty(), "{}", cycles.iter().map(|cycle| cycle.join(" <-> ")).collect::<Vec<_>>().join("\n"));
}

#[test]
fn decisions_do_no_io() {
    let wrong = Crate::read().holding(NOT_IN_DECISIONS, |module| {
        ["engine::decide", "engine::items", "engine::model"].iter().any(|room| module.starts_with(room))
    });
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn all_sql_is_in_the_store() {
    let wrong = Crate::read().holding(&["sqlx::query", "sqlx::raw_sql"], |module| !module.starts_with("store"));
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn only_conn_has_the_drivers_connections() {
    let wrong = Crate::read().holding(RAW, |module| module != "store::conn");
    assert!(wrong.is_empty(), "{wrong:?}: see src/store/conn.rs");
    let there = Crate::read().holding(RAW, |module| module == "store::conn");
    assert!(there.contains(&("store::conn".to_owned(), "PgConnection")), "the check sees nothing any more");
    let conn = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store/conn.rs")).unwrap();
    let lent: Vec<&str> =
        conn.lines().filter(|line| line.contains("pub") && line.contains("&mut PgConnection")).collect();
    assert_eq!(
        lent,
        ["    pub fn conn(&mut self) -> &mut PgConnection {"],
        "a Scope alone lends the driver's connection"
    );
}

#[test]
fn only_the_bridge_knows_python() {
    let wrong = Crate::read().holding(&["pyo3"], |module| !module.starts_with("python"));
    assert!(wrong.is_empty(), "{wrong:?}");
}

// ---- each rule sees what it is for

fn planted(files: &[(&str, &str)]) -> Crate {
    let all =
        ["base/mod.rs", "store/mod.rs", "client/mod.rs", "engine/mod.rs", "engine/items.rs", "engine/decide/mod.rs"];
    let rest = all.iter().filter(|path| files.iter().all(|(planted, _)| planted != *path)).map(|path| (*path, ""));
    Crate::of(rest.chain(files.iter().copied()).map(|(path, text)| (path.to_owned(), text.to_owned())))
}

fn upward(path: &str, text: &str) -> Vec<String> {
    planted(&[(path, text)]).upward_uses()
}

#[test]
fn an_upward_use_is_seen_however_it_is_written() {
    let uses = "base::a uses store";
    assert_eq!(upward("base/a.rs", "use crate::store::x;"), [uses]);
    assert_eq!(upward("base/a.rs", "use crate::{base::b, store::{x, y}};"), [uses]);
    assert_eq!(upward("base/a.rs", "fn f() { crate::store::x::f() }"), [uses]);
    assert_eq!(upward("base/a.rs", "use super::super::store::x;"), [uses]);
    assert_eq!(upward("store/mod.rs", "use super::engine::decide::State;"), ["store uses engine::decide"]);
    assert_eq!(upward("engine/items.rs", "use super::decide::State;"), ["engine::items uses engine::decide"]);
    assert_eq!(upward("engine/decide/a.rs", "use crate::client::Client;"), ["engine::decide::a uses client"]);
    let fine = "use crate::base::x; // crate::store::x\npub(in crate::engine) fn f() { \"crate::store\"; 'x'; r#\"crate::store\"# }";
    assert_eq!(upward("engine/decide/a.rs", fine), Vec::<String>::new());
}

#[test]
fn code_for_tests_and_what_comes_after_it_is_read() {
    let inside = "#[cfg(test)]\nmod tests {\n use super::*;\n use crate::client::Client;\n}\n";
    assert_eq!(upward("store/a.rs", inside), ["store::a uses client"]);
    let after = "#[cfg(test)]\nmod tests { fn f(x: &str) { let c = '}'; } }\nuse crate::client::Client;";
    assert_eq!(upward("store/a.rs", after), ["store::a uses client"]);
    let field = "struct S { #[cfg(test)] stands: bool }\nuse crate::client::Client;";
    assert_eq!(upward("store/a.rs", field), ["store::a uses client"]);
    let of_parent = "#[cfg(test)]\nmod tests { use super::super::super::client::Client; }";
    assert_eq!(upward("store/a.rs", of_parent), ["store::a uses client"]);
    let (code, tests, modules) =
        parted("a\n#[cfg(test)]\n#[derive(Clone)]\nmod tests { b }\nc\n#[cfg(test)]\npub mod d;\ne");
    assert_eq!(code.split_whitespace().collect::<Vec<_>>(), ["a", "c", "e"]);
    assert_eq!((tests.trim(), modules), ("mod tests { b }", vec!["d".to_owned()]));
}

#[test]
fn a_circle_is_seen_however_long_and_by_whatever_paths() {
    let circle = |files: &[(&str, &str)]| planted(files).cycles();
    let two = [("base/a.rs", "use super::b::B;"), ("base/b.rs", "fn f() -> crate::base::a::A {}")];
    assert_eq!(circle(&two), [["base::a", "base::b"]]);
    let three = [
        ("base/a.rs", "use crate::base::b::B;"),
        ("base/b.rs", "use super::c;"),
        ("base/c.rs", "use crate::{base::{a::A, d}, store};"),
        ("base/d.rs", "use crate::base::a::A;"),
    ];
    assert_eq!(circle(&three), [["base::a", "base::b", "base::c", "base::d"]]);
    let parent = [("base/mod.rs", "mod a;\nuse self::a::A;"), ("base/a.rs", "use super::B;")];
    assert_eq!(circle(&parent), [["base", "base::a"]]);
    let by_name = [("base/mod.rs", "mod a;\nfn f() { a::f() }"), ("base/a.rs", "use super::B;")];
    assert_eq!(circle(&by_name), [["base", "base::a"]]);
    let child_alone = [("base/mod.rs", "mod a;\npub struct B;"), ("base/a.rs", "use super::B;")];
    assert_eq!(circle(&child_alone), Vec::<Vec<String>>::new());
    let for_tests =
        [("base/a.rs", "use super::b::B;"), ("base/b.rs", "#[cfg(test)]\nmod tests { use crate::base::a::A; }")];
    assert_eq!(circle(&for_tests), Vec::<Vec<String>>::new());
    let file_for_tests = [
        ("base/mod.rs", "#[cfg(test)]\nmod a;\nfn f() { b::f() }"),
        ("base/a.rs", "use super::b;"),
        ("base/b.rs", "use super::a;"),
    ];
    assert_eq!(circle(&file_for_tests), Vec::<Vec<String>>::new());
}

#[test]
fn io_in_a_decision_is_seen_in_its_tests_too() {
    let io = |text: &str| {
        planted(&[("engine/decide/a.rs", text)]).holding(NOT_IN_DECISIONS, |m| m.starts_with("engine::decide"))
    };
    for text in
        ["use tokio::sync::Mutex;", "fn f() { std::thread::sleep(d) }", "async fn f() {}", "use std::net::TcpStream;"]
    {
        assert_eq!(io(text).len(), 1, "{text}");
        assert_eq!(io(&format!("#[cfg(test)]\nmod tests {{ {text} }}")).len(), 1, "{text}");
    }
    assert_eq!(io("// tokio::x\nfn f() { \"sqlx::\" }"), []);
}

#[test]
fn sql_raw_connections_and_python_are_seen_in_code_and_tests() {
    for text in ["fn f() { sqlx::query(s) }", "#[cfg(test)]\nmod tests { fn f() { sqlx::query(s) } }"] {
        assert_eq!(planted(&[("client/a.rs", text)]).holding(&["sqlx::query"], |_| true).len(), 1);
    }
    let raw = planted(&[("store/a.rs", "let x = PgPoolOptions::new(); x.begin().await")]).holding(RAW, |_| true);
    assert_eq!(raw.iter().map(|found| found.1).collect::<Vec<_>>(), ["PgPool", ".begin("]);
    assert_eq!(planted(&[("client/a.rs", "use pyo3::prelude::*;")]).holding(&["pyo3"], |_| true).len(), 1);
}
