//! The driver inside the guest: starts what is measured, calls it, and writes
//! the figures.

use std::{fs, path::PathBuf, thread, time::Duration};

use anyhow::{Context, Result, ensure};
use clap::Args;

use super::figures::{Figures, Load, Mode, Program, Spec};

mod agent;
mod bodies;
mod capture;
mod envoy;
mod http;
mod load;
mod nginx;
mod place;
mod programs;
mod replay;
mod sink;

use agent::Agent;
use bodies::Reader;
use envoy::Envoy;
use load::{Caller, Target};
use nginx::Nginx;
use place::{Unit, wait_until};
use sink::Sink;

/// The benchmark's part inside the guest; not for people.
#[derive(Args, Debug)]
pub(crate) struct BenchGuest {
    /// What to do, as JSON.
    spec: PathBuf,
}

impl BenchGuest {
    /// Measures, and writes `figures.json`.
    ///
    /// # Errors
    /// If nothing can be measured at all.
    pub(crate) fn run(&self) -> Result<i32> {
        let spec: Spec = serde_json::from_slice(&fs::read(&self.spec)?)?;
        let bench = Bench::start(spec)?;
        let figures = bench.measure();
        let file = bench.spec.out.join("figures.json");
        fs::write(file, serde_json::to_vec_pretty(&figures)?)?;
        Ok(0)
    }
}

/// What all measurements need.
struct Bench {
    spec: Spec,
    nginx: Nginx,
    caller: Caller,
    sink: Sink,
}

impl Bench {
    fn start(spec: Spec) -> Result<Self> {
        Ok(Self {
            nginx: Nginx::start(&spec.out)?,
            caller: Caller::new(&spec.out)?,
            sink: Sink::start(&spec.sink, &spec.out)?,
            spec,
        })
    }

    fn measure(&self) -> Figures {
        let mut figures = Figures {
            kernel: place::release().unwrap_or_default(),
            ..Figures::default()
        };
        attempt(&mut figures, "nothing, before", |figures| {
            figures.nothing.push(self.load(nginx::PORT, &[])?);
            Ok(())
        });
        if self.spec.mode == Mode::Instructions {
            attempt(&mut figures, "four empty programs", |figures| {
                figures.floor = Some(self.floor()?);
                Ok(())
            });
            attempt(&mut figures, "unwatched", |figures| self.unwatched(figures));
        }
        attempt(&mut figures, "traced", |figures| self.traced(figures));
        if self.spec.mode == Mode::Instructions {
            attempt(&mut figures, "watched, no HTTP; bodies", |figures| {
                self.watched(figures)
            });
        }
        attempt(&mut figures, "nothing, after", |figures| {
            figures.nothing.push(self.load(nginx::PORT, &[])?);
            if self.spec.mode == Mode::Instructions {
                figures.foreign.get_or_insert_default().nothing =
                    self.converse("pingpong", true)?;
            }
            Ok(())
        });
        attempt(&mut figures, "Envoy", |figures| {
            figures.envoy = Some(self.envoy()?);
            Ok(())
        });
        if self.spec.mode == Mode::Instructions {
            attempt(&mut figures, "replay", |figures| {
                let Spec {
                    agent,
                    out,
                    exchanges,
                    ..
                } = &self.spec;
                figures.replay = Some(replay::measure(agent, out, *exchanges)?);
                Ok(())
            });
        }
        figures
    }

    fn target(&self, port: u16) -> Target {
        Target {
            port,
            seconds: self.spec.load_seconds,
        }
    }

    /// A short load first, so that everybody is warm and known.
    fn warm_up(&self, port: u16) -> Result<()> {
        self.caller.call(Target { port, seconds: 1 }).map(drop)
    }

    fn load(&self, port: u16, others: &[&Unit]) -> Result<Load> {
        self.warm_up(port)?;
        self.caller
            .measure(&self.nginx, self.target(port), others, |_| Ok(()))
    }

    fn floor(&self) -> Result<Load> {
        let unit = Unit::new("floor", &self.spec.out)?;
        let _programs = unit.start(&self.spec.floor, &[""; 0])?;
        wait_until("the empty programs", || Ok(unit.said().contains("ready")))?;
        let load = self.load(nginx::PORT, &[])?;
        Ok(load)
    }

    fn agent(&self, name: &'static str, units: &[&str], exports: bool) -> Result<Agent> {
        let Spec { agent, out, .. } = &self.spec;
        Agent::start(agent, out, name, units, exports)
    }

