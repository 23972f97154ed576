use strongroom_plugin::testing::Host;
use strongroom_plugin::{Annotator, Attributes, Catalog, Kind, Lifecycle, Writer};

use super::*;

const RBAC: &str = r#"{"error":{"code":"Forbidden","message":"Caller is not authorized to perform action on resource.\r\nIf role assignments, deny assignments or role definitions were changed recently, please observe propagation time.\r\nCaller: appid=11111111-aaaa;oid=22222222-bbbb;iss=https://sts.windows.net/33333333-cccc/\r\nAction: 'Microsoft.KeyVault/vaults/secrets/getSecret/action'\r\nResource: '/subscriptions/SUB/resourcegroups/RG/providers/microsoft.keyvault/vaults/myvault/secrets/crpsecret'\r\nAssignment: (not found)\r\nDenyAssignmentId: null\r\nDecisionReason: 'DeniedWithNoValidRBAC' \r\nVault: myvault;location=eastus\r\n","innererror":{"code":"ForbiddenByRbac"}}}"#;
const POLICY: &str = r#"{"error":{"code":"Forbidden","message":"The user, group or application 'appid=11111111-aaaa;oid=22222222-bbbb;iss=https://sts.windows.net/33333333-cccc/' does not have secrets get permission on key vault 'myvault;location=eastus'. For help resolving this issue, please see https://go.microsoft.com/fwlink/?linkid=2125287","innererror":{"code":"AccessDenied"}}}"#;
const FIREWALL: &str = r#"{"error":{"code":"Forbidden","message":"Client address is not authorized and caller is not a trusted service.\r\nClient address: 203.0.113.9\r\nCaller: appid=11111111-aaaa\r\nVault: myvault;location=eastus","innererror":{"code":"ForbiddenByFirewall"}}}"#;
const CONNECTION: &str = r#"{"error":{"code":"Forbidden","message":"Public network access is disabled and request is not from a trusted service nor via an approved private link.\r\nCaller: appid=11111111-aaaa","innererror":{"code":"ForbiddenByConnection"}}}"#;

