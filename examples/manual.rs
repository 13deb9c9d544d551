//! `cargo run --example manual -- DIRECTORY`: man pages and completions, made from the definition of the arguments.
//!
//! What it makes: `man/mrosync*.1`, `bash/mrosync`, `zsh/_mrosync`, `fish/mrosync.fish`.

use std::fs::create_dir_all;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Parser;
use clap_complete::Shell;
use mrosync::cli;

/// Writes the man pages and completions of mrosync
#[derive(Debug, Parser)]
struct Options {
    /// Where to
    directory: PathBuf,
}

fn main() -> anyhow::Result<()> {
    let Options { directory } = Options::parse();
    pages(&directory.join("man"))?;
    for (shell, name) in [(Shell::Bash, "bash"), (Shell::Zsh, "zsh"), (Shell::Fish, "fish")] {
        completions(shell, &directory.join(name))?;
    }
    Ok(())
}

fn pages(place: &Path) -> anyhow::Result<()> {
    create_dir_all(place).with_context(|| format!("cannot make {}", place.display()))?;
    clap_mangen::generate_to(cli::definition(), place).context("cannot write the man pages")
}

fn completions(shell: Shell, place: &Path) -> anyhow::Result<()> {
    create_dir_all(place).with_context(|| format!("cannot make {}", place.display()))?;
    let written = clap_complete::generate_to(shell, &mut cli::definition(), "mrosync", place)
        .with_context(|| format!("cannot write the completions of {shell}"))?;
    // bash looks for a file named after the command
    if shell == Shell::Bash {
        std::fs::rename(written, place.join("mrosync")).context("cannot name the completions of bash")?;
    }
    Ok(())
}
