//! What is there from the start: names, ids and files, so that a newcomer can try everything. Ids are
//! those of Microsoft's own documentation; secrets are made at each start.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde_json::{Value, json};

use crate::directory::CLI_APP;
use crate::identity::{self, GITHUB_ISSUER, PIPELINES_ISSUER};
use crate::ml;
use crate::random;
use crate::world::World;

/// The tenant.
pub const TENANT: &str = "aaaabbbb-0000-cccc-1111-dddd2222eeee";
/// Its domain.
pub const DOMAIN: &str = "contoso.onmicrosoft.com";
/// Another tenant, in which nobody of the first is known.
pub const OTHER_TENANT: &str = "bbbbcccc-1111-dddd-2222-eeee3333ffff";
/// The subscription.
pub const SUBSCRIPTION: &str = "aaaa0a0a-bb1b-cc2c-dd3d-eeeeee4e4e4e";
/// The resource group.
pub const RESOURCE_GROUP: &str = "myresourcegroup";
/// The workspace.
pub const WORKSPACE: &str = "myworkspace";
/// The service principal that may do everything here; its secret is in `client-secret`.
pub const CLIENT: &str = "00001111-aaaa-2222-bbbb-3333cccc4444";
/// A service principal without any role; its secret is in `nobody-client-secret`.
pub const NOBODY: &str = "11112222-bbbb-3333-cccc-4444dddd5555";
/// The user-assigned identity's client id.
pub const WORKER_CLIENT: &str = "33334444-dddd-5555-eeee-6666ffff7777";
/// The user-assigned identity's object id.
pub const WORKER_OBJECT: &str = "44445555-eeee-6666-ffff-7777aaaa8888";
/// The system-assigned identity's object id.
pub const SYSTEM_OBJECT: &str = "55556666-ffff-7777-aaaa-8888bbbb9999";
/// The person who signs in if nobody is named: owner of the workspace, officer of the vault.
pub const PERSON: &str = "user@contoso.onmicrosoft.com";
/// A person who may list connections and not read their secrets.
pub const READER: &str = "reader@contoso.onmicrosoft.com";
/// The job that runs.
pub const RUN: &str = "calm_root_1234567890";
/// A certificate of `CLIENT` with its key: published, so worth nothing.
pub const CLIENT_CERTIFICATE: &str = include_str!("client-certificate.pem");
/// Issuer of the assertion in `federated-token`.
pub const CLUSTER_ISSUER: &str = "https://cluster.example/";

const SYSTEM_CLIENT: &str = "22223333-cccc-4444-dddd-5555eeee6666";
const CLIENT_OBJECT: &str = "aaaaaaaa-0000-1111-2222-bbbbbbbbbbbb";
const NOBODY_OBJECT: &str = "bbbbbbbb-1111-2222-3333-cccccccccccc";
const PERSON_OBJECT: &str = "cccccccc-2222-3333-4444-dddddddddddd";
const READER_OBJECT: &str = "dddddddd-3333-4444-5555-eeeeeeeeeeee";
const CLUSTER_SUBJECT: &str = "system:serviceaccount:default:app";
const EXPIRED: &str = "expired-client-secret";

/// Puts the default content in place, with new secrets.
///
/// # Errors
///
/// In words; it is for a seed that does not fit the fake.
pub(crate) fn fill(world: &mut World) -> Result<(), String> {
    let secrets = [random::hex(), random::hex(), random::hex()];
    seed(world, &secrets)
}

/// Takes everything back to the start. Client secrets, keys, ports and files stay.
///
/// # Errors
///
/// As [`fill`].
pub(crate) fn reset(world: &mut World) -> Result<(), String> {
    let secrets = secrets(world);
    let fresh = World::default();
    let old = std::mem::replace(world, fresh);
    world.signer = old.signer;
    world.machine.app_service_header = old.machine.app_service_header;
    world.machine.ml_secret = old.machine.ml_secret;
    world.machine.job_token = old.machine.job_token;
    world.machine.settings.arc_folder = old.machine.settings.arc_folder;
    seed(world, &secrets)
}

