//! The owner of targets for which the manifest names none, and its origin. Pure.

use std::fmt;

use super::name::Owner;

/// Owner of a new target whose manifest entry names none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DefaultOwner {
    /// The owner.
    pub owner: Owner,
    /// Variable or file that names the owner; `None` if nothing does.
    pub from: Option<&'static str>,
}

impl fmt::Display for DefaultOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.owner.words())?;
        self.from.map_or(Ok(()), |from| write!(f, " ({from})"))
    }
}

impl Owner {
    /// Returns the owner in words: `personal`, `team t1` or `platform`.
    pub fn words(&self) -> String {
        match self {
            Self::Team(id) => format!("team {id}"),
            Self::Personal | Self::Platform => self.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_is_written_with_its_origin() {
        let team = Owner::Team("t1".to_owned());
        for (owner, from, expected) in [
            (team, Some("PRIME_TEAM_ID"), "team t1 (PRIME_TEAM_ID)"),
            (Owner::Personal, Some("PRIME_TEAM_ID"), "personal (PRIME_TEAM_ID)"),
            (Owner::Personal, None, "personal"),
        ] {
            assert_eq!(DefaultOwner { owner, from }.to_string(), expected);
        }
    }
}
