//! What an output says about itself: once, and again when it changes.

use super::Complain;

pub(super) struct Voice {
    name: String,
    complain: Complain,
    /// What was said last, while it is still so.
    last: Option<String>,
    /// Of so many alerts that found no room people were told.
    dropped: u64,
}

impl Voice {
    pub(super) fn new(name: &str, complain: Complain) -> Self {
        Self {
            name: name.to_owned(),
            complain,
            last: None,
            dropped: 0,
        }
    }

    /// It does not deliver.
    pub(super) fn fails(&mut self, why: &str) {
        if self.last.as_deref() != Some(why) {
            (self.complain)(&format!("alerts do not reach {}: {why}", self.name));
            self.last = Some(why.to_owned());
        }
    }

    /// It delivers.
    pub(super) fn works(&mut self) {
        if self.last.take().is_some() {
            (self.complain)(&format!("alerts reach {} again", self.name));
        }
    }

    /// So many alerts found no room up to now.
    pub(super) fn dropped(&mut self, dropped: u64) {
        if dropped > self.dropped {
            let more = dropped - self.dropped;
            self.dropped = dropped;
            (self.complain)(&format!(
                "{more} alerts found no room in the queue of {}, which is slower than they come",
                self.name
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::testing::Complaints, *};

    #[test]
    fn the_same_is_said_once() {
        let complaints = Complaints::default();
        let mut voice = Voice::new("file", complaints.complain());
        voice.works();
        voice.fails("disk full");
        voice.fails("disk full");
        voice.fails("no such file");
        voice.works();
        voice.works();
        voice.dropped(2);
        voice.dropped(2);
        voice.dropped(3);
        assert_eq!(
            complaints.heard(),
            [
                "alerts do not reach file: disk full",
                "alerts do not reach file: no such file",
                "alerts reach file again",
                "2 alerts found no room in the queue of file, which is slower than they come",
                "1 alerts found no room in the queue of file, which is slower than they come",
            ]
        );
    }
}
