//! The program `vendor-sim`: prints where it listens, answers there, and refuses what it does not know.
#![allow(clippy::unwrap_used)]

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::{Child, Command, Stdio},
};

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_vendor-sim"))
}

#[test]
fn it_prints_its_address_and_streams_an_answer_there() {
    let mut child = Killed(
        program()
            .args(["--listen", "127.0.0.1:0", "--default-reply", "Good day."])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    let mut line = String::new();
    BufReader::new(child.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let mut stream = TcpStream::connect(line.trim()).unwrap();
    let body = r#"{"model":"m","stream":true,"messages":[{"role":"user","content":"hi"}]}"#;
    let length = body.len();
    // Version 1.0 has no chunks, which would cut the text for this test too.
    write!(stream, "POST /v1/chat/completions HTTP/1.0\r\nhost: x\r\ncontent-length: {length}\r\n\r\n{body}").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.0 200"), "{answer}");
    assert!(answer.contains("day.") && answer.contains("[DONE]"), "{answer}");
}

#[test]
fn an_unknown_option_is_named_and_refused() {
    let output = program().args(["--colour", "red"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--colour"));
}
