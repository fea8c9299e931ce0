//! A script that holds something while it is looked at, step by step.

use serde_json::{Map, Value};

use crate::support::{Dialogue, Netns, python};

/// What a script holds while it waits for us.
pub(crate) struct Scene {
    dialogue: Dialogue,
    facts: Map<String, Value>,
}

/// The script's own words: `ready` tells us that there is something to see, `wait` until we did.
const WORDS: &str = r"
def ready(**facts): os.write(1, b'ready ' + json.dumps(facts).encode() + b'\n')
def inode(s): return os.fstat(s if isinstance(s, int) else s.fileno()).st_ino
def wait():
    if not sys.stdin.readline(): os._exit(0)
def step(**facts): ready(**facts); wait()
";

impl Scene {
    /// Runs a script until it says `ready(name=number…)`, or `step`, which also waits.
    pub(crate) fn new(netns: &Netns, script: &str) -> Self {
        let dialogue = Dialogue::start(python(netns, &format!("{WORDS}{script}\nwait()")));
        let mut scene = Self {
            dialogue,
            facts: Map::new(),
        };
        scene.listen();
        scene
    }

    /// Lets it go on to the next `ready`.
    pub(crate) fn go(&mut self) {
        self.dialogue.say("");
        self.listen();
    }

    fn listen(&mut self) {
        let facts: Map<_, _> = serde_json::from_str(&self.dialogue.hear("ready")).unwrap();
        self.facts.extend(facts);
    }

    /// What it last said under this name.
    #[track_caller]
    pub(crate) fn said(&self, name: &str) -> u64 {
        let fact = self.facts.get(name).and_then(Value::as_u64);
        fact.unwrap_or_else(|| panic!("the script did not say {name}: {:?}", self.facts))
    }

    /// The same, of what is a signed number in rows.
    #[track_caller]
    pub(crate) fn number(&self, name: &str) -> i64 {
        i64::try_from(self.said(name)).unwrap()
    }

    /// The same, of what the snapshot keeps in 32 bits.
    #[track_caller]
    pub(crate) fn inode(&self, name: &str) -> u32 {
        u32::try_from(self.said(name)).unwrap()
    }
}
