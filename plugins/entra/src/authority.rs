//! Authorities and tenants: where Entra ID is, in each cloud.

use strongroom_plugin::Failure;

/// The authority of the public cloud.
pub const PUBLIC: &str = "login.microsoftonline.com";

/// One cloud.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cloud {
    /// The hosts of its authority, which stand for one another.
    pub authorities: &'static [&'static str],
    /// The audience of a federated token that nobody set.
    pub federation: &'static str,
}

const CLOUDS: [Cloud; 3] = [
    Cloud {
        authorities: &[PUBLIC, "login.windows.net", "login.microsoft.com", "sts.windows.net"],
        federation: "api://AzureADTokenExchange",
    },
    Cloud {
        authorities: &["login.chinacloudapi.cn", "login.partner.microsoftonline.cn", "sts.chinacloudapi.cn"],
        federation: "api://AzureADTokenExchangeChina",
    },
    Cloud {
        authorities: &["login.microsoftonline.us", "login.usgovcloudapi.net"],
        federation: "api://AzureADTokenExchangeUSGov",
    },
];

impl Cloud {
    /// The cloud that `authority` belongs to; of one that is not known, the public one.
    #[must_use]
    pub fn of(authority: &str) -> &'static Self {
        let [public, ..] = &CLOUDS;
        CLOUDS.iter().find(|cloud| cloud.authorities.contains(&authority)).unwrap_or(public)
    }

    /// Whether `issuer`, such as `https://login.microsoftonline.com/{tenant}/v2.0`, is an authority
    /// of this cloud.
    #[must_use]
    pub fn issues(&self, issuer: &str) -> bool {
        let host = issuer.strip_prefix("https://").and_then(|rest| rest.split('/').next());
        host.is_some_and(|host| self.authorities.contains(&host))
    }
}

/// That `tenant` is an id, a domain or a word such as `organizations`: it is put in a path.
///
/// # Errors
/// `entra.tenant`, kind invalid-config.
pub fn check_tenant(tenant: &str) -> Result<(), Failure> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-');
    // A tenant that begins with `-` would be an option of a program, and `.` and `..` are no segments.
    if !tenant.is_empty() && tenant.bytes().all(fits) && !tenant.starts_with(['-', '.']) {
        return Ok(());
    }
    let message = format!("`{tenant}` is no tenant: it is an id or a domain, of letters, digits, `.` and `-`");
    Err(Failure::invalid_config("entra.tenant", message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aliases_are_one_cloud() {
        assert_eq!(Cloud::of("login.windows.net"), Cloud::of(PUBLIC));
        assert_eq!(Cloud::of("login.partner.microsoftonline.cn").federation, "api://AzureADTokenExchangeChina");
        assert_eq!(Cloud::of("login.microsoftonline.us").federation, "api://AzureADTokenExchangeUSGov");
        let public = Cloud::of(PUBLIC);
        assert!(
            public.issues("https://login.microsoftonline.com/t/v2.0") && public.issues("https://sts.windows.net/t/")
        );
        for issuer in [
            "https://login.microsoftonline.us/t/v2.0",
            "https://login.microsoftonline.com.evil.example/t",
            "http://login.microsoftonline.com/t",
            "https://evil.example/login.microsoftonline.com/",
            "",
        ] {
            assert!(!public.issues(issuer), "{issuer}");
        }
    }

    #[test]
    fn a_tenant_is_one_segment() {
        for tenant in ["72f988bf-86f1-41af-91ab-2d7cd011db47", "contoso.onmicrosoft.com", "organizations"] {
            assert_eq!(check_tenant(tenant), Ok(()));
        }
        for tenant in ["", "a/b", "..", ".", "a b", "-x", "a%2fb", "t?x", "\u{e4}"] {
            assert_eq!(check_tenant(tenant).unwrap_err().code, "entra.tenant", "{tenant}");
        }
    }
}
