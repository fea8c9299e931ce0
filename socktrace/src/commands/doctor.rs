//! `doctor`: what this kernel and these privileges allow.

use std::{
    fmt::Write as _,
    io::{self, IsTerminal as _, Write as _},
};

use anstyle::{AnsiColor, Style};
use serde::Serialize;

use super::{abilities, colored};
use crate::{
    cli::{Color, Doctor, DoctorFormat},
    failure::Failure,
    probe::{
        check::{Check, Grade, Lack, examine, remedy::Remedy},
        environment::Environment,
    },
};

pub(super) fn doctor(args: &Doctor, color: Color) -> Result<u8, Failure> {
    let mut checks = examine(&Environment::here());
    checks.push(abilities::bound_sockets());
    let worst = checks
        .iter()
        .map(|check| check.grade)
        .max()
        .unwrap_or(Grade::Ok);
    // The daemon's alone: whoever traces is in no bounds.
    checks.push(abilities::landlock());
    checks.push(verdict(worst));
    if args.quiet {
        checks.retain(|check| check.grade != Grade::Ok);
    }
    let text = match args.output {
        DoctorFormat::Table => table(&checks, colored(color, io::stdout().is_terminal())),
        DoctorFormat::Json => json(&checks)?,
    };
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error.into()),
        _ => {}
    }
    Ok(match worst {
        Grade::Ok | Grade::Warn => 0,
        Grade::Fail(lack) => lack.into(),
    })
}

/// What all of it amounts to.
fn verdict(worst: Grade) -> Check {
    let message = match worst {
        Grade::Ok => "`socktrace trace` can run, and sees everything",
        Grade::Warn => "`socktrace trace` can run, but not everything is as it should be",
        Grade::Fail(Lack::Privileges) => "`socktrace trace` cannot run with these privileges",
        Grade::Fail(Lack::Kernel) => "`socktrace trace` cannot run on this kernel",
    };
    Check {
        name: "verdict".to_owned(),
        grade: worst,
        message: message.to_owned(),
        remedy: None,
    }
}

fn table(checks: &[Check], color: bool) -> String {
    let width = checks
        .iter()
        .map(|check| check.name.len())
        .max()
        .unwrap_or(0);
    let mut text = String::new();
    for Check {
        name,
        grade,
        message,
        remedy,
    } in checks
    {
        let style = if color { style(*grade) } else { Style::new() };
        let word = grade.word().to_uppercase();
        _ = writeln!(text, "{style}{word:<4}{style:#}  {name:<width$}  {message}");
        for line in remedy.iter().flat_map(Remedy::lines) {
            _ = writeln!(text, "      {:<width$}  {line}", "");
        }
    }
    text
}

fn style(grade: Grade) -> Style {
    match grade {
        Grade::Ok => AnsiColor::Green.on_default(),
        Grade::Warn => AnsiColor::Yellow.on_default(),
        Grade::Fail(_) => AnsiColor::Red.on_default().bold(),
    }
}

/// One of `-o json`.
#[derive(Serialize)]
struct Row<'a> {
    check: &'a str,
    status: &'static str,
    message: &'a str,
    remedy: Option<String>,
}

fn json(checks: &[Check]) -> Result<String, Failure> {
    let mut text = String::new();
    for check in checks {
        let row = Row {
            check: &check.name,
            status: check.grade.word(),
            message: &check.message,
            remedy: check.remedy.as_ref().map(Remedy::to_string),
        };
        text += &serde_json::to_string(&row).map_err(io::Error::from)?;
        text.push('\n');
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checks() -> Vec<Check> {
        vec![
            Check {
                name: "kernel".to_owned(),
                grade: Grade::Ok,
                message: "Linux 6.18".to_owned(),
                remedy: None,
            },
            Check {
                name: "cgroup2".to_owned(),
                grade: Grade::Warn,
                message: "not mounted".to_owned(),
                remedy: Some("mount it".into()),
            },
            verdict(Grade::Fail(Lack::Kernel)),
        ]
    }

    #[test]
    fn lines_are_columns_with_the_remedy_below() {
        let expected = "\
OK    kernel   Linux 6.18
WARN  cgroup2  not mounted
               remedy: mount it
FAIL  verdict  `socktrace trace` cannot run on this kernel
";
        assert_eq!(table(&checks(), false), expected);
    }

    #[test]
    fn only_the_word_has_a_colour() {
        let text = table(&checks(), true);
        assert!(
            text.starts_with("\u{1b}[32mOK  \u{1b}[0m  kernel"),
            "{text:?}"
        );
    }

    #[test]
    fn json_is_an_object_a_line() {
        let text = json(&checks()).unwrap();
        assert_eq!(
            text.lines().next().unwrap(),
            r#"{"check":"kernel","status":"ok","message":"Linux 6.18","remedy":null}"#
        );
        assert!(
            text.lines()
                .nth(1)
                .unwrap()
                .ends_with(r#""remedy":"mount it"}"#),
            "{text}"
        );
    }
}
