//! What calls cost in memory: an idle dialog, and after many calls nothing.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use sip_stack::{CallHandle, Endpoint, EndpointConfig, Event, Flow, NameAddr, Outgoing, Transport};

const SDP: &str = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0 8 101\r\n\
                   a=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\na=sendrecv\r\n";

/// Two endpoints with nothing between them but time.
struct Pair {
    now: Instant,
    ends: [Endpoint; 2],
    answered: Vec<CallHandle>,
}

#[allow(clippy::disallowed_methods, reason = "an Instant can be had in no other way")]
fn epoch() -> Instant {
    Instant::now()
}

fn flow(local: u8, remote: u8) -> Flow {
    let at = |host| ([192, 0, 2, host], 5060).into();
    Flow { transport: Transport::Udp, local: at(local), remote: at(remote), connection: 0 }
}

impl Pair {
    fn new() -> Self {
        let end = |seed| Endpoint::new(EndpointConfig::default(), seed);
        Pair { now: epoch(), ends: [end(1), end(2)], answered: Vec::new() }
    }

    /// Carries messages until nobody has anything to say; the second end answers every call.
    fn settle(&mut self) {
        loop {
            let mut quiet = true;
            for (from, to, way) in [(0, 1, flow(2, 1)), (1, 0, flow(1, 2))] {
                while let Some(transmit) = self.ends[from].poll_transmit() {
                    quiet = false;
                    self.ends[to].handle_receive(self.now, way, &transmit.bytes);
                }
            }
            while let Some(event) = self.ends[1].poll_event() {
                if let Event::Incoming { call, .. } = event {
                    self.ends[1].answer(self.now, call, SDP.into()).unwrap();
                }
            }
            while let Some(event) = self.ends[0].poll_event() {
                if let Event::Answered { call, .. } = event {
                    self.answered.push(call);
                }
            }
            if quiet {
                return;
            }
        }
    }

    /// Lets time pass until every transaction is forgotten.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let due = self.ends.iter().filter_map(Endpoint::poll_timeout).min().filter(|due| *due <= end);
            let Some(due) = due else { break };
            self.now = due;
            for endpoint in &mut self.ends {
                endpoint.handle_timeout(due);
            }
            self.settle();
        }
        self.now = end;
    }

    fn call(&mut self) {
        let to = "sip:demo@192.0.2.2".parse().unwrap();
        let from = NameAddr::new("sip:caller@192.0.2.1".parse().unwrap());
        self.ends[0].invite(self.now, Outgoing::new(to, from, flow(1, 2), SDP));
        self.settle();
    }
}

/// Resident memory of this process, in bytes.
fn resident() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

// One test: the memory is the process's.
#[test]
fn an_idle_dialog_costs_little_and_calls_that_are_over_cost_nothing() {
    const DIALOGS: u64 = 4000;
    const ROUNDS: u64 = 25;
    let mut pair = Pair::new();
    let round = |pair: &mut Pair, calls: u64| {
        let before = resident();
        for _ in 0..calls {
            pair.call();
        }
        // Transactions are forgotten, dialogs stay.
        pair.pass(Duration::from_secs(60));
        assert_eq!(pair.answered.len() as u64, calls);
        let cost = resident().saturating_sub(before) / calls;
        for call in std::mem::take(&mut pair.answered) {
            pair.ends[0].end(pair.now, call);
        }
        pair.settle();
        pair.pass(Duration::from_secs(60));
        assert_eq!(pair.ends.iter().map(Endpoint::residue).sum::<usize>(), 0);
        cost
    };
    // Both ends of a dialog are in this process, and so were their transactions.
    let each = round(&mut pair, DIALOGS) / 2;
    assert!(each <= 8192, "{each} bytes for one end of a dialog and what it took to make it");
    let remembered = |pair: &Pair| format!("{:?}", pair.ends).len();
    let (full, known) = (resident(), remembered(&pair));
    for _ in 0..ROUNDS {
        round(&mut pair, DIALOGS);
    }
    let calls = ROUNDS * DIALOGS;
    // Numbers that count have more digits now, and that is all.
    let more = remembered(&pair).saturating_sub(known);
    assert!(more < 64, "{more} letters more to tell what the endpoints know after {calls} calls");
    // A table that is full of what was forgotten doubles once before it finds that out.
    let grown = resident().saturating_sub(full);
    assert!(grown < 32 << 20, "{grown} bytes more after {calls} calls");
}
