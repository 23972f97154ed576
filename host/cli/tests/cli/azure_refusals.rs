//! Bad input and refusals of Azure, as the program tells them: each its own code and exit status, and what to do next.

use fake_azure::{Fake, Options, defaults};
use serde_json::{Value, json};

use crate::azure::{SECRET, VAULT, with_secret, with_workspace};
use crate::support::*;

/// What fails, its exit status, its code, and the words that say what to do.
type Row<'r> = (&'r str, i32, &'r str, &'r str);

/// Every row fails as it says, and no two of them alike.
#[track_caller]
fn told<'r>(rows: &[Row<'r>], done: impl Fn(&'r str) -> Done) {
    for (what, status, code, advice) in rows {
        let done = done(what);
        assert_eq!(done.out(), "", "{what}");
        assert_eq!(done.status, *status, "{what}: {}", done.err());
        assert!(done.err().contains(&format!("[{code}]")), "{what}: no [{code}] in {}", done.err());
        assert!(done.err().contains(advice), "{what}: no `{advice}` in {}", done.err());
    }
}

fn edit(home: &Home, change: impl FnOnce(String) -> String) {
    let config = std::fs::read_to_string(home.work("strongroom.toml")).unwrap();
    home.write("strongroom.toml", change(config));
}

fn control(fake: &Fake, method: &str, path: &str, body: Value) -> Value {
    fake.control(method, path, body).unwrap()
}

/// How often anything of Azure was asked so far.
fn asked(fake: &Fake) -> usize {
    let requests = control(fake, "GET", "/control/requests", Value::Null);
    requests.as_array().or_else(|| requests["requests"].as_array()).unwrap().len()
}

#[test]
fn references_that_cannot_be_are_told_before_anybody_is_asked() {
    let fake = Fake::start(Options::default()).unwrap();
    let home = with_workspace(&fake);
    let long = "x".repeat(128);
    let long = format!("keyvault:https://{VAULT}/secrets/{long}");
    let get = |reference: &str| home.strongroom(["get", reference]).done();
    // What the operator's `hosts` do not hold goes nowhere, whatever it is.
    told(
        &[
            (
                "keyvault:https://vault.evil.example/secrets/s",
                3,
                "route.no-mount",
                "answers the hosts *.vault.azure.net",
            ),
            (
                "keyvault:https://h.managedhsm.azure.net/secrets/s",
                3,
                "route.no-mount",
                "answers the hosts *.vault.azure.net",
            ),
            (
                "keyvault:https://a.b.vault.azure.net/secrets/s",
                3,
                "route.no-mount",
                "answers the hosts *.vault.azure.net",
            ),
        ],
        get,
    );
    // And an operator who lets too much through still sends no token to what is no vault.
    edit(&home, |config| {
        config.replace(
            "hosts = [\"*.vault.azure.net\"]\nwrite",
            "hosts = [\"*.vault.azure.net\", \"*.evil.example\", \"*.managedhsm.azure.net\", \"*.*.vault.azure.net\"]\nwrite",
        )
    });
    told(
        &[
            ("keyvault:https://vault.evil.example/secrets/s", 2, "keyvault.host", "those are *.vault.azure.net"),
            (
                "keyvault:https://h.managedhsm.azure.net/secrets/s",
                2,
                "keyvault.managed-hsm",
                "holds keys and no secrets",
            ),
            ("keyvault:https://a.b.vault.azure.net/secrets/s", 2, "keyvault.vault-name", "has no dot"),
            (
                "keyvault:https://mykeyvault.vault.azure.net:8443/secrets/s",
                2,
                "reference.host",
                "a port is not allowed",
            ),
            ("keyvault:https://ab.vault.azure.net/secrets/s", 2, "keyvault.vault-name", "3 to 24"),
            ("keyvault:https://a--b.vault.azure.net/secrets/s", 2, "keyvault.vault-name", "two hyphens"),
            ("keyvault:https://1ab.vault.azure.net/secrets/s", 2, "keyvault.vault-name", "begins with a letter"),
            ("keyvault:https://me@mykeyvault.vault.azure.net/secrets/s", 2, "reference.host", "user information"),
            (
                "keyvault:https://mykeyvault.vault.azure.net@evil.example/secrets/s",
                2,
                "reference.host",
                "user information",
            ),
            (
                "keyvault:https://mykeyvault.vault.azure.net:443@evil.example/secrets/s",
                2,
                "reference.host",
                "not allowed",
            ),
            ("keyvault:https://mykeyvault.vault.azure.net./secrets/s", 2, "reference.host", "this is no host name"),
            ("keyvault:https://evil.example\\.vault.azure.net/secrets/s", 2, "reference.host", "this is no host name"),
            ("keyvault:https://mykeyvault.vault.azure.net/secrets/a_b", 2, "reference.name", "1 to 127"),
            ("keyvault:https://mykeyvault.vault.azure.net/secrets/a.b", 2, "reference.name", "1 to 127"),
            (long.as_str(), 2, "reference.name", "1 to 127"),
            ("keyvault:https://mykeyvault.vault.azure.net/secrets/..", 2, "reference.name", "1 to 127"),
            ("keyvault:https://mykeyvault.vault.azure.net/secrets/a%2Fb", 2, "reference.name", "1 to 127"),
            (
                "keyvault:https://mykeyvault.vault.azure.net/secrets/a?api-version=7.0",
                2,
                "reference.selector",
                "last part of the path",
            ),
            ("keyvault:https://mykeyvault.vault.azure.net/keys/a", 2, "reference.form", "/secrets/{name}"),
            (
                "keyvault:https://mykeyvault.vault.azure.net/secrets/a/1/2",
                2,
                "reference.form",
                "nothing may follow the version",
            ),
            ("azureml://connections/a/b", 2, "reference.form", "azureml://connections/{c}"),
            ("azureml://connections/..", 2, "reference.dot-segment", "are not resolved"),
            ("azureml://connections/a%2Fb", 2, "azureml.connection-name", "3 to 33"),
            ("azureml://connections/%2e%2e", 2, "azureml.connection-name", "3 to 33"),
            ("azureml://connections/ab", 2, "azureml.connection-name", "3 to 33"),
            ("azureml://connections/_abc", 2, "azureml.connection-name", "3 to 33"),
            ("azureml://connections/a b c", 2, "azureml.connection-name", "3 to 33"),
        ],
        get,
    );
    assert_eq!(asked(&fake), 0);
    // The longest name there can be is asked for.
    let longest = format!("keyvault:https://{VAULT}/secrets/{}", "x".repeat(127));
    get(&longest).fails(6, "SecretNotFound");
}

