//! `cargo xtask sbom`: what the program is made of, as `CycloneDX` 1.5 in JSON, for those who keep
//! lists of such. It comes from cargo's own resolution and Cargo.lock, holds no time and no machine,
//! and so is the same for the same sources.

use std::fs;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::{
    packages::{Package, Packages},
    util::target_dir,
};

pub(crate) fn sbom() -> Result<()> {
    let path = target_dir().join("socktrace.cdx.json");
    fs::create_dir_all(target_dir())?;
    let text = serde_json::to_string_pretty(&document(&Packages::read()?)?)?;
    fs::write(&path, text + "\n")?;
    eprintln!("{} is written", path.display());
    Ok(())
}

fn document(packages: &Packages) -> Result<Value> {
    let all = packages.all.values();
    let main = all
        .clone()
        .find(|it| it.is_ours() && it.name == "socktrace")
        .context("socktrace is not among its own packages")?;
    let others = all.filter(|it| it.id != main.id);
    let needs = packages.needs.iter().map(|(id, needed)| {
        let needed: Vec<_> = needed.iter().map(|it| purl(&packages.all[it])).collect();
        json!({ "ref": purl(&packages.all[id]), "dependsOn": needed })
    });
    Ok(json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": { "component": component(main, packages, "application") },
        "components": others.map(|it| component(it, packages, "library")).collect::<Vec<_>>(),
        "dependencies": needs.collect::<Vec<_>>(),
    }))
}

fn component(package: &Package, packages: &Packages, kind: &str) -> Value {
    let mut component = json!({
        "type": kind,
        "bom-ref": purl(package),
        "name": package.name,
        "version": package.version,
        "purl": purl(package),
        // Part of the program, or only run to build it.
        "scope": if package.has("proc-macro") { "excluded" } else { "required" },
    });
    if let Some(license) = &package.license {
        component["licenses"] = json!([{ "expression": license.replace('/', " OR ") }]);
    }
    if let Some(description) = &package.description {
        component["description"] = json!(description.trim());
    }
    if let Some(url) = &package.repository {
        component["externalReferences"] = json!([{ "type": "vcs", "url": url }]);
    }
    let key = (package.name.clone(), package.version.clone());
    if let Some(checksum) = packages.checksums.get(&key) {
        component["hashes"] = json!([{ "alg": "SHA-256", "content": checksum }]);
    }
    component
}

fn purl(package: &Package) -> String {
    // A version may have a `+`, which a URL takes for something else.
    let version = package.version.replace('+', "%2B");
    format!("pkg:cargo/{}@{version}", package.name)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_package_is_in_it_once_and_names_only_those_that_are() {
        let packages = Packages::read().unwrap();
        let document = document(&packages).unwrap();
        let components = document["components"].as_array().unwrap();
        assert!(components.len() > 100, "{}", components.len());
        let mut refs: HashSet<&str> = HashSet::new();
        for it in components {
            let name = it["bom-ref"].as_str().unwrap();
            assert!(refs.insert(name), "{name} is there twice");
            assert!(it["licenses"][0]["expression"].is_string(), "{name}");
            let ours = name.starts_with("pkg:cargo/socktrace");
            assert_eq!(it["hashes"].is_array(), !ours, "{name}");
        }
        refs.insert(
            document["metadata"]["component"]["bom-ref"]
                .as_str()
                .unwrap(),
        );
        for it in document["dependencies"].as_array().unwrap() {
            assert!(refs.contains(it["ref"].as_str().unwrap()));
            for needed in it["dependsOn"].as_array().unwrap() {
                assert!(refs.contains(needed.as_str().unwrap()), "{needed}");
            }
        }
        assert!(
            !refs.iter().any(|it| it.contains("proptest")),
            "only of tests"
        );
    }
}
