//! The offline speech engines in a process of their own, because they end the process they live in when something is badly wrong.
//!
//! Standard input is a Unix socket to the server; `wire` has the words that pass. `speech-worker --check` says what is installed.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod dictionary;
mod ffi;
mod fir;
mod recognise;
mod speak;
mod wire;

use std::collections::HashMap;
use std::io::{BufReader, Write as _};
use std::os::fd::FromRawFd as _;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::mpsc;

use wire::{Reply, Request};

/// What to do when the engines are not there.
const INSTALL: &str = "built-in speech is off: apt-get install libpocketsphinx3 pocketsphinx-en-us libflite1";

fn main() -> ExitCode {
    let engines = ffi::load();
    let dictionary = dictionary::Dictionary::load();
    let fault = match (&engines, &dictionary) {
        (Ok(_), Ok(_)) => None,
        (Err(fault), _) => Some(fault.clone()),
        (_, Err(fault)) => Some(fault.clone()),
    };
    if std::env::args().nth(1).as_deref() == Some("--check") {
        let line = fault.clone().map_or("built-in speech is ready".to_owned(), |fault| format!("{INSTALL} ({fault})"));
        let _ = writeln!(std::io::stdout(), "{line}");
        return if fault.is_some() { ExitCode::from(69) } else { ExitCode::SUCCESS };
    }
    if !ffi::stdin_is_socket() {
        eprintln!("speech-worker is started by the server, with a socket as its standard input; try --check");
        return ExitCode::from(64);
    }
    ffi::give_way();
    // SAFETY: descriptor 0 was just seen to be an open socket, and nothing else in this process uses it.
    let socket = unsafe { UnixStream::from_raw_fd(0) };
    let Ok(mut writer) = socket.try_clone() else { return ExitCode::from(71) };
    if let (Ok(engines), Ok(dictionary)) = (engines, dictionary) {
        serve(socket, writer, engines, dictionary);
        return ExitCode::SUCCESS;
    }
    let reason = format!("{INSTALL} ({})", fault.unwrap_or_default());
    let _ = writer.write_all(&Reply::Missing { reason }.encode());
    ExitCode::from(69)
}

/// Answers requests until the server closes the socket.
fn serve(socket: UnixStream, mut writer: UnixStream, engines: ffi::Engines, dictionary: dictionary::Dictionary) {
    let engines: &'static ffi::Engines = Box::leak(Box::new(engines));
    let dictionary: &'static dictionary::Dictionary = Box::leak(Box::new(dictionary));
    let (replies, outbox) = mpsc::channel::<Reply>();
    let sender = std::thread::spawn(move || {
        for reply in outbox {
            if writer.write_all(&reply.encode()).is_err() {
                break;
            }
        }
    });
    let cores = std::thread::available_parallelism().map_or(2, |n| n.get());
    let decoders = recognise::Pool::new(engines, dictionary, cores * 2, replies.clone());
    let voices = speak::Pool::new(engines, cores, replies.clone());
    if replies.send(Reply::Hello { voices: speak::VOICES.map(str::to_owned).to_vec() }).is_err() {
        return;
    }
    drop(replies);
    let mut open: HashMap<u32, mpsc::Sender<recognise::Sound>> = HashMap::new();
    let mut reader = BufReader::new(socket);
    while let Some(request) = wire::read(&mut reader) {
        match request {
            Request::Begin { session, utterance, grammar } => {
                // A second one for the same session ends the first without an answer.
                open.insert(session, decoders.begin(session, utterance, grammar));
            }
            Request::Audio { session, pcm } => {
                if let Some(utterance) = open.get(&session) {
                    let _ = utterance.send(recognise::Sound::Samples(pcm));
                }
            }
            Request::End { session } => {
                if let Some(utterance) = open.remove(&session) {
                    let _ = utterance.send(recognise::Sound::End);
                }
            }
            Request::Drop { session } => drop(open.remove(&session)),
            Request::Speak { job, voice, text } => voices.speak(job, voice, text),
            Request::Cancel { job } => voices.cancel(job),
        }
    }
    drop((open, decoders, voices));
    // The engines' threads may be in the middle of a long piece of work that nobody wants any more.
    drop(sender);
}
