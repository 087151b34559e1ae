//! The sending half of a simulated WebSocket: messages leave late and in order, and faults strike here.

use std::{sync::Arc, time::Duration};

use axum::extract::ws::{CloseFrame, Message, WebSocket};
use futures_util::{SinkExt, stream::SplitSink};
use serde_json::Value;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};

use crate::{Fault, running::Stage};

/// What can be asked of the sending half.
pub(crate) enum Order {
    /// Send this, not before its time.
    Send(Instant, Message),
    /// Say goodbye with this code and reason.
    Close(u16, &'static str),
}

/// The sending half, as the receiving half holds it.
pub(crate) struct Outlet {
    orders: mpsc::UnboundedSender<Order>,
    delay: Duration,
}

impl Outlet {
    /// Starts the task that sends; it ends with the socket.
    pub(crate) fn start(
        sink: SplitSink<WebSocket, Message>,
        stage: &Arc<Stage>,
        fault: Fault,
    ) -> (Self, tokio::task::JoinHandle<()>) {
        let (orders, receiver) = mpsc::unbounded_channel();
        let task = tokio::spawn(send_all(sink, receiver, fault));
        (Self { orders, delay: stage.knobs.first_byte }, task)
    }

    /// Sends after the knob's delay.
    pub(crate) fn json(&self, message: &Value) {
        self.at(Instant::now() + self.delay, message);
    }

    /// Sends not before `at`.
    pub(crate) fn at(&self, at: Instant, message: &Value) {
        let _ = self.orders.send(Order::Send(at, Message::Text(message.to_string().into())));
    }

    /// Closes after all that was ordered before.
    pub(crate) fn close(&self, code: u16, reason: &'static str) {
        let _ = self.orders.send(Order::Close(code, reason));
    }
}

async fn send_all(mut sink: SplitSink<WebSocket, Message>, mut orders: mpsc::UnboundedReceiver<Order>, fault: Fault) {
    let mut sent = 0u32;
    while let Some(order) = orders.recv().await {
        match order {
            Order::Send(at, message) => {
                sleep_until(at).await;
                match fault {
                    Fault::Drop { after } if sent >= after => return,
                    Fault::Stall { after } if sent >= after => continue,
                    Fault::Garbage => {
                        for text in [
                            "{no json",
                            "[]",
                            "null",
                            r#"{"type":"Surprise","contextId":7}"#,
                            r#"{"type":"Results","channel":"x"}"#,
                        ] {
                            if sink.send(Message::Text(text.into())).await.is_err() {
                                return;
                            }
                        }
                        let _ = sink.send(Message::Binary(vec![0, 159, 146, 150].into())).await;
                    }
                    _ => {}
                }
                if sink.send(message).await.is_err() {
                    return;
                }
                sent += 1;
                if fault == (Fault::Drop { after: sent }) {
                    return;
                }
            }
            Order::Close(code, reason) => {
                let _ = sink.send(Message::Close(Some(CloseFrame { code, reason: reason.into() }))).await;
                return;
            }
        }
    }
}
