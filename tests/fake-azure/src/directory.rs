//! Tenants, applications, people, identities and what each may do. It must never answer a request.

use serde::{Deserialize, Serialize};

/// The Azure CLI's own application, with which developers sign in.
pub const CLI_APP: &str = "04b07795-8ddb-461a-bbee-02f9e1bf7b46";

/// A tenant.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tenant {
    /// A GUID.
    pub id: String,
    /// Its domain name.
    pub domain: String,
}

/// A client secret.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientSecret {
    /// The secret.
    pub value: String,
    /// From when it is refused.
    #[serde(default)]
    pub expires: Option<i64>,
}

/// What assertions from outside an application takes.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Federated {
    /// The issuer, exactly.
    pub issuer: String,
    /// The subject, exactly.
    pub subject: String,
    /// The audience; without, that of the cloud.
    #[serde(default)]
    pub audience: Option<String>,
}

/// An application, with its service principal.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct App {
    /// The application's id.
    pub client_id: String,
    /// The service principal's object id.
    pub object_id: String,
    /// A tenant's id, or `*`: then it is in each of them.
    pub tenant: String,
    /// Needs no authentication of its own: people sign in with it.
    pub public: bool,
    /// Client secrets.
    pub secrets: Vec<ClientSecret>,
    /// Certificates, PEM; a private key beside one is ignored.
    pub certificates: Vec<String>,
    /// Assertions without the certificate chain (`x5c`) are refused.
    pub require_chain: bool,
    /// Assertions from outside.
    pub federated: Vec<Federated>,
}

/// A person.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// Object id.
    pub object_id: String,
    /// The name they sign in with.
    pub name: String,
    /// Their tenant's id.
    pub tenant: String,
}

/// A managed identity.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// Its application's id.
    pub client_id: String,
    /// Its object id.
    pub object_id: String,
    /// Its resource id; without one it is the machine's own (system-assigned).
    #[serde(default)]
    pub resource_id: Option<String>,
    /// Its tenant's id.
    pub tenant: String,
}

/// What an identity may do, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Assignment {
    /// Object id.
    pub principal: String,
    /// A built-in role's name or id; or `custom`, with the two lists below.
    pub role: String,
    /// Resource id, whose children are meant too; `/` is everything.
    pub scope: String,
    /// Actions of a custom role.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub actions: Vec<String>,
    /// Data actions of a custom role.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub data_actions: Vec<String>,
}

/// A built-in role.
struct Role {
    id: &'static str,
    name: &'static str,
    actions: &'static [&'static str],
    data_actions: &'static [&'static str],
}

const ROLES: [Role; 8] = [
    Role { id: "8e3af657-a8ff-443c-a75c-2fe8c4bcb635", name: "Owner", actions: &["*"], data_actions: &[] },
    Role { id: "b24988ac-6180-42a0-ab88-20f7382dd24c", name: "Contributor", actions: &["*"], data_actions: &[] },
    Role { id: "acdd72a7-3385-48ef-bd42-f606fba81ae7", name: "Reader", actions: &["*/read"], data_actions: &[] },
    Role {
        id: "ea01e6af-a1c1-4350-9563-ad00f8c72ec5",
        name: "Azure Machine Learning Workspace Connection Secrets Reader",
        actions: &[
            "Microsoft.MachineLearningServices/workspaces/connections/listsecrets/action",
            "Microsoft.MachineLearningServices/workspaces/metadata/secrets/read",
        ],
        data_actions: &[],
    },
    Role {
        id: "4633458b-17de-408a-b874-0445c86b69e6",
        name: "Key Vault Secrets User",
        actions: &[],
        data_actions: &[
            "Microsoft.KeyVault/vaults/secrets/getSecret/action",
            "Microsoft.KeyVault/vaults/secrets/readMetadata/action",
        ],
    },
    Role {
        id: "b86a8fe4-44ce-4948-aee5-eccb2c155cd7",
        name: "Key Vault Secrets Officer",
        actions: &["Microsoft.KeyVault/vaults/*/read"],
        data_actions: &["Microsoft.KeyVault/vaults/secrets/*"],
    },
    Role {
        id: "21090545-7ca7-4776-b22c-e363652d74d2",
        name: "Key Vault Reader",
        actions: &["Microsoft.KeyVault/vaults/*/read"],
        data_actions: &["Microsoft.KeyVault/vaults/secrets/readMetadata/action"],
    },
    Role {
        id: "00482a5a-887f-4fb3-b363-3b7fe8e74483",
        name: "Key Vault Administrator",
        actions: &["Microsoft.KeyVault/vaults/*/read"],
        data_actions: &["Microsoft.KeyVault/vaults/*"],
    },
];

