//! Is whoever led a process gone? A server that is started by a manager or a shell leads a group of
//! processes, and its children stay in it.

use std::fs;

/// Has the process ended whose number the process's group has? No, too, where `/proc` does not say.
pub fn is_leaderless(pid: u32) -> bool {
    let stat = |pid: u32| fs::read(format!("/proc/{pid}/stat")).ok();
    let group = stat(pid).and_then(|it| fields(&it)?.1);
    group.is_some_and(|group| match stat(group) {
        // It has ended and waits for its parent.
        Some(leader) => fields(&leader).is_some_and(|(state, _)| state == "Z"),
        None => true,
    })
}

/// State and group: fields 3 and 5 of `/proc/PID/stat`; group 0 is one of another pid namespace.
/// Field 2 is the name, in which anything may stand: the last parenthesis ends it.
fn fields(stat: &[u8]) -> Option<(&str, Option<u32>)> {
    let end = stat.iter().rposition(|&byte| byte == b')')?;
    let rest = std::str::from_utf8(&stat[end + 1..]).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?;
    let group = fields.nth(5 - 3 - 1)?.parse().ok();
    Some((state, group.filter(|group| *group != 0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_group_is_read_behind_any_name() {
        let stat = b"7 (a) S 1 (b)) S 1 42 42 0 -1";
        assert_eq!(fields(stat), Some(("S", Some(42))));
        assert_eq!(fields(b"7 (sh) Z 1 0 0 0 -1"), Some(("Z", None)));
        assert_eq!(fields(b""), None);
    }

    #[test]
    fn who_has_ended_leads_nobody_astray() {
        assert!(!is_leaderless(u32::MAX));
    }
}
