//! Asks a running daemon instead of looking: it knows since when things are as they are.

use std::{
    env,
    io::{self, IsTerminal as _, Write as _},
};

use super::{colored, quietly, stdout, tell};
use crate::{
    cli::{Answer, Cli, Color, Command},
    failure::Failure,
    http::client::{ClientError, get, target},
};

/// The header with the status to exit with.
pub(super) const STATUS: &str = "socktrace-status";
/// The header with what to say to people, separated by tabs.
pub(super) const NOTES: &str = "socktrace-notes";

/// The daemon's answer to a command; `None` where it must be found by looking.
pub(super) fn ask(cli: &Cli) -> Option<Result<u8, Failure>> {
    let (list, answer) = match &cli.command {
        Command::Sockets(args) => ("sockets", &args.answer),
        // What is to be followed from now on, or asked of each call, nobody knows yet.
        Command::Leaks(args)
            if !args.follow && !args.stacks && args.watch.config_file.is_none() =>
        {
            ("findings", &args.watch.answer)
        }
        Command::Limits(args) if args.watch.config_file.is_none() => ("limits", &args.watch.answer),
        Command::Ports(args) => ("ports", &args.answer),
        _ => return None,
    };
    if answer.standalone {
        return None;
    }
    put(list, answer, cli.color)
}

fn put(list: &str, answer: &Answer, color: Color) -> Option<Result<u8, Failure>> {
    let color = if colored(color, io::stdout().is_terminal()) {
        "--color=always"
    } else {
        "--color=never"
    };
    let arguments = arguments(env::args().skip(1), color)?;
    let query = arguments.iter().map(|it| ("arg", &**it));
    let mut out = stdout();
    match get(&answer.socket, &target(list, query), &mut out) {
        Ok(headers) => {
            if let Err(failure) = quietly(out.flush()) {
                return Some(Err(failure));
            }
            let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
            let notes = header(NOTES)
                .into_iter()
                .flat_map(|notes| notes.split('\t'));
            notes.for_each(tell);
            let status = header(STATUS).and_then(|status| status.parse().ok());
            Some(Ok(status.unwrap_or(0)))
        }
        Err(ClientError::NoDaemon(_)) => None,
        Err(ClientError::Output(error)) => Some(quietly(Err(error)).map(|()| 0)),
        // The command line makes no sense to it either.
        Err(ClientError::Refused(400, message)) => Some(Err(Failure::usage(message))),
        Err(error) => {
            tell(format_args!("{error}"));
            tell("looking without it (--standalone does that at once)");
            None
        }
    }
}

/// The command line as it was given, with the colour that fits our output and not the daemon's.
/// `None` if it is not text.
fn arguments(given: impl Iterator<Item = String>, color: &str) -> Option<Vec<String>> {
    let mut arguments = vec!["socktrace".to_owned()];
    let mut given = given;
    while let Some(argument) = given.next() {
        if argument == "--color" {
            given.next()?;
        } else if !argument.starts_with("--color=") {
            arguments.push(argument);
        }
    }
    arguments.insert(1, color.to_owned());
    Some(arguments)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_colour_is_decided_here() {
        let given = ["--color", "auto", "leaks", "--color=always", "-p", "7"];
        let given = given.into_iter().map(str::to_owned);
        let arguments = arguments(given, "--color=never").unwrap();
        assert_eq!(
            arguments,
            ["socktrace", "--color=never", "leaks", "-p", "7"]
        );
    }
}
