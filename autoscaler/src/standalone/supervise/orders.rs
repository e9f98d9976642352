//! The fleet's orders carried out: processes started and signalled.

use std::net::{Ipv4Addr, TcpListener};

use jiff::Timestamp;
use nix::sys::signal::Signal;

use super::Supervisor;
use crate::standalone::command::Placement;
use crate::standalone::config::PortRange;
use crate::standalone::fingerprint::fingerprint;
use crate::standalone::fleet::{Fleet, Member, Order};
use crate::standalone::launch::Launch;
use crate::standalone::sleep::Call;
use crate::standalone::validate::Model;

impl Supervisor {
    pub(super) fn carry_out(&mut self, order: Order, now: Timestamp) {
        match order {
            Order::Start { id } => self.start_engine(&id, now),
            Order::Terminate { id, why } => {
                self.board.tell_engine(now, &id, &format!("gets SIGTERM: {why}"), false);
                self.signal(&id, Signal::SIGTERM);
            }
            Order::Kill { id, why } => {
                self.board.tell_engine(now, &id, &format!("gets SIGKILL: {why}"), true);
                self.signal(&id, Signal::SIGKILL);
            }
            Order::Sleep { id, why } => {
                self.board.tell_engine(now, &id, &format!("is put to sleep: {why}"), false);
                self.call(&id, Call::Sleep);
            }
            Order::Wake { id } => {
                self.board.tell_engine(now, &id, "is woken", false);
                self.call(&id, Call::Wake);
            }
            Order::Log { id, what, warning } => self.board.tell_engine(now, &id, &what, warning),
        }
    }

    fn signal(&self, id: &str, signal: Signal) {
        if let Some(process) = self.processes.get(id) {
            process.signal(signal);
        }
    }

    fn start_engine(&mut self, id: &str, now: Timestamp) {
        let Some((member, model)) = self.member_and_model(id) else { return };
        let launch = self.launch(member, model);
        match launch.start() {
            Ok(process) => {
                let port = member.port;
                self.board.tell_engine(now, id, &format!("starts on port {port}"), false);
                self.processes.insert(id.to_owned(), process);
            }
            Err(error) => {
                self.failed_starts.insert(id.to_owned(), error.to_string());
            }
        }
    }

    pub(super) fn member_and_model(&self, id: &str) -> Option<(&Member, &Model)> {
        let member = self.fleet.member(id)?;
        let model = self.config.models.iter().find(|model| model.name == member.model)?;
        Some((member, model))
    }

    fn launch(&self, member: &Member, model: &Model) -> Launch {
        let placement = Placement { port: member.port, index: member.index, gpus: member.gpus.clone() };
        let mut environment = model.environment.clone();
        if !member.gpus.is_empty() {
            environment.insert("CUDA_VISIBLE_DEVICES".to_owned(), member.gpus.join(","));
        }
        Launch {
            argv: model.command.render(&placement),
            environment,
            log: self.state_dir.log(&member.id),
            state_dir: self.state_dir.path().to_owned(),
        }
    }

    /// What an engine's process is, or would be, started with; `None` when its model is not configured any more.
    pub(in crate::standalone) fn engine_fingerprint(&self, id: &str) -> Option<String> {
        let (member, model) = self.member_and_model(id)?;
        let launch = self.launch(member, model);
        Some(fingerprint(launch.argv.iter().chain(launch.environment.iter().flat_map(|(key, value)| [key, value]))))
    }
}

/// A port that no engine holds and nobody listens on. The search goes round the range, so that a port rests before it
/// is given again: a connection kept open to the engine before would reach the wrong one.
pub(super) fn free_port(ports: PortRange, fleet: &Fleet) -> Option<u16> {
    let held = fleet.held_ports();
    let count = u64::from(ports.last - ports.first) + 1;
    (0..count).find_map(|step| {
        let offset = u16::try_from((fleet.next_number + step) % count).ok()?;
        let port = ports.first + offset;
        let is_free = !held.contains(&port) && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
        is_free.then_some(port)
    })
}
