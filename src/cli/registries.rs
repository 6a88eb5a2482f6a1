//! Asks foreign registries for what references stand for, and keeps their answers.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use super::failure::Failure;
use super::settings::Settings;
use super::teller::Teller;
use super::ui::Ui;
use crate::base::reference::RegistryRef;
use crate::plan::Facts;
use crate::report::elapsed;
use crate::state::State;
use crate::survey::{self, Upstreams};
use crate::upstream::{Config, Credentials, Memory, Notice, Registries, UpstreamError};

/// A wait that people want to know of.
const LONG: Duration = Duration::from_secs(2);

/// Finds out what references stand for now. What could not be found out is returned.
pub(super) async fn ask(
    ui: &Ui,
    settings: &Settings,
    max_age: Duration,
    wanted: BTreeMap<String, RegistryRef>,
    state: &State,
    facts: &mut Facts,
) -> Result<Vec<UpstreamError>, Failure> {
    let home = std::env::home_dir();
    let credentials = Credentials::from_env(&|name| std::env::var_os(name), home.as_deref());
    let registries = Registries::new(Config { credentials, ..Config::default() })
        .map_err(|broken| Failure::user(format!("cannot ask registries: {}", broken.message)))?;
    let mut memory = Memory::read(&settings.work());
    let teller = Teller::start(ui)?;
    let tell = {
        let teller = teller.clone();
        move |notice| match notice {
            Notice::Answered { done, of } if done % 500 == 0 && done < of => {
                teller.say(format!("Asked registries for {done} of {of} references"));
            }
            Notice::Paused { host, wait } if wait >= LONG => {
                teller.say(format!("{host} asks for a pause of {}", elapsed(wait)));
            }
            Notice::Answered { .. } | Notice::Paused { .. } | Notice::Retry { .. } => {}
        }
    };
    let from = Upstreams { registries: &registries, memory: &mut memory, max_age };
    let errors = survey::upstreams(wanted, state, from, facts, &tell).await;
    teller.write(|_| Ok(())).await?;
    // It only saves time: a folder that cannot be written is no reason not to plan.
    let _ = memory.save(Timestamp::now());
    Ok(errors)
}
