//! The contract and its WASI packages parse, and say what the rest of the project relies on.

#![allow(missing_docs)]

use std::path::Path;

use wit_parser::{Resolve, WorldItem};

#[test]
fn the_contract_parses_and_types_grant_nothing() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit");
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_dir(folder).unwrap();
    assert_eq!(resolve.packages[package].name.to_string(), "strongroom:plugin@0.1.0");
    for world in ["secret-provider", "secret-store", "auth-provider"] {
        let world = resolve.select_world(&[package], Some(world)).unwrap();
        for (key, item) in &resolve.worlds[world].imports {
            let WorldItem::Interface { id, .. } = item else { panic!("a plain import") };
            if resolve.name_world_key(key) == "strongroom:plugin/types@0.1.0" {
                assert!(resolve.interfaces[*id].functions.is_empty());
            }
        }
    }
}
