//! placeholder
use crate::{cli::{Color, Doctor}, failure::Failure};
pub(super) fn doctor(_args: &Doctor, _color: Color) -> Result<u8, Failure> { Ok(0) }