impl Assignment {
    fn role(&self) -> Option<&'static Role> {
        ROLES.iter().find(|role| role.name.eq_ignore_ascii_case(&self.role) || role.id == self.role)
    }

    /// Whether the role is one that the fake knows.
    pub fn is_known(&self) -> bool {
        self.role == "custom" || self.role().is_some()
    }

    /// The role's id; empty for a custom one.
    pub fn role_id(&self) -> &str {
        self.role().map_or("", |role| role.id)
    }

    /// The role's actions and data actions.
    pub fn permissions(&self) -> (Vec<&str>, Vec<&str>) {
        match self.role() {
            Some(role) => (role.actions.to_vec(), role.data_actions.to_vec()),
            None => (
                self.actions.iter().map(String::as_str).collect(),
                self.data_actions.iter().map(String::as_str).collect(),
            ),
        }
    }

    /// Whether it is about a resource: its own scope or one below.
    pub fn covers(&self, resource: &str) -> bool {
        let (scope, resource) = (self.scope.trim_end_matches('/').to_lowercase(), resource.to_lowercase());
        resource.strip_prefix(&scope).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

/// All of it.
#[derive(Clone, Default)]
pub struct Directory {
    /// Tenants.
    pub tenants: Vec<Tenant>,
    /// Applications.
    pub apps: Vec<App>,
    /// People; the first is who signs in when nobody is named.
    pub users: Vec<User>,
    /// Managed identities of the one machine.
    pub identities: Vec<Identity>,
    /// Role assignments.
    pub assignments: Vec<Assignment>,
}

impl Directory {
    /// A tenant by id or domain.
    pub fn tenant(&self, name: &str) -> Option<&Tenant> {
        self.tenants
            .iter()
            .find(|tenant| tenant.id.eq_ignore_ascii_case(name) || tenant.domain.eq_ignore_ascii_case(name))
    }

    /// An application as a tenant knows it.
    pub fn app(&self, client_id: &str, tenant: &str) -> Option<&App> {
        self.apps
            .iter()
            .find(|app| app.client_id.eq_ignore_ascii_case(client_id) && (app.tenant == "*" || app.tenant == tenant))
    }

    /// A person by name or object id.
    pub fn user(&self, name: &str) -> Option<&User> {
        self.users.iter().find(|user| user.name.eq_ignore_ascii_case(name) || user.object_id == name)
    }

    /// Whether an identity may do something with a resource by role.
    pub fn allows(&self, principal: &str, action: &str, data: bool, resource: &str) -> bool {
        self.assignments.iter().filter(|given| given.principal == principal && given.covers(resource)).any(|given| {
            let (actions, data_actions) = given.permissions();
            let patterns = if data { data_actions } else { actions };
            patterns.iter().any(|pattern| matches(&pattern.to_lowercase(), &action.to_lowercase()))
        })
    }
}

/// Whether a text fits a pattern, in which `*` stands for any characters.
pub fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = text.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let mut last = None;
    for part in parts {
        if let Some(before) = last.replace(part) {
            let Some((_, after)) = rest.split_once(before) else { return false };
            rest = after;
        }
    }
    match last {
        None => rest.is_empty(),
        Some(end) => rest.ends_with(end),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_fits_as_azure_reads_it() {
        for (pattern, text, fits) in [
            ("*", "anything", true),
            ("*/read", "a/b/read", true),
            ("*/read", "a/b/write", false),
            ("a/*/read", "a/b/c/read", true),
            ("a/b", "a/b", true),
            ("a/b", "a/b/c", false),
            ("a*b*c", "axxbyyc", true),
            ("a*b*c", "axxcyyb", false),
            ("", "", true),
        ] {
            assert_eq!(matches(pattern, text), fits, "{pattern} on {text}");
        }
    }

    #[test]
    fn a_scope_covers_what_lies_below_and_nothing_beside() {
        let given = |scope: &str| Assignment {
            principal: "p".into(),
            role: "Owner".into(),
            scope: scope.into(),
            actions: Vec::new(),
            data_actions: Vec::new(),
        };
        assert!(given("/subscriptions/S").covers("/subscriptions/s/resourceGroups/g"));
        assert!(given("/").covers("/subscriptions/s"));
        assert!(!given("/subscriptions/s").covers("/subscriptions/s2"));
    }

    #[test]
    fn an_owner_may_manage_a_vault_and_not_read_it() {
        let directory = Directory {
            assignments: vec![Assignment {
                principal: "p".into(),
                role: "owner".into(),
                scope: "/".into(),
                actions: Vec::new(),
                data_actions: Vec::new(),
            }],
            ..Directory::default()
        };
        let action = "Microsoft.KeyVault/vaults/secrets/getSecret/action";
        assert!(!directory.allows("p", action, true, "/x"));
        assert!(directory.allows("p", action, false, "/x"));
        assert!(!directory.allows("q", action, false, "/x"));
    }
}
