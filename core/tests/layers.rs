//! Each layer calls only downward: bridge (`python`) -> engine -> client -> store, and all SQL is in the store.
use std::fs;
use std::path::{Path, PathBuf};

/// The directories of `src`, from the lowest layer up. A file may use its own layer and those below it.
const LAYERS: &[&str] = &["base", "store", "client", "engine", "python"];

fn sources(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).expect("the sources are there").map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] })
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs") && !path.ends_with("lib.rs"))
        .collect()
}

/// The layer that a file belongs to, its path, and its text without tests.
fn files() -> Vec<(String, PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let file = |path: PathBuf| {
        let layer = path.strip_prefix(&root).unwrap().iter().next().unwrap().to_str().unwrap().to_owned();
        let text = fs::read_to_string(&path).unwrap();
        let text = text.split("#[cfg(test)]").next().unwrap().to_owned();
        (layer, path, text)
    };
    sources(&root).into_iter().map(file).collect()
}

fn height(layer: &str) -> usize {
    let height = LAYERS.iter().position(|name| *name == layer);
    height.unwrap_or_else(|| panic!("src/{layer} is no layer that tests/layers.rs knows"))
}

/// The layers that a text names: after `crate::`, one or several in braces.
fn named(text: &str) -> Vec<&str> {
    let mut layers = Vec::new();
    for rest in text.split("crate::").skip(1) {
        let list = rest.strip_prefix('{').map_or(&rest[..rest.find([';', '(', ' ']).unwrap_or(rest.len())], |inner| {
            inner.split('}').next().unwrap_or("")
        });
        let parts = if rest.starts_with('{') { list.split(',').collect() } else { vec![list] };
        layers.extend(parts.into_iter().filter_map(|part| part.trim().split("::").next()));
    }
    layers.into_iter().filter(|layer| LAYERS.contains(layer)).collect()
}

#[test]
fn every_file_uses_only_its_own_layer_and_those_below() {
    for (layer, path, text) in files() {
        for used in named(&text) {
            assert!(height(used) <= height(&layer), "{} uses {used}, which is above it", path.display());
        }
    }
}

#[test]
fn all_sql_is_in_the_store() {
    for (layer, path, text) in files() {
        let has_sql = text.contains("sqlx::query") || text.contains("sqlx::raw_sql");
        assert!(!has_sql || layer == "store", "{} has SQL of its own", path.display());
    }
}

/// The driver's own connections, pools and transactions, and what makes them. Whoever has one could run a statement outside `Conn::run` and
/// `Conn::transaction`, and a transaction pooler would then lead its two halves to two servers.
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

fn raw_parts(text: &str) -> Vec<&'static str> {
    RAW.iter().filter(|part| text.contains(**part)).copied().collect()
}

#[test]
fn only_conn_has_the_drivers_connections() {
    for (_, path, text) in files() {
        let raw = raw_parts(&text);
        assert!(
            path.ends_with("store/conn.rs") || raw.is_empty(),
            "{} uses {raw:?}: see src/store/conn.rs",
            path.display()
        );
    }
    let (_, _, conn) = files().into_iter().find(|(_, path, _)| path.ends_with("store/conn.rs")).unwrap();
    assert!(raw_parts(&conn).contains(&"PgConnection"), "the check sees nothing any more");
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
    for (layer, path, text) in files() {
        assert!(!text.contains("pyo3") || layer == "python", "{} knows Python", path.display());
    }
}

#[test]
fn the_check_itself_sees_what_it_should() {
    assert_eq!(named("use crate::store::url;\nuse crate::{engine::x, base};"), ["store", "engine", "base"]);
    assert_eq!(named("crate::python::f()"), ["python"]);
    assert_eq!(raw_parts("let x = PgPoolOptions::new(); x.begin().await"), ["PgPool", ".begin("]);
}
