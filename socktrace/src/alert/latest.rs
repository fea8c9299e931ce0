//! A queue that keeps the last alert about each thing: for a receiver that wants to know how things
//! are, not what became of them. It cannot lose that something is over.

use std::sync::{Arc, Mutex, PoisonError};

use hashbrown::HashMap;
use tokio::sync::Notify;

use super::Alert;

#[derive(Default)]
pub(super) struct Latest {
    waiting: Mutex<HashMap<String, Arc<Alert>>>,
    news: Notify,
}

impl Latest {
    /// Adds one; false if it takes the place of another that nobody took.
    pub(super) fn put(&self, alert: &Arc<Alert>) -> bool {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let before = waiting.insert(alert.id.clone(), Arc::clone(alert));
        drop(waiting);
        self.news.notify_one();
        before.is_none()
    }

    /// Takes what is there.
    pub(super) fn take(&self) -> Vec<Arc<Alert>> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *waiting).into_values().collect()
    }

    /// Waits until something may be there.
    pub(super) async fn news(&self) {
        self.news.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Change, testing},
        *,
    };
    use crate::detect::Severity;

    #[test]
    fn the_last_alert_about_a_thing_stands_for_those_before() {
        let latest = Latest::default();
        let one = testing::alerts(testing::finding(Severity::Confirmed, 1)).map(Arc::new);
        let mut other = testing::finding(Severity::Confirmed, 1);
        other.subject.lport = Some(1);
        let [other, ..] = testing::alerts(other).map(Arc::new);
        let new: Vec<_> = one
            .iter()
            .chain([&other])
            .map(|it| latest.put(it))
            .collect();
        assert_eq!(new, [true, false, false, true]);
        let taken = latest.take();
        assert_eq!(taken.len(), 2);
        let of_one = taken.iter().find(|it| it.id == one[0].id).unwrap();
        assert_eq!(of_one.change, Change::Clear);
        assert!(latest.take().is_empty());
    }
}
