//! Surveys, and tells meanwhile what the service is waited for.

use std::sync::Arc;

use super::failure::Failure;
use super::teller::Teller;
use super::ui::Ui;
use crate::api::Client;
use crate::manifest::Workspace;
use crate::plan::Facts;
use crate::run;
use crate::state::State;
use crate::survey::{self, Caches};

/// Looks at everything that planning needs, as [`survey::facts`] does.
pub(super) async fn facts(
    ui: &Ui,
    workspace: &Workspace,
    state: &State,
    caches: Caches,
    client: Option<&Client>,
) -> Result<Facts, Failure> {
    let Some(client) = client else {
        return Ok(survey::facts(workspace, state, caches, None).await?);
    };
    let teller = Teller::start(ui)?;
    let client = client.observed(Arc::new({
        let teller = teller.clone();
        move |notice| teller.event(run::told(None, notice))
    }));
    let facts = survey::facts(workspace, state, caches, Some(&client)).await;
    // What comes next is told after that.
    teller.write(|_| Ok(())).await?;
    Ok(facts?)
}
