//! All three vendors on one address: `vendor-sim --listen 127.0.0.1:0 [knobs]` prints where it listens and runs until it is killed.

use std::{error::Error, fs, io::Write, net::SocketAddr, time::Duration};

use vendor_sim::{Fault, Knobs, start_all};

const USAGE: &str = "vendor-sim [--listen IP:PORT] [--key KEY] [--first-byte-ms N] [--pace-ms N]
  [--transcripts FILE]   one utterance a line
  [--shared-script]      one transcript script for all sockets
  [--replies FILE]       JSON list of {when, text, tools: [{name, arguments}], then}
  [--default-reply TEXT]
  [--fault refuse:STATUS | drop:N | stall:N | error:N | garbage | bad-arguments] [--times N]
";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (listen, knobs) = match parse(std::env::args().skip(1)) {
        Ok(parsed) => parsed,
        Err(wrong) => {
            write!(std::io::stderr(), "vendor-sim: {wrong}\n{USAGE}")?;
            std::process::exit(2);
        }
    };
    let running = start_all(listen, knobs).await?;
    writeln!(std::io::stdout(), "{}", running.addr())?;
    std::io::stdout().flush()?;
    running.forever().await;
    Ok(())
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<(SocketAddr, Knobs), Box<dyn Error>> {
    let mut listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut knobs = Knobs::default();
    while let Some(option) = arguments.next() {
        if option == "--shared-script" {
            knobs.shared_script = true;
            continue;
        }
        let value = arguments.next().ok_or_else(|| format!("{option} needs a value"))?;
        match option.as_str() {
            "--listen" => listen = value.parse()?,
            "--key" => knobs.key = Some(value),
            "--first-byte-ms" => knobs.first_byte = Duration::from_millis(value.parse()?),
            "--pace-ms" => knobs.pace = Duration::from_millis(value.parse()?),
            "--transcripts" => knobs.transcripts = fs::read_to_string(&value)?.lines().map(String::from).collect(),
            "--replies" => knobs.replies = serde_json::from_str(&fs::read_to_string(&value)?)?,
            "--default-reply" => knobs.default_reply = value,
            "--fault" => knobs.fault = fault(&value)?,
            "--times" => knobs.times = value.parse()?,
            _ => return Err(format!("unknown option {option}").into()),
        }
    }
    Ok((listen, knobs))
}

fn fault(text: &str) -> Result<Fault, Box<dyn Error>> {
    let (word, number) = text.split_once(':').unwrap_or((text, "0"));
    Ok(match word {
        "refuse" => Fault::Refuse { status: number.parse()?, retry_after: None, code: "refused".into() },
        "drop" => Fault::Drop { after: number.parse()? },
        "stall" => Fault::Stall { after: number.parse()? },
        "error" => Fault::Error { after: number.parse()? },
        "garbage" => Fault::Garbage,
        "bad-arguments" => Fault::BadArguments,
        _ => return Err(format!("unknown fault {text}").into()),
    })
}