fn app_secret(world: &World, client_id: &str, expired: bool) -> String {
    let app = world.directory.apps.iter().find(|app| app.client_id == client_id);
    let secret = app.and_then(|app| app.secrets.iter().find(|secret| secret.expires.is_some() == expired));
    secret.map(|secret| secret.value.clone()).unwrap_or_default()
}

fn secrets(world: &World) -> [String; 3] {
    [app_secret(world, CLIENT, false), app_secret(world, CLIENT, true), app_secret(world, NOBODY, false)]
}

fn seed(world: &mut World, secrets: &[String; 3]) -> Result<(), String> {
    for part in [people(secrets), rights(), vaults(), vault_secrets(world.clock.now()), workspace(), connections()] {
        world.seed(serde_json::from_value(part).map_err(|error| error.to_string())?)?;
    }
    Ok(())
}

fn people([secret, expired, nobody]: &[String; 3]) -> Value {
    let federated = |issuer: &str, subject: &str| json!({"issuer": issuer, "subject": subject});
    let worker = format!(
        "/subscriptions/{SUBSCRIPTION}/resourcegroups/{RESOURCE_GROUP}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/worker"
    );
    json!({
        "tenants": [{"id": TENANT, "domain": DOMAIN}, {"id": OTHER_TENANT, "domain": "fabrikam.onmicrosoft.com"}],
        "apps": [
            {"client_id": CLIENT, "object_id": CLIENT_OBJECT, "tenant": TENANT,
             "secrets": [{"value": secret}, {"value": expired, "expires": 1_700_000_000}],
             "certificates": [CLIENT_CERTIFICATE],
             "federated": [federated(CLUSTER_ISSUER, CLUSTER_SUBJECT),
                federated(GITHUB_ISSUER, "repo:contoso/pipeline:ref:refs/heads/main"),
                federated(PIPELINES_ISSUER, "sc://contoso/project/connection")]},
            {"client_id": NOBODY, "object_id": NOBODY_OBJECT, "tenant": TENANT, "secrets": [{"value": nobody}]},
            {"client_id": CLI_APP, "object_id": CLI_APP, "tenant": "*", "public": true},
        ],
        "users": [
            {"object_id": PERSON_OBJECT, "name": PERSON, "tenant": TENANT},
            {"object_id": READER_OBJECT, "name": READER, "tenant": TENANT},
        ],
        "identities": [
            {"client_id": SYSTEM_CLIENT, "object_id": SYSTEM_OBJECT, "tenant": TENANT},
            {"client_id": WORKER_CLIENT, "object_id": WORKER_OBJECT, "tenant": TENANT, "resource_id": worker},
        ],
    })
}

fn rights() -> Value {
    let group = format!("/subscriptions/{SUBSCRIPTION}/resourceGroups/{RESOURCE_GROUP}");
    let vault = format!("{group}/providers/Microsoft.KeyVault/vaults/mykeyvault");
    let workspace = format!("{group}/providers/Microsoft.MachineLearningServices/workspaces/{WORKSPACE}");
    let given =
        |principal: &str, role: &str, scope: &str| json!({"principal": principal, "role": role, "scope": scope});
    let connection_reader = "Azure Machine Learning Workspace Connection Secrets Reader";
    json!({"assignments": [
        given(CLIENT_OBJECT, "Contributor", &group), given(CLIENT_OBJECT, "Key Vault Administrator", &group),
        given(PERSON_OBJECT, "Owner", &group), given(PERSON_OBJECT, "Key Vault Secrets Officer", &group),
        given(READER_OBJECT, "Reader", &group), given(READER_OBJECT, "Key Vault Reader", &group),
        given(SYSTEM_OBJECT, connection_reader, &workspace), given(SYSTEM_OBJECT, "Key Vault Secrets User", &vault),
        given(WORKER_OBJECT, "Key Vault Secrets User", &vault),
    ]})
}

