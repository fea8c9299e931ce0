//! `config`: does a file make sense, and what does it say in full?

use std::io::Write as _;

use super::{quietly, stdout};
use crate::{
    cli::Config,
    failure::{FAILURE, Failure},
    settings::Configuration,
};

pub(super) fn config(action: &Config) -> Result<u8, Failure> {
    match action {
        Config::Check { file } => Configuration::read(Some(file)).map(|_| 0),
        Config::Show { file } => {
            let configuration = Configuration::read(file.as_deref())?;
            let text = toml::to_string(&configuration)
                .map_err(|error| Failure::new(FAILURE, error.to_string()))?;
            let mut out = stdout();
            quietly(out.write_all(text.as_bytes()).and_then(|()| out.flush()))?;
            Ok(0)
        }
    }
}
