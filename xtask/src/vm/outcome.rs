//! What a kernel could do, out of what its machine wrote.

use std::collections::BTreeMap;

use serde_json::Value;

use super::guest::{BEGIN, DOCTOR, END, need_of};

/// How a test ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Passed,
    /// It said why it could not run.
    Skipped,
    /// It failed where the kernel lacks what it needs.
    Lacking,
    Failed,
    /// It did not come to its end.
    TimedOut,
}

/// A line of `doctor`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// `ok`, `warn` or `fail`.
    pub(super) status: String,
    pub(super) message: String,
}

/// All that one kernel's machine told.
#[derive(Default)]
pub(super) struct Outcome {
    /// Lines of `doctor`, by what they are about.
    pub(super) doctor: BTreeMap<String, Line>,
    /// Each test, with what it said.
    pub(super) tests: Vec<(String, Verdict, String)>,
}

impl Outcome {
    pub(super) fn read(output: &str) -> Self {
        let mut outcome = Self::default();
        let mut lines = output.lines().skip_while(|&line| line != DOCTOR).skip(1);
        let mut test: Option<(String, String)> = None;
        for line in &mut lines {
            if let Some(name) = line.strip_prefix(BEGIN) {
                // Of one whose end is missing nothing is known but that.
                outcome.end(test.take(), None);
                test = Some((name.to_owned(), String::new()));
            } else if let Some(status) = line.strip_prefix(END) {
                outcome.end(test.take(), status.parse().ok());
            } else if let Some((_, said)) = &mut test {
                said.push_str(line);
                said.push('\n');
            } else {
                outcome.told(line);
            }
        }
        outcome.end(test, None);
        outcome
    }

    /// Did `doctor` find that this is not as it should be?
    fn lacks(&self, check: &str) -> bool {
        self.doctor.get(check).is_some_and(|it| it.status != "ok")
    }

    /// Is there a hook that is not attached though the kernel has what it is attached to? Then that is our
    /// fault: older ones allow less stack, and have other names.
    pub(super) fn is_refused(&self) -> bool {
        self.doctor.iter().any(|(check, line)| {
            let explained = line.status == "ok" || line.message.contains("does not have it");
            check.starts_with("hook ") && !explained
        })
    }

    /// How many tests ended so.
    pub(super) fn count(&self, verdict: Verdict) -> usize {
        let such = |it: &&(String, Verdict, String)| it.1 == verdict;
        self.tests.iter().filter(such).count()
    }

    fn told(&mut self, line: &str) {
        let Ok(line) = serde_json::from_str::<Value>(line) else {
            return;
        };
        let text = |key: &str| line.get(key).and_then(Value::as_str).map(str::to_owned);
        if let (Some(check), Some(status)) = (text("check"), text("status")) {
            let message = text("message").unwrap_or_default();
            self.doctor.insert(check, Line { status, message });
        }
    }

    fn end(&mut self, test: Option<(String, String)>, status: Option<i32>) {
        /// Of `timeout`, and of who is killed.
        const ENDED: [i32; 2] = [124, 137];
        let Some((name, said)) = test else {
            return;
        };
        let verdict = match status {
            Some(0) if said.lines().any(|line| line.starts_with("skipped:")) => Verdict::Skipped,
            Some(0) => Verdict::Passed,
            None => Verdict::TimedOut,
            Some(status) if ENDED.contains(&status) => Verdict::TimedOut,
            Some(_) if need_of(&name).is_some_and(|need| self.lacks(need)) => Verdict::Lacking,
            Some(_) => Verdict::Failed,
        };
        self.tests.push((name, verdict, said));
    }
}

impl Verdict {
    /// All, from good to bad.
    pub(super) const ALL: [Self; 5] = [
        Self::Passed,
        Self::Skipped,
        Self::Lacking,
        Self::Failed,
        Self::TimedOut,
    ];

    /// For people.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Skipped => "skipped",
            Self::Lacking => "lacking something",
            Self::Failed => "failed",
            Self::TimedOut => "timed out",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_kernel_lacks_explains_some_failures() {
        let output = |status: &str| {
            format!(
                "VM-DOCTOR\n{{\"check\":\"cookie_helper\",\"status\":\"{status}\",\"message\":\"\"}}\n\
                 VM-TEST lives::the_peer_closes_first\nVM-DONE 101\n\
                 VM-TEST lives::bind_and_listen_that_fail\nVM-DONE 101\n"
            )
        };
        let old = Outcome::read(&output("warn"));
        assert_eq!(old.count(Verdict::Lacking), 1);
        assert_eq!(old.count(Verdict::Failed), 1);
        assert_eq!(Outcome::read(&output("ok")).count(Verdict::Failed), 2);
    }

    #[test]
    fn a_hook_that_is_not_there_is_not_one_that_is_refused() {
        let told = |message: &str| {
            let line = "{\"check\":\"hook sys_exit_bind\",\"status\":\"warn\",\"message\":\"";
            Outcome::read(&format!("VM-DOCTOR\n{line}{message}\"}}\n")).is_refused()
        };
        assert!(told(
            "the verifier refuses it: Permission denied (combined stack size)"
        ));
        assert!(told("unknown BTF type `btf_trace_of_another_name`"));
        assert!(!told("Linux 5.10 does not have it: no bind events"));
    }

    #[test]
    fn tests_and_hooks_are_told_apart() {
        let output = "VM-READY 6.1 2.5\nVM-DOCTOR\n\
             {\"check\":\"btf\",\"status\":\"ok\",\"message\":\"there\"}\nnoise\n\
             VM-TEST a::b\nrunning 1 test\nVM-DONE 0\n\
             VM-TEST a::c\nskipped: no room\nVM-DONE 0\n\
             VM-TEST a::d\npanicked\nVM-DONE 101\n\
             VM-TEST a::e\nVM-DONE 124\n\
             VM-TEST a::f\nhalf a";
        let outcome = Outcome::read(output);
        assert_eq!(outcome.doctor["btf"].status, "ok");
        let verdicts: Vec<_> = outcome.tests.iter().map(|it| it.1).collect();
        assert_eq!(
            verdicts,
            [
                Verdict::Passed,
                Verdict::Skipped,
                Verdict::Failed,
                Verdict::TimedOut,
                Verdict::TimedOut
            ]
        );
        assert_eq!(outcome.tests[2].2, "panicked\n");
        assert_eq!(outcome.count(Verdict::TimedOut), 2);
    }
}
