//! Where sockets were opened, for people: the stacks that the kernel side kept, with the names of
//! functions.
//!
//! A stack is the chain of frame pointers as it was when the call ended. What in it is no code is no
//! frame, and where the chain breaks is said. Names come from the files of the process while it is
//! there: what is gone has addresses only.

mod maps;
mod opening;
mod places;
mod symbols;
#[cfg(test)]
mod tests;
mod walk;
mod wrapper;

pub use self::{
    opening::{Frame, Opening},
    places::Places,
};
