//! What a run does without, for want of hooks: in a few words, not one line for each hook.

use super::{
    attach::Status,
    catalog::{FALLBACK_COSTS, Hook, Need},
    check::{hooks::explain, remedy::Obstacle},
    environment::Environment,
};

/// Hooks that are not what they should be, for one reason.
struct Group<'a> {
    obstacle: Obstacle,
    hooks: Vec<&'a str>,
    /// What that means, each thing once.
    means: Vec<&'a str>,
}

/// A message for each reason, not for each hook.
pub fn messages(hooks: &[(&Hook, Status)], environment: &Environment) -> Vec<String> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for (hook, status) in hooks {
        let (obstacle, means) = match (status, hook.need) {
            (Status::Attached, _) => continue,
            (Status::Fallback(reason), _) => {
                let why = format!("classic tracepoints stand in for typed ones: {reason}");
                (Obstacle { why, remedy: None }, FALLBACK_COSTS)
            }
            // It would have stopped the run.
            (Status::Missing(_), Need::Required) => continue,
            (Status::Missing(reason), Need::Optional(lost)) => {
                (explain(hook, reason, environment), lost)
            }
        };
        let group = match groups.iter().position(|group| group.obstacle == obstacle) {
            Some(index) => &mut groups[index],
            None => groups.push_mut(Group {
                obstacle,
                hooks: Vec::new(),
                means: Vec::new(),
            }),
        };
        group.hooks.push(hook.name);
        if !group.means.contains(&means) {
            group.means.push(means);
        }
    }
    groups.iter().map(Group::message).collect()
}

impl Group<'_> {
    fn message(&self) -> String {
        let means = format!("that means: {}", self.means.join("; "));
        let hooks = format!("hooks: {}", self.hooks.join(", "));
        self.obstacle.message(&[means, hooks])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::{
        catalog::{Attach, CATALOG},
        environment::{Tracefs, complete},
    };

    fn all_missing(which: impl Fn(&Hook) -> bool) -> Vec<(&'static Hook, Status)> {
        let hooks = CATALOG.iter().filter(|hook| which(hook));
        hooks
            .map(|hook| (hook, Status::Missing(format!("no {}", hook.name))))
            .collect()
    }

    #[test]
    fn one_reason_is_one_message() {
        let mut environment = complete();
        environment.tracefs = Tracefs::Absent;
        let hooks = all_missing(|hook| matches!(hook.attach, Attach::Tracepoint(..)));
        let messages = messages(&hooks, &environment);
        assert_eq!(messages.len(), 1, "{messages:?}");
        for part in [
            "tracefs is not mounted\n",
            "no close events; ",
            "mount -t tracefs",
        ] {
            assert!(messages[0].contains(part), "{messages:?}");
        }
        assert_eq!(
            messages[0]
                .matches("accepted sockets have no owner")
                .count(),
            1
        );
    }

    #[test]
    fn what_nothing_explains_is_told_as_the_kernel_said_it() {
        let hooks = all_missing(|hook| hook.name.starts_with("sched_"));
        let messages = messages(&hooks, &complete());
        assert_eq!(messages.len(), hooks.len());
        assert!(
            messages[0].starts_with("no sched_process_exit\n"),
            "{messages:?}"
        );
    }

    #[test]
    fn nothing_is_said_of_what_is_as_it_should_be() {
        let hooks: Vec<_> = CATALOG
            .iter()
            .map(|hook| (hook, Status::Attached))
            .collect();
        assert_eq!(messages(&hooks, &complete()), Vec::<String>::new());
    }
}
