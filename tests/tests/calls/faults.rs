//! `docs/FAULTS.md` names tests that exist, and at least one for each row that it promises.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use tests::workspace;

/// The names of all functions in the sources below a folder.
fn functions(below: &Path, names: &mut BTreeSet<String>) {
    for entry in fs::read_dir(below).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            functions(&path, names);
        } else if name.ends_with(".rs") {
            let text = fs::read_to_string(&path).unwrap();
            let words = text.split("fn ").skip(1).filter_map(|rest| rest.split(['(', '<']).next());
            names.extend(words.map(str::to_owned));
        }
    }
}

#[test]
fn every_fault_has_tests_that_exist() {
    let text = fs::read_to_string(workspace().join("docs/FAULTS.md")).unwrap();
    let mut known = BTreeSet::new();
    functions(&workspace(), &mut known);
    let mut rows = BTreeSet::new();
    for line in text.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        // A row may come in parts, as 11a.
        let Ok(row) = cells[1].trim_end_matches(char::is_alphabetic).parse::<u32>() else { continue };
        let named: Vec<_> = cells[3].split('`').skip(1).step_by(2).collect();
        assert!(!named.is_empty(), "row {row} names no test");
        for name in named {
            assert!(known.contains(name), "row {row}: there is no test `{name}`");
        }
        rows.insert(row);
    }
    assert!((1..=13).chain([19]).all(|row| rows.contains(&row)), "{rows:?}");
}
