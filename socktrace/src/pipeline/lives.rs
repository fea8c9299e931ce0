//! Lives that are told at once, and those of which snapshots find the beginning.

use std::io;

use socktrace_common::{event::LifeEvent, socket::SocketInfo};

use super::Pipeline;
use crate::{
    source::Item,
    unfold::{self, Life},
};

impl Pipeline {
    /// Lives are told when they are over, and that may be after the exit of whoever had them.
    pub fn expect_lives(&mut self) {
        self.table.keeps_exited = true;
    }

    /// Takes in what the kernel side has kept so far of a socket that the table does not know. The rest
    /// of its life is told when that is over. `place`: where somebody has found it.
    pub fn preview(&mut self, mut life: LifeEvent, place: Option<&SocketInfo>) -> io::Result<()> {
        if let Some(place) = place {
            unfold::place(&mut life, place);
        }
        // It is told in full later; what is wrong with it is told then.
        let Ok(life) = Life::new(&life) else {
            return Ok(());
        };
        self.previewed.insert(life.id(), life.len());
        self.lived(life, 0)
    }

    pub(super) fn life_came(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Ok(life) = Life::decode(bytes) else {
            return self.made_no_sense(bytes);
        };
        self.keep(&Item::Record(bytes))?;
        let header = life.header();
        self.sequence.see(header.cpu, header.seq, header.mono_ns);
        self.last_ns = self.last_ns.max(header.mono_ns);
        let known = self.previewed.remove(&life.id()).unwrap_or(0);
        self.lived(life, known)
    }

    /// Takes in all steps of a life but the first so many.
    fn lived(&mut self, life: Life<'_>, known: usize) -> io::Result<()> {
        self.expect_lives();
        if known == 0 && life.is_whole() {
            for pid in life.actors() {
                self.meet(pid)?;
            }
            let mut telling = self.rows.telling(true);
            if self.table.apply_whole(life, &mut telling) {
                return telling.result;
            }
        }
        for event in life.events(known) {
            if event.acts() {
                self.meet(event.header().tgid)?;
            }
            let mut telling = self.rows.telling(true);
            self.table.apply_late(&event, &mut telling);
            telling.result?;
        }
        Ok(())
    }
}
