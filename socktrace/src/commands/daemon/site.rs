//! What the server serves: it asks the loop, or shows what the last look found.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use super::{answers, published::Published, runbook};
use crate::{
    commands::question::Question,
    exporter::{Exporter, Settings, openmetrics, text},
    http::{Answer, ApiError, Content, Format, Page, Unavailable},
};
use bytes::Bytes;
use tokio::sync::{
    mpsc::UnboundedSender,
    oneshot::{self, Sender},
};

/// See the room.
pub(super) struct Site {
    ask: UnboundedSender<Question>,
    exporter: Exporter,
    published: Arc<Mutex<Arc<Published>>>,
    ready: AtomicBool,
}

impl Site {
    pub(super) fn new(
        ask: UnboundedSender<Question>,
        exporter: Exporter,
        published: Arc<Mutex<Arc<Published>>>,
    ) -> Self {
        Self {
            ask,
            exporter,
            published,
            ready: AtomicBool::new(false),
        }
    }

    /// Everything is in place.
    pub(super) fn is_ready(&self) {
        self.ready.store(true, Ordering::Relaxed);
    }

    /// What the last look found.
    pub(super) fn published(&self) -> Arc<Published> {
        let published = self.published.lock();
        Arc::clone(&published.unwrap_or_else(PoisonError::into_inner))
    }

    /// Asks the loop; `None` if it is over.
    pub(super) async fn ask<T>(&self, question: impl FnOnce(Sender<T>) -> Question) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.ask.send(question(reply)).ok()?;
        answer.await.ok()
    }

    /// Has the configuration read again, by the loop: whoever serves cannot open it. If it makes no
    /// sense the old one stays.
    pub(super) async fn read_again(&self) -> Result<(), String> {
        let done = self.ask(Question::ReadAgain).await;
        done.unwrap_or_else(|| Err("socktrace is stopping".to_owned()))
    }

    /// What to show from now on.
    pub(super) fn configure(&self, metrics: &Settings) {
        self.exporter.configure(metrics);
    }
}

impl Content for Site {
    async fn metrics(&self, format: Format) -> Result<Bytes, Unavailable> {
        let reading = self.ask(Question::Reading).await;
        let reading = reading.ok_or_else(|| Unavailable("socktrace is stopping".into()))?;
        let families = self.exporter.families(reading);
        match format {
            Format::Text004 => text(&families)
                .map(Bytes::from)
                .map_err(|error| Unavailable(error.to_string())),
            Format::OpenMetrics100 => Ok(openmetrics(&families).into()),
        }
    }

    async fn api(&self, list: &str, query: Vec<(String, String)>) -> Result<Answer, ApiError> {
        answers::answer(self, list, query).await
    }

    fn ready(&self) -> Result<(), String> {
        let ready = self.ready.load(Ordering::Relaxed);
        ready
            .then_some(())
            .ok_or_else(|| "the hooks are being attached".to_owned())
    }

    fn pages(&self) -> Vec<Page> {
        vec![runbook::page()]
    }

    async fn reload(&self) -> Result<(), String> {
        self.read_again().await
    }
}
