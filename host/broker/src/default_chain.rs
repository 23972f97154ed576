//! The links of `default`, in the order of Azure's own default chain, and the variables that it reads:
//! `AZURE_TENANT_ID`, `AZURE_CLIENT_ID` and their like, narrowed by `AZURE_TOKEN_CREDENTIALS`.
//!
//! What the environment does not set up is a link that says so and costs nothing. Nothing here may read a
//! secret: the variables that hold one become sealed inputs, as if the operator had written them.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use strongroom_core::config::{Credential, PluginSource};
use strongroom_core::{Failure, Kind, Name};

use crate::chain::{Link, Made};
use crate::environment::Environment;

const TENANT: &str = "AZURE_TENANT_ID";
const CLIENT: &str = "AZURE_CLIENT_ID";
const SECRET: &str = "AZURE_CLIENT_SECRET";
const CERTIFICATE: &str = "AZURE_CLIENT_CERTIFICATE_PATH";
const SEND_CHAIN: &str = "AZURE_CLIENT_SEND_CERTIFICATE_CHAIN";
const TOKEN_FILE: &str = "AZURE_FEDERATED_TOKEN_FILE";
const AUTHORITY: &str = "AZURE_AUTHORITY_HOST";
const USER: [&str; 2] = ["AZURE_USERNAME", "AZURE_PASSWORD"];

/// What narrows the chain.
const NARROWED: &str = "AZURE_TOKEN_CREDENTIALS";

/// A link of the documented order: our word, the word of `AZURE_TOKEN_CREDENTIALS`, and whether it is for
/// production or a developer's machine.
const ORDER: [(&str, &str, &str); 7] = [
    ("environment", "environmentcredential", "prod"),
    ("workload-identity", "workloadidentitycredential", "prod"),
    ("managed-identity", "managedidentitycredential", "prod"),
    ("visual-studio-code", "visualstudiocodecredential", "dev"),
    ("azure-cli", "azureclicredential", "dev"),
    ("azure-powershell", "azurepowershellcredential", "dev"),
    ("azure-developer-cli", "azuredeveloperclicredential", "dev"),
];

/// A link as the environment sets it up.
struct Setting {
    plugin: &'static str,
    config: Map<String, Value>,
    sealed: BTreeMap<String, String>,
    files: BTreeMap<String, String>,
}

impl Setting {
    fn of(plugin: &'static str) -> Self {
        Self { plugin, config: Map::new(), sealed: BTreeMap::new(), files: BTreeMap::new() }
    }

    fn tell(mut self, key: &str, value: Option<impl Into<Value>>) -> Self {
        if let Some(value) = value {
            self.config.insert(key.to_owned(), value.into());
        }
        self
    }
}

/// The links of the chain `name`, and the credentials that they are.
///
/// # Errors
/// `config.azure-token-credentials` if the variable holds none of its words.
pub(crate) fn links(
    name: &Name,
    chain: &Credential,
    environment: &Environment,
) -> Result<(Vec<Link>, Vec<Made>), Failure> {
    let narrowed = environment.setting(NARROWED).map(|text| text.trim().to_lowercase());
    let among = |(_, word, kind): &(&str, &str, &str)| {
        narrowed.as_deref().is_none_or(|narrowed| [*word, *kind].contains(&narrowed))
    };
    if !ORDER.iter().any(&among) {
        let words: Vec<&str> = ["dev", "prod"].into_iter().chain(ORDER.iter().map(|(_, word, _)| *word)).collect();
        let message = format!("the variable {NARROWED} holds none of the words that it may hold");
        return Err(Failure::new(Kind::InvalidConfig, "config.azure-token-credentials", message)
            .help(format!("it may hold one of: {}", words.join(", "))));
    }
    let (mut links, mut made) = (Vec::new(), Vec::new());
    for (word, _, _) in ORDER.iter().filter(|link| among(link)) {
        let link = match setting(word, environment) {
            Err(why) => Err(Failure::new(Kind::NotConfigured, "credential.not-set-up", why)),
            Ok(setting) => {
                let link = Name::parse(&format!("{name}-{word}")).map_err(|_| {
                    let message =
                        format!("the name {name} is too long for a chain, whose links are called {name}-{word}");
                    Failure::new(Kind::InvalidConfig, "config.chain", message)
                })?;
                let Setting { plugin, config, sealed, files } = setting;
                let credential = Credential {
                    plugin: PluginSource::Bundled(Name::parse(plugin).map_err(|_| {
                        Failure::new(Kind::Internal, "config.chain", "this build of Strongroom is broken")
                    })?),
                    config: Value::Object(config),
                    sealed,
                    ..chain.clone()
                };
                made.push(Made { name: link.clone(), credential, files });
                Ok(link)
            }
        };
        links.push(Link { word: (*word).to_owned(), credential: link });
    }
    Ok((links, made))
}

