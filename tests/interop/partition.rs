//! A link that goes down: packets are lost, and nobody is told. In network namespaces that the test makes, so that the
//! network of the machine is left alone; they go with the processes that hold them.

use std::net::Ipv4Addr;
use std::thread;
use std::time::{Duration, Instant};

use crate::network::Network;
use crate::support::{Clients, Mood, Moody, PING, Peer, Setup, eventually, who};

/// Three networks and a bridge between them: the address of each one ends in its number. Whose link goes down does not
/// hear of it at the other end, as with a switch in between.
struct Bridged {
    middle: Network,
    ends: [Network; 3],
}

impl Bridged {
    fn new() -> Self {
        let (middle, ends) = (Network::new(), [(); 3].map(|()| Network::new()));
        middle.ip("link add bridge type bridge");
        middle.ip("link set bridge up");
        for (number, end) in ends.iter().enumerate() {
            middle.ip(&format!("link add port{number} type veth peer name eth netns {}", end.id()));
            middle.ip(&format!("link set port{number} master bridge up"));
            end.ip(&format!("address add {}/24 dev eth", Self::address(number)));
            end.ip("link set eth up");
        }
        Self { middle, ends }
    }

    fn address(number: usize) -> Ipv4Addr {
        Ipv4Addr::new(10, 0, 0, number as u8)
    }

    fn link(&self, number: usize, state: &str) {
        self.middle.ip(&format!("link set port{number} {state}"));
    }

    /// A backend there.
    fn backend(&self, number: usize, name: &str) -> Moody {
        self.ends[number].run(|| Moody::at(Self::address(number), name, Mood::Well))
    }
}

/// Two probes that get no answer, and then five-fold slack for a busy machine.
const SOON: Duration = Duration::from_millis(5 * (2 * 200 + 300));

#[test]
fn a_backend_that_is_cut_off_is_left_alone_in_time_and_used_again_when_it_is_back() {
    let bridged = Bridged::new();
    let (cut, well) = (bridged.backend(1, "cut"), bridged.backend(2, "well"));
    let health = "interval: 200ms, fast_interval: 100ms, timeout: 300ms, fall: 2, rise: 2";
    let setup = Setup::to([&cut, &well]).pool(&format!("health: {{ probe: {{ {PING} }}, {health} }}"));
    let setup = setup.pool("connect: { timeout: 300ms }");
    bridged.ends[0].run(|| {
        let proxy = setup.start();
        let mut all: Vec<_> = (0..4).map(|_| proxy.connect().seeded(9, 9)).collect();
        let names: Vec<_> = all.iter_mut().map(|peer| who(peer).unwrap()).collect();
        assert_eq!(names.iter().filter(|name| *name == "cut").count(), 2);
        let (mut of_cut, mut of_well): (Vec<_>, Vec<_>) =
            all.into_iter().zip(names).partition(|(_, name)| name == "cut");
        let talk = |peers: &mut Vec<(Peer, String)>| {
            for (peer, _) in peers {
                peer.say(20_000);
                peer.hear(20_000);
            }
        };
        let probes = |result: &str| {
            proxy.metric(&format!("peerway_backend_probes_total{{backend=\"{}\",result=\"{result}\"}}", cut.address()))
        };
        let clients = Clients::of(&proxy);
        eventually("sessions there", || (cut.sessions().len() > 5).then_some(()));

        let before = probes("timeout");
        let fault = Instant::now();
        bridged.link(1, "down");
        let told = eventually("it is down", || {
            talk(&mut of_well);
            let told = proxy.backend(0);
            (told["state"] == "down").then_some(told)
        });
        let took = fault.elapsed();
        assert!(took < SOON, "down only after {took:?}");
        assert!(probes("timeout") >= before + 2.0, "{told}");
        let reason = told["reason"].as_str().unwrap();
        assert!(reason.contains("no answer within") || reason.contains("no connection in time"), "{reason}");
        // Who was on the way there has been sent elsewhere, or has given up.
        thread::sleep(Duration::from_secs(2));
        let (settled, failed) = (cut.sessions().len(), clients.failed());
        let until = Instant::now() + Duration::from_secs(2);
        while Instant::now() < until {
            talk(&mut of_well);
            thread::sleep(Duration::from_millis(10));
        }
        assert_eq!((cut.sessions().len(), clients.failed()), (settled, failed), "everybody is served by the other one");

        let good = probes("ok");
        let back = Instant::now();
        bridged.link(1, "up");
        let up = proxy.backend_becomes(0, "up");
        assert!(probes("ok") >= good + 2.0, "{up}");
        eventually("sessions there again", || (cut.sessions().len() > settled + 5).then_some(()));
        eprintln!("down after {took:?}, used again {:?} after the link was back", back.elapsed());
        assert!(back.elapsed() < 2 * SOON, "{:?}", back.elapsed());
        // Those that it had all along go on where they were.
        talk(&mut of_cut);
        talk(&mut of_well);
        assert!(clients.stop() > 20);
    });
}
