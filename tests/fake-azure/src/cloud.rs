//! The three clouds' names and audiences. It must hold nothing that a test could want to change.

/// One cloud.
#[derive(Debug, PartialEq, Eq)]
pub struct Cloud {
    /// Hosts of the authority; the first is the current name.
    pub authorities: &'static [&'static str],
    /// Host of the resource manager.
    pub arm: &'static str,
    /// Audiences of the resource manager.
    pub arm_audiences: &'static [&'static str],
    /// What a vault's host ends in, without the first dot.
    pub vault_suffix: &'static str,
    /// Audience of vaults.
    pub vault: &'static str,
    /// Audience of Azure ML.
    pub ml: &'static str,
    /// What the issuer of its access tokens begins with.
    pub issuer: &'static str,
    /// Audience of an assertion from outside.
    pub exchange: &'static str,
}

/// The public cloud, China and US Government.
pub static CLOUDS: [Cloud; 3] = [
    Cloud {
        authorities: &["login.microsoftonline.com", "login.windows.net", "login.microsoft.com", "sts.windows.net"],
        arm: "management.azure.com",
        arm_audiences: &["https://management.azure.com", "https://management.core.windows.net"],
        vault_suffix: "vault.azure.net",
        vault: "https://vault.azure.net",
        ml: "https://ml.azure.com",
        issuer: "https://sts.windows.net",
        exchange: "api://AzureADTokenExchange",
    },
    Cloud {
        authorities: &["login.chinacloudapi.cn", "login.partner.microsoftonline.cn"],
        arm: "management.chinacloudapi.cn",
        arm_audiences: &["https://management.chinacloudapi.cn", "https://management.core.chinacloudapi.cn"],
        vault_suffix: "vault.azure.cn",
        vault: "https://vault.azure.cn",
        ml: "https://ml.azure.cn",
        issuer: "https://sts.chinacloudapi.cn",
        exchange: "api://AzureADTokenExchangeChina",
    },
    Cloud {
        authorities: &["login.microsoftonline.us"],
        arm: "management.usgovcloudapi.net",
        arm_audiences: &["https://management.usgovcloudapi.net", "https://management.core.usgovcloudapi.net"],
        vault_suffix: "vault.usgovcloudapi.net",
        vault: "https://vault.usgovcloudapi.net",
        ml: "https://ml.azure.us",
        issuer: "https://sts.microsoftonline.us",
        exchange: "api://AzureADTokenExchangeUSGov",
    },
];

impl Cloud {
    /// The cloud of an authority's host.
    pub fn of_authority(host: &str) -> Option<&'static Self> {
        CLOUDS.iter().find(|cloud| cloud.authorities.contains(&host))
    }

    /// The cloud of a resource manager's host.
    pub fn of_arm(host: &str) -> Option<&'static Self> {
        CLOUDS.iter().find(|cloud| cloud.arm == host)
    }

    /// The cloud of a vault's host.
    pub fn of_vault(host: &str) -> Option<&'static Self> {
        CLOUDS.iter().find(|cloud| host.split_once('.').is_some_and(|(_, suffix)| suffix == cloud.vault_suffix))
    }

    /// The current name of the authority.
    pub fn authority(&self) -> &'static str {
        self.authorities.first().copied().unwrap_or_default()
    }

    /// Whether its authority issues tokens for a resource; a slash at the end says nothing.
    pub fn knows(&self, resource: &str) -> bool {
        let resource = resource.trim_end_matches('/');
        resource == self.vault
            || resource == self.ml
            || resource == "https://graph.microsoft.com"
            || self.arm_audiences.contains(&resource)
    }
}