fn vaults() -> Value {
    let vault = |name: &str, more: Value| {
        let mut vault = json!({"name": name, "tenant": TENANT, "subscription": SUBSCRIPTION, "resource_group": RESOURCE_GROUP,
            "location": "eastus"});
        if let (Some(members), Value::Object(more)) = (vault.as_object_mut(), more) {
            members.extend(more);
        }
        vault
    };
    let policies = json!({CLIENT_OBJECT: ["all"], SYSTEM_OBJECT: ["get"], READER_OBJECT: ["list"]});
    json!({"vaults": [
        vault("mykeyvault", json!({})),
        vault("myworkspacekv", json!({})),
        vault("policyvault", json!({"authorization": "policies", "policies": policies})),
        vault("firewalledvault", json!({"network": "firewall"})),
        vault("privatevault", json!({"network": "private"})),
        vault("protectedvault", json!({"purge_protection": true, "retention_days": 7})),
        vault("emptyvault", json!({})),
        vault("fabrikamvault", json!({"tenant": OTHER_TENANT})),
        vault("chinavault", json!({"suffix": "vault.azure.cn"})),
        vault("govvault", json!({"suffix": "vault.usgovcloudapi.net"})),
    ]})
}

fn vault_secrets(now: i64) -> Value {
    const MINE: &str = "mykeyvault.vault.azure.net";
    let mut list = vec![
        json!({"vault": MINE, "name": "secret1", "version": "secretversion1", "value": "value-of-secret1-version1"}),
        json!({"vault": MINE, "name": "secret1", "version": "03bcccc7c8cf4546a0e3e21e52560441", "value": "value-of-secret1-version2",
            "contentType": "text/plain", "tags": {"env": "dev"}}),
        json!({"vault": MINE, "name": "disabled", "value": "v", "attributes": {"enabled": false}}),
        json!({"vault": MINE, "name": "expired", "value": "value-of-expired", "attributes": {"exp": now.saturating_sub(86_400)}}),
        json!({"vault": MINE, "name": "not-yet-valid", "value": "value-of-not-yet-valid",
            "attributes": {"nbf": now.saturating_add(86_400), "exp": 32_503_680_000_i64}}),
        json!({"vault": MINE, "name": "certificate", "value": "MIIKegIBAzCCCjoGCSqGSIb3DQEHAQ==",
            "contentType": "application/x-pkcs12", "kid": format!("https://{MINE}/keys/certificate/{}", random::hex())}),
        json!({"vault": "myworkspacekv.vault.azure.net", "name": "workspace-secret", "value": "value-of-workspace-secret",
            "contentType": "application/NotProvided", "throughMl": true}),
    ];
    let others = [
        "policyvault.vault.azure.net",
        "firewalledvault.vault.azure.net",
        "privatevault.vault.azure.net",
        "protectedvault.vault.azure.net",
        "fabrikamvault.vault.azure.net",
        "chinavault.vault.azure.cn",
        "govvault.vault.usgovcloudapi.net",
    ];
    list.extend(others.map(|vault| {
        json!({"vault": vault, "name": "secret1", "version": "secretversion1",
        "value": format!("value-of-secret1-in-{}", vault.split('.').next().unwrap_or_default())})
    }));
    json!({"secrets": list})
}

fn workspace() -> Value {
    json!({
        "workspaces": [{"name": WORKSPACE, "subscription": SUBSCRIPTION, "resource_group": RESOURCE_GROUP, "tenant": TENANT,
            "location": "centralus", "workspace_id": "66667777-aaaa-8888-bbbb-9999cccc0000",
            "vault": "myworkspacekv.vault.azure.net"}],
        "runs": [{"id": RUN, "experiment": "training", "experiment_id": "77778888-bbbb-9999-cccc-0000dddd1111",
            "workspace": WORKSPACE}],
    })
}

