use std::sync::Mutex;

use super::*;
use crate::{
    alert::{
        Alerts,
        settings::Settings,
        testing::{CLOCK, Complaints, Server, alert, alerts, eventually, finding, story},
    },
    detect::{News, Severity},
};

/// Takes what it is told to take: the answers in turn, then everything.
struct Outlet {
    answers: Vec<Result<(), Undelivered>>,
    taken: Arc<Mutex<Vec<&'static str>>>,
    /// Each delivery waits for a word.
    go: Option<mpsc::Receiver<()>>,
}

impl Deliver for Outlet {
    async fn deliver(&mut self, alert: &Alert) -> Result<(), Undelivered> {
        if let Some(go) = &mut self.go {
            go.recv().await;
        }
        if !self.answers.is_empty() {
            self.answers.remove(0)?;
        }
        self.taken.lock().unwrap().push(alert.change.word());
        Ok(())
    }
}

fn lane(outlet: Outlet, complaints: &Complaints) -> Lane {
    let settings: Settings = toml::from_str("[file]\npath = \"x\"").unwrap();
    let output = settings.outputs().remove(0);
    Lane::each(output, outlet, &complaints.complain()).unwrap()
}

fn outlet(answers: Vec<Result<(), Undelivered>>) -> Outlet {
    Outlet {
        answers,
        taken: Arc::default(),
        go: None,
    }
}

fn in_a_minute() -> Instant {
    Instant::now() + Duration::from_mins(1)
}

#[test]
fn alerts_are_delivered_in_order_and_tried_again() {
    let outlet = outlet(vec![Err(Undelivered::yet("not now")), Ok(())]);
    let taken = Arc::clone(&outlet.taken);
    let complaints = Complaints::default();
    let lane = lane(outlet, &complaints);
    for alert in alerts(finding(Severity::Confirmed, 1)) {
        lane.send(&Arc::new(alert));
    }
    eventually(|| lane.counts().delivered == 3);
    assert_eq!(*taken.lock().unwrap(), ["start", "update", "clear"]);
    assert_eq!(
        complaints.heard(),
        [
            "alerts do not reach file: not now",
            "alerts reach file again"
        ]
    );
}

#[test]
fn what_is_hopeless_is_given_up_and_the_next_is_tried() {
    let outlet = outlet(vec![Err(Undelivered::at_all("never"))]);
    let complaints = Complaints::default();
    let lane = lane(outlet, &complaints);
    lane.send(&Arc::new(alert()));
    lane.send(&Arc::new(alert()));
    eventually(|| lane.counts().delivered == 1);
    assert_eq!(lane.counts().failed, 1);
}

#[test]
fn what_finds_no_room_is_counted_and_told_and_nobody_waits() {
    let (go, held) = mpsc::channel(QUEUE * 2);
    let outlet = Outlet {
        go: Some(held),
        ..outlet(Vec::new())
    };
    let complaints = Complaints::default();
    let lane = lane(outlet, &complaints);
    let alert = Arc::new(alert());
    let sent = QUEUE as u64 + 10;
    // All of it while the output takes nothing.
    (0..sent).for_each(|_| lane.send(&alert));
    let dropped = lane.counts().dropped;
    // One may be under way.
    assert!((9..=10).contains(&dropped), "{dropped}");
    assert_eq!(lane.counts().waiting, sent - dropped);
    (0..sent).for_each(|_| go.try_send(()).unwrap());
    eventually(|| lane.counts().delivered == sent - dropped);
    eventually(|| !complaints.heard().is_empty());
    assert!(complaints.heard()[0].contains("found no room"));
}

#[test]
fn at_the_end_everything_is_tried_once_more() {
    let failing = (0..20).map(|_| Err(Undelivered::yet("not now"))).collect();
    let complaints = Complaints::default();
    let mut lane = lane(outlet(failing), &complaints);
    (0..3).for_each(|_| lane.send(&Arc::new(alert())));
    // It would be tried for minutes.
    eventually(|| !complaints.heard().is_empty());
    lane.close();
    lane.wait(in_a_minute());
    let counts = lane.counts();
    assert_eq!((counts.failed, counts.waiting), (3, 0));
}

fn read(path: &std::path::Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let rows = text.lines().map(|line| {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        row["alert"].as_str().unwrap().to_owned()
    });
    rows.collect()
}

