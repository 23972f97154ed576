//! Where the identity comes from: found by what the environment says.

use serde::Deserialize;
use strongroom_plugin::Failure;

/// The identity that Azure ML means where nobody names one.
pub const DEFAULT_CLIENT_ID: &str = "DEFAULT_IDENTITY_CLIENT_ID";

/// What the config says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Choice {
    #[default]
    Auto,
    Imds,
    AppService,
    AzureMl,
    AzureMlUser,
    Arc,
    CloudShell,
}

/// Who gives the token, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The instance metadata service, at its one address.
    Imds,
    /// App Service, Functions, Container Apps, Automation.
    AppService(String),
    /// Azure ML: compute, jobs, online endpoints.
    AzureMl(String),
    /// An Azure ML job that runs as the person who submitted it.
    AzureMlUser(String),
    /// The agent of Azure Arc.
    Arc(String),
    /// Cloud Shell, whose token is the person's.
    CloudShell(String),
}

impl Source {
    /// The one that `choice` means. `set` gives a variable that is set and not empty; `injected` tells
    /// whether the host can inject an input, such as `env.IDENTITY_HEADER`.
    ///
    /// # Errors
    /// Kind not-configured if the environment does not have what it takes; `unsupported` for Service
    /// Fabric, whose certificate no request of a plugin can be pinned to.
    pub fn find(
        choice: Choice,
        set: &dyn Fn(&str) -> Option<String>,
        injected: &dyn Fn(&str) -> bool,
    ) -> Result<Self, Failure> {
        let need = |variable: &str| {
            set(variable).ok_or_else(|| {
                let message = format!("there is no such managed identity here: {variable} is not set");
                Failure::not_configured("managed-identity.environment", message)
            })
        };
        match choice {
            Choice::Auto => Self::auto(set, injected),
            Choice::Imds => Ok(Self::Imds),
            Choice::AppService => need("IDENTITY_ENDPOINT").map(Self::AppService),
            Choice::AzureMl => need("MSI_ENDPOINT").map(Self::AzureMl),
            Choice::AzureMlUser => need("OBO_ENDPOINT").map(Self::AzureMlUser),
            Choice::Arc => need("IDENTITY_ENDPOINT").map(Self::Arc),
            Choice::CloudShell => need("MSI_ENDPOINT").map(Self::CloudShell),
        }
    }

    fn auto(set: &dyn Fn(&str) -> Option<String>, injected: &dyn Fn(&str) -> bool) -> Result<Self, Failure> {
        if let Some(endpoint) = set("IDENTITY_ENDPOINT") {
            return if injected("env.IDENTITY_HEADER") {
                match set("IDENTITY_SERVER_THUMBPRINT") {
                    Some(_) => Err(Failure::unsupported(
                        "managed-identity.service-fabric",
                        "the managed identity of Service Fabric is not supported: its certificate is known by its \
                         thumbprint alone, which requests from here cannot be pinned to. Use a service principal",
                    )),
                    None => Ok(Self::AppService(endpoint)),
                }
            } else if set("IMDS_ENDPOINT").is_some() {
                Ok(Self::Arc(endpoint))
            } else {
                Err(Failure::not_configured(
                    "managed-identity.environment",
                    "IDENTITY_ENDPOINT is set, but neither IDENTITY_HEADER, as in App Service, nor IMDS_ENDPOINT, as with Arc",
                ))
            };
        }
        Ok(match set("MSI_ENDPOINT") {
            Some(endpoint) if injected("env.MSI_SECRET") => Self::AzureMl(endpoint),
            Some(endpoint) => Self::CloudShell(endpoint),
            None => Self::Imds,
        })
    }

    /// Its name, for a person.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Imds => "the instance metadata service",
            Self::AppService(_) => "the identity endpoint of App Service",
            Self::AzureMl(_) => "the identity endpoint of Azure ML",
            Self::AzureMlUser(_) => "the on-behalf-of endpoint of Azure ML",
            Self::Arc(_) => "the agent of Azure Arc",
            Self::CloudShell(_) => "the identity endpoint of Cloud Shell",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use strongroom_plugin::Kind;

