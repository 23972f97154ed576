//! What can be asked for: the words of `[[policy]]`, of the audit and of metrics.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a caller may ask for, each by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Operation {
    /// A secret's value.
    Resolve,
    /// Names, and no values: only those that the caller may also resolve or ask about.
    List,
    /// What is known about a secret and its versions, without a value.
    Metadata,
    /// To set a secret, or to change what is known about it.
    Set,
    /// To delete a secret or one version of it.
    Delete,
    /// To bring back what was deleted.
    Recover,
    /// To end for good what was deleted.
    Purge,
    /// How a reference reads and who would answer it.
    Explain,
    /// Which mounts and plugins there are.
    Plugins,
}

impl Operation {
    /// Every operation.
    pub const ALL: [Operation; 9] = [
        Operation::Resolve,
        Operation::List,
        Operation::Metadata,
        Operation::Set,
        Operation::Delete,
        Operation::Recover,
        Operation::Purge,
        Operation::Explain,
        Operation::Plugins,
    ];

    /// Its word, in config, audit and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Resolve => "resolve",
            Self::List => "list",
            Self::Metadata => "metadata",
            Self::Set => "set",
            Self::Delete => "delete",
            Self::Recover => "recover",
            Self::Purge => "purge",
            Self::Explain => "explain",
            Self::Plugins => "plugins",
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_operation_has_one_word_everywhere() {
        for operation in Operation::ALL {
            let word = serde_json::to_value(operation).unwrap();
            assert_eq!(word, operation.name());
            assert_eq!(serde_json::from_value::<Operation>(word).unwrap(), operation);
            assert_eq!(operation.to_string(), operation.name());
        }
        for bad in ["Resolve", "*", "all", "read", ""] {
            assert!(serde_json::from_value::<Operation>(bad.into()).is_err(), "{bad}");
        }
    }
}
