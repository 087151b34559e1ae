//! What the SIP side does outside calls: registrations, watched peers, and whom the guard lets knock.

use std::net::IpAddr;

use sip_stack::{CallHandle, Flow, Peer, PeerHandle, Refusal, Registration, RegistrationHandle};
use tokio::sync::oneshot;

use crate::sip::{SipError, SipHandle};
use crate::sip_task::Command;

impl SipHandle {
    /// Keeps an address bound at a registrar; `Registered` and `RegisterFailed` tell how it goes. `known` is told the handle before any
    /// event of it can come; it runs in the SIP task and must not block.
    ///
    /// # Errors
    /// [`SipError::Closed`].
    pub async fn register(
        &self,
        wish: Registration,
        known: impl FnOnce(RegistrationHandle) + Send + 'static,
    ) -> Result<RegistrationHandle, SipError> {
        self.ask(move |endpoint, now| {
            let registration = endpoint.register(now, wish);
            known(registration);
            registration
        })
        .await
    }

    /// Takes another path to a registrar.
    pub fn reroute(&self, registration: RegistrationHandle, flow: Flow) {
        let _ = self.send(Command::Do(Box::new(move |endpoint, now| endpoint.reroute(now, registration, flow))));
    }

    /// Takes a binding back; `Unregistered` follows.
    pub fn unregister(&self, registration: RegistrationHandle) {
        let _ = self.send(Command::Do(Box::new(move |endpoint, now| endpoint.unregister(now, registration))));
    }

    /// Watches a peer by OPTIONS; `Pinged`, `PeerUp` and `PeerDown` tell. `known` as for [`SipHandle::register`].
    ///
    /// # Errors
    /// [`SipError::Closed`].
    pub async fn watch(
        &self,
        peer: Peer,
        known: impl FnOnce(PeerHandle) + Send + 'static,
    ) -> Result<PeerHandle, SipError> {
        self.ask(move |endpoint, now| {
            let peer = endpoint.watch(now, peer);
            known(peer);
            peer
        })
        .await
    }

    /// Watches a peer no longer.
    pub fn unwatch(&self, peer: PeerHandle) {
        let _ = self.send(Command::Do(Box::new(move |endpoint, _| endpoint.unwatch(peer))));
    }

    /// Hands over the traces of all calls now, so that none is lost when the process ends.
    ///
    /// # Errors
    /// [`SipError::Closed`].
    pub async fn hand_over_traces(&self) -> Result<(), SipError> {
        let (done, over) = oneshot::channel();
        self.send(Command::HandOver { done })?;
        over.await.map_err(|_| SipError::Closed)
    }

    /// Networks that the guard never counts, instead of those known so far.
    pub fn exempt(&self, networks: Vec<(IpAddr, u8)>) {
        let _ = self.send(Command::Do(Box::new(move |endpoint, _| endpoint.exempt(networks))));
    }

    /// Refuses a call of somebody who has proved nothing: one short answer, and nothing is kept.
    pub fn dismiss(&self, call: CallHandle, refusal: Refusal) {
        let _ = self.send(Command::Do(Box::new(move |endpoint, now| endpoint.dismiss(now, call, refusal))));
    }

    /// A source has proved who it is after a challenge: the challenge is not held against it.
    pub fn pardon(&self, source: IpAddr) {
        let _ = self.send(Command::Do(Box::new(move |endpoint, _| endpoint.pardon(source))));
    }
}
