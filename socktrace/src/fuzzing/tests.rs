//! The seeds, and what a few random changes make of them, in every ordinary run of the tests.

use std::{fs, path::Path};

use proptest::{prelude::*, sample::select};
use socktrace_common::event::LifeEvent;
use zerocopy::FromBytes as _;

use super::{TARGETS, stream};
use crate::{
    inventory::Expression,
    probe::offsets,
    select::Condition,
    settings::Configuration,
    source::snapshot::{Protocols, Query, diag},
    unfold::Life,
};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A target's seeds: its own, and those that are in the tree anyway.
fn seeds(target: &str) -> Vec<Vec<u8>> {
    let own = root().join("../fuzz/seeds").join(target);
    let others = match target {
        "recording" => vec!["testdata"],
        "web_config" => vec!["testdata/web/good", "testdata/web/bad"],
        _ => Vec::new(),
    };
    let others = others.iter().map(|it| root().join(it));
    let mut seeds = Vec::new();
    for folder in [own].into_iter().chain(others) {
        let files = fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
        for file in files.map(|it| it.unwrap().path()) {
            let of_another =
                folder.ends_with("testdata") && file.extension().is_none_or(|it| it != "rec");
            if file.is_file() && !of_another {
                seeds.push(fs::read(file).unwrap());
            }
        }
    }
    assert!(!seeds.is_empty(), "{target}");
    seeds
}

#[test]
fn no_seed_breaks_its_target() {
    for (target, run) in TARGETS {
        for seed in seeds(target) {
            run(&seed);
        }
    }
}

#[test]
fn seeds_reach_what_they_are_for() {
    // A seed that is refused at its first byte would test nothing.
    let kernel = seeds("btf")
        .iter()
        .any(|it| offsets::of(it.clone()).is_ok());
    assert!(kernel, "some seed has all that the hooks need");
    let rows: usize = seeds("recording")
        .iter()
        .map(|it| stream::changes(it).len())
        .sum();
    assert!(rows > 100, "{rows}");
    assert!(Configuration::parse(&first("settings/default")).is_ok());
    assert!(
        first("filters/numbers")
            .lines()
            .all(|it| it.parse::<Condition>().is_ok())
    );
    assert!(first("filters/ss").parse::<Expression>().is_ok());
    let life = fs::read(root().join("../fuzz/seeds/records/life")).unwrap();
    let (life, _) = LifeEvent::read_from_prefix(&life[1..]).unwrap();
    assert_eq!(Life::new(&life).map(|it| it.len()), Ok(9));
    let mut found = 0;
    for seed in seeds("netlink") {
        let protocol = Protocols::ALL[usize::from(seed[0])];
        diag::rows(Query::all(protocol), &seed[1..], |_| found += 1);
    }
    assert!(found > 15, "{found}");
}

/// A seed that is text.
fn first(name: &str) -> String {
    fs::read_to_string(root().join("../fuzz/seeds").join(name)).unwrap()
}

/// A place, what stands there instead, and how much of what was there goes.
type Damage = (usize, Vec<u8>, usize);

fn damaged(mut bytes: Vec<u8>, damage: &[Damage]) -> Vec<u8> {
    for (at, instead, gone) in damage {
        let at = at % (bytes.len() + 1);
        let end = at.saturating_add(*gone).min(bytes.len());
        bytes.splice(at..end, instead.iter().copied());
    }
    bytes
}

proptest! {
    #[test]
    fn no_damage_to_a_seed_breaks_its_target(
        target in select(&TARGETS[..]),
        seed in any::<usize>(),
        damage in prop::collection::vec(
            (any::<usize>(), prop::collection::vec(any::<u8>(), 0..9), 0_usize..9),
            1..5,
        ),
    ) {
        let (name, run) = target;
        let mut seeds = seeds(name);
        let seed = seeds.swap_remove(seed % seeds.len());
        run(&damaged(seed, &damage));
    }
}