/// One link, or why it is not set up.
fn setting(word: &str, environment: &Environment) -> Result<Setting, String> {
    let set = |name: &str| environment.get(name).is_some();
    let text = |name: &str| environment.setting(name);
    let missing = |names: &[&str]| {
        let (there, missing): (Vec<&str>, Vec<&str>) = names.iter().partition(|name| set(name));
        match there.as_slice() {
            [] => format!("none of {} is set", missing.join(", ")),
            [one] => format!("{one} is set, but not {}", missing.join(", ")),
            several => format!("{} are set, but not {}", several.join(", "), missing.join(", ")),
        }
    };
    let authority =
        || text(AUTHORITY).map(|url| url.trim().trim_start_matches("https://").trim_end_matches('/').to_lowercase());
    let principal = |method: &str| {
        Setting::of("service-principal")
            .tell("tenant", text(TENANT))
            .tell("client_id", text(CLIENT))
            .tell("authority", authority())
            .tell("method", Some(method))
    };
    let identified = set(TENANT) && set(CLIENT);
    match word {
        "environment" if identified && set(SECRET) => {
            let mut setting = principal("secret");
            setting.sealed.insert("client_secret".to_owned(), format!("env:{SECRET}"));
            Ok(setting)
        }
        "environment" if identified && set(CERTIFICATE) => {
            let chain = text(SEND_CHAIN).is_some_and(|text| text == "1" || text.eq_ignore_ascii_case("true"));
            let mut setting = principal("certificate").tell("send_chain", chain.then_some(json!(true)));
            setting.files.insert("certificate".to_owned(), text(CERTIFICATE).unwrap_or_default().to_owned());
            Ok(setting)
        }
        "environment" if set(CLIENT) && USER.into_iter().all(set) => {
            Err("signing in with AZURE_USERNAME and AZURE_PASSWORD is deprecated by Microsoft and not offered"
                .to_owned())
        }
        "environment" => Err(missing(&[TENANT, CLIENT, SECRET])),
        "workload-identity" if identified && set(TOKEN_FILE) => {
            let mut setting = principal("federated-token");
            setting.files.insert("federated_token".to_owned(), text(TOKEN_FILE).unwrap_or_default().to_owned());
            Ok(setting)
        }
        "workload-identity" => Err(missing(&[TENANT, CLIENT, TOKEN_FILE])),
        "managed-identity" => Ok(Setting::of("managed-identity").tell("client_id", text(CLIENT))),
        "azure-cli" => Ok(Setting::of("azure-cli").tell("tool", Some("az"))),
        "azure-developer-cli" => Ok(Setting::of("azure-cli").tell("tool", Some("azd"))),
        _ => Err("this release cannot use it".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use strongroom_core::Text;
    use strongroom_core::config::{Config, Layer};

    use super::*;

    fn found(variables: &[(&str, &str)]) -> Result<(Vec<String>, Vec<Made>), Failure> {
        let text = "[credentials.me]\nplugin = \"default\"\naudiences = [\"https://vault.azure.net\"]";
        let config = Config::parse(text, Text::new("c"), Layer::User).unwrap();
        let (name, credential) = config.credentials.first_key_value().unwrap();
        let environment = Environment::from_iter(variables.iter().map(|(k, v)| ((*k).into(), (*v).into())));
        let (links, made) = links(name, credential, &environment)?;
        let told = |link: Link| match link.credential {
            Ok(name) => name.to_string(),
            Err(failure) => format!("{}: {}", link.word, failure.message()),
        };
        Ok((links.into_iter().map(told).collect(), made))
    }

    const NOT_HERE: &str = "this release cannot use it";

    #[test]
    fn an_empty_environment_leaves_the_machine_and_the_tools() {
        let (links, made) = found(&[]).unwrap();
        assert_eq!(
            links,
            [
                "environment: none of AZURE_TENANT_ID, AZURE_CLIENT_ID, AZURE_CLIENT_SECRET is set",
                "workload-identity: none of AZURE_TENANT_ID, AZURE_CLIENT_ID, AZURE_FEDERATED_TOKEN_FILE is set",
                "me-managed-identity",
                &format!("visual-studio-code: {NOT_HERE}"),
                "me-azure-cli",
                &format!("azure-powershell: {NOT_HERE}"),
                "me-azure-developer-cli",
            ]
        );
        assert!(made.iter().all(|made| made.credential.audiences == ["https://vault.azure.net"]));
    }

    #[test]
    fn the_first_complete_set_of_variables_wins() {
        let identified = [(TENANT, "t"), (CLIENT, "c")];
        let with = |more: &[(&'static str, &'static str)]| {
            let all: Vec<_> = identified.into_iter().chain(more.iter().copied()).collect();
            let (_, made) = found(&all).unwrap();
            let told = |made: &Made| {
                let method = made.credential.config.get("method").and_then(Value::as_str).unwrap_or("-").to_owned();
                (made.name.to_string(), method, made.credential.sealed.clone(), made.files.clone())
            };
            made.first().map(told).unwrap()
        };
        let (name, method, sealed, files) = with(&[(SECRET, "s3cret"), (CERTIFICATE, "/c.pem")]);
        assert_eq!((name.as_str(), method.as_str()), ("me-environment", "secret"));
        // The secret itself stands nowhere.
        assert_eq!(sealed["client_secret"], "env:AZURE_CLIENT_SECRET");
        assert!(files.is_empty());
        let (_, method, sealed, files) = with(&[(CERTIFICATE, "/c.pem")]);
        assert_eq!((method.as_str(), sealed.len(), files["certificate"].as_str()), ("certificate", 0, "/c.pem"));
        let (name, method, _, files) = with(&[(TOKEN_FILE, "/t")]);
        assert_eq!((name.as_str(), method.as_str()), ("me-workload-identity", "federated-token"));
        assert_eq!(files["federated_token"], "/t");
    }

    #[test]
    fn what_is_incomplete_says_what_is_missing() {
        let (links, _) = found(&[(TENANT, "t"), (SECRET, "s3cret")]).unwrap();
        assert_eq!(links[0], "environment: AZURE_TENANT_ID, AZURE_CLIENT_SECRET are set, but not AZURE_CLIENT_ID");
        let (links, _) = found(&[(CLIENT, "c"), (USER[0], "u"), (USER[1], "s3cret")]).unwrap();
        assert!(links[0].contains("deprecated") && !links[0].contains("s3cret"));
    }

    #[test]
    fn the_environment_narrows_it() {
        let words = |value: &str| found(&[(NARROWED, value)]).map(|(links, _)| links.len());
        assert_eq!(words("prod").unwrap(), 3);
        assert_eq!(words(" Dev ").unwrap(), 4);
        assert_eq!(words("AzureCliCredential").unwrap(), 1);
        let failure = words("azurecli").unwrap_err();
        assert_eq!(failure.code(), "config.azure-token-credentials");
        assert!(failure.helps()[0].as_str().contains("azureclicredential"));
    }

    #[test]
    fn another_cloud_and_another_identity() {
        let (_, made) =
            found(&[(TENANT, "t"), (CLIENT, "c"), (SECRET, "s"), (AUTHORITY, "https://login.microsoftonline.us/")])
                .unwrap();
        assert_eq!(made[0].credential.config["authority"], "login.microsoftonline.us");
        assert_eq!(made[1].credential.config["client_id"], "c");
    }
}
