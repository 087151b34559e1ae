//! An SMTP relay that keeps what it gets (RFC 5321), as far as a client that sends single mails needs one.

use std::{
    collections::VecDeque,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use crate::running::anywhere;

/// A mail as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// Of `MAIL FROM`.
    pub from: String,
    /// Of each `RCPT TO`.
    pub to: Vec<String>,
    /// Headers and body, dots unstuffed, lines ended by `\n`.
    pub data: String,
}

#[derive(Debug, Default)]
struct Shared {
    letters: Mutex<Vec<Letter>>,
    refusals: Mutex<VecDeque<String>>,
}

/// A relay that listens on the loopback until it is dropped.
#[derive(Debug)]
pub struct SmtpSink {
    addr: SocketAddr,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

impl SmtpSink {
    /// Listens on a free port.
    ///
    /// # Errors
    /// When the system gives none.
    pub async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind(anywhere()).await?;
        let addr = listener.local_addr()?;
        let shared = Arc::new(Shared::default());
        let kept = Arc::clone(&shared);
        let server = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let kept = Arc::clone(&kept);
                tokio::spawn(async move {
                    // A client that goes away in the middle has simply sent nothing.
                    let _ = serve(stream, &kept).await;
                });
            }
        });
        Ok(Self { addr, shared, server })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Answers the next recipients with these lines, one each, such as `550 5.1.1 no such user`; after that all are welcome.
    pub fn refuse(&self, lines: &[&str]) {
        let mut refusals = self.shared.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        refusals.extend(lines.iter().map(|line| (*line).to_owned()));
    }

    /// What came so far.
    pub fn letters(&self) -> Vec<Letter> {
        self.shared.letters.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for SmtpSink {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(stream: TcpStream, shared: &Shared) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    stream.write_all(b"220 sink ESMTP\r\n").await?;
    let mut letter = Letter { from: String::new(), to: Vec::new(), data: String::new() };
    let mut line = String::new();
    loop {
        line.clear();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let (verb, rest) = line.trim_end().split_once([' ', ':']).unwrap_or((line.trim_end(), ""));
        let answer = match verb.to_ascii_uppercase().as_str() {
            "EHLO" | "HELO" => "250-sink\r\n250 8BITMIME".to_owned(),
            "MAIL" => {
                letter.from = path(rest);
                "250 ok".into()
            }
            "RCPT" => {
                let refusal = shared.refusals.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                match refusal {
                    Some(refusal) => refusal,
                    None => {
                        letter.to.push(path(rest));
                        "250 ok".into()
                    }
                }
            }
            "DATA" if letter.to.is_empty() => "503 no recipient".into(),
            "DATA" => {
                stream.write_all(b"354 go on\r\n").await?;
                letter.data = data(&mut stream).await?;
                let done = Letter {
                    from: letter.from.clone(),
                    to: std::mem::take(&mut letter.to),
                    data: std::mem::take(&mut letter.data),
                };
                shared.letters.lock().unwrap_or_else(PoisonError::into_inner).push(done);
                "250 kept".into()
            }
            "RSET" => {
                letter.to.clear();
                "250 ok".into()
            }
            "NOOP" => "250 ok".into(),
            "QUIT" => {
                stream.write_all(b"221 bye\r\n").await?;
                return Ok(());
            }
            _ => "502 not here".into(),
        };
        stream.write_all(format!("{answer}\r\n").as_bytes()).await?;
    }
}

/// The address between `<` and `>`.
fn path(rest: &str) -> String {
    rest.split_once('<')
        .and_then(|(_, tail)| tail.split_once('>'))
        .map_or_else(String::new, |(path, _)| path.to_owned())
}

async fn data(stream: &mut BufReader<TcpStream>) -> io::Result<String> {
    let mut data = String::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let line = line.trim_end_matches(['\r', '\n']);
        if line == "." {
            return Ok(data);
        }
        data.push_str(line.strip_prefix('.').unwrap_or(line));
        data.push('\n');
    }
}
