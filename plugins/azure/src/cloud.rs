//! The three clouds. Their audiences stand in the manifests, where a person can read them.

use strongroom_plugin::Failure;

/// One cloud.
#[derive(Debug, PartialEq, Eq)]
pub struct Cloud {
    /// Its name, as `az cloud list` has it.
    pub name: &'static str,
    /// The origin of its resource manager.
    pub resource_manager: &'static str,
    /// What the host of its vaults ends in, with the first dot.
    pub vaults: &'static str,
    /// What the host of its managed HSMs ends in, with the first dot. They hold keys and no secrets.
    pub hsms: &'static str,
}

/// All clouds.
pub const CLOUDS: [Cloud; 3] = [
    Cloud {
        name: "AzureCloud",
        resource_manager: "https://management.azure.com",
        vaults: ".vault.azure.net",
        hsms: ".managedhsm.azure.net",
    },
    Cloud {
        name: "AzureChinaCloud",
        resource_manager: "https://management.chinacloudapi.cn",
        vaults: ".vault.azure.cn",
        hsms: ".managedhsm.azure.cn",
    },
    Cloud {
        name: "AzureUSGovernment",
        resource_manager: "https://management.usgovcloudapi.net",
        vaults: ".vault.usgovcloudapi.net",
        hsms: ".managedhsm.usgovcloudapi.net",
    },
];

impl Cloud {
    /// The cloud `name`; without one, the public cloud.
    ///
    /// # Errors
    /// `azure.cloud`, kind invalid-config.
    pub fn named(name: Option<&str>) -> Result<&'static Self, Failure> {
        let name = name.unwrap_or("AzureCloud");
        CLOUDS.iter().find(|cloud| cloud.name == name).ok_or_else(|| {
            let names = CLOUDS.map(|cloud| cloud.name).join(", ");
            Failure::invalid_config("azure.cloud", format!("the mount's config names no cloud: there are {names}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cloud_has_its_own_resource_manager() {
        let manager = |name| Cloud::named(name).map(|cloud| cloud.resource_manager);
        assert_eq!(manager(None).unwrap(), "https://management.azure.com");
        assert_eq!(manager(Some("AzureCloud")).unwrap(), "https://management.azure.com");
        assert_eq!(manager(Some("AzureChinaCloud")).unwrap(), "https://management.chinacloudapi.cn");
        assert_eq!(manager(Some("AzureUSGovernment")).unwrap(), "https://management.usgovcloudapi.net");
        assert_eq!(manager(Some("azurecloud")).unwrap_err().code, "azure.cloud");
    }
}
