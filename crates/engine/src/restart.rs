//! Restart: plan → rebuild → resume.

mod check;
mod family;
mod passage;
mod plan;
mod rebuild;
mod stub;
mod valid;

use crate::checkpoint::Progress;
use crate::init::{Init, Request};
use crate::resource::file::rewind::{self, Rewind};
use crate::resource::file::{Held, path_of};
use crate::resource::object::{self, Placement};
use crate::{Result, tree::Tree};
pub(crate) use passage::Passage;
pub(crate) use plan::{Plan, damaged};
use rebuild::Rebuilt;
use rethaw_image::ImageReader;
use rethaw_sys::task;
use std::path::{Path, PathBuf};
pub(crate) use stub::{Stub, own_foothold};

/// What to do with files that the program had open for writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Files {
    /// Put back to the size at the checkpoint; what is cut off is kept in a side file.
    #[default]
    Rewind,
    /// Leave as they are.
    Keep,
    /// Refuse the restart when one has changed.
    Refuse,
}

/// How to restart.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Files open for writing.
    pub files: Files,
    /// Old path prefix → new path prefix.
    pub map: Vec<(PathBuf, PathBuf)>,
    /// Told what is waited for when that takes a while.
    pub notice: Option<Notice>,
}

/// Takes a sentence for the user.
pub type Notice = fn(&str);

/// Where paths of the image are now.
#[derive(Debug, Clone, Default)]
pub(crate) struct Places(Vec<(PathBuf, PathBuf)>);

impl Places {
    /// The path under which `old` is found now: the longest matching prefix is replaced.
    pub fn path(&self, old: &[u8]) -> PathBuf {
        let old = path_of(old);
        let fitting = self.0.iter().filter(|(from, _)| old.starts_with(from));
        let best = fitting.max_by_key(|(from, _)| from.as_os_str().len());
        match best.and_then(|(from, to)| Some((to, old.strip_prefix(from).ok()?))) {
            // Joined with nothing, a path gets a slash at its end.
            Some((to, rest)) if rest.as_os_str().is_empty() => to.clone(),
            Some((to, rest)) => to.join(rest),
            None => old,
        }
    }
}

/// What the user should know of a restart.
#[derive(Debug, Default)]
pub struct Report {
    /// One sentence each.
    pub warnings: Vec<String>,
}

/// A computation that was rebuilt and stands still. If it is dropped, or this process dies, nothing is left of
/// it, and no file was changed.
#[derive(Debug)]
pub struct Prepared {
    reader: ImageReader,
    plan: Plan,
    rebuilt: Rebuilt,
    rewinds: Vec<Rewind>,
    init: Init,
    warnings: Vec<String>,
}

/// Rebuilds the computation of `image`. `progress` is told bytes done and bytes in all.
pub fn prepare(image: &Path, options: &Options, progress: Progress<'_>) -> Result<Prepared> {
    let reader = ImageReader::open(image)?;
    let mut plan = Plan::read(&reader, options)?;
    let mut warnings = check::machine(&plan)?;
    task::raise_open_files();
    let mut held = Held::default();
    plan.placements = check::objects(&plan, &reader, options.files, &mut held, &mut warnings)?;
    let rewinds = check::files(&plan, options, &mut held, &mut warnings)?;
    let init = Init::start(Request {
        foothold: plan.foothold,
        keeper: plan.computation.parent_pid,
        clocks: Some(plan.clocks()),
    })?;
    warnings.extend(init.warnings.iter().cloned());
    let rebuilt = Rebuilt::build(&plan, &reader, &init, held, progress, &mut warnings)?;
    Ok(Prepared {
        reader,
        plan,
        rebuilt,
        rewinds,
        init,
        warnings,
    })
}

impl Prepared {
    /// Lets it run; takes milliseconds. From here on the computation outlives this process, which should
    /// therefore not be ended by signals meanwhile. On error nothing runs.
    pub fn resume(self) -> Result<(Tree, Report)> {
        let mut warnings = self.warnings;
        for rewind in &self.rewinds {
            warnings.push(rewind::rewind(rewind, self.rebuilt.held())?);
        }
        let put_back = |number: &u32| self.plan.placement(*number) == Placement::PutBack;
        for (_, record) in self.plan.objects.iter().filter(|(number, _)| put_back(number)) {
            warnings.extend(object::put_back(
                record,
                &self.plan,
                &self.reader,
                self.rebuilt.held(),
            )?);
        }
        self.init.go(self.plan.computation.main_pid)?;
        let tree = Tree::rebuilt(
            self.rebuilt.main(&self.plan)?,
            self.init,
            self.rebuilt.asleep.clone(),
        )?;
        let redraw = self.rebuilt.hand_over_terminal(&self.plan);
        self.rebuilt.resume()?;
        if let Some(redraw) = redraw {
            redraw.finish();
        }
        warnings.sort();
        warnings.dedup();
        Ok((tree, Report { warnings }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_prefix_is_replaced() {
        let pairs = [("/a", "/x"), ("/a/file", "/b/file"), ("/c", "/d")];
        let places = Places(pairs.map(|(from, to)| (from.into(), to.into())).to_vec());
        for (old, new) in [
            ("/a/other", "/x/other"),
            ("/a/file", "/b/file"),
            ("/c", "/d"),
            ("/c/deep/er", "/d/deep/er"),
            ("/cc/file", "/cc/file"),
        ] {
            assert_eq!(places.path(old.as_bytes()).as_os_str(), new);
        }
    }
}