fn error(code: &str, message: &str) -> String {
    format!(r#"{{"error":{{"code":"{code}","message":"{message}"}}}}"#)
}

#[test]
fn every_failure_of_the_vault_is_its_own() {
    use Kind::*;
    let rows = [
        (
            401,
            error("Unauthorized", "AKV10000: Request is missing a Bearer or PoP token."),
            Unauthenticated,
            "keyvault.unauthenticated",
            "sign in",
        ),
        (
            401,
            error(
                "Unauthorized",
                "AKV10022: Invalid audience. Expected https://vault.azure.net, found: https://management.azure.com/.",
            ),
            Unauthenticated,
            "keyvault.wrong-audience",
            "another resource",
        ),
        (
            401,
            error(
                "Unauthorized",
                "AKV10032: Invalid issuer. Expected one of https://sts.windows.net/33333333-cccc/, found https://sts.windows.net/t2/.",
            ),
            Unauthenticated,
            "keyvault.wrong-tenant",
            "another tenant",
        ),
        (
            401,
            error("Unauthorized", "[TokenExpired] Error validating token: 'S2S12086'."),
            Unauthenticated,
            "keyvault.unauthenticated",
            "`myvault`",
        ),
        (403, RBAC.into(), Denied, "ForbiddenByRbac", "Key Vault Secrets User (4633458b-17de-408a-b874-0445c86b69e6)"),
        (403, POLICY.into(), Denied, "AccessDenied", "permission to get secrets"),
        (403, FIREWALL.into(), Denied, "ForbiddenByFirewall", "firewall"),
        (403, CONNECTION.into(), Denied, "ForbiddenByConnection", "private"),
        (403, DISABLED.into(), Denied, "SecretDisabled", "disabled"),
        (403, error("Forbidden", "m"), Denied, "Forbidden", "refuses"),
        (403, "<html>proxy</html>".into(), Denied, "http.403", "refuses"),
        (404, String::new(), NotFound, "http.404", "is not there"),
        (
            400,
            error("BadParameter", "The request URI contains an invalid name: crpsecret"),
            InvalidReference,
            "BadParameter",
            "does not take",
        ),
        (409, error("Conflict", "m"), Conflict, "Conflict", "in conflict"),
        (
            429,
            error(
                "Throttled",
                "Request was not processed because too many requests were received. Reason: VaultRequestTypeLimitReached",
            ),
            Throttled,
            "Throttled",
            "4000",
        ),
        (500, error("InternalServerError", "m"), Unavailable, "InternalServerError", "(500)"),
        (503, "<html>busy</html>".into(), Unavailable, "http.503", "(503)"),
        (408, String::new(), Unavailable, "http.408", "(408)"),
        (302, String::new(), Protocol, "http.302", "redirect"),
        (418, String::new(), Protocol, "http.418", "418"),
    ];
    for (status, body, kind, code, said) in rows {
        let host = Host::new().answer(json(status, &body));
        let failure = resolve(&secret()).unwrap_err();
        assert_eq!((failure.kind, failure.code.as_str()), (kind, code), "{status} {body}");
        assert!(failure.message.contains(said), "{failure}");
        // The host shows 512 characters.
        assert!(failure.message.len() < 500, "{}", failure.message);
        // Identities, tenants, addresses and subscriptions are not for everybody who sees a failure.
        for private in ["1111", "2222", "3333", "203.0.113.9", "SUB", "sts.windows.net", "eastus", "<html>"] {
            assert!(!format!("{failure:?}").contains(private), "{failure:?}");
        }
        assert_eq!(host.asked().len(), 1);
    }
}

#[test]
fn how_long_to_wait_is_passed_on() {
    let _host = Host::new().answer(Response::new(429, [("retry-after", "8")], ""));
    assert_eq!(resolve(&secret()).unwrap_err().retry_after_ms, Some(8000));
}

#[test]
fn a_vault_without_an_address_is_no_vault() {
    let _host = Host::new().fail(Failure::unavailable("http.dns", "the host has no address"));
    let failure = resolve(&secret()).unwrap_err();
    assert_eq!((failure.kind, failure.code.as_str()), (Kind::Unavailable, "keyvault.no-vault"));
    assert!(failure.message.contains("no vault `myvault`"), "{failure}");
    let _host = Host::new().fail(Failure::unavailable("http.tls", "no trusted TLS connection"));
    assert_eq!(resolve(&secret()).unwrap_err().code, "http.tls");
}

#[test]
fn each_operation_names_what_it_lacks() {
    type Ask = fn() -> Result<(), Failure>;
    let rows: [(Ask, &str, &str, &str); 8] = [
        (|| resolve(&secret()).map(|_| ()), "getSecret/action", "Secrets User", "get"),
        (
            || KeyVault::names(&context(), &at("myvault.vault.azure.net", &[]), "", None).map(|_| ()),
            "readMetadata/action",
            "Secrets User",
            "list",
        ),
        (|| KeyVault::versions(&context(), &secret(), None).map(|_| ()), "readMetadata/action", "Secrets User", "list"),
        (
            || KeyVault::put(&context(), &secret(), "v".into(), Attributes::new(), None).map(|_| ()),
            "setSecret/action",
            "Secrets Officer",
            "set",
        ),
        (
            || KeyVault::annotate(&context(), &secret(), vec![("enabled".into(), "true".into())]).map(|_| ()),
            "update/action",
            "Secrets Officer",
            "set",
        ),
        (|| KeyVault::remove(&context(), &secret()).map(|_| ()), "secrets/delete", "Secrets Officer", "delete"),
        (|| KeyVault::recover(&context(), &secret()).map(|_| ()), "recover/action", "Secrets Officer", "recover"),
        (|| KeyVault::purge(&context(), &secret()).map(|_| ()), "purge/action", "Secrets Officer", "purge"),
    ];
    for (ask, action, role, permission) in rows {
        let _host = Host::new().answer(json(403, RBAC));
        let failure = ask().unwrap_err();
        assert_eq!(failure.kind, Kind::Denied);
        assert!(failure.message.contains(action) && failure.message.contains(role), "{failure}");
        let _host = Host::new().answer(json(403, POLICY));
        let failure = ask().unwrap_err();
        assert!(failure.message.contains(&format!("permission to {permission} secrets")), "{failure}");
        let _host = Host::new().fail(Failure::unavailable("http.dns", "no address"));
        assert_eq!(ask().unwrap_err().code, "keyvault.no-vault");
    }
}