#[test]
fn a_vault_holds_25600_bytes_and_not_one_more() {
    let fake = Fake::start(Options::default()).unwrap();
    let home = with_secret(&fake);
    let reference = format!("keyvault:https://{VAULT}/secrets/large");
    let set = |bytes: usize| home.strongroom(["set", &reference]).input("v".repeat(bytes)).done();
    set(25_600).ok();
    assert_eq!(home.get(&reference).len(), 25_600);
    set(25_601).fails(15, "keyvault.too-large").says("at most 25600 bytes").says("25601");
    // Bytes, not characters.
    let umlauts = home.strongroom(["set", &reference]).input("ä".repeat(12_801)).done();
    umlauts.fails(15, "keyvault.too-large");
    assert_eq!(home.get(&reference).len(), 25_600);
}

#[test]
fn every_refusal_of_a_vault_has_its_own_words() {
    let fake = Fake::start(Options::default()).unwrap();
    let home = with_secret(&fake);
    let secret =
        |name: &str, attributes: Value| json!({"vault": VAULT, "name": name, "value": "v", "attributes": attributes});
    control(&fake, "POST", "/control/seed", json!({"secrets": [secret("gone", json!({}))]}));
    home.strongroom(["delete", "--yes", &format!("keyvault:https://{VAULT}/secrets/gone")]).done().ok();
    let address = format!("\"privatevault.vault.azure.net\" = \"127.0.0.1:{}\"\n", fake.https_port());
    edit(&home, |config| config + &address);
    let get = |reference: &str| home.strongroom(["get", &format!("keyvault:https://{reference}")]).done();
    // The service serves these, and so does the mount unless it says otherwise.
    for (name, why) in [("expired", "expired at"), ("not-yet-valid", "is valid from")] {
        let reference = format!("keyvault:https://{VAULT}/secrets/{name}");
        home.strongroom(["-v", "get", &reference]).done().ok().prints(format!("value-of-{name}")).says(why);
    }
    edit(&home, |config| config.replace("write = true", "write = true\nconfig = { outside_validity = \"refuse\" }"));
    told(
        &[
            ("mykeyvault.vault.azure.net/secrets/disabled", 4, "SecretDisabled", "enable it"),
            ("mykeyvault.vault.azure.net/secrets/expired", 4, "keyvault.expired", "outside_validity"),
            ("mykeyvault.vault.azure.net/secrets/not-yet-valid", 4, "keyvault.not-yet-valid", "outside_validity"),
            ("mykeyvault.vault.azure.net/secrets/gone", 6, "keyvault.deleted", "strongroom recover"),
            ("mykeyvault.vault.azure.net/secrets/absent", 6, "SecretNotFound", "no such secret"),
            ("mykeyvault.vault.azure.net/secrets/secret1/absent", 6, "SecretNotFound", "no such version"),
            ("firewalledvault.vault.azure.net/secrets/secret1", 4, "ForbiddenByFirewall", "networking rules"),
            ("privatevault.vault.azure.net/secrets/secret1", 4, "ForbiddenByConnection", "network = \"private\""),
            ("fabrikamvault.vault.azure.net/secrets/secret1", 4, "credential.tenant", "tenants = "),
        ],
        get,
    );
    // Asked too much: the wait that the vault asks for is longer than there is time.
    let throttled =
        json!({"kind": "status", "status": 429, "retry_after": "60", "code": "Throttled", "service": "key-vault"});
    control(&fake, "POST", "/control/faults", throttled);
    home.strongroom(["get", SECRET]).done().fails(7, "Throttled").says("is asked too much");
    control(&fake, "DELETE", "/control/faults", Value::Null);
    control(&fake, "POST", "/control/faults", json!({"kind": "status", "status": 503, "service": "key-vault"}));
    home.strongroom(["get", SECRET]).done().status(8).says("could not answer");
}