#[test]
fn an_output_that_fails_holds_up_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("alerts.json");
    // It accepts nothing: a connection waits for its answer.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let settings = format!(
        "[file]\npath = {path:?}\n[webhook]\nurl = \"http://{}\"\n[command]\nrun = [\"false\"]",
        silent.local_addr().unwrap()
    );
    let settings: Settings = toml::from_str(&settings).unwrap();
    let complaints = Complaints::default();
    let heard = complaints.complain();
    let mut alerts = Alerts::new(&settings, move |text| heard(text)).unwrap();
    let began = Instant::now();
    alerts.tell(News::Began, &story(Severity::Confirmed, 1), &CLOCK);
    assert!(began.elapsed() < Duration::from_secs(5), "nobody waits");
    eventually(|| read(&path) == ["start"]);
    eventually(|| {
        alerts
            .counts()
            .any(|(name, it)| name == "command" && it.failed == 1)
    });
    let waits = |(name, counts): (&str, Counts)| name == "webhook" && counts.waiting == 1;
    assert!(alerts.counts().any(waits));
    assert_eq!(
        complaints.heard(),
        ["alerts do not reach command: false: exit status: 1"]
    );
    let began = Instant::now();
    alerts.finish();
    // An answer would be waited for ten seconds.
    assert!(began.elapsed() < Duration::from_secs(9));
}

#[test]
fn a_file_that_cannot_be_made_is_told_at_once_and_written_when_it_can() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("later/alerts.json");
    let settings: Settings = toml::from_str(&format!("[file]\npath = {path:?}")).unwrap();
    let complaints = Complaints::default();
    let heard = complaints.complain();
    let mut alerts = Alerts::new(&settings, move |text| heard(text)).unwrap();
    // Before there is anything to tell.
    eventually(|| complaints.heard().len() == 1);
    alerts.tell(News::Began, &story(Severity::Confirmed, 1), &CLOCK);
    std::fs::create_dir(path.parent().unwrap()).unwrap();
    eventually(|| read(&path) == ["start"]);
    alerts.finish();
    let [gone, back] = &complaints.heard()[..] else {
        panic!("{:?}", complaints.heard())
    };
    assert!(gone.contains("later/alerts.json: No such file"), "{gone}");
    assert_eq!(back, "alerts reach file again");
}

#[test]
fn a_reload_leaves_what_stays_and_tells_a_new_output_what_stands() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (folder.path().join("one"), folder.path().join("two"));
    let server = Server::start(&["200 OK"]);
    let settings = |text: String| -> Settings { toml::from_str(&text).unwrap() };
    let before = settings(format!("[file]\npath = {one:?}"));
    let mut alerts = Alerts::new(&before, |_| {}).unwrap();
    let leak = story(Severity::Suspect, 1);
    alerts.tell(News::Began, &leak, &CLOCK);
    let more = settings(format!(
        "[file]\npath = {one:?}\n[webhook]\nurl = \"{}\"",
        server.url("/")
    ));
    alerts.reload(&more, &[&leak], &CLOCK).unwrap();
    assert!(server.next().body.contains("\"alert\":\"start\""));
    alerts.tell(News::Changed, &leak, &CLOCK);
    assert!(server.next().body.contains("\"alert\":\"update\""));
    eventually(|| read(&one) == ["start", "update"]);

    // Another file, and only what is critical: what stands is over for those that stay.
    let critical = settings(format!(
        "severity = \"critical\"\n[file]\npath = {two:?}\n[webhook]\nurl = \"{}\"",
        server.url("/")
    ));
    alerts.reload(&critical, &[&leak], &CLOCK).unwrap();
    assert!(server.next().body.contains("\"alert\":\"clear\""));
    alerts.finish();
    assert_eq!(read(&two), [""; 0]);

    // What makes no sense changes nothing.
    let wrong = settings("[webhook]\nurl = \"http://a\"\nca_file = \"/nowhere\"".to_owned());
    let failure = alerts.reload(&wrong, &[], &CLOCK).unwrap_err();
    assert_eq!(failure.status, 78);
    // The one that stayed, and the one that was new.
    let names: Vec<_> = alerts.counts().map(|(name, _)| name.to_owned()).collect();
    assert_eq!(names, ["webhook", "file"]);
}