    const IDENTITY: (&str, &str) = ("IDENTITY_ENDPOINT", "http://i");
    const HEADER: (&str, &str) = ("IDENTITY_HEADER", "h");
    const THUMBPRINT: (&str, &str) = ("IDENTITY_SERVER_THUMBPRINT", "aa");
    const IMDS: (&str, &str) = ("IMDS_ENDPOINT", "http://localhost:40342");
    const MSI: (&str, &str) = ("MSI_ENDPOINT", "http://m");
    const SECRET: (&str, &str) = ("MSI_SECRET", "s");
    const OBO: (&str, &str) = ("OBO_ENDPOINT", "http://o");

    fn find(choice: Choice, variables: &[(&str, &str)]) -> Result<Source, Failure> {
        let value =
            |name: &str| variables.iter().find(|(given, _)| *given == name).map(|(_, value)| (*value).to_owned());
        let injected = |input: &str| value(input.strip_prefix("env.").unwrap()).is_some();
        // As in the manifest: those two are the host's alone.
        let set = |name: &str| value(name).filter(|_| !["IDENTITY_HEADER", "MSI_SECRET"].contains(&name));
        Source::find(choice, &set, &injected)
    }

    #[test]
    fn the_first_row_that_fits_is_the_source() {
        let i = || "http://i".to_owned();
        let m = || "http://m".to_owned();
        for (variables, source) in [
            (&[][..], Source::Imds),
            (&[IDENTITY, HEADER], Source::AppService(i())),
            (&[IDENTITY, HEADER, IMDS, MSI, SECRET], Source::AppService(i())),
            (&[IDENTITY, IMDS], Source::Arc(i())),
            (&[IDENTITY, IMDS, THUMBPRINT], Source::Arc(i())),
            (&[MSI, SECRET], Source::AzureMl(m())),
            (&[MSI, SECRET, HEADER, IMDS], Source::AzureMl(m())),
            (&[MSI], Source::CloudShell(m())),
            (&[SECRET, HEADER, IMDS, OBO], Source::Imds),
        ] {
            assert_eq!(find(Choice::Auto, variables).unwrap(), source, "{variables:?}");
        }
    }

    #[test]
    fn service_fabric_is_not_supported() {
        let failure = find(Choice::Auto, &[IDENTITY, HEADER, THUMBPRINT]).unwrap_err();
        assert_eq!((failure.kind, failure.code.as_str()), (Kind::Unsupported, "managed-identity.service-fabric"));
    }

    #[test]
    fn an_endpoint_alone_is_nothing() {
        for variables in [&[IDENTITY][..], &[IDENTITY, MSI, SECRET], &[IDENTITY, THUMBPRINT]] {
            let failure = find(Choice::Auto, variables).unwrap_err();
            assert_eq!((failure.kind, failure.code.as_str()), (Kind::NotConfigured, "managed-identity.environment"));
        }
    }

    #[test]
    fn the_config_may_say_it() {
        let all = [IDENTITY, HEADER, MSI, SECRET, IMDS, OBO];
        for (choice, source, variable) in [
            (Choice::AppService, Source::AppService("http://i".into()), "IDENTITY_ENDPOINT"),
            (Choice::Arc, Source::Arc("http://i".into()), "IDENTITY_ENDPOINT"),
            (Choice::AzureMl, Source::AzureMl("http://m".into()), "MSI_ENDPOINT"),
            (Choice::CloudShell, Source::CloudShell("http://m".into()), "MSI_ENDPOINT"),
            (Choice::AzureMlUser, Source::AzureMlUser("http://o".into()), "OBO_ENDPOINT"),
        ] {
            assert_eq!(find(choice, &all).unwrap(), source);
            let failure = find(choice, &[]).unwrap_err();
            assert!(failure.kind == Kind::NotConfigured && failure.message.contains(variable));
        }
        assert_eq!(find(Choice::Imds, &all).unwrap(), Source::Imds);
    }
}
