//! A trunk is tried on demand: one OPTIONS to each gateway that calls may go to, at the addresses that calls would take.

use std::time::Duration;

use control_api::{Gate, ProbeRefused, Probed};
use domain::TrunkId;
use sip_stack::{Event, Peer};
use tokio::sync::mpsc::unbounded_channel;
use tokio::task::JoinSet;

use super::tend::uri_of;
use super::{Handle, Trunks, lock, ways};

/// No gateway is waited for longer; a host without records counts as silent, too.
const PATIENCE: Duration = Duration::from_secs(4);
/// Long enough that nobody is asked twice.
const NEVER: Duration = Duration::from_secs(3600);

/// One that watches a peer for one answer, and no longer than it is wanted.
struct Watched {
    trunks: Trunks,
    peer: sip_stack::PeerHandle,
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.trunks.0.sip.unwatch(self.peer);
        lock(&self.trunks.0.ears).remove(&Handle::Peer(self.peer));
    }
}

/// Holds a trunk's place among those that are being tried.
struct Trying<'a>(&'a Trunks, TrunkId);

impl Drop for Trying<'_> {
    fn drop(&mut self) {
        lock(&self.0.0.trying).remove(&self.1);
    }
}

impl Trunks {
    /// Asks each gateway whether it lives. One try of a trunk at a time: whoever writes trunks must not make a drum of this node.
    ///
    /// # Errors
    /// The trunk is not in service here, or is being tried.
    pub async fn probe(&self, id: TrunkId) -> Result<Vec<Probed>, ProbeRefused> {
        let line = self.0.directory.lines().await.into_iter().find(|line| line.id == id);
        let line = line.ok_or(ProbeRefused::NotInService)?;
        if !lock(&self.0.trying).insert(id) {
            return Err(ProbeRefused::Busy);
        }
        let _trying = Trying(self, id);
        // At once, not in turn: silence costs its time once.
        let mut asked = JoinSet::new();
        for (at, gate) in line.gateways.into_iter().enumerate().filter(|(_, gate)| gate.outbound) {
            let trunks = self.clone();
            asked.spawn(async move { (at, trunks.ask(gate).await) });
        }
        let mut answers = Vec::new();
        while let Some(answer) = asked.join_next().await {
            answers.extend(answer.ok());
        }
        answers.sort_by_key(|(at, _)| *at);
        Ok(answers.into_iter().map(|(_, answer)| answer).collect())
    }

    async fn ask(self, gate: Gate) -> Probed {
        let told = tokio::time::timeout(PATIENCE, self.knock(&gate)).await;
        let Gate { id: gateway, host, .. } = gate;
        let silent = |why: String| Probed {
            gateway: gateway.clone(),
            host: host.clone(),
            status: 408,
            rtt: None,
            detail: Some(why),
        };
        match told {
            Err(_) => silent("no answer".into()),
            Ok(Err(why)) => silent(why),
            Ok(Ok((status, rtt))) => Probed { gateway, host, status, rtt: Some(rtt), detail: None },
        }
    }

    async fn knock(&self, gate: &Gate) -> Result<(u16, Duration), String> {
        let uri = uri_of(gate)?;
        let inner = &self.0;
        let way = ways(&inner.sip, &inner.resolver, &inner.private, &uri).await?[0];
        let (ear, mut events) = unbounded_channel();
        let trunks = self.clone();
        let known = move |peer| drop(lock(&trunks.0.ears).insert(Handle::Peer(peer), ear));
        let peer = Peer { uri, flow: way, every: NEVER, down_after: u32::MAX, up_after: u32::MAX };
        let peer = inner.sip.watch(peer, known).await.map_err(|error| error.to_string())?;
        let _watched = Watched { trunks: self.clone(), peer };
        while let Some(event) = events.recv().await {
            if let Event::Pinged { status, rtt, .. } = event {
                if status == 408 {
                    return Err(inner
                        .sip
                        .last_failure(way.transport, way.remote)
                        .unwrap_or_else(|| "no answer".into()));
                }
                return Ok((status, rtt));
            }
        }
        Err("the node stops".into())
    }
}
