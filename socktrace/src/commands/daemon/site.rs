//! What the server serves: it asks the loop, or shows what the last look found.

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use tokio::sync::{
    mpsc::UnboundedSender,
    oneshot::{self, Sender},
};
use tracing::{error, info};

use super::{answers, published::Published, runbook};
use crate::{
    commands::question::Question,
    exporter::{Exporter, openmetrics, text},
    http::{Answer, ApiError, Content, Format, Page, Unavailable},
    settings::Configuration,
};

/// See the room.
pub(super) struct Site {
    ask: UnboundedSender<Question>,
    exporter: Exporter,
    published: Arc<Mutex<Arc<Published>>>,
    config_file: Option<PathBuf>,
    ready: AtomicBool,
}

impl Site {
    pub(super) fn new(
        ask: UnboundedSender<Question>,
        exporter: Exporter,
        published: Arc<Mutex<Arc<Published>>>,
        config_file: Option<PathBuf>,
    ) -> Self {
        Self {
            ask,
            exporter,
            published,
            config_file,
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

    /// Reads the configuration again. If it makes no sense the old one stays.
    pub(super) async fn read_again(&self) -> Result<(), String> {
        let read = Configuration::read(self.config_file.as_deref());
        let configuration = read.map_err(|failure| {
            error!("the configuration stays as it was: {failure}");
            failure.message
        })?;
        self.exporter.configure(&configuration.metrics);
        let configuration = Box::new(configuration);
        let done = self.ask(|reply| Question::Configure(configuration, reply));
        done.await.ok_or("socktrace is stopping")?;
        info!("the configuration was read again");
        Ok(())
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