    /// The agent watches somebody else.
    fn unwatched(&self, figures: &mut Figures) -> Result<()> {
        let agent = self.agent("agent-unwatched", &["nonesuch"], false)?;
        self.warm_up(nginx::PORT)?;
        thread::sleep(Duration::from_secs(1));
        figures.unwatched = Some(self.load(nginx::PORT, &[&agent.unit])?);
        let foreign = figures.foreign.get_or_insert_default();
        foreign.unwatched = self.converse("pingpong", true)?;
        foreign.undecided = self.converse("stranger", false)?;
        agent.stop()
    }

    /// Every request of nginx becomes a span at the sink.
    fn traced(&self, figures: &mut Figures) -> Result<()> {
        let agent = self.agent("agent-traced", &["nginx"], true)?;
        self.warm_up(nginx::PORT)?;
        self.sink.drained(self.sink.totals()?, None)?;
        let before = self.sink.totals()?;
        let threads_before = place::threads(agent.process()?)?;
        let load = self.caller.measure(
            &self.nginx,
            self.target(nginx::PORT),
            &[&agent.unit, &self.sink.unit],
            |served| self.sink.drained(before, Some(served)).map(drop),
        )?;
        let mut threads = place::threads(agent.process()?)?;
        for (name, spent) in &mut threads {
            *spent -= threads_before.get(name).copied().unwrap_or_default();
        }
        // A span too many would come now.
        let after = self.sink.drained(self.sink.totals()?, None)?;
        let mut of_agent = agent.figures()?;
        of_agent.served = load.served;
        of_agent.arrived = after.spans - before.spans;
        of_agent.bytes = after.bytes - before.bytes;
        of_agent.posts = after.posts - before.posts;
        of_agent.threads = threads;
        figures.traced = Some(load);
        figures.agent = Some(of_agent);
        if self.spec.mode == Mode::Instructions {
            figures.programs = self.programs(&agent)?;
        }
        agent.stop()
    }

    /// What the agent's programs cost while nginx is traced.
    fn programs(&self, agent: &Agent) -> Result<Vec<Program>> {
        programs::measure(agent, || {
            let target = Target {
                port: nginx::PORT,
                seconds: 1,
            };
            let before = self.sink.totals()?;
            let load = self.caller.measure(&self.nginx, target, &[], |served| {
                self.sink.drained(before, Some(served)).map(drop)
            })?;
            Ok(load.served)
        })
    }

    /// The agent watches sockets that speak no HTTP, and bodies.
    fn watched(&self, figures: &mut Figures) -> Result<()> {
        let _reader = Reader::start(&self.spec.out)?;
        let units = ["nginx", "pingpong", Reader::UNIT];
        let agent = self.agent("agent-watched", &units, false)?;
        figures.foreign.get_or_insert_default().watched = self.converse("pingpong", true)?;
        figures.bodies = bodies::measure(&agent, &self.nginx)?;
        agent.stop()
    }

    fn envoy(&self) -> Result<Load> {
        let envoy = Envoy::start(&self.spec.envoy, &self.spec.out)?;
        self.warm_up(envoy::PORT)?;
        let before = self.sink.drained(self.sink.totals()?, None)?;
        self.caller.measure(
            &self.nginx,
            self.target(envoy::PORT),
            &[&envoy.unit, &self.sink.unit],
            |_| self.sink.drained(before, None).map(drop),
        )
    }

    /// Nanoseconds a turn of a conversation that is no HTTP. If it is
    /// `introduced`, its process has spoken HTTP before.
    #[expect(clippy::cast_precision_loss, reason = "counts below 2^53")]
    fn converse(&self, unit: &'static str, introduced: bool) -> Result<f64> {
        let unit = Unit::new(unit, &self.spec.out)?;
        let turns = self.spec.turns;
        let (greet, calls) = (u8::from(introduced).to_string(), turns.to_string());
        let arguments = ["--greet", &greet, "--warm-up", "200", "--calls", &calls];
        let text = unit.run(&self.spec.pingpong, &arguments)?;
        let took: u64 = text.trim().parse().context("pingpong's time")?;
        ensure!(turns > 0, "no turns");
        Ok(took as f64 / turns as f64)
    }
}

/// Measures one thing; a failure does not stop the others.
fn attempt(figures: &mut Figures, name: &str, measure: impl FnOnce(&mut Figures) -> Result<()>) {
    eprintln!("[bench] {name} ...");
    if let Err(error) = measure(figures) {
        eprintln!("[bench] {name}: {error:#}");
        figures
            .failures
            .insert(name.to_owned(), format!("{error:#}"));
    }
}
