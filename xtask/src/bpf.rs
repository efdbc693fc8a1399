//! Placeholder until the kernel programs land.
#[derive(clap::Args)]
pub(crate) struct BpfArgs {}
pub(crate) fn run(_args: &BpfArgs) -> anyhow::Result<()> {
    anyhow::bail!("not here yet")
}
