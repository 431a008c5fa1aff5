//! `floodmark serve`.
use clap::Args;
/// Run the service.
#[derive(Debug, Args)]
pub struct ServeArguments {}
/// Runs it.
pub fn run(_: &ServeArguments) -> crate::error::Result<()> {
    Ok(())
}
