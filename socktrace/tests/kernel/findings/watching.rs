//! When a watch looks.

use super::*;

#[test]
fn the_last_seconds_of_a_watch_are_looked_at_too() {
    let netns = Netns::new();
    let script = r"
l = listener(); c, a = pair(l); a.close()
print('closed', os.getpid(), flush=True)
sys.stdin.readline()
";
    let mut waiting = program(&netns, script, &[]);
    let pid = numbers(&waiting.hear("closed"))[0];
    // Looks at the beginning and after six seconds, and the next would be after twelve.
    let every = "[detect]\nevery = '6s'\n";
    let json = ["-o", "json", "--duration", "9s"];
    let found = rows(&report_by(every, "leaks", &netns, &json));
    let row = of(&found, "close_wait", pid);
    // It was in its state before the watch began.
    assert!(number(row, "oldest_seconds") >= 9, "{row}");
}

#[test]
fn a_process_that_comes_to_the_end_of_its_descriptors_is_told_when() {
    let netns = Netns::new();
    let script = r"
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (4000, 4000))
kept = [socket.socket() for _ in range(500)]
print('growing', os.getpid(), flush=True)
while not select.select([sys.stdin], [], [], 0.05)[0]:
    if len(kept) < 3900: kept.append(socket.socket())
";
    let mut growing = program(&netns, script, &[]);
    let pid = numbers(&growing.hear("growing"))[0];
    let json = ["-o", "json", "--duration", "8s"];
    let found = rows(&report("limits", &netns, &json));
    let row = of(&found, "fd_limit", pid);
    // Twenty a second at most, and 3,500 are left at most.
    let left = 4000 - number(row, "used");
    let seconds = number(row, "eta_seconds");
    assert!(seconds >= left / 21, "{row}");
}
