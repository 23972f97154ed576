use strongroom_plugin::Catalog;
use strongroom_plugin::testing::Host;

use super::*;

fn page(names: &[&str], link: &str) -> Response {
    let entry = |name: &&str| {
        format!(
            r#"{{"name":"{name}","properties":{{"authType":"ApiKey","category":"AzureOpenAI","credentials":null,"expiryTime":null,"target":"https://x?sig=s3cret"}}}}"#
        )
    };
    let entries: Vec<String> = names.iter().map(entry).collect();
    json(200, &format!(r#"{{"value":[{}],"nextLink":{link}}}"#, entries.join(",")))
}

#[test]
fn connections_come_in_pages() {
    let link = format!("\"{}{VERSION}&$skip=1\"", BASE.replace("resourceGroups", "resourcegroups"));
    let host = Host::new().answer(page(&[], &link)).answer(page(&["aoai", "multi"], "null"));
    let first = WorkspaceConnection::names(&context(), &at("connections"), "", None).unwrap();
    assert!(first.entries.is_empty());
    let last = WorkspaceConnection::names(&context(), &at("connections"), "m", first.next.as_deref()).unwrap();
    assert_eq!((last.entries.len(), last.entries[0].name.as_str(), last.next), (1, "multi", None));
    let shown: Vec<_> = last.entries[0].attributes.iter().map(|(n, t)| (n.as_str(), t.as_str())).collect();
    assert_eq!(shown, [("auth-type", "ApiKey"), ("category", "AzureOpenAI")]);
    assert_eq!(host.asked(), [format!("GET {BASE}{VERSION}"), format!("GET {BASE}{VERSION}&%24skip=1")]);
    // Of the whole scheme, names are such that they make a reference.
    let _host = Host::new().answer(page(&["aoai"], "null"));
    let all = WorkspaceConnection::names(&context(), &Reference::default(), "connections/", None).unwrap();
    assert_eq!(all.entries[0].name, "connections/aoai");
}

#[test]
fn a_link_to_elsewhere_is_refused() {
    for link in [
        BASE.replace("management.azure.com", "evil.example") + "?$skip=1",
        BASE.replace("https", "http") + "?$skip=1",
        BASE.replace("WS1", "WS2") + "?$skip=1",
        format!("{BASE}?$skip=0"),
        format!("{BASE}?$filter=x&$skip=1"),
    ] {
        let host = Host::new().answer(page(&["aoai"], &format!("\"{link}\"")));
        let answer = WorkspaceConnection::names(&context(), &at("connections"), "", Some("$skip=0"));
        assert_eq!(told(answer), (Kind::Protocol, "azure.next-link".into()), "{link}");
        assert_eq!(host.asked().len(), 1);
    }
}

#[test]
fn what_has_no_names_is_not_listed() {
    let host = Host::new();
    let names = |scope: Reference| told(WorkspaceConnection::names(&context(), &scope, "", None));
    assert_eq!(names(at("connections/aoai")), (Kind::InvalidReference, "azureml.scope".into()));
    assert_eq!(names(at("keyvault")), (Kind::InvalidReference, "azureml.other-mount".into()));
    let deleted = at("connections").with_selector("state", "deleted");
    assert_eq!(names(deleted), (Kind::Unsupported, "azureml.no-soft-delete".into()));
    assert!(host.asked().is_empty());
}
