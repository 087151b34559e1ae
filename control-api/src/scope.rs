//! Who may do what: four roles, the scopes each holds (API §6), and sets of scopes.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a member is in a tenant, from the most to the least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    /// May do everything inside the tenant, also delete it.
    Owner,
    /// Everything but that, and no power over owners.
    Admin,
    /// Builds: agents, numbers, trunks, calls.
    Developer,
    /// Reads.
    Analyst,
}

impl Role {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Admin => "admin",
            Self::Developer => "developer",
            Self::Analyst => "analyst",
        }
    }

    const fn letter(self) -> char {
        match self {
            Self::Owner => 'o',
            Self::Admin => 'a',
            Self::Developer => 'd',
            Self::Analyst => 'n',
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, ()> {
        [Self::Owner, Self::Admin, Self::Developer, Self::Analyst]
            .into_iter()
            .find(|role| role.as_str() == word)
            .ok_or(())
    }
}

/// Every scope, and who holds it: `o`wner, `a`dmin, `d`eveloper, a`n`alyst, `P`latform operator.
const TABLE: &[(&str, &str)] = &[
    ("agents:read", "oadn"),
    ("agents:write", "oad"),
    ("credentials:read", "oad"),
    ("credentials:write", "oad"),
    ("numbers:read", "oadn"),
    ("numbers:write", "oad"),
    ("numbers:buy", "oa"),
    ("trunks:read", "oadn"),
    ("trunks:write", "oad"),
    ("calls:read", "oadn"),
    ("calls:pii", "oad"),
    ("transcripts:read", "oadn"),
    ("recordings:read", "oadn"),
    ("calls:write", "oad"),
    ("calls:control", "oad"),
    ("calls:listen", "oa"),
    ("calls:trace", "oad"),
    ("calls:export", "oadn"),
    ("calls:delete", "oa"),
    ("events:read", "oadn"),
    ("webhooks:read", "oadn"),
    ("webhooks:write", "oad"),
    ("analytics:read", "oadn"),
    ("leads:read", "oadn"),
    ("leads:write", "oad"),
    ("campaigns:read", "oadn"),
    ("campaigns:write", "oad"),
    ("billing:read", "oan"),
    ("billing:write", "oa"),
    ("members:read", "oadn"),
    ("members:write", "oa"),
    ("tenant:read", "oadn"),
    ("tenant:write", "oa"),
    ("keys:read", "oad"),
    ("keys:write", "oad"),
    ("audit:read", "oa"),
    ("web:join", "oadn"),
    ("internal:billing", "P"),
    ("internal:events", "P"),
    ("platform:admin", "P"),
];

/// Test keys share the tenant's configuration but change only agents, place only test calls and spend nothing (API §0, "Modes").
const NOT_IN_TEST: &[&str] = &[
    "credentials:write",
    "numbers:write",
    "numbers:buy",
    "trunks:write",
    "webhooks:write",
    "campaigns:write",
    "billing:write",
    "members:write",
    "tenant:write",
    "keys:write",
    "internal:billing",
    "internal:events",
    "platform:admin",
];

/// Named sets that a new key may ask for; `*` as the last letter stands for the rest of a name.
const PRESETS: &[(&str, &[&str])] = &[
    ("calls", &["calls:*", "agents:read", "events:read", "transcripts:read", "recordings:read"]),
    ("dialler", &["calls:write", "calls:read", "campaigns:*"]),
    ("billing", &["billing:*"]),
    ("widget", &["web:join"]),
];

/// A set of scopes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Scopes(u64);

impl Scopes {
    pub(crate) const NONE: Self = Self(0);

    fn by(wanted: impl Fn(&str, &str) -> bool) -> Self {
        TABLE.iter().enumerate().fold(
            Self::NONE,
            |set, (bit, (scope, holders))| {
                if wanted(scope, holders) { Self(set.0 | 1 << bit) } else { set }
            },
        )
    }

    /// What a role holds.
    pub(crate) fn of(role: Role) -> Self {
        Self::by(|_, holders| holders.contains(role.letter()))
    }

    /// What the platform's operator holds beyond any tenant.
    pub(crate) fn platform() -> Self {
        Self::by(|_, holders| holders == "P")
    }

    /// One scope, by its name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        let found = Self::by(|scope, _| scope == name);
        (found != Self::NONE).then_some(found)
    }

    /// A scope or a preset (`full` and `read_only` depend on the maker), by its name.
    pub(crate) fn asked(name: &str, maker: Self) -> Option<Self> {
        match name {
            "full" => Some(maker),
            "read_only" => Some(Self::by(|scope, _| scope.ends_with(":read")) & maker),
            _ => Self::named(name).or_else(|| {
                let (_, patterns) = PRESETS.iter().find(|(preset, _)| *preset == name)?;
                Some(Self::by(|scope, _| {
                    patterns.iter().any(|pattern| {
                        pattern.strip_suffix('*').map_or(scope == *pattern, |lead| scope.starts_with(lead))
                    })
                }))
            }),
        }
    }

    /// Reads a stored list; names that are no longer known grant nothing.
    pub(crate) fn stored(json: &str) -> Self {
        let names: Vec<String> = serde_json::from_str(json).unwrap_or_default();
        names.iter().filter_map(|name| Self::named(name)).fold(Self::NONE, |all, one| all | one)
    }

    pub(crate) fn has(self, name: &str) -> bool {
        Self::named(name).is_some_and(|one| self.0 & one.0 != 0)
    }

    /// Without what a test key may not do.
    pub(crate) fn in_test(self) -> Self {
        self & Self::by(|scope, _| !NOT_IN_TEST.contains(&scope))
    }

    /// What is here and not there.
    pub(crate) fn beyond(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The names, in the order of the table.
    pub(crate) fn names(self) -> Vec<&'static str> {
        TABLE.iter().enumerate().filter(|(bit, _)| self.0 >> bit & 1 == 1).map(|(_, (scope, _))| *scope).collect()
    }
}

