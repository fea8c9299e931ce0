//! What is open now: every socket of every namespace, with who holds it.

mod adopt;
mod list;
mod people;
mod row;
mod search;
mod want;

pub use self::{
    list::{Listed, Missing, each, list},
    row::{Age, Holding, Row, Told},
    want::{Expression, Want, one_of, state_name},
};
