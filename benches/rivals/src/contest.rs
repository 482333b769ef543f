//! Rounds, interleaved: whatever else the machine does meets all alike. What is compared are medians.

use std::sync::Arc;
use std::time::Duration;

use crate::figures;
use crate::loads::{Load, PANELS};
use crate::proxies::{Kind, Proxy};
use crate::report::{self, Report};
use crate::shape::Shape;
use crate::site::Site;

/// So often in a row a proxy may fail to start, or alter bytes.
const CHANCES: u32 = 2;

/// Runs all `loads`, panel by panel.
pub fn run(kinds: &[&'static Kind], loads: &[Load], site: &Arc<Site>, rounds: usize, span: Duration, to: &mut Report) {
    for (panel, title) in PANELS {
        let loads: Vec<&Load> = loads.iter().filter(|load| load.panel == *panel).collect();
        if loads.is_empty() {
            continue;
        }
        println!("\n{title}");
        let mut field = Field { site, members: Vec::new() };
        for round in 0..rounds {
            for load in loads.iter().filter(|load| round == 0 || !load.once()) {
                // Another one is first each time.
                for kind in (0..kinds.len()).map(|index| kinds[(index + round) % kinds.len()]) {
                    if kind.is_ours() || !load.ours_only {
                        turn(&mut field, kind, load, round, span, to);
                    }
                }
            }
        }
    }
}

fn turn(field: &mut Field, kind: &'static Kind, load: &Load, round: usize, span: Duration, to: &mut Report) {
    let place = format!("round {} {} {}", round + 1, load.name, kind.name);
    let Some(proxy) = field.member(kind, load, to) else { return };
    match figures::measure(proxy, load, span) {
        Ok(figures) => {
            println!("{place}: {}", report::line(&figures));
            to.add(load, kind, &figures);
        }
        Err(error) => {
            let how = proxy.ended().map_or_else(|| error.to_string(), |how| format!("{error}; {how}"));
            println!("{place}: FAILED: {how}");
            to.problem(load.name.clone(), kind, &how);
            // Whatever state that left it in, the next load meets a fresh one.
            field.dismiss(kind, load.shape);
        }
    }
}

/// The proxies of a panel; each starts when it is first needed.
struct Field<'a> {
    site: &'a Arc<Site>,
    members: Vec<Member>,
}

struct Member {
    kind: &'static Kind,
    shape: Shape,
    proxy: Option<Proxy>,
    /// How often in a row it could not be had.
    failed: u32,
}

impl Field<'_> {
    /// It runs, and what it passes on is right; otherwise that is reported.
    fn member(&mut self, kind: &'static Kind, load: &Load, to: &mut Report) -> Option<&mut Proxy> {
        let shape = load.shape;
        let known = self.members.iter().position(|member| member.kind.name == kind.name && member.shape == shape);
        let index = known.unwrap_or_else(|| {
            self.members.push(Member { kind, shape, proxy: None, failed: 0 });
            self.members.len() - 1
        });
        let member = &mut self.members[index];
        if let Some(how) = member.proxy.as_mut().and_then(Proxy::ended) {
            println!("{}: between two loads {how}", kind.name);
            to.problem(load.name.clone(), kind, &how);
            member.proxy = None;
        }
        if member.proxy.is_none() && member.failed < CHANCES {
            match start(kind, shape, self.site) {
                Ok(proxy) => {
                    to.verified(&proxy);
                    (member.proxy, member.failed) = (Some(proxy), 0);
                }
                Err(why) => {
                    member.failed += 1;
                    let out = if member.failed < CHANCES { "" } else { "; it is left out here" };
                    println!("{}: {why}{out}", kind.name);
                    to.problem(load.name.clone(), kind, &why);
                }
            }
        }
        member.proxy.as_mut()
    }

    fn dismiss(&mut self, kind: &Kind, shape: Shape) {
        for member in self.members.iter_mut().filter(|member| member.kind.name == kind.name && member.shape == shape) {
            member.proxy = None;
        }
    }
}

/// Figures of a proxy that alters bytes mean nothing.
fn start(kind: &'static Kind, shape: Shape, site: &Arc<Site>) -> Result<Proxy, String> {
    let proxy = Proxy::start(kind, shape, site, Vec::new()).map_err(|error| format!("cannot start: {error}"))?;
    proxy.target.verify()?;
    Ok(proxy)
}