impl std::ops::BitAnd for Scopes {
    type Output = Self;

    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl std::ops::BitOr for Scopes {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scope_has_its_bit_and_every_word_of_the_tables_is_a_scope() {
        assert!(TABLE.len() <= 64);
        for (scope, _) in TABLE {
            assert_eq!(Scopes::named(scope).unwrap().names(), [*scope]);
        }
        for scope in NOT_IN_TEST {
            assert!(Scopes::named(scope).is_some(), "{scope}");
        }
        assert_eq!(Scopes::named("agents:fly"), None);
    }

    #[test]
    fn a_higher_role_holds_all_that_a_lower_one_does_but_for_the_books() {
        let of = Scopes::of;
        assert_eq!(of(Role::Admin).beyond(of(Role::Owner)), Scopes::NONE);
        assert_eq!(of(Role::Developer).beyond(of(Role::Admin)), Scopes::NONE);
        assert_eq!(of(Role::Analyst).beyond(of(Role::Developer)).names(), ["billing:read"]);
        assert!(!of(Role::Owner).has("platform:admin") && Scopes::platform().has("platform:admin"));
    }

    #[test]
    fn presets_are_cut_to_nothing_but_named_scopes() {
        let maker = Scopes::of(Role::Analyst);
        assert_eq!(Scopes::asked("full", maker), Some(maker));
        assert!(Scopes::asked("read_only", maker).unwrap().names().iter().all(|name| name.ends_with(":read")));
        assert_eq!(Scopes::asked("billing", maker).unwrap().names(), ["billing:read", "billing:write"]);
        assert_eq!(Scopes::asked("everything", maker), None);
        assert_eq!(Scopes::stored(r#"["calls:read","gone:long-ago"]"#).names(), ["calls:read"]);
        assert!(!Scopes::of(Role::Owner).in_test().has("billing:write"));
    }
}