#[test]
fn a_challenge_for_another_resource_and_a_token_endpoint_elsewhere_get_nothing() {
    let fake = Fake::start(Options::default()).unwrap();
    let home = with_secret(&fake);
    home.strongroom(["get", SECRET]).done().ok();
    let fault = |fault: Value| drop(control(&fake, "POST", "/control/faults", fault));
    fault(json!({"kind": "foreign_challenge", "resource": "https://evil.example", "service": "key-vault", "times": 1}));
    control(&fake, "POST", "/control/tokens/revoke", Value::Null);
    home.strongroom(["get", SECRET]).done().fails(5, "challenge.resource").says("https://evil.example");
    // An authority in the challenge is not where a token is asked for.
    fault(json!({"kind": "foreign_authority", "host": "evil.example", "service": "key-vault", "times": 1}));
    control(&fake, "POST", "/control/tokens/revoke", Value::Null);
    home.strongroom(["get", SECRET]).done().ok();
    // Entra itself may not lead elsewhere, nor may a config.
    home.strongroom(["logout", "corp"]).done().ok();
    fault(
        json!({"kind": "redirect", "location": "https://evil.example/token", "status": 307, "service": "entra", "times": 1}),
    );
    let done = home.strongroom(["get", SECRET]).done().status(11);
    done.says("307").says_not("evil.example/token");
    edit(&home, |config| config.replace("client_id = ", "authority = \"evil.example\", client_id = "));
    home.strongroom(["get", SECRET]).done().fails(2, "config.plugin-config").says("authority");
}