fn connections() -> Value {
    let one = |name: &str, auth_type: &str, category: &str, target: &str, credentials: Value, metadata: Value| {
        json!({"workspace": WORKSPACE, "name": name, "properties": {"authType": auth_type, "category": category, "target": target,
            "credentials": credentials, "metadata": metadata}})
    };
    let aoai = json!({"ApiType": "azure", "ApiVersion": "2023-07-01-preview", "ResourceId": format!(
        "/subscriptions/{SUBSCRIPTION}/resourceGroups/{RESOURCE_GROUP}/providers/Microsoft.CognitiveServices/accounts/aoai")});
    let none = || json!({});
    // Without these two, azure-ai-ml cannot list the workspace at all.
    let blob = || json!({"AccountName": "store", "ContainerName": "data"});
    json!({"connections": [
        one("aoai_connection", "ApiKey", "AzureOpenAI", "https://aoai.openai.azure.com/", json!({"key": "key-of-aoai_connection"}), aoai),
        one("multi_connection_langchain", "CustomKeys", "CustomKeys", "_",
            json!({"keys": {"OPENAI_API_KEY": "key-of-multi_connection_langchain", "SPEECH_KEY": "speech-key"}}),
            json!({"OPENAI_API_VERSION": "2023-05-15", "OPENAI_API_BASE": "https://aoai.openai.azure.com/"})),
        one("blob_account_key", "AccountKey", "AzureBlob", "https://store.blob.core.windows.net/data", json!({"key": "account-key"}), blob()),
        one("git_pat", "PAT", "Git", "https://github.com/contoso/pipeline", json!({"pat": "personal-access-token"}), none()),
        one("blob_sas", "SAS", "AzureBlob", "https://store.blob.core.windows.net/data", json!({"sas": "?sv=signature"}), blob()),
        one("sql_login", "UsernamePassword", "AzureSqlDb", "Server=tcp:db.database.windows.net",
            json!({"username": "app", "password": "sql-password", "securityToken": null}), none()),
        one("service_principal", "ServicePrincipal", "AzureSqlDb", "Server=tcp:db.database.windows.net",
            json!({"clientId": CLIENT, "clientSecret": "connection-client-secret", "tenantId": TENANT}), none()),
        one("s3_access_key", "AccessKey", "S3", "https://bucket.s3.amazonaws.com",
            json!({"accessKeyId": "access-key-id", "secretAccessKey": "secret-access-key"}), none()),
        one("managed_identity", "ManagedIdentity", "ContainerRegistry", "https://registry.azurecr.io",
            json!({"clientId": WORKER_CLIENT, "resourceId": null}), none()),
        one("oauth2_login", "OAuth2", "GenericHttp", "https://api.example.com",
            json!({"authUrl": "https://login.example.com", "clientId": "client", "clientSecret": "oauth2-client-secret",
                "developerToken": "developer-token", "password": "oauth2-password", "refreshToken": "refresh-token",
                "tenantId": TENANT, "username": "app"}), none()),
        one("entra_search", "AAD", "CognitiveSearch", "https://search.search.windows.net", Value::Null, none()),
        one("public_feed", "None", "PythonFeed", "https://feed.example.com/simple", Value::Null, none()),
        one("user_token", "UserEntraToken", "GenericHttp", "https://api.example.com", Value::Null, none()),
    ]})
}

/// Writes the files of the folder.
pub(crate) fn write(world: &World, folder: &Path, ports: &[u16; 3], ca: &str) -> io::Result<()> {
    let [secret, expired, nobody] = secrets(world);
    let federated = identity::assertion(world, CLUSTER_ISSUER, CLUSTER_SUBJECT, "api://AzureADTokenExchange", 86_400);
    let run =
        world.runs.iter().find(|run| run.id == RUN).map(|run| ml::run_token(world, run, 86_400)).unwrap_or_default();
    let quoted = environment(world, folder, ports)
        .iter()
        .map(|(name, value)| format!("export {name}='{}'\n", value.replace('\'', "'\\''")))
        .collect::<String>();
    for (name, text) in [
        ("ca.pem", ca),
        ("client-secret", &secret),
        (EXPIRED, &expired),
        ("nobody-client-secret", &nobody),
        ("client-certificate.pem", CLIENT_CERTIFICATE),
        ("federated-token", &federated),
        ("run-token", &run),
        ("identity-header", &world.machine.app_service_header),
        ("msi-secret", &world.machine.ml_secret),
        ("job-token", &world.machine.job_token),
        ("environment", &quoted),
        ("strongroom.toml", &config(folder, ports)),
    ] {
        let path = folder.join(name);
        // Its mode is given when it is made: an earlier run's file would keep its own.
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?.write_all(text.as_bytes())?;
    }
    Ok(())
}

