//! Lists, as the commands of the same name show them: the query is their command line.
//!
//! `?pid=7&netns=blue` is `--pid=7 --netns=blue`; who gives `arg` gives the whole command line. JSON, unless `output` says
//! otherwise.

use std::io;

use clap::Parser as _;

use super::{hooks, site::Site};
use crate::{
    cli::{Cli, Color, Command, PortsFormat, Sockets, SocketsFormat},
    commands::{
        elsewhere::{NOTES, STATUS},
        filter::Filter,
        look::Listing,
        ports,
        question::Question,
        reports, selection,
        sockets::{details, want, write},
    },
    failure::Failure,
    http::{Answer, ApiError},
    inventory::Listed,
};

/// What is sent: the list, what to say about it, and the status to exit with.
#[derive(Default)]
struct Said {
    body: Vec<u8>,
    notes: Vec<String>,
    status: u8,
    /// It is a table, and no JSON.
    table: bool,
}

/// Answers.
pub(super) async fn answer(
    site: &Site,
    list: &str,
    query: Vec<(String, String)>,
) -> Result<Answer, ApiError> {
    if list == "hooks" {
        let hooks = site.ask(Question::Hooks).await.ok_or_else(stopping)?;
        let mut body = Vec::new();
        hooks::write(&mut body, &hooks).map_err(|error| broken(&error))?;
        return Ok(Answer::json(body));
    }
    let cli = parse(list, query)?;
    let said = match &cli.command {
        Command::Sockets(args) => sockets(site, args).await?,
        command => watched(site, command, cli.color)?,
    };
    let mut headers = vec![(STATUS, said.status.to_string())];
    if !said.notes.is_empty() {
        headers.push((NOTES, said.notes.join("\t")));
    }
    Ok(Answer {
        content_type: if said.table {
            "text/plain; charset=utf-8"
        } else {
            "application/x-ndjson"
        },
        headers,
        body: said.body.into(),
    })
}

/// The query as the command line that it is.
fn parse(list: &str, query: Vec<(String, String)>) -> Result<Cli, ApiError> {
    let command = match list {
        "findings" => "leaks",
        other => other,
    };
    let asks = |name: &str| query.iter().any(|(key, _)| key == name);
    let mut arguments = Vec::new();
    if !asks("arg") {
        arguments.extend(["socktrace".to_owned(), command.to_owned()]);
        if !asks("output") {
            arguments.push("--output=json".to_owned());
        }
    }
    for (key, value) in query {
        match (&*key, &*value) {
            ("arg", _) => arguments.push(value),
            ("filter", _) => arguments.extend(value.split_whitespace().map(str::to_owned)),
            (_, "") => arguments.push(format!("--{key}")),
            _ => arguments.push(format!("--{key}={value}")),
        }
    }
    let cli = Cli::try_parse_from(&arguments);
    let cli = cli.map_err(|error| ApiError::new(400, error.to_string()))?;
    let (named, netns) = match &cli.command {
        Command::Sockets(args) => ("sockets", &args.netns),
        Command::Leaks(args) => ("leaks", &args.watch.netns),
        Command::Limits(args) => ("limits", &args.watch.netns),
        Command::Ports(args) => ("ports", &args.netns),
        _ => return Err(ApiError::new(400, "this command has no list")),
    };
    if named != command {
        return Err(ApiError::new(400, format!("{list} is no list of {named}")));
    }
    // Files are looked at with more rights than whoever asks may have.
    if netns.iter().any(|name| name.contains('/')) {
        return Err(ApiError::new(
            400,
            "a namespace is a number or a name here, no path",
        ));
    }
    Ok(cli)
}

async fn sockets(site: &Site, args: &Sockets) -> Result<Said, ApiError> {
    let want = want(args).map_err(refused)?;
    let details = details(args, &want);
    let listed = site
        .ask(|reply| {
            Question::List(Box::new(Listing {
                want,
                details,
                reply,
            }))
        })
        .await
        .ok_or_else(stopping)?;
    let mut listed: Listed = listed.map_err(|error| broken(&error))?;
    let identities: Vec<_> = listed
        .rows
        .iter()
        .map(|row| row.identity().unwrap_or(0))
        .collect();
    let known = site.ask(|reply| Question::Known(identities, reply)).await;
    for (row, told) in listed.rows.iter_mut().zip(known.ok_or_else(stopping)?) {
        if let Some(told) = told {
            row.learn(told);
        }
    }
    let mut said = Said {
        table: args.output == SocketsFormat::Table,
        notes: std::mem::take(&mut listed.notes),
        ..Said::default()
    };
    write(args, &mut listed.rows, &mut said.body).map_err(|error| broken(&error))?;
    Ok(said)
}

/// What the last look found.
fn watched(site: &Site, command: &Command, color: Color) -> Result<Said, ApiError> {
    let published = site.published();
    let (Some(clock), Some(watched)) = (&published.clock, published.watched()) else {
        return Err(ApiError::new(
            503,
            "nothing has been looked at yet: ask again in a second",
        ));
    };
    let mut said = Said {
        notes: published.notes.clone(),
        ..Said::default()
    };
    match command {
        Command::Leaks(args) => {
            let filter = Filter::new(&args.watch).map_err(refused)?;
            let stories: Vec<_> = published
                .stories
                .iter()
                .filter(|it| filter.wants(&it.finding))
                .collect();
            let color = color == Color::Always;
            said.table = args.watch.output == SocketsFormat::Table;
            let report = reports::Leaking {
                stories: &stories,
                clock,
                watched,
                growth_takes: published.growth_takes,
                goes_on: true,
            };
            report
                .write(args, color, &mut said.body)
                .map_err(|error| broken(&error))?;
            said.notes.extend(report.notes(args));
            said.status = report.status(args);
        }
        Command::Limits(args) => {
            let filter = Filter::new(&args.watch).map_err(refused)?;
            let rows = published
                .limits
                .iter()
                .filter(|row| filter.wants_limit(row))
                .cloned();
            let stories = published
                .stories
                .iter()
                .filter(|it| filter.wants(&it.finding));
            said.table = args.watch.output == SocketsFormat::Table;
            reports::write_limits(args, rows.collect(), &mut said.body)
                .map_err(|error| broken(&error))?;
            said.status = reports::near(args, stories.map(|story| story.finding.severity));
        }
        Command::Ports(args) => {
            said.table = args.output == PortsFormat::Table;
            let netns = selection::namespaces(&args.netns).map_err(refused)?;
            let report = published.ports.of(&netns);
            said.notes.extend(report.notes.iter().cloned());
            let (status, notes) =
                ports::write(args, report, &mut said.body).map_err(|error| broken(&error))?;
            said.notes.extend(notes);
            said.status = status;
        }
        _ => return Err(ApiError::new(400, "this command has no list")),
    }
    Ok(said)
}

fn refused(failure: Failure) -> ApiError {
    ApiError::new(400, failure.message)
}

fn stopping() -> ApiError {
    ApiError::new(503, "socktrace is stopping")
}

fn broken(error: &io::Error) -> ApiError {
    ApiError::new(500, error.to_string())
}
