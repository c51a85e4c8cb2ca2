//! Lists the files of `migrations/`, so that a new one needs no line in the code: `src/store/migrate` includes the list.
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let directory = root.join("migrations");
    let mut list = String::new();
    for (constant, directory) in [("TABLES", directory.clone()), ("FUNCTIONS", directory.join("functions"))] {
        // A directory by its own name: a file that is added changes it.
        println!("cargo::rerun-if-changed={}", directory.display());
        writeln!(list, "pub(super) const {constant}: &[File] = &[").unwrap();
        for file in sql_files(&directory) {
            println!("cargo::rerun-if-changed={}", file.display());
            let name = file.file_stem().unwrap().to_str().expect("names of SQL files are plain");
            writeln!(list, "    File {{ name: {name:?}, sql: include_str!({:?}) }},", file.display().to_string())
                .unwrap();
        }
        list.push_str("];\n");
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    fs::write(out.join("migrations.rs"), list).expect("cargo's output directory takes files");
}

/// The SQL files of a directory, in the order of their names.
fn sql_files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut files: Vec<_> = entries.map(|entry| entry.expect("the directory can be read").path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "sql"));
    files.sort();
    files
}
