//! A group as one JSON text.

use super::*;

const AZURE: &str = r#"{"tags":null,"location":null,
 "id":"/subscriptions/S/resourceGroups/R/providers/Microsoft.MachineLearningServices/workspaces/W/connections/c",
 "name":"c","type":"Microsoft.MachineLearningServices/workspaces/connections",
 "properties":{"authType":"CustomKeys","credentials":{"keys":{"A":"1","B":"2"}},"group":"GenericProtocol",
   "category":"CustomKeys","expiryTime":null,"target":"_","createdByWorkspaceArmId":"/s","isSharedToAll":false,
   "useWorkspaceManagedIdentity":false,"sharedUserList":[],"metadata":{"M":"x"}},
 "systemData":{"createdAt":"2024-03-22T14:56:56.0857069Z"}}"#;

#[test]
fn the_document_is_exactly_what_the_documentation_shows() {
    let store = Fake::default();
    put(&store, "openai/OPENAI_API_KEY", "sk-example").unwrap();
    put(&store, "openai/metadata/ApiType", "azure").unwrap();
    put(&store, "openai/target", "https://x.openai.azure.com/").unwrap();
    let documentation = include_str!("../../../../docs/keys.md");
    let example = documentation.split("```json\n").nth(1).unwrap().split("```").next().unwrap();
    let compact: String = example.lines().map(str::trim_start).collect();
    assert_eq!(text(&store, "openai"), compact);
    assert_eq!(get(&store, "openai").unwrap().content_type.as_deref(), Some("application/json"));
}

#[test]
fn a_document_can_be_put_back_and_copied() {
    let store = Fake::default();
    put(&store, "c", AZURE).unwrap();
    assert_eq!((text(&store, "c/A"), text(&store, "c/metadata/M")), ("1".into(), "x".into()));
    let document = text(&store, "c");
    put(&store, "c", &document).unwrap();
    assert_eq!(text(&store, "c"), document);
    put(&store, "copy", &document).unwrap();
    assert_eq!(text(&store, "copy/B"), "2");
    // A value that stays is no new version.
    assert_eq!(get(&store, "c/A").unwrap().version.as_deref(), Some("1"));
}

#[test]
fn a_document_replaces_the_whole_group() {
    let store = Fake::default();
    put(&store, "c", AZURE).unwrap();
    put(&store, "c", r#"{"properties":{"credentials":{"keys":{"B":"3","C":"4"}}}}"#).unwrap();
    assert_eq!(seen(&store, "c/A"), "keys.no-key");
    assert_eq!((text(&store, "c/B"), text(&store, "c/C")), ("3".into(), "4".into()));
    assert_eq!(seen(&store, "c/metadata/M"), "keys.no-metadata");
    assert_eq!(store.orphans("c"), 0);
    put(&store, "c", r#"{"properties":{"credentials":{"keys":{}}}}"#).unwrap();
    assert_eq!(code(get(&store, "c")), "ok");
}

#[test]
fn what_is_no_custom_keys_document_changes_nothing_and_shows_nothing() {
    let store = Fake::default();
    put(&store, "c", AZURE).unwrap();
    let before = store.records.borrow().clone();
    for bad in [
        "canary-7f",
        "{}",
        "null",
        r#"{"properties":{"credentials":null}}"#,
        r#"{"properties":{"metadata":{"a":"canary-7f"}}}"#,
        r#"{"properties":{"credentials":{"keys":"canary-7f"}}}"#,
        r#"{"properties":{"credentials":{"key":"canary-7f"}}}"#,
        r#"{"properties":{"credentials":{"keys":{"a":7}}}}"#,
        r#"{"properties":{"credentials":{"keys":{"a":"canary-7f","a":"2"}}}}"#,
        r#"{"properties":{"credentials":{"keys":{"a":"canary-7f"}},"metdata":{}}}"#,
        r#"{"properties":{"authType":"ApiKey","credentials":{"keys":{}}}}"#,
        r#"{"properties":{"credentials":{"keys":{"a":"canary-7f"}}}} x"#,
    ] {
        let failure = put(&store, "c", bad).unwrap_err();
        assert_eq!((failure.kind, failure.code.as_str()), (Kind::InvalidReference, "keys.document"), "{bad}");
        assert!(!failure.message.contains("canary"), "{}", failure.message);
    }
    for name in ["metadata", "target", "a/b", ""] {
        let document = format!(r#"{{"properties":{{"credentials":{{"keys":{{"{name}":"v"}}}}}}}}"#);
        assert!(put(&store, "c", &document).is_err(), "{name:?}");
    }
    assert_eq!(*store.records.borrow(), before);
}
