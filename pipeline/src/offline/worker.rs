//! One speech worker process: started, fed, and started again when it dies.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, oneshot};

use super::Unavailable;
use super::wire::{self, Reply, Request};

/// A worker that does not say hello in this time is not started.
const HELLO: Duration = Duration::from_secs(20);
/// Wait before the first restart; doubled with each failure in a row.
const BACK_OFF: Duration = Duration::from_millis(50);
const BACK_OFF_MOST: Duration = Duration::from_secs(5);

/// Who gets the replies of an id.
type Routes = Arc<Mutex<HashMap<u32, mpsc::UnboundedSender<Reply>>>>;

/// The server's end of one worker.
#[derive(Clone, Debug)]
pub(crate) struct Worker {
    requests: mpsc::UnboundedSender<Request>,
    routes: Routes,
    pid: Arc<AtomicU32>,
}

/// An id at a worker, given back when dropped.
#[derive(Debug)]
pub(crate) struct Port {
    pub(crate) id: u32,
    worker: Worker,
}

impl Drop for Port {
    fn drop(&mut self) {
        self.worker.routes.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}

impl Port {
    pub(crate) fn send(&self, request: Request) {
        // The task that reads these lives as long as any sender.
        let _ = self.worker.requests.send(request);
    }
}

struct Running {
    child: Child,
    reader: BufReader<tokio::net::unix::OwnedReadHalf>,
    writer: tokio::net::unix::OwnedWriteHalf,
}

impl Worker {
    /// Starts a worker and waits until it is ready.
    pub(crate) async fn start(program: PathBuf) -> Result<Worker, Unavailable> {
        let (requests, inbox) = mpsc::unbounded_channel();
        let worker = Worker { requests, routes: Routes::default(), pid: Arc::default() };
        let (ready, started) = oneshot::channel();
        tokio::spawn(supervise(program, worker.routes.clone(), worker.pid.clone(), inbox, ready));
        match started.await {
            Ok(Ok(())) => Ok(worker),
            Ok(Err(fault)) => Err(fault),
            Err(_) => Err(Unavailable::Worker("its supervisor ended".to_owned())),
        }
    }

    /// An id whose replies come to `replies`.
    pub(crate) fn open(&self, id: u32, replies: mpsc::UnboundedSender<Reply>) -> Port {
        self.routes.lock().unwrap_or_else(PoisonError::into_inner).insert(id, replies);
        Port { id, worker: self.clone() }
    }

    /// The process's id; 0 while there is none.
    pub(crate) fn pid(&self) -> u32 {
        self.pid.load(Ordering::Relaxed)
    }
}

async fn spawn(program: &PathBuf) -> Result<Running, Unavailable> {
    let fault = |e: std::io::Error| Unavailable::Worker(format!("{}: {e}", program.display()));
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().map_err(fault)?;
    ours.set_nonblocking(true).map_err(fault)?;
    let (reader, writer) = UnixStream::from_std(ours).map_err(fault)?.into_split();
    let child = Command::new(program)
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(fault)?;
    let mut running = Running { child, reader: BufReader::new(reader), writer };
    match tokio::time::timeout(HELLO, wire::read(&mut running.reader)).await {
        Ok(Some((_, Reply::Hello { voices }))) => {
            tracing::info!(pid = running.child.id(), voices, "speech worker is ready");
            Ok(running)
        }
        Ok(Some((_, Reply::Missing { reason }))) => {
            tracing::debug!(reason, "speech engines are missing");
            Err(Unavailable::Missing)
        }
        Ok(_) => Err(Unavailable::Worker(format!("{} ended before it was ready", program.display()))),
        Err(_) => Err(Unavailable::Worker(format!("{} does not become ready", program.display()))),
    }
}

/// Runs the process as long as anybody holds the worker.
async fn supervise(
    program: PathBuf,
    routes: Routes,
    pid: Arc<AtomicU32>,
    mut inbox: mpsc::UnboundedReceiver<Request>,
    ready: oneshot::Sender<Result<(), Unavailable>>,
) {
    let mut running = match spawn(&program).await {
        Ok(running) => running,
        Err(fault) => {
            let _ = ready.send(Err(fault));
            return;
        }
    };
    let _ = ready.send(Ok(()));
    let mut wait = BACK_OFF;
    loop {
        pid.store(running.child.id().unwrap_or(0), Ordering::Relaxed);
        let began = tokio::time::Instant::now();
        if run(&mut running, &routes, &mut inbox).await.is_none() {
            return;
        }
        pid.store(0, Ordering::Relaxed);
        let _ = running.child.start_kill();
        let status = running.child.wait().await.map(|s| s.to_string()).unwrap_or_default();
        tracing::warn!(status, "speech worker died");
        let everybody: Vec<_> = routes.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        for replies in everybody {
            let _ = replies.send(Reply::Lost);
        }
        if began.elapsed() > BACK_OFF_MOST {
            wait = BACK_OFF;
        }
        running = loop {
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(BACK_OFF_MOST);
            match spawn(&program).await {
                Ok(running) => break running,
                Err(fault) => tracing::warn!(%fault, "speech worker does not start again"),
            }
            if inbox.is_closed() {
                return;
            }
        };
    }
}

/// Carries words both ways until the process dies (`Some`) or nobody wants it any more (`None`).
async fn run(running: &mut Running, routes: &Routes, inbox: &mut mpsc::UnboundedReceiver<Request>) -> Option<()> {
    let Running { reader, writer, .. } = running;
    let incoming = async {
        while let Some((id, reply)) = wire::read(reader).await {
            let to = routes.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned();
            if let Some(to) = to {
                let _ = to.send(reply);
            }
        }
        Some(())
    };
    let outgoing = async {
        let mut batch = Vec::new();
        let mut bytes = Vec::new();
        loop {
            batch.clear();
            if inbox.recv_many(&mut batch, 64).await == 0 {
                return None;
            }
            bytes.clear();
            batch.iter().for_each(|request| request.encode(&mut bytes));
            if writer.write_all(&bytes).await.is_err() {
                return Some(());
            }
        }
    };
    tokio::select! {
        end = incoming => end,
        end = outgoing => end,
    }
}
