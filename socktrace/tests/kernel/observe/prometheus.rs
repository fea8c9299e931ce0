//! Prometheus in a namespace of its own, with our rules.

use std::fs;

use serde_json::Value;
use tempfile::TempDir;

use super::dashboard;
use crate::{
    daemon::wait,
    support::{Background, Netns},
};

/// Where it is, within the namespace.
pub(super) const ADDRESS: &str = "127.0.0.1:9090";

pub(super) struct Prometheus<'a> {
    netns: &'a Netns,
    _folder: TempDir,
    _running: Background,
}

impl<'a> Prometheus<'a> {
    /// It scrapes this address every second, and evaluates rules as often.
    pub(super) fn start(netns: &'a Netns, scraped: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let rules = dashboard::folder().join("../prometheus/socktrace.rules.yml");
        let configuration = format!(
            "global: {{ scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s }}\n\
             rule_files: ['{}']\n\
             scrape_configs:\n\
             - job_name: socktrace\n  static_configs: [{{ targets: ['{scraped}'] }}]\n",
            fs::canonicalize(rules).unwrap().display()
        );
        let file = folder.path().join("prometheus.yml");
        fs::write(&file, configuration).unwrap();
        let mut command = netns.command("prometheus");
        command.arg(format!("--config.file={}", file.display()));
        let data = folder.path().join("data");
        command.arg(format!("--storage.tsdb.path={}", data.display()));
        command.arg(format!("--web.listen-address={ADDRESS}"));
        let running = Background::start(command, "Server is ready to receive web requests");
        let prometheus = Self {
            netns,
            _folder: folder,
            _running: running,
        };
        wait("it is scraped", || {
            !prometheus.query("up{job=\"socktrace\"} == 1").is_empty()
        });
        prometheus
    }

    /// What it answers to an expression now: series with their values.
    #[track_caller]
    pub(super) fn query(&self, expression: &str) -> Vec<Value> {
        let question = format!("query={expression}");
        let answer = self.ask("query", &["--get", "--data-urlencode", &question]);
        assert_eq!(answer["status"], "success", "{expression}: {answer}");
        answer["data"]["result"].as_array().unwrap().clone()
    }

    /// The value of an expression that has one, or none.
    #[track_caller]
    pub(super) fn number(&self, expression: &str) -> f64 {
        let found = self.query(expression);
        assert!(found.len() < 2, "{expression}: {found:?}");
        let value = found.first().and_then(|it| it["value"][1].as_str());
        value.map_or(f64::NAN, |it| it.parse().unwrap())
    }

    /// Every rule, as it stands.
    pub(super) fn rules(&self) -> Vec<Value> {
        let answer = self.ask("rules", &[]);
        let groups = answer["data"]["groups"].as_array().unwrap();
        let rules = groups.iter().flat_map(|it| it["rules"].as_array().unwrap());
        rules.cloned().collect()
    }

    #[track_caller]
    fn ask(&self, what: &str, options: &[&str]) -> Value {
        let mut curl = self.netns.command("curl");
        curl.args(["-s", "-m", "30"]).args(options);
        curl.arg(format!("http://{ADDRESS}/api/v1/{what}"));
        let answer = curl.output().unwrap();
        serde_json::from_slice(&answer.stdout).expect("an answer of Prometheus")
    }
}
