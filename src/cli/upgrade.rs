//! `floodmark upgrade`.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use super::kept::{Form, Place, Where, json, path_of, size, table};
use crate::api::wire::upgrade::{State, Table, Upgrade};
use crate::error::{Error, ErrorKind, Result};
use crate::job::upgrade::{self, UpgradeSpec};

/// Give a job another script: see what becomes of its state, then do it.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    floodmark upgrade clicks clicks.sql --data-dir data\n  \
    floodmark upgrade clicks clicks.sql --data-dir data --apply\n  \
    floodmark run --data-dir data --name clicks clicks.sql\n  \
    floodmark upgrade clicks clicks.sql --url http://127.0.0.1:8080 --apply\n\n\
    Without --apply nothing is changed. Ends with 1 if it cannot be applied.")]
pub struct UpgradeArguments {
    /// The job
    #[arg(value_name = "JOB")]
    job: String,
    /// The new SQL scripts, read in order as one job
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Show what would be done, and do nothing; the default
    #[arg(long, conflicts_with = "apply")]
    plan: bool,
    /// Do it: what runs is stopped, and the job goes on with the new script
    #[arg(long)]
    apply: bool,
    /// Let sinks go on that hold changes which the new query has not made
    #[arg(long)]
    from_now: bool,
    /// Set a job setting before the first statement, as `run` will be given it
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = super::parse_setting)]
    settings: Vec<(String, String)>,
    #[command(flatten)]
    place: Where,
}

/// Prints what becomes of the state.
pub fn run(arguments: &UpgradeArguments) -> Result<()> {
    let texts = super::read_scripts(&arguments.files)?;
    let settings = super::settings(&arguments.settings)?;
    let place = match arguments.apply {
        true => arguments.place.open_to_change()?,
        false => arguments.place.open()?,
    };
    let done = match place {
        Place::Store(store) => {
            let upgrade = upgrade::plan(&UpgradeSpec {
                store: Arc::new(store),
                job: arguments.job.clone(),
                texts,
                settings: (!settings.is_empty()).then(|| settings.into_iter().collect()),
                from_now: arguments.from_now,
            })?;
            match arguments.apply {
                true => Upgrade::from(upgrade::apply(upgrade)?),
                false => Upgrade::from(upgrade.report),
            }
        }
        Place::Service(client) => {
            if !settings.is_empty() {
                return Err(Error::config("--set: a job of a service keeps the settings it has")
                    .with_hint("write SET statements into the script"));
            }
            let sql: Vec<&str> = texts.iter().map(|(_, text)| text.as_str()).collect();
            let body = serde_json::json!({
                "sql": sql.join("\n"),
                "apply": arguments.apply,
                "from_now": arguments.from_now,
            });
            client.request("POST", &path_of(&arguments.job, "/upgrade")?, Some(&body))?
        }
    };
    let text = match arguments.place.format {
        Form::Json => json(&done)?,
        Form::Table => text(&done),
    };
    super::print(text.as_bytes())?;
    match done.refused {
        None => Ok(()),
        Some(refused) => {
            let error = Error::new(ErrorKind::Conflict, refused.message);
            Err(match refused.hint {
                Some(hint) => error.with_hint(hint),
                None => error,
            })
        }
    }
}

fn text(upgrade: &Upgrade) -> String {
    let Upgrade { job, snapshot, .. } = upgrade;
    let frontier = upgrade.frontier.as_deref().unwrap_or("-");
    let mut text = format!("job {job}: from snapshot {snapshot}, as of {frontier}\n\n");
    let state = |state: &State| {
        let place = state.line.zip(state.column).map(|(line, column)| format!("{line}:{column}"));
        let is_empty = state.state == "rebuilt";
        let rows = if is_empty { "-".to_string() } else { state.rows.to_string() };
        let bytes = size((!is_empty).then_some(state.bytes));
        let place = place.unwrap_or_else(|| "-".to_string());
        vec![state.operator.clone(), place, state.state.clone(), rows, bytes, state.why.clone()]
    };
    let states: Vec<_> = upgrade.states.iter().map(state).collect();
    if states.is_empty() {
        text.push_str("no part of the script has state\n");
    } else {
        let names = ["sub-plan", "at", "state", "rows", "size", ""];
        text.push_str(&self::table(&names, &states));
    }
    let reading = |table: &Table| {
        let is_read = ["read again", "begins"].contains(&table.reading.as_str());
        let partitions = if is_read { table.partitions.to_string() } else { "-".to_string() };
        let bytes = size(table.bytes.filter(|_| is_read));
        vec![table.table.clone(), table.reading.clone(), partitions, bytes, table.why.clone()]
    };
    let tables: Vec<_> = upgrade.tables.iter().map(reading).collect();
    text.push('\n');
    text.push_str(&self::table(&["table", "reading", "partitions", "size", ""], &tables));
    if !upgrade.sinks.is_empty() {
        let sinks = upgrade.sinks.iter();
        let sinks: Vec<_> =
            sinks.map(|s| vec![s.name.clone(), s.state.clone(), s.why.clone()]).collect();
        text.push('\n');
        text.push_str(&self::table(&["sink", "state", ""], &sinks));
    }
    text.push('\n');
    text.push_str(&summary(upgrade));
    text
}

/// What it comes to.
fn summary(upgrade: &Upgrade) -> String {
    let is = |wanted: &str| upgrade.states.iter().filter(|s| s.state == wanted).count();
    let (kept, rebuilt, dropped) = (is("kept"), is("rebuilt"), is("dropped"));
    let mut text = format!("{kept} kept, {rebuilt} rebuilt, {dropped} dropped");
    let is_read = |table: &&Table| table.reading == "read again";
    let again: Vec<&str> =
        upgrade.tables.iter().filter(is_read).map(|table| table.table.as_str()).collect();
    if upgrade.same {
        text.push_str("; the new script computes what the old one does");
    } else if rebuilt == 0 && again.is_empty() {
        text.push_str("; nothing is read again, what is new takes effect from the snapshot on");
    }
    if !again.is_empty() {
        text.push_str(&format!("; {} read again from the start", again.join(", ")));
    }
    text.push('\n');
    text.push_str(&match (upgrade.applied, &upgrade.refused) {
        (Some(id), _) => {
            format!("applied: the job goes on with the new script, from snapshot {id}\n")
        }
        (None, Some(_)) => "it cannot be applied\n".to_string(),
        (None, None) => "nothing was changed; --apply does it\n".to_string(),
    });
    text
}
