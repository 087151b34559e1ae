//! What may be asked of a call that is answered: changes, transfers, keys.

use std::time::Instant;

use sip_stack::{CallError, CallHandle, Endpoint, Refusal, Uri};
use tokio::sync::oneshot;

use crate::sip::{SipError, SipHandle};
use crate::sip_task::Command;

impl SipHandle {
    /// Asks the endpoint for something and waits for what it says.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        wish: impl FnOnce(&mut Endpoint, Instant) -> T + Send + 'static,
    ) -> Result<T, SipError> {
        let (done, answer) = oneshot::channel();
        self.send(Command::Do(Box::new(move |endpoint, now| {
            let _ = done.send(wish(endpoint, now));
        })))?;
        answer.await.map_err(|_| SipError::Closed)
    }

    async fn try_to(
        &self,
        wish: impl FnOnce(&mut Endpoint, Instant) -> Result<(), CallError> + Send + 'static,
    ) -> Result<(), SipError> {
        self.ask(wish).await?.map_err(SipError::Call)
    }

    /// Offers another description; `Changed` or `ChangeRefused` follows.
    ///
    /// # Errors
    /// [`CallError::Busy`] while another offer is under way.
    pub async fn reinvite(&self, call: CallHandle, sdp: String) -> Result<(), SipError> {
        self.try_to(move |endpoint, now| endpoint.reinvite(now, call, sdp)).await
    }

    /// Asks the peer for an offer; `Offered` or `ChangeRefused` follows, and [`SipHandle::acknowledge`] answers it.
    ///
    /// # Errors
    /// [`CallError::Busy`] while another offer is under way.
    pub async fn ask_for_offer(&self, call: CallHandle) -> Result<(), SipError> {
        self.try_to(move |endpoint, now| endpoint.ask_for_offer(now, call)).await
    }

    /// Answers the offer that came with the 200 of a call, or of a re-INVITE, made without one.
    ///
    /// # Errors
    /// [`CallError::NothingToAnswer`] when no such offer waits.
    pub async fn acknowledge(&self, call: CallHandle, sdp: String) -> Result<(), SipError> {
        self.try_to(move |endpoint, now| endpoint.acknowledge(now, call, Some(sdp))).await
    }

    /// Asks the peer to call somebody else; `Transfer` tells how it goes.
    ///
    /// # Errors
    /// [`CallError::Busy`] while another transfer is under way.
    pub async fn refer(&self, call: CallHandle, to: Uri, replaces: Option<String>) -> Result<(), SipError> {
        self.try_to(move |endpoint, now| endpoint.refer(now, call, &to, replaces.as_deref())).await
    }

    /// The Replaces value that names a call at its peer.
    ///
    /// # Errors
    /// [`SipError::Closed`].
    pub async fn replaces(&self, call: CallHandle) -> Result<Option<String>, SipError> {
        self.ask(move |endpoint, _| endpoint.replaces(call)).await
    }

    /// Takes a REFER of the peer on.
    ///
    /// # Errors
    /// [`CallError::NothingToAnswer`] when none waits.
    pub async fn accept_refer(&self, call: CallHandle) -> Result<(), SipError> {
        self.try_to(move |endpoint, now| endpoint.accept_refer(now, call)).await
    }

    /// Tells the peer what the target of his REFER says.
    pub fn refer_progress(&self, call: CallHandle, status: u16) {
        let _ = self.send(Command::Do(Box::new(move |endpoint, now| endpoint.refer_progress(now, call, status))));
    }

    /// Declines a REFER of the peer.
    pub fn refuse_refer(&self, call: CallHandle, refusal: Refusal) {
        let _ = self.send(Command::Do(Box::new(move |endpoint, now| {
            // None waits any more: the call ended meanwhile.
            let _ = endpoint.refuse_refer(now, call, refusal);
        })));
    }

    /// Sends one key by INFO.
    ///
    /// # Errors
    /// [`CallError::NotAnswered`] before the answer.
    pub async fn send_key(&self, call: CallHandle, key: char, duration_ms: u32) -> Result<(), SipError> {
        self.try_to(move |endpoint, now| endpoint.send_key(now, call, key, duration_ms)).await
    }
}
