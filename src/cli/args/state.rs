//! Flags of commands that use the recorded state.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::manifest::CommonArgs;
use super::values::{duration, named};
use crate::base::name::ImageRef;
use crate::base::state_url::StateUrl;
use crate::shared::ShardId;

/// The place of the recorded state.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "State")]
pub(in crate::cli) struct StateArgs {
    /// Shared state in the place of the lockfile, as `s3://BUCKET/PATH`
    ///
    /// Also `gs://BUCKET/PATH`, `az://CONTAINER/PATH` and `file:///FOLDER`. Credentials and endpoints
    /// come from the environment, as the cloud's own tools read them. Create it with `imgplan state
    /// init`.
    #[arg(long = "state", value_name = "URL", env = "IMGPLAN_STATE", value_parser = named::<StateUrl>,
          hide_short_help = true)]
    pub(in crate::cli) state: Option<StateUrl>,
}

/// The way in which a run holds the recorded state.
#[derive(Debug, Args)]
#[command(next_help_heading = "State")]
pub(in crate::cli) struct LeaseArgs {
    /// Maximum wait for other runs that hold the state
    ///
    /// Also for runs that build the bases of a partition. The default is 10m in CI (`CI` is set), and 0s
    /// elsewhere.
    #[arg(long, value_name = "D", env = "IMGPLAN_LOCK_TIMEOUT", value_parser = duration,
          hide_short_help = true)]
    pub(in crate::cli) lock_timeout: Option<Duration>,
    /// Length of the leases of the shared state
    ///
    /// A run renews them. If it dies, others go on after this time.
    #[arg(long, value_name = "D", env = "IMGPLAN_LEASE", default_value = "60s",
          value_parser = lease, hide_short_help = true)]
    pub(in crate::cli) lease: Duration,
}

/// Minimum and maximum length of a lease: a request of the store must fit, and nobody waits for a day.
const LEASE_RANGE: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(500)..=Duration::from_secs(24 * 3600);

fn lease(text: &str) -> Result<Duration, String> {
    let lease = duration(text)?;
    let is_in_range = LEASE_RANGE.contains(&lease);
    if is_in_range { Ok(lease) } else { Err("write a duration from 500ms to 24h".to_owned()) }
}

#[derive(Debug, Args)]
pub(in crate::cli) struct StateCommandArgs {
    #[command(subcommand)]
    pub(in crate::cli) command: StateCommand,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum StateCommand {
    /// Create a shared state, after a test of its store
    ///
    /// Sixteen writers race for one object. A store that lets two of them win, or that overwrites a
    /// version that it should not, is refused: runs would overwrite each other's state there.
    Init(StateFlags),
    /// Print the state as a lockfile
    Pull {
        /// Write a file instead
        #[arg(short, long, value_name = "FILE", help_heading = "Output")]
        output: Option<PathBuf>,
        #[command(flatten)]
        flags: StateFlags,
    },
    /// Replace the state by a lockfile
    ///
    /// Fails if the state has targets or builds that the lockfile has not.
    Push {
        /// The lockfile
        #[arg(value_name = "FILE")]
        lockfile: PathBuf,
        /// Replace the state all the same
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        lease: LeaseArgs,
        #[command(flatten)]
        flags: StateFlags,
    },
    /// Show the place, the size and the targets of the state
    Show(StateFlags),
    /// Rename a target in the state, and nothing in the service
    ///
    /// To rename an image in the service too, use `moved:` in the manifest.
    Mv {
        /// `name:tag` in the state
        #[arg(value_name = "FROM")]
        from: ImageRef,
        /// The new `name:tag`
        #[arg(value_name = "TO")]
        to: ImageRef,
        #[command(flatten)]
        lease: LeaseArgs,
        #[command(flatten)]
        flags: StateFlags,
    },
    /// Drop targets from the state; their images stay in the service
    Rm {
        /// `name:tag` of each target
        #[arg(value_name = "TARGET", required = true)]
        targets: Vec<ImageRef>,
        #[command(flatten)]
        lease: LeaseArgs,
        #[command(flatten)]
        flags: StateFlags,
    },
    /// List the runs that hold a part of the shared state
    Locks(StateFlags),
    /// Take a shard away from a run that has died
    ///
    /// Seldom needed: the lease of a dead run ends by itself. A run whose shard is taken away cannot
    /// write it any more, and stops.
    Unlock {
        /// The shard, as `imgplan state locks` names it
        #[arg(value_name = "SHARD", value_parser = named::<ShardId>)]
        shard: ShardId,
        /// Also if the lease has not ended
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        flags: StateFlags,
    },
    /// Copy the lockfile to a new shared state, or back
    Migrate {
        /// Copy the shared state to the lockfile
        #[arg(long)]
        to_lockfile: bool,
        #[command(flatten)]
        lease: LeaseArgs,
        #[command(flatten)]
        flags: StateFlags,
    },
    /// List the last runs that changed the shared state
    ///
    /// The folder `history` of the state has its shards as they were before each of them.
    History(StateFlags),
}

/// Flags of all commands of the state.
#[derive(Debug, Args)]
pub(in crate::cli) struct StateFlags {
    #[command(flatten)]
    pub(in crate::cli) state: StateArgs,
    #[command(flatten)]
    pub(in crate::cli) common: CommonArgs,
}

impl StateCommand {
    /// Returns the flags that all of them have.
    pub(in crate::cli) fn flags(&mut self) -> &mut StateFlags {
        match self {
            Self::Init(flags) | Self::Show(flags) | Self::Locks(flags) | Self::History(flags) => {
                flags
            }
            Self::Pull { flags, .. }
            | Self::Push { flags, .. }
            | Self::Mv { flags, .. }
            | Self::Rm { flags, .. }
            | Self::Unlock { flags, .. }
            | Self::Migrate { flags, .. } => flags,
        }
    }
}
