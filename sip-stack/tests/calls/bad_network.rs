//! Calls through loss, duplication and reordering; each run is told apart, and repeated, by its number.

use std::collections::HashMap;
use std::time::Instant;

use sip_stack::{CallHandle, Event, Transport, offer};

use crate::world::{A, B, Dice, Weather, World, ability, flow, ms, outgoing};

/// What a user does later.
#[derive(Clone, Copy)]
enum Wish {
    Ring,
    Answer,
    End,
}

/// Lets one call happen in the weather of `seed`; returns the world after everything is over.
fn run(seed: u64) -> World {
    let mut dice = Dice(seed ^ 0xdead_beef);
    let weather =
        Weather { loss_percent: dice.below(25), duplicate_percent: dice.below(20), jitter_ms: dice.below(300) };
    let mut world = World::new(seed, weather);
    let mut wishes: Vec<(Instant, usize, CallHandle, Wish)> = Vec::new();
    let mut offers: HashMap<CallHandle, String> = HashMap::new();
    let call = world.peers[0].1.invite(world.now, outgoing(flow(A, B, Transport::Udp)));
    if dice.chance(30) {
        wishes.push((world.now + ms(dice.below(4000)), 0, call, Wish::End));
    }
    let limit = world.now + ms(400_000);
    loop {
        wishes.sort_by_key(|(at, ..)| *at);
        let until = wishes.first().map_or(limit, |(at, ..)| *at);
        let moved = world.step(until);
        let fresh: Vec<(usize, Event)> = world.events.iter().skip(world.seen).cloned().collect();
        world.seen = world.events.len();
        for (who, event) in fresh {
            let later = |dice: &mut Dice, limit| world.now + ms(dice.below(limit));
            match event {
                Event::Incoming { call, invite } => {
                    let (answer, _) = offer::answer(invite.sdp.as_ref().unwrap(), &ability(5000)).unwrap();
                    offers.insert(call, answer);
                    wishes.push((later(&mut dice, 500), who, call, Wish::Ring));
                    wishes.push((later(&mut dice, 5000), who, call, Wish::Answer));
                }
                Event::Answered { call, .. } if dice.chance(50) => {
                    wishes.push((later(&mut dice, 3000), who, call, Wish::End))
                }
                Event::Answered { call, .. } => wishes.push((world.now + ms(60_000), who, call, Wish::End)),
                Event::Established { call, .. } if dice.chance(50) => {
                    wishes.push((later(&mut dice, 3000), who, call, Wish::End))
                }
                _ => {}
            }
        }
        if !moved {
            if until == limit {
                return world;
            }
            let (_, who, call, wish) = wishes.remove(0);
            let now = world.now;
            let peer = &mut world.peers[who].1;
            match wish {
                Wish::Ring => peer.ring(now, call, None),
                // The caller may have hung up meanwhile.
                Wish::Answer => drop(peer.answer(now, call, offers[&call].clone())),
                Wish::End => peer.end(now, call),
            }
        }
    }
}

fn ends(world: &World, who: usize) -> usize {
    world.events.iter().filter(|(index, event)| *index == who && matches!(event, Event::Ended { .. })).count()
}

#[test]
fn six_hundred_calls_through_bad_weather_end_once_on_each_side_and_leave_nothing() {
    let mut talked = 0;
    for seed in 0..600 {
        let world = run(seed);
        let incoming = world.events.iter().filter(|(_, event)| matches!(event, Event::Incoming { .. })).count();
        assert!(incoming <= 1, "seed {seed}: one INVITE made {incoming} calls");
        assert_eq!(ends(&world, 0), 1, "seed {seed}: the caller's ends");
        assert_eq!(ends(&world, 1), incoming, "seed {seed}: the called one's ends");
        for (who, (_, peer)) in world.peers.iter().enumerate() {
            assert_eq!(peer.residue(), 0, "seed {seed}: left over at {who}");
        }
        talked += usize::from(world.events.iter().any(|(_, event)| matches!(event, Event::Established { .. })));
    }
    assert!(talked > 300, "only {talked} calls came to be");
}

#[test]
fn a_seed_repeats_its_run_packet_by_packet() {
    assert_eq!(run(7).log, run(7).log);
    assert_ne!(run(7).log, run(8).log);
}
