//! `basic_auth_users`: names and bcrypt hashes.
//!
//! To compare a password with a hash takes a tenth of a second of CPU, which is the point of bcrypt.
//! So it is done on another thread, one at a time; what was right is remembered; and after what was
//! wrong comes a rest, so that guessing takes a fifth of one CPU with hashes of the usual costs.

use std::{
    collections::BTreeMap,
    sync::Mutex,
    time::{Duration, Instant},
};

use aws_lc_rs::{
    hmac::{self, HMAC_SHA256},
    rand::SystemRandom,
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use hyper::header::HeaderValue;
use tokio::{sync::Mutex as Turn, time::sleep};

use crate::http::crowd::lock;

/// Cost 18 takes some 20 seconds; each step more doubles it.
const MOST_COST: u32 = 18;

/// How often the time of a wrong guess is rested.
const REST: u32 = 4;

/// No rest is longer: who mistyped waits for it, too.
const LONGEST_REST: Duration = Duration::from_secs(2);

/// Who may.
pub(in crate::http) struct Users {
    hashes: BTreeMap<String, String>,
    /// Seals what is remembered, so that no password stays in memory.
    key: hmac::Key,
    /// For each user the seal of the password that was right.
    right: Mutex<BTreeMap<String, hmac::Tag>>,
    turn: Turn<()>,
}

impl Users {
    pub(super) fn new(hashes: BTreeMap<String, String>) -> Result<Self, String> {
        for (user, hash) in &hashes {
            if user.contains(':') {
                return Err(format!("{user}: no user's name has a colon"));
            }
            let parts: bcrypt::HashParts = hash.parse().map_err(|_| {
                format!(
                    "{user}: this is no bcrypt hash; `htpasswd -nBC 10 \"\" | tr -d ':\\n'` makes one"
                )
            })?;
            if parts.get_cost() > MOST_COST {
                let cost = parts.get_cost();
                return Err(format!(
                    "{user}: a hash of cost {cost} would take minutes to compare; at most {MOST_COST}"
                ));
            }
        }
        let key = hmac::Key::generate(HMAC_SHA256, &SystemRandom::new())
            .map_err(|_| "the kernel gives no random numbers")?;
        Ok(Self {
            hashes,
            key,
            right: Mutex::default(),
            turn: Turn::default(),
        })
    }

    /// Is this `Authorization` one of theirs?
    pub(in crate::http) async fn admit(&self, authorization: Option<&HeaderValue>) -> bool {
        let Some((user, password)) = authorization.and_then(credentials) else {
            return false;
        };
        if self.is_remembered(&user, &password) {
            return true;
        }
        let turn = self.turn.lock().await;
        // Whoever had the turn before may have asked the same.
        if self.is_remembered(&user, &password) {
            return true;
        }
        // Nobody's hash takes as long as somebody's, so the time does not tell who there is.
        let known = self.hashes.get(&user);
        let Some(hash) = known.or(self.hashes.values().next()).cloned() else {
            return false;
        };
        let compared = password.clone();
        let start = Instant::now();
        let compare = move || bcrypt::verify(compared, &hash).unwrap_or(false);
        let is_same = tokio::task::spawn_blocking(compare).await.unwrap_or(false);
        if is_same && known.is_some() {
            let tag = hmac::sign(&self.key, &password);
            lock(&self.right).insert(user, tag);
            return true;
        }
        sleep((start.elapsed() * REST).min(LONGEST_REST)).await;
        drop(turn);
        false
    }

    fn is_remembered(&self, user: &str, password: &[u8]) -> bool {
        let right = lock(&self.right);
        let tag = right.get(user);
        tag.is_some_and(|tag| hmac::verify(&self.key, password, tag.as_ref()).is_ok())
    }
}

/// The name and the password of `Basic BASE64`.
fn credentials(authorization: &HeaderValue) -> Option<(String, Vec<u8>)> {
    let (scheme, encoded) = authorization.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = BASE64_STANDARD.decode(encoded.trim()).ok()?;
    let colon = decoded.iter().position(|byte| *byte == b':')?;
    let user = String::from_utf8(decoded[..colon].to_vec()).ok()?;
    Some((user, decoded[colon + 1..].to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(plain: &str) -> HeaderValue {
        let encoded = BASE64_STANDARD.encode(plain);
        HeaderValue::try_from(format!("Basic {encoded}")).unwrap()
    }

    #[tokio::test]
    async fn who_knows_the_password_is_let_in_and_nobody_else() {
        let hash = bcrypt::hash_with_salt("se:cret", 4, [7; 16]).unwrap();
        let hashes = BTreeMap::from([("alice".to_owned(), hash.to_string())]);
        let users = Users::new(hashes).unwrap();
        assert!(!users.admit(None).await);
        for (plain, expected) in [
            ("alice:se:cret", true),
            ("alice:se:cret", true),
            ("alice:secret", false),
            ("bob:se:cret", false),
            ("alice", false),
            ("", false),
        ] {
            assert_eq!(users.admit(Some(&header(plain))).await, expected, "{plain}");
        }
        for other in ["Basic ", "Basic !", "Bearer abc", ""] {
            let other = HeaderValue::from_static(other);
            assert!(!users.admit(Some(&other)).await);
        }
    }

    #[test]
    fn a_hash_that_is_none_is_refused() {
        for (hash, said) in [
            ("secret", "no bcrypt hash"),
            ("$2y$10$é", "no bcrypt hash"),
            (
                "$2y$31$4VeFDzXIoPHKnKTU3O3GH.N.vZu06CVqczYZ8WvfzrddFU6tGqjR.",
                "cost 31",
            ),
        ] {
            let hashes = BTreeMap::from([("alice".to_owned(), hash.to_owned())]);
            let error = Users::new(hashes).err().unwrap();
            assert!(error.contains(said), "{error}");
        }
    }
}
