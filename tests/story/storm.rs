//! Hundreds of sessions at once, each living a life drawn from a seed: sizes, pauses, half-closes and aborts.

use std::thread;
use std::time::Duration;

use crate::support::{Backend, Peer, Proxy, Setup, descriptors, eventually, mix, send_across};

const SESSIONS: u64 = 300;

#[test]
fn whatever_two_peers_do_each_sees_the_truth() {
    for (engine, seed) in [("relay: auto", 1_000_000), ("relay: splice", 2_000_000), ("relay: copy", 3_000_000)] {
        let backend = Backend::new();
        let proxy = Setup::to([&backend]).listener(engine).start();
        let at_start = descriptors(proxy.id());
        let lives: Vec<Life> = (0..SESSIONS).map(|number| Life::of(seed + number)).collect();
        thread::scope(|scope| {
            for life in &lives {
                let (mut client, mut server) = proxy.session(&backend);
                // A backend that resets before the proxy has seen it connected is a failed dial, not a session.
                life.open(&mut client, &mut server);
                thread::Builder::new()
                    .stack_size(128 * 1024)
                    .spawn_scoped(scope, move || life.live(client, server))
                    .unwrap();
            }
        });
        settle(&proxy, &lives, at_start);
    }
}

/// What happens in one session.
#[derive(Clone, Copy, Debug)]
struct Life {
    up: u64,
    down: u64,
    /// Between pieces.
    pause: Duration,
    abort: Abort,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Abort {
    Nobody,
    Client,
    Server,
}

impl Life {
    fn of(seed: u64) -> Self {
        let dice = |n: u64| mix(seed.wrapping_mul(8) + n);
        let abort = match dice(3) % 10 {
            0 => Abort::Client,
            1 => Abort::Server,
            _ => Abort::Nobody,
        };
        // From nothing at all to a few times what a pipe or a read holds.
        let size = |n| dice(n) % [1, 100, 70_000, 700_000][(dice(n + 4) % 4) as usize];
        Self { up: size(0), down: size(1), pause: Duration::from_micros(dice(2) % 3000), abort }
    }

    /// One byte from one of them, so that the session is known to stand.
    fn open(&self, client: &mut Peer, server: &mut Peer) {
        if self.up.is_multiple_of(2) { send_across(client, server, 1) } else { send_across(server, client, 1) }
    }

    /// Both peers talk at once; whoever has said all says so, or aborts.
    fn live(self, client: Peer, server: Peer) {
        thread::scope(|scope| {
            for (peer, says, hears, aborts) in
                [(client, self.up, self.down, Abort::Client), (server, self.down, self.up, Abort::Server)]
            {
                let role = move || match self.abort {
                    Abort::Nobody => self.talk(peer, says, hears),
                    who if who == aborts => self.talk_and_abort(peer, says, hears),
                    _ => self.suffer(peer, says),
                };
                thread::Builder::new().stack_size(128 * 1024).spawn_scoped(scope, role).unwrap();
            }
        });
    }

    /// A whole conversation: all is said, all is heard, and both ends are clean.
    fn talk(self, peer: Peer, says: u64, hears: u64) {
        let (mut mouth, mut ear) = peer.split();
        thread::scope(|scope| {
            scope.spawn(move || {
                for _ in 0..4 {
                    mouth.say(says / 4);
                    thread::sleep(self.pause);
                }
                mouth.say(says % 4);
                mouth.finish();
            });
            ear.hear(hears);
            ear.hear_end();
        });
    }

    /// Says half of it, hears half of it, and aborts.
    fn talk_and_abort(self, mut peer: Peer, says: u64, hears: u64) {
        if hears >= 2 {
            peer.hear(hears / 2);
        }
        peer.say(says / 2);
        thread::sleep(self.pause);
        peer.reset();
    }

    /// The other one aborts: never a clean end, whatever was under way.
    fn suffer(self, peer: Peer, says: u64) {
        let (mut mouth, mut ear) = peer.split();
        thread::scope(|scope| {
            // The kernel reports the reset once, to whoever meets it first.
            let said = scope.spawn(move || mouth.try_say(says));
            let heard = ear.hear_whatever();
            let said = said.join().unwrap();
            assert!(said.is_err() || heard.is_err(), "{self:?}: a clean end in place of a reset");
        });
    }
}

/// Afterwards nothing is left, and every end was counted for what it was.
fn settle(proxy: &Proxy, lives: &[Life], descriptors_at_start: usize) {
    eventually("no session is left", || (proxy.active() == 0.0).then_some(()));
    let scrape = proxy.scrape();
    for (cause, abort) in
        [("finished", Abort::Nobody), ("client_reset", Abort::Client), ("backend_reset", Abort::Server)]
    {
        let counted = scrape.get(&format!("peerway_sessions_closed_total{{cause={cause:?}}}"));
        assert_eq!(counted, lives.iter().filter(|life| life.abort == abort).count() as f64, "{cause}");
    }
    assert_eq!(scrape.get("peerway_backend_active_connections"), 0.0);
    eventually("descriptors are given back", || (descriptors(proxy.id()) <= descriptors_at_start + 32).then_some(()));
}
