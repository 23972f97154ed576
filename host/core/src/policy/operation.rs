//! What a caller may ask for.

use std::fmt;

/// One thing that is done with a reference, or with the host itself. The words are those of the config's policy, of
/// the audit log and of metrics.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Deserialize, serde::Serialize, schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Operation {
    /// Read a value.
    Resolve,
    /// Read names or versions, never values.
    List,
    /// Read what is known about a secret, without its value.
    Metadata,
    /// Write a value, or what is known about one.
    Set,
    /// Remove a secret or a version.
    Delete,
    /// Bring back what was deleted.
    Recover,
    /// End what was deleted for good.
    Purge,
    /// Learn who would answer a reference and with which rights.
    Explain,
    /// Learn which plugins there are.
    Plugins,
}

impl Operation {
    /// Every operation, in the order of the documentation.
    pub const ALL: [Self; 9] = [
        Self::Resolve,
        Self::List,
        Self::Metadata,
        Self::Set,
        Self::Delete,
        Self::Recover,
        Self::Purge,
        Self::Explain,
        Self::Plugins,
    ];

    /// The operation's word.
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
    fn a_config_says_the_same_word_as_the_log() {
        for operation in Operation::ALL {
            let word = serde_json::Value::from(operation.name());
            assert_eq!(serde_json::to_value(operation).unwrap(), word);
            assert_eq!(serde_json::from_value::<Operation>(word).unwrap(), operation);
        }
    }
}
