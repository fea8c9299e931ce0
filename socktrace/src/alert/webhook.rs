//! Posts each alert as JSON.

use super::{
    Alert,
    http::{Http, Target},
    lane::{Deliver, Undelivered},
    settings,
};
use crate::failure::Failure;

pub(super) struct Webhook(Http);

impl Webhook {
    pub(super) fn new(settings: &settings::Webhook) -> Result<Self, Failure> {
        let target = Target {
            url: settings.url.0.clone(),
            token_file: settings.token_file.as_deref(),
            ca_file: settings.ca_file.as_deref(),
            timeout: settings.timeout.0,
        };
        Http::new(target).map(Self)
    }
}

impl Deliver for Webhook {
    async fn deliver(&mut self, alert: &Alert) -> Result<(), Undelivered> {
        self.0.post(alert.json.clone()).await
    }
}
