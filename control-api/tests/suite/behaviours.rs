//! `docs/BEHAVIOURS.md` says which test shows what: every test that it names exists, and no row is without one.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// Rows of API §7.
const ROWS: u32 = 40;
/// Of what must be survived, what the control plane answers for.
const FAULTS: [&str; 5] = ["F20", "F22", "F24", "F26", "F27"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The table: a row's name and the tests that stand in it, `module::name`.
fn table() -> BTreeMap<String, Vec<String>> {
    let text = std::fs::read_to_string(root().join("docs/BEHAVIOURS.md")).unwrap();
    let mut table = BTreeMap::new();
    for line in text.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [row, _, tests] = cells[..] else { panic!("three cells: {line}") };
        if row == "#" {
            continue;
        }
        let named = tests.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        assert!(table.insert(row.to_owned(), named).is_none(), "{row} stands there twice");
    }
    table
}

/// The file of a module of this suite, or of the tests of whole calls.
fn source(module: &str) -> Option<String> {
    let root = root();
    let places = [root.join("control-api/tests/suite"), root.join("tests/tests/calls")];
    places.iter().find_map(|place| std::fs::read_to_string(place.join(format!("{module}.rs"))).ok())
}

#[test]
fn every_row_names_tests_and_every_test_exists() {
    let table = table();
    let wanted = (1..=ROWS).map(|row| row.to_string()).chain(FAULTS.map(str::to_owned));
    for row in wanted {
        let tests = table.get(&row).unwrap_or_else(|| panic!("row {row} is missing"));
        assert!(!tests.is_empty(), "row {row} names no test");
        for test in tests {
            let (module, name) = test.rsplit_once("::").unwrap_or_else(|| panic!("{row}: {test} names no module"));
            let source = source(&module.replace("::", "/")).unwrap_or_else(|| panic!("{row}: there is no {module}"));
            assert!(source.contains(&format!("fn {name}(")), "row {row}: there is no test {test}");
        }
    }
}

#[test]
fn a_test_that_bears_a_row_in_its_name_stands_in_that_row() {
    let table = table();
    let mut folders = vec![root().join("control-api/tests/suite"), root().join("tests/tests/calls")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let Ok(text) = std::fs::read_to_string(&path) else { continue };
            for name in text.split("async fn ").filter_map(|rest| rest.strip_prefix("row_")) {
                let (row, _) = name.split_once('_').unwrap();
                let name = format!("::row_{}", name.split_once('(').unwrap().0);
                let listed = table.get(row).is_some_and(|tests| tests.iter().any(|test| test.ends_with(&name)));
                assert!(listed, "{} is missing in row {row}", name.trim_start_matches(':'));
            }
        }
    }
}
