//! Issuers that sign for strangers too, and what a caller must say so that it is not one of them.
//!
//! A valid signature of such an issuer says nothing: anybody may have an account there. So for every issuer a
//! caller must say who, and for those in the table below it must say which tenant, in a way that leaves nothing
//! of it open: `repo:acme*` would also be a stranger's `acme-evil`.

use super::callers::Claimed;
use crate::Origin;
use crate::policy::SubjectPattern;

/// An issuer that has many tenants under one `iss`.
struct Shared {
    host: &'static str,
    /// The words that a tenant's name follows at the beginning of a subject (`repo:acme/...`); without any, a subject
    /// is one bearer's and has no parts.
    words: &'static [&'static str],
    /// The claims that name the tenant, or something that is the tenant's alone.
    claims: &'static [&'static str],
}

/// The shared issuers, by the host of their `iss`. Those whose `iss` names the tenant are not among them.
const SHARED: [Shared; 6] = [
    // A reusable workflow (`job_workflow_ref`) is called by strangers' repositories, so it is not here.
    Shared {
        host: "token.actions.githubusercontent.com",
        words: &["repo", "repository", "repository_id", "repository_owner", "repository_owner_id"],
        claims: &["repository", "repository_id", "repository_owner", "repository_owner_id"],
    },
    Shared {
        host: "gitlab.com",
        words: &["project_path"],
        claims: &["namespace_id", "namespace_path", "project_id", "project_path"],
    },
    Shared { host: "accounts.google.com", words: &[], claims: &["azp", "hd"] },
    Shared {
        host: "app.terraform.io",
        words: &["organization"],
        claims: &[
            "terraform_organization_id",
            "terraform_organization_name",
            "terraform_project_id",
            "terraform_workspace_id",
        ],
    },
    Shared {
        host: "agent.buildkite.com",
        words: &["organization"],
        claims: &["organization_id", "organization_slug", "pipeline_id"],
    },
    Shared { host: "oidc.vercel.com", words: &["owner"], claims: &["owner", "owner_id", "project_id"] },
];

/// The hosts of Entra ID's issuers, whose path begins with the tenant: of all its clouds.
const ENTRA: [&str; 5] = [
    "login.microsoftonline.com",
    "sts.windows.net",
    "login.microsoftonline.us",
    "login.partner.microsoftonline.cn",
    "sts.chinacloudapi.cn",
];

/// The tenant of everybody's personal account.
const CONSUMERS: &str = "9188040d-6c67-4c5b-b112-36a304b66dad";

/// Claims by which one bearer of an issuer that serves one tenant is told from another.
const DECISIVE: [&str; 12] = [
    "oid",
    "appid",
    "azp",
    "client_id",
    "groups",
    "roles",
    "repository",
    "repository_id",
    "repository_owner",
    "repository_owner_id",
    "project_id",
    "project_path",
];

/// Whether `iss` is one tenant's, as far as its text tells.
///
/// # Errors
/// Why not.
pub(super) fn check_issuer(origin: &Origin, path: &str) -> Result<(), &'static str> {
    if path.contains(['*', '{', '}', '?', '#']) {
        return Err("must be the tokens' `iss` itself, without placeholders and queries");
    }
    if ENTRA.contains(&origin.authority().as_str()) {
        let tenant = path.split('/').nth(1).unwrap_or_default();
        let guid = tenant.len() == 36
            && tenant.bytes().enumerate().all(|(at, b)| match at {
                8 | 13 | 18 | 23 => b == b'-',
                _ => b.is_ascii_digit() || (b'a'..=b'f').contains(&b),
            });
        if !guid || tenant == CONSUMERS {
            return Err("signs for every tenant, or names none: its path must begin with your tenant's id");
        }
    }
    Ok(())
}

/// Whether what a caller must say tells it from the issuer's other bearers. `host` is that of `iss`.
///
/// # Errors
/// Why not, and what to do.
pub(super) fn check_caller(host: &str, claimed: &Claimed) -> Result<(), (&'static str, String)> {
    if let Some(shared) = SHARED.iter().find(|shared| shared.host == host) {
        let subject = claimed.subject.as_ref().is_some_and(|subject| shared.pins(subject));
        if subject || claimed.all_of(shared.claims, |pattern| !pattern.is_wild() || pins_first_part(pattern.as_str())) {
            return Ok(());
        }
        let claims = shared.claims.join(", ");
        let help = match shared.words.first() {
            Some(word) => {
                format!("begin `subject` with \"{word}:\" and the tenant without a star, or name one of {claims}")
            }
            None => format!("write `subject` without a star, or name one of {claims}"),
        };
        return Err(("must name the tenant: this issuer signs for strangers, too", help));
    }
    let subject = claimed.subject.as_ref().is_some_and(|subject| !subject.is_open());
    if subject || claimed.all_of(&DECISIVE, |pattern| !pattern.is_open()) {
        return Ok(());
    }
    let help = format!("write `subject`, not only stars, or name one of {}", DECISIVE.join(", "));
    Err(("must say which of the issuer's bearers it is", help))
}

impl Shared {
    fn pins(&self, subject: &SubjectPattern) -> bool {
        if self.words.is_empty() {
            return !subject.is_wild();
        }
        let behind = self.words.iter().find_map(|word| subject.as_str().strip_prefix(word)?.strip_prefix(':'));
        behind.is_some_and(|behind| !behind.is_empty() && (!behind.contains('*') || pins_first_part(behind)))
    }
}

impl Claimed {
    /// Whether for one of `claims` each of its patterns is as it must be.
    fn all_of(&self, claims: &[&str], fits: impl Fn(&SubjectPattern) -> bool) -> bool {
        claims.iter().filter_map(|claim| self.claims.get(*claim)).any(|patterns| patterns.iter().all(&fits))
    }
}

/// Whether the text up to the first `:` or `/` is there and holds no star.
fn pins_first_part(text: &str) -> bool {
    text.split_once([':', '/']).is_some_and(|(first, _)| !first.is_empty() && !first.contains('*'))
}
