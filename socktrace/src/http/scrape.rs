//! One scrape at a time, shared: who asks while one is under way gets the same bytes.

use std::{
    io,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use tokio::sync::{Mutex as Turn, OnceCell};

use super::{Content, Format, Unavailable, crowd::lock, encode};

/// The bytes of one scrape; compressed at most once.
pub(super) struct Page {
    plain: Bytes,
    gzip: OnceCell<Bytes>,
}

impl Page {
    /// As it is, or compressed: the bytes, and whether they are compressed.
    pub(super) async fn bytes(&self, gzip: bool) -> io::Result<(Bytes, bool)> {
        if !gzip || !encode::is_worth_it(&self.plain) {
            return Ok((self.plain.clone(), false));
        }
        let make = || encode::gzip(self.plain.clone());
        Ok((self.gzip.get_or_try_init(make).await?.clone(), true))
    }
}

type Scrape = OnceCell<Result<Arc<Page>, Unavailable>>;

/// The scrapes that are under way.
#[derive(Default)]
pub(super) struct Scrapes {
    text: Mutex<Option<Arc<Scrape>>>,
    open_metrics: Mutex<Option<Arc<Scrape>>>,
    /// Formats wait for each other.
    turn: Turn<()>,
}

impl Scrapes {
    /// Takes part in the scrape that is under way, or begins one. If whoever began it is gone before
    /// its end, the next one who waits begins anew.
    pub(super) async fn get(
        &self,
        content: &impl Content,
        format: Format,
    ) -> Result<Arc<Page>, Unavailable> {
        let slot = match format {
            Format::Text004 => &self.text,
            Format::OpenMetrics100 => &self.open_metrics,
        };
        let scrape = Arc::clone(lock(slot).get_or_insert_default());
        let page = scrape
            .get_or_init(async || {
                let _turn = self.turn.lock().await;
                let plain = content.metrics(format).await?;
                let gzip = OnceCell::new();
                Ok(Arc::new(Page { plain, gzip }))
            })
            .await
            .clone();
        // It is over: who comes now gets a new one.
        let mut slot = lock(slot);
        if slot.as_ref().is_some_and(|now| Arc::ptr_eq(now, &scrape)) {
            *slot = None;
        }
        page
    }
}
