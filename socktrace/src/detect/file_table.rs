//! The machine is about to run out of open files: every process but root's fails with `ENFILE`.

use super::{Detector, Finding, Kind, Severity, Subject, World, settings::FileTable as Settings};

pub(super) struct FileTable(Settings);

impl FileTable {
    pub(super) fn new(settings: Settings) -> Self {
        Self(settings)
    }
}

impl Detector for FileTable {
    fn kind(&self) -> Kind {
        Kind::FileTable
    }

    fn look(&mut self, world: &World, found: &mut Vec<Finding>) {
        let Some(filled) = world.files else { return };
        let Some(severity) = Severity::of_ratio(filled, self.0.warning, self.0.critical) else {
            return;
        };
        let nobody = Subject::default();
        let mut finding = Finding::of_limit(Kind::FileTable, severity, nobody, filled);
        finding.advice = String::from("socktrace limits");
        found.push(finding);
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Filled, testing::*},
        *,
    };

    #[test]
    fn it_is_told_when_it_fills_up() {
        let mut detector = FileTable::new(Settings::default());
        let told = looks(&mut detector, 100, |second| World {
            files: Some(Filled {
                used: second / 60,
                limit: 100,
            }),
            ..world(second, Vec::new())
        });
        assert_eq!(told[0], (70, Severity::Warning));
        assert_eq!(told[20], (90, Severity::Critical));
    }
}
