//! `completions` and `man`: made from the command line itself.

use std::{
    fs,
    io::{self, Write as _},
    path::Path,
};

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::{cli::Cli, failure::Failure};

pub(super) fn completions(shell: Shell) -> Result<u8, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "socktrace", &mut script);
    write(&script)
}

pub(super) fn man(directory: Option<&Path>) -> Result<u8, Failure> {
    let mut command = Cli::command();
    let Some(directory) = directory else {
        let mut page = Vec::new();
        clap_mangen::Man::new(command).render(&mut page)?;
        return write(&page);
    };
    command.build();
    fs::create_dir_all(directory)?;
    clap_mangen::generate_to(command, directory)?;
    Ok(0)
}

fn write(text: &[u8]) -> Result<u8, Failure> {
    match io::stdout().write_all(text) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(0),
    }
}
