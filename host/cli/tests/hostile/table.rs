//! `docs/hostile-guests.md` is what this project says of itself, so it is checked: every test that it
//! names is there, every case of this suite is in it, and no row is a repetition.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The rows of the table: number, what it tries, what stops it, the test.
fn rows() -> Vec<[String; 4]> {
    let text = std::fs::read_to_string(root().join("docs/hostile-guests.md")).unwrap();
    let cells = |line: &str| -> Vec<String> {
        line.trim_matches('|').split('|').map(|cell| cell.trim().trim_matches('`').to_owned()).collect()
    };
    let rows =
        text.lines().filter(|line| line.starts_with("| ") && line[2..].starts_with(|c: char| c.is_ascii_digit()));
    rows.map(|line| cells(line).try_into().unwrap_or_else(|_| panic!("four cells: {line}"))).collect()
}

/// The names of the functions in a source that are tests.
fn tests_of(path: &Path) -> BTreeSet<String> {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut names = BTreeSet::new();
    let mut marked = false;
    for line in text.lines().map(str::trim) {
        if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
            marked = true;
        } else if line.starts_with("#[ignore") {
            // The other half of a test.
            marked = false;
        } else if let Some(rest) = line.strip_prefix("fn ").or_else(|| line.strip_prefix("async fn "))
            && marked
        {
            names.insert(rest.split(['(', '<']).next().unwrap().to_owned());
            marked = false;
        }
    }
    names
}

#[test]
fn every_row_names_a_test_that_is_there() {
    let rows = rows();
    assert!(rows.len() >= 100, "only {}", rows.len());
    let mut tried = BTreeSet::new();
    for (index, [number, tries, stops, test]) in rows.iter().enumerate() {
        assert_eq!(number.parse(), Ok(index + 1), "the rows are numbered");
        assert!(tries.len() > 5 && stops.len() > 5, "row {number} says what");
        assert!(tried.insert(tries), "row {number} repeats: {tries}");
        let (path, name) = test.split_once("::").unwrap_or_else(|| panic!("row {number}: `path::name`"));
        assert!(tests_of(&root().join(path)).contains(name), "row {number}: there is no {name} in {path}");
    }
}

#[test]
fn every_case_of_this_suite_has_a_row() {
    let named: BTreeSet<String> = rows().into_iter().map(|[_, _, _, test]| test).collect();
    // What these assert is the suite itself.
    let about = ["canary.rs", "island.py", "table.rs"];
    let mut missing = Vec::new();
    for entry in std::fs::read_dir(root().join("host/cli/tests/hostile")).unwrap() {
        let path = entry.unwrap().path();
        let file = path.file_name().unwrap().to_string_lossy().into_owned();
        if !about.contains(&file.as_str()) {
            let tests = tests_of(&path).into_iter().map(|name| format!("host/cli/tests/hostile/{file}::{name}"));
            missing.extend(tests.filter(|test| !named.contains(test)));
        }
    }
    assert!(missing.is_empty(), "not in docs/hostile-guests.md:\n{}", missing.join("\n"));
}