/// A config of Strongroom's that leads here: the vaults and the workspace of the default content, with its
/// service principal.
fn config(folder: &Path, [https, http, _]: &[u16; 3]) -> String {
    let folder = folder.display();
    let names = [
        "mykeyvault.vault.azure.net",
        "fabrikamvault.vault.azure.net",
        "login.microsoftonline.com",
        "management.azure.com",
    ];
    let addresses: String = names.iter().map(|name| format!("\"{name}\" = \"127.0.0.1:{https}\"\n")).collect();
    format!(
        "# Leads Azure's names to the Azure of tests on this machine.\n\
         [mounts.keyvault]\nplugin = \"azure-key-vault\"\ncredential = \"corp\"\nhosts = [\"*.vault.azure.net\"]\nwrite = true\n\n\
         [mounts.azureml]\nplugin = \"azure-workspace-connection\"\ncredential = \"corp\"\nwrite = true\n\
         config = {{ subscription = \"{SUBSCRIPTION}\", resource_group = \"{RESOURCE_GROUP}\", workspace = \"{WORKSPACE}\" }}\n\n\
         [mounts.files]\nplugin = \"file\"\nconfig.folders = [\"{folder}\"]\n\n\
         [credentials.corp]\nplugin = \"service-principal\"\nconfig = {{ tenant = \"{TENANT}\", client_id = \"{CLIENT}\" }}\n\
         sealed = {{ client_secret = \"file:{folder}/client-secret\" }}\n\
         audiences = [\"https://vault.azure.net\", \"https://management.azure.com\"]\n\n\
         [ca.fake]\nfile = \"ca.pem\"\nhosts = [\"*.vault.azure.net\", \"login.microsoftonline.com\", \"management.azure.com\"]\n\n\
         [addresses]\n{addresses}\"169.254.169.254\" = \"127.0.0.1:{http}\"\n"
    )
}

/// What a program is told that started the fake.
pub(crate) fn facts(folder: &Path, [https, http, proxy]: &[u16; 3]) -> Vec<(String, String)> {
    let file = |name: &str| folder.join(name).display().to_string();
    [
        ("https-port", https.to_string()),
        ("http-port", http.to_string()),
        ("proxy-port", proxy.to_string()),
        ("control", format!("http://127.0.0.1:{http}/control")),
        ("proxy", format!("http://127.0.0.1:{proxy}")),
        ("folder", folder.display().to_string()),
        ("ca-file", file("ca.pem")),
        ("environment-file", file("environment")),
        ("strongroom-config", file("strongroom.toml")),
        ("tenant", TENANT.into()),
        ("subscription", SUBSCRIPTION.into()),
        ("resource-group", RESOURCE_GROUP.into()),
        ("workspace", WORKSPACE.into()),
        ("client-id", CLIENT.into()),
        ("client-secret-file", file("client-secret")),
        ("client-certificate-file", file("client-certificate.pem")),
        ("federated-token-file", file("federated-token")),
        ("pid", std::process::id().to_string()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

/// What leads Microsoft's clients here, with the service principal's secret.
pub(crate) fn environment(world: &World, folder: &Path, [_, http, proxy]: &[u16; 3]) -> Vec<(String, String)> {
    let proxy = format!("http://127.0.0.1:{proxy}");
    let ca = folder.join("ca.pem").display().to_string();
    let [secret, ..] = secrets(world);
    [
        ("HTTPS_PROXY", proxy.clone()),
        ("HTTP_PROXY", proxy),
        ("NO_PROXY", "127.0.0.1,localhost".into()),
        ("REQUESTS_CA_BUNDLE", ca.clone()),
        ("CURL_CA_BUNDLE", ca.clone()),
        ("SSL_CERT_FILE", ca),
        ("AZURE_POD_IDENTITY_AUTHORITY_HOST", format!("http://127.0.0.1:{http}")),
        ("AZURE_TENANT_ID", TENANT.into()),
        ("AZURE_CLIENT_ID", CLIENT.into()),
        ("AZURE_CLIENT_SECRET", secret),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}
