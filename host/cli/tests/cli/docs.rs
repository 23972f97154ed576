//! The documents' own examples, run as they are printed: an example that does not work is worse than
//! none.

use std::path::PathBuf;

use strongroom_core::Config;
use strongroom_core::config::Layer;
use strongroom_core::policy::cases::Case;

use crate::support::{Home, PROGRAM};

/// The fenced blocks of `language` in a document of the repository, with the line each begins on.
fn blocks(document: &str, language: &str) -> Vec<(usize, String)> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let text = std::fs::read_to_string(root.join(document)).unwrap();
    let mut blocks = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (index, line) in text.lines().enumerate() {
        match &mut open {
            Some(_) if line == "```" => blocks.extend(open.take()),
            Some((_, block)) => {
                block.push_str(line);
                block.push('\n');
            }
            None if line == format!("```{language}") => open = Some((index + 2, String::new())),
            None => {}
        }
    }
    assert!(!blocks.is_empty(), "{document} has no {language} blocks any more");
    blocks
}

#[test]
fn every_shell_example_runs() {
    let beside = PathBuf::from(PROGRAM).parent().unwrap().to_owned();
    for document in ["README.md", "docs/running.md"] {
        for (line, block) in blocks(document, "sh") {
            let home = Home::new();
            let path = std::env::var("PATH").unwrap_or_default();
            let done = home.program("sh", ["-euc", &block]).env("PATH", format!("{}:{path}", beside.display())).done();
            assert_eq!(done.status, 0, "{document}:{line}\n{block}\n{}\n{}", done.out(), done.err());
        }
    }
}

#[test]
fn every_config_example_is_a_config() {
    for document in [
        "docs/as-azure.md",
        "docs/audit.md",
        "docs/config.md",
        "docs/doors/azure-key-vault.md",
        "docs/doors/azureml.md",
        "docs/doors/vault.md",
        "docs/policy.md",
        "docs/running.md",
        "docs/server.md",
    ] {
        for (line, block) in blocks(document, "toml") {
            if let Err(failure) = Config::parse(&block, "example".into(), Layer::Explicit) {
                panic!("{document}:{line}: {failure:?}\n{block}");
            }
        }
    }
}

#[test]
fn every_table_of_cases_is_one() {
    for (line, block) in blocks("docs/policy.md", "toml cases") {
        if let Err(failure) = Case::parse(&block, "example".into()) {
            panic!("docs/policy.md:{line}: {failure:?}\n{block}");
        }
    }
    // What `--help` shows is one, too.
    let help = Home::new().strongroom(["policy", "test", "--help"]).done().ok().out();
    let example = help.split_once("[[case]]").map(|(_, rest)| format!("[[case]]{rest}")).unwrap();
    let lines: String = example.lines().map(|line| format!("{}\n", line.trim())).collect();
    assert_eq!(Case::parse(&lines, "help".into()).unwrap().len(), 2, "{lines}");
}