#[test]
fn every_sign_in_that_fails_says_why() {
    let fake = Fake::start(Options::default()).unwrap();
    let certificate = std::fs::read_to_string(fake.folder().join("client-certificate.pem")).unwrap();
    let part = |begin: &str| {
        let (at, end) = (certificate.find(begin).unwrap(), begin.replace("BEGIN", "END"));
        certificate[at..certificate.find(&end).unwrap() + end.len()].to_owned() + "\n"
    };
    let only_certificate = part("-----BEGIN CERTIFICATE-----");
    let only_key = certificate.replace(&only_certificate, "");
    let home_with = |what: &str| {
        let home = with_secret(&fake);
        let file = |name: &str| std::fs::read_to_string(fake.folder().join(name)).unwrap();
        let with_certificate = |pem: &str| {
            home.write_secret("secrets/certificate.pem", pem);
            edit(&home, |config| {
                let sealed = config.replace("client_secret = \"file:", "certificate = \"file:");
                sealed.replace("/client-secret\"", "/certificate.pem\"")
            });
        };
        let tenant = |tenant: &str| edit(&home, |config| config.replace(defaults::TENANT, tenant));
        match what {
            "an expired client secret" => {
                drop(home.write_secret("secrets/client-secret", file("expired-client-secret")))
            }
            "a wrong client secret" => drop(home.write_secret("secrets/client-secret", "wrong")),
            "no client secret" => std::fs::remove_file(home.work("secrets/client-secret")).unwrap(),
            "another tenant" => tenant(defaults::OTHER_TENANT),
            "a tenant that is none" => tenant("dddddddd-3333-4444-5555-eeeeeeeeeeee"),
            "a certificate without its key" => with_certificate(&only_certificate),
            "a key without its certificate" => with_certificate(&only_key),
            "no PEM" => with_certificate("PKCS#12, perhaps"),
            "a clock that is wrong" => {
                with_certificate(&certificate);
                control(&fake, "POST", "/control/clock", json!({"advance_seconds": 7200}));
            }
            _ => {
                let number: u32 = what.strip_prefix("AADSTS").unwrap().parse().unwrap();
                control(
                    &fake,
                    "POST",
                    "/control/faults",
                    json!({"kind": "aadsts", "number": number, "service": "entra", "times": 1}),
                );
            }
        }
        home
    };
    told(
        &[
            ("an expired client secret", 5, "AADSTS7000222", "make a new one"),
            ("a wrong client secret", 5, "AADSTS7000215", "Copy the value"),
            ("no client secret", 6, "file.not-found", "client_secret"),
            ("another tenant", 2, "AADSTS700016", "check the credential's `client_id` and `tenant`"),
            ("a tenant that is none", 2, "AADSTS90002", "check the credential's `tenant`"),
            ("a certificate without its key", 2, "signer.key", "cat key.pem certificate.pem"),
            ("a key without its certificate", 2, "signer.key", "no certificate"),
            ("no PEM", 2, "signer.key", "openssl pkcs12"),
            ("AADSTS700027", 5, "AADSTS700027", "check that this very certificate is registered"),
            ("AADSTS500011", 2, "AADSTS500011", "check the audience"),
            ("AADSTS65001", 4, "AADSTS65001", "an administrator of the tenant can consent"),
            ("AADSTS700213", 5, "AADSTS700213", "compare them in the application's federated credentials"),
            ("AADSTS53003", 5, "AADSTS53003", "conditional access"),
            ("a clock that is wrong", 5, "AADSTS700024", "check this machine's clock"),
        ],
        |what| home_with(what).strongroom(["get", SECRET]).done(),
    );
}

/// A home in which a person signs in with a code, as `corp`.
fn with_person(fake: &Fake) -> Home {
    let home = crate::azure::home(fake, "plugin = \"device-code\"");
    control(fake, "PATCH", "/control/settings", json!({"device_interval": 1}));
    home
}

#[test]
fn a_code_that_nobody_used_or_that_was_declined_ends_the_sign_in() {
    let fake = Fake::start(Options::default()).unwrap();
    let home = with_person(&fake);
    for (verdict, status, code, advice) in
        [("expire", 5, "device-code.expired", "strongroom login"), ("decline", 4, "device-code.declined", "declined")]
    {
        let mut login = home.strongroom(["login", "corp"]).start();
        let errors = login.errors.as_mut().unwrap();
        errors.wait_for("enter the code");
        errors.wait_for("Ctrl-C");
        let codes = control(&fake, "GET", "/control/device-codes", Value::Null);
        let codes = codes.as_array().or_else(|| codes["device_codes"].as_array()).unwrap().clone();
        let pending = codes.iter().find(|one| one["verdict"] == "pending").unwrap()["user_code"].as_str().unwrap();
        control(&fake, "POST", &format!("/control/device-codes/{pending}/{verdict}"), json!({}));
        let said = lossy(&login.errors.as_mut().unwrap().rest());
        assert_eq!(login.wait(), status, "{said}");
        assert!(said.contains(&format!("[{code}]")) && said.contains(advice), "{said}");
        home.strongroom(["get", SECRET]).done().status(5).says("strongroom login");
    }
}

