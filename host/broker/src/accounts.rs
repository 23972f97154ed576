//! The accounts of this machine, for callers that the config names by them.

use nix::unistd::{Group, User};
use strongroom_core::policy::Accounts;

/// Asks the operating system (`getpwnam_r`, `getgrnam_r`), and so whatever directory it asks.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemAccounts;

impl Accounts for SystemAccounts {
    fn uid(&self, user: &str) -> Option<u32> {
        User::from_name(user).ok().flatten().map(|user| user.uid.as_raw())
    }

    fn gid(&self, group: &str) -> Option<u32> {
        Group::from_name(group).ok().flatten().map(|group| group.gid.as_raw())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_known_and_a_name_that_nobody_has_is_not() {
        assert_eq!(SystemAccounts.uid("root"), Some(0));
        assert!(SystemAccounts.gid("root").or(SystemAccounts.gid("wheel")) == Some(0));
        assert_eq!((SystemAccounts.uid("no such account"), SystemAccounts.gid("no such account")), (None, None));
        assert_eq!(SystemAccounts.uid("a\0b"), None);
    }
}
