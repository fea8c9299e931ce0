//! What each program costs the verifier, held against what it cost before: it refuses a program at a
//! million instructions, older kernels count more for the same program, and a change that makes one
//! branch too many shows here first.

use std::{collections::BTreeMap, env, fmt::Write as _, fs, path::Path};

use socktrace::{
    probe::{Plan, Probes},
    source::snapshot::Protocol,
};

const RECORDED: &str = "tests/kernel/verifier.toml";
/// A program may cost so much more than was recorded, in percent, before somebody has to look.
const TOLERANCE: u32 = 20;
/// Half of what the verifier takes.
const MOST: u32 = 500_000;

#[test]
fn no_program_costs_the_verifier_much_more_than_was_recorded() {
    // What each step is told of for, and what lives are kept for.
    let stepwise = Plan {
        stacks: 64,
        ..Plan::everything(&Protocol::ALL, 1 << 16)
    };
    let folded = Plan {
        lives: 64,
        shelves: true,
        ..Plan::everything(&[Protocol::Tcp, Protocol::Udp], 1 << 16)
    };
    let mut found = BTreeMap::<String, u32>::new();
    for plan in [stepwise, folded] {
        for (program, count) in Probes::attach(&plan).unwrap().verified() {
            let most = found.entry(program).or_default();
            *most = count.max(*most);
        }
    }
    assert!(found.len() > 15, "{found:?}");
    let release = rustix::system::uname();
    let release = release.release().to_str().unwrap();
    let kernel: Vec<_> = release.split('.').take(2).collect();
    let kernel = kernel.join(".");

    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(RECORDED);
    if env::var_os("SOCKTRACE_RECORD_VERIFIER").is_some() {
        let mut text = format!(
            "# Instructions that the verifier looked at, by program: the most of what plans make of it.\n\
             # SOCKTRACE_RECORD_VERIFIER=1 cargo nextest run -p socktrace --test kernel verifier\n\n\
             kernel = \"{kernel}\"\n\n[programs]\n"
        );
        for (program, count) in &found {
            _ = writeln!(text, "{program} = {count}");
        }
        fs::write(&path, text).unwrap();
    }
    let recorded: toml::Table = toml::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let same_kernel = recorded["kernel"].as_str() == Some(&kernel);
    if !same_kernel {
        println!(
            "recorded on {}, this is {kernel}: only the limit counts",
            recorded["kernel"]
        );
    }
    let programs = recorded["programs"].as_table().unwrap();
    let mut wrong = Vec::new();
    for (program, &count) in &found {
        let before = programs.get(program).and_then(toml::Value::as_integer);
        match before.map(|it| u32::try_from(it).unwrap()) {
            None => wrong.push(format!("{program}: {count}, and nothing is recorded")),
            Some(before) if same_kernel && count > before + before * TOLERANCE / 100 => {
                wrong.push(format!("{program}: {count}, and {before} before"));
            }
            Some(_) if count > MOST => wrong.push(format!("{program}: {count}")),
            Some(_) => {}
        }
    }
    assert!(
        wrong.is_empty(),
        "{wrong:#?}\nif that is meant: SOCKTRACE_RECORD_VERIFIER=1 records it"
    );
}