#[test]
fn a_sign_in_that_is_over_is_forgotten_and_a_fault_forgets_nothing() {
    let fake = Fake::start(Options::default()).unwrap();
    let home = with_person(&fake);
    control(&fake, "PATCH", "/control/settings", json!({"device_auto_approve": 0}));
    home.strongroom(["login", "corp"]).done().ok();
    let refreshes = || {
        let requests = control(&fake, "GET", "/control/requests?service=entra&method=POST", Value::Null);
        requests.as_array().or_else(|| requests["requests"].as_array()).unwrap().len()
    };
    let revoke = |what: &str| drop(control(&fake, "POST", &format!("/control/{what}/revoke"), Value::Null));

    // Faults and demands that the same refresh token may yet meet leave it where it is.
    revoke("tokens");
    for fault in [
        json!({"kind": "status", "status": 503, "service": "entra"}),
        json!({"kind": "not_json", "status": 200, "service": "entra"}),
        json!({"kind": "aadsts", "number": 50_076, "service": "entra"}),
        json!({"kind": "aadsts", "number": 65_001, "service": "entra"}),
        json!({"kind": "aadsts", "number": 7_000_215, "service": "entra"}),
    ] {
        control(&fake, "POST", "/control/faults", fault.clone());
        let done = home.strongroom(["get", SECRET]).done();
        assert_ne!(done.status, 0, "{fault}");
        control(&fake, "DELETE", "/control/faults", Value::Null);
        home.strongroom(["get", SECRET]).done().ok();
        revoke("tokens");
    }

    // The identity provider ends it.
    revoke("refresh-tokens");
    home.strongroom(["get", SECRET]).done().fails(5, "AADSTS50173").says("strongroom login");
    let before = refreshes();
    home.strongroom(["get", SECRET]).done().fails(5, "entra.sign-in").says("strongroom login");
    assert_eq!(refreshes(), before, "what is dead is not sent again");
    home.strongroom(["whoami", "corp"]).done().ok().says("no token of corp is kept");
    home.strongroom(["login", "corp"]).done().ok();
    home.strongroom(["get", SECRET]).done().ok().prints("value-of-secret1-version2");
}

#[test]
fn the_vaults_of_every_cloud_get_the_tokens_of_their_own() {
    let fake = Fake::start(Options::default()).unwrap();
    let home = with_secret(&fake);
    let port = fake.https_port();
    edit(&home, |config| {
        let clouds = [
            ("china", "chinavault.vault.azure.cn", "login.chinacloudapi.cn", "https://vault.azure.cn"),
            ("gov", "govvault.vault.usgovcloudapi.net", "login.microsoftonline.us", "https://vault.usgovcloudapi.net"),
        ];
        let start = config.find("[credentials.corp]").unwrap();
        let credential = config[start..config.find("[ca.fake]").unwrap()].to_owned();
        let mut config = config;
        let mut tables = String::new();
        for (name, vault, authority, audience) in clouds {
            let own = credential.replace("credentials.corp", &format!("credentials.{name}"));
            let own = own.replace("client_id = ", &format!("authority = \"{authority}\", client_id = "));
            tables += &own.replace("https://vault.azure.net", audience);
            tables += &format!(
                "[mounts.{name}]\nplugin = \"azure-key-vault\"\ncredential = \"{name}\"\nhosts = [\"{vault}\"]\n"
            );
            config += &format!("\"{vault}\" = \"127.0.0.1:{port}\"\n\"{authority}\" = \"127.0.0.1:{port}\"\n");
            config = config.replace(
                "\"*.vault.azure.net\", \"login",
                &format!("\"{vault}\", \"{authority}\", \"*.vault.azure.net\", \"login"),
            );
        }
        config.replace("[ca.fake]", &format!("{tables}[ca.fake]"))
    });
    for (vault, value) in [
        ("chinavault.vault.azure.cn", "value-of-secret1-in-chinavault"),
        ("govvault.vault.usgovcloudapi.net", "value-of-secret1-in-govvault"),
        ("mykeyvault.vault.azure.net", "value-of-secret1-version2"),
    ] {
        home.strongroom(["get", &format!("keyvault:https://{vault}/secrets/secret1")]).done().ok().prints(value);
    }
    // A credential of one cloud is no good in another, and is not sent there.
    edit(&home, |config| config.replace("credential = \"china\"", "credential = \"corp\""));
    let done = home.strongroom(["get", "keyvault:https://chinavault.vault.azure.cn/secrets/secret1"]).done();
    done.fails(4, "credential.audience").says("https://vault.azure.cn");
}
