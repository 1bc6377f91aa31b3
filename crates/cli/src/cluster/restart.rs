//! Restart of a computation on several nodes: each image is rebuilt by an agent, the first one by this process.

use super::lead::Lead;
use super::part;
use super::place;
use crate::failure::{Failure, Result};
use crate::message::{self, Meter};
use crate::place::host_name;
use crate::start::Saved;
use rethaw_cluster::{News, Order, PlannedImage, Prepare, Prepared as Ready, Report, RestartPlan};
use rethaw_engine::restart::{self, Prepared, Report as Told};
use rethaw_engine::tree::Tree;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

/// Brings all images back; on error nothing runs.
pub fn restart(mut lead: Lead, images: &[Saved], wanted: &[String]) -> Result<(Tree, Told, Lead)> {
    let before: Vec<String> = images.iter().map(host).collect();
    let available = if wanted.is_empty() {
        place::nodes_of_job()
    } else {
        Some(wanted.to_vec())
    };
    let places = place::assign(&before, &host_name(), available.as_deref());
    for (number, node) in (0..).zip(&places).skip(1) {
        message::note(format!("image {number} of {} goes to {node}", images.len()));
        lead.fetch_agent(node, Some(number));
    }
    lead.restart(plan(images));
    match come_back(&mut lead, images) {
        Ok((tree, told)) => Ok((tree, told, lead)),
        Err(failure) => {
            lead.end();
            Err(failure)
        }
    }
}

fn host(image: &Saved) -> String {
    let taken = image.computation.taken.as_ref();
    taken.map(|taken| taken.host.clone()).unwrap_or_default()
}

fn plan(images: &[Saved]) -> RestartPlan {
    let planned = (0..).zip(images).map(|(agent, image)| PlannedImage {
        agent,
        node: host(image),
        addresses: image
            .computation
            .taken
            .as_ref()
            .map(|taken| taken.addresses.clone())
            .unwrap_or_default(),
        image: image.path.as_os_str().as_bytes().to_vec(),
    });
    RestartPlan {
        generation: images.first().map_or(0, |image| image.identity.generation),
        images: planned.collect(),
    }
}

fn come_back(lead: &mut Lead, images: &[Saved]) -> Result<(Tree, Told)> {
    let mut prepared = None;
    let mut back = None;
    loop {
        while let Ok(Some(order)) = lead.link.recv(Some(Duration::from_millis(20))) {
            match order {
                Order::Prepare(prepare) => prepared = rebuild(lead, images, &prepare)?,
                Order::Go(_) => back = prepared.take().map(Prepared::resume).transpose()?,
                Order::Abort(abort) if abort.attempt == 0 => return Err(Failure::said(abort.sentence)),
                _ => {}
            }
        }
        while let Some(news) = lead.news(Some(Duration::ZERO))? {
            lead.note(&news);
            match news {
                News::Restarted { .. } => {
                    return back.ok_or_else(|| Failure::said("the coordinator is out of step"));
                }
                News::RestartFailed(cause) => return Err(Failure::said(cause.to_string())),
                News::NodeLost { node, reason, .. } => {
                    return Err(Failure::said(format!(
                        "{node} was lost during the restart: {reason}"
                    )));
                }
                _ => {}
            }
        }
        lead.reap();
    }
}

/// None: not possible here, which the coordinator is told, and all others by it.
fn rebuild(lead: &Lead, images: &[Saved], prepare: &Prepare) -> Result<Option<Prepared>> {
    let Some(image) = images.first() else {
        return Ok(None);
    };
    let options = lead.terms.restart(lead.terms.meeting(&prepare.nodes));
    let meter = Meter::new(format!("reading {}", image.path.display()));
    let outcome = restart::prepare(&image.path, &options, &|done, all| meter.set(done, all));
    match outcome {
        Ok(prepared) => {
            lead.link.send(Report::Prepared(Ready {}))?;
            Ok(Some(prepared))
        }
        Err(error) => {
            part::report(&lead.link, 0, &error.into());
            Ok(None)
        }
    }
}
