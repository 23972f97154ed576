use strongroom_plugin::testing::Host;
use strongroom_plugin::{Catalog, Kind, Writer};

use super::*;

fn error(code: &str) -> String {
    format!(
        r#"{{"error":{{"code":"{code}","message":"The client 'user@example.com' with object id 'abc-oid' ... over scope '/subscriptions/SUB' s3cret","target":null,"details":[],"additionalInfo":[{{"type":"x","info":{{}}}}]}}}}"#
    )
}

#[test]
fn every_failure_of_the_service_is_its_own() {
    use Kind::*;
    for (status, body, kind, code, said) in [
        (401, error("AuthenticationFailed"), Unauthenticated, "AuthenticationFailed", "sign in anew"),
        (401, error("InvalidAuthenticationToken"), Unauthenticated, "InvalidAuthenticationToken", "sign in anew"),
        (401, error("ExpiredAuthenticationToken"), Unauthenticated, "ExpiredAuthenticationToken", "clock"),
        (
            401,
            error("InvalidAuthenticationTokenTenant"),
            Unauthenticated,
            "InvalidAuthenticationTokenTenant",
            "another tenant",
        ),
        (
            401,
            error("InvalidAuthenticationTokenAudience"),
            Unauthenticated,
            "InvalidAuthenticationTokenAudience",
            "another resource",
        ),
        (401, String::new(), Unauthenticated, "http.401", "sign in anew"),
        (
            403,
            error("AuthorizationFailed"),
            Denied,
            "AuthorizationFailed",
            "Azure Machine Learning Workspace Connection Secrets Reader (ea01e6af-a1c1-4350-9563-ad00f8c72ec5)",
        ),
        (403, "<html>proxy</html>".into(), Denied, "http.403", "listsecrets/action"),
        (404, NO_CONNECTION.into(), NotFound, "azureml.no-connection", "`aoai` of the workspace `WS1`"),
        (404, error("ResourceNotFound"), NotFound, "ResourceNotFound", "no workspace `WS1` in the resource group `RG`"),
        (404, error("ResourceGroupNotFound"), NotFound, "ResourceGroupNotFound", "no resource group `RG`"),
        (404, error("SubscriptionNotFound"), NotFound, "SubscriptionNotFound", "subscription"),
        (400, error("InvalidApiVersionParameter"), InvalidConfig, "InvalidApiVersionParameter", "`api_version`"),
        (400, error("MissingApiVersionParameter"), InvalidConfig, "MissingApiVersionParameter", "`api_version`"),
        (400, error("NoRegisteredProviderFound"), InvalidConfig, "NoRegisteredProviderFound", "`api_version`"),
        (400, error("ValidationError"), InvalidReference, "ValidationError", "does not take"),
        (409, error("Conflict"), Conflict, "Conflict", "somebody else"),
        (429, error("TooManyRequests"), Throttled, "TooManyRequests", "too much"),
        (429, error("SubscriptionRequestsThrottled"), Throttled, "SubscriptionRequestsThrottled", "too much"),
        (500, error("InternalServerError"), Unavailable, "InternalServerError", "(500)"),
        (502, "<html>bad gateway</html>".into(), Unavailable, "http.502", "(502)"),
        (307, String::new(), Protocol, "http.307", "redirect"),
    ] {
        let _host = Host::new().answer(json(status, &body));
        let failure = resolve("connections/aoai").unwrap_err();
        assert_eq!((failure.kind, failure.code.as_str()), (kind, code), "{status} {body}");
        assert!(failure.message.contains(said), "{failure}");
        assert!(failure.message.len() < 500, "{}", failure.message);
        for private in ["user@example.com", "abc-oid", "SUB'", "s3cret", "stackTrace", "<html>"] {
            assert!(!format!("{failure:?}").contains(private), "{failure:?}");
        }
    }
}

#[test]
fn how_long_to_wait_is_passed_on() {
    let _host = Host::new().answer(Response::new(429, [("retry-after", "17")], ""));
    assert_eq!(resolve("connections/aoai").unwrap_err().retry_after_ms, Some(17_000));
}

#[test]
fn each_operation_names_what_it_lacks() {
    type Ask = fn() -> Result<(), Failure>;
    let rows: [(Ask, &str, &str); 4] = [
        (|| resolve("connections/aoai").map(|_| ()), "connections/listsecrets/action", "Secrets Reader"),
        (
            || WorkspaceConnection::names(&context(), &at("connections"), "", None).map(|_| ()),
            "connections/read",
            "Reader",
        ),
        (
            || WorkspaceConnection::put(&context(), &at("connections/aoai"), AOAI.into(), Vec::new(), None).map(|_| ()),
            "connections/write",
            "Contributor",
        ),
        (
            || WorkspaceConnection::remove(&context(), &at("connections/aoai")).map(|_| ()),
            "connections/delete",
            "Contributor",
        ),
    ];
    for (ask, action, role) in rows {
        let _host = Host::new().answer(json(403, &error("AuthorizationFailed")));
        let failure = ask().unwrap_err();
        assert_eq!((failure.kind, failure.code.as_str()), (Kind::Denied, "AuthorizationFailed"));
        assert!(failure.message.contains(action) && failure.message.contains(role), "{failure}");
        assert!(!format!("{failure:?}").contains("s3cret"));
    }
}
