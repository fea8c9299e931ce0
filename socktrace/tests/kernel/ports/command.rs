//! `ports`, as a user sees it.
