//! The loop over real sockets. Clients are connected by the kernel, without anyone's help, as long as the queue is.

use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Mutex;

use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::*;
use crate::balance::CATALOGUE;
use crate::config::plan::{BindAddress, Listener, Overflow};
use crate::drain;
use crate::net::bind;

/// More than any of these takes, on a machine that is busy.
const LONG: Duration = Duration::from_secs(20);

fn listeners() -> Vec<Listener> {
    let yaml = "
        listeners:
          front: { bind: 127.0.0.1:0, pool: back }
          other: { bind: 127.0.0.1:0, pool: back }
        pools: { back: { backends: [ 127.0.0.1:9 ] } }";
    crate::config::parse("test.yaml", yaml, &CATALOGUE, &|_| None).expect("valid").listeners
}

/// A listening socket, and what an accept loop on it is told and tells.
struct Stage {
    socket: TcpListener,
    address: SocketAddr,
    orders: watch::Sender<Orders>,
    gate: Arc<Gate>,
    life: Arc<Lifecycle>,
    /// Who was let in, and where; as long as they are here they have their places.
    served: Arc<Mutex<Vec<Accepted>>>,
}

impl Stage {
    fn new(limit: usize, overflow: Overflow) -> Self {
        let settings = listeners().swap_remove(0);
        let bound = bind(&BindAddress::Ip(([127, 0, 0, 1], 0).into()), 1, &settings.tcp).expect("a port");
        let Some(BoundSocket::Tcp(socket)) = bound.sockets.into_iter().next() else { panic!("a socket") };
        let address = socket.local_addr().expect("bound");
        let tcp = settings.tcp;
        let orders = Orders { listener: Arc::new(ListenerLive::new(settings, 1)), tcp, fate: Fate::Open };
        let (gate, life) = (Arc::new(Gate::new(limit, overflow)), Arc::default());
        Self { socket, address, orders: watch::Sender::new(orders), gate, life, served: Arc::default() }
    }

    fn listener(&self) -> Arc<ListenerLive> {
        self.orders.borrow().listener.clone()
    }

    /// Clients who wait in the queue.
    fn clients(&self, count: usize) -> Vec<TcpStream> {
        (0..count).map(|_| TcpStream::connect(self.address).expect("room in the queue")).collect()
    }

    /// The loop; `seen` is called for each client it lets in, with its number.
    fn run(&self, seen: impl Fn(usize) + Send + Sync + 'static) -> JoinHandle<io::Result<()>> {
        let acceptor = Acceptor::new(self.orders.subscribe(), self.gate.clone(), self.life.clone());
        let socket = BoundSocket::Tcp(self.socket.try_clone().expect("a descriptor"));
        let served = self.served.clone();
        tokio::spawn(acceptor.run(socket, move |accepted| {
            let mut served = served.lock().expect("no panic");
            served.push(accepted);
            let number = served.len();
            drop(served);
            seen(number);
        }))
    }

    fn served(&self) -> usize {
        self.served.lock().expect("no panic").len()
    }

    /// Waits until so many were let in.
    async fn until_served(&self, count: usize) {
        let enough = async {
            while self.served() < count {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let in_time = timeout(LONG, enough).await;
        assert!(in_time.is_ok(), "{} of {count} were let in", self.served());
    }

    /// Ends the loop, which lets in whoever still waits.
    async fn end(&self, loop_: JoinHandle<io::Result<()>>) {
        self.life.enter(drain::Stage::Draining);
        timeout(LONG, loop_).await.expect("it ends").expect("no panic").expect("registered");
    }
}

#[tokio::test]
async fn whoever_waits_is_let_in_however_many_there_are() {
    for count in [1, 2, LOOKS - 1, LOOKS, LOOKS + 1, BATCH - 1, BATCH, BATCH + 1, 2 * BATCH + 1] {
        let stage = Stage::new(1000, Overflow::Refuse);
        let before = stage.clients(count);
        let loop_ = stage.run(|_| {});
        stage.until_served(count).await;
        drop(before);
        stage.served.lock().expect("no panic").clear();
        let _after = stage.clients(count);
        stage.until_served(count).await;
        assert_eq!(stage.listener().cells.connections.get(), 2 * count as u64);
        stage.end(loop_).await;
    }
}

/// One comes whenever one was let in: before it is looked whether there are more.
#[tokio::test]
async fn who_comes_while_another_is_let_in_is_let_in() {
    let stage = Stage::new(1000, Overflow::Refuse);
    let clients = Arc::new(Mutex::new(stage.clients(1)));
    let (address, more) = (stage.address, clients.clone());
    let loop_ = stage.run(move |number| {
        // Not always, so that the queue is also found empty in between.
        let count = if number < 100 { [1, 2, 0][number % 3] } else { 0 };
        let arrived = (0..count).map(|_| TcpStream::connect(address).expect("room"));
        more.lock().expect("no panic").extend(arrived);
    });
    stage.until_served(100).await;
    stage.end(loop_).await;
}

/// And at any other moment, from threads that run beside it: each comes again when it has been seen off.
#[tokio::test]
async fn nobody_is_left_in_the_queue() {
    const TIMES: usize = 1000;
    let stage = Stage::new(1000, Overflow::Refuse);
    let (address, served) = (stage.address, stage.served.clone());
    let loop_ = stage.run(move |_| served.lock().expect("no panic").clear());
    let comes_again = move || {
        for time in 0..TIMES {
            // It may be seen off before its own call of connect(2) is over.
            let stayed = TcpStream::connect(address).and_then(|mut client| {
                client.set_read_timeout(Some(LONG))?;
                client.read(&mut [0; 1])
            });
            let read = stayed.expect_err("it is seen off with a reset");
            assert_eq!(read.kind(), io::ErrorKind::ConnectionReset, "time {time}");
        }
    };
    let threads: Vec<_> = (0..3).map(|_| tokio::task::spawn_blocking(comes_again)).collect();
    for thread in threads {
        thread.await.expect("nobody was forgotten");
    }
    assert_eq!(stage.listener().cells.connections.get(), 3 * TIMES as u64);
    stage.end(loop_).await;
}

#[tokio::test]
async fn others_have_a_turn_after_a_batch() {
    let stage = Stage::new(1000, Overflow::Refuse);
    let _clients = stage.clients(2 * BATCH);
    let loop_ = stage.run(|_| {});
    let (mut before, mut most) = (0, 0);
    while before < 2 * BATCH {
        yield_now().await;
        let now = stage.served();
        most = most.max(now - before);
        before = now;
    }
    assert!((1..=BATCH).contains(&most), "{most} at once");
    stage.end(loop_).await;
}

#[tokio::test]
async fn orders_are_heard_after_a_batch() {
    let stage = Stage::new(1000, Overflow::Refuse);
    let clients = stage.clients(2 * BATCH);
    let (first, orders) = (stage.listener(), stage.orders.clone());
    let other = Arc::new(ListenerLive::new(listeners().swap_remove(1), 1));
    let next = other.clone();
    let loop_ = stage.run(move |number| {
        if number == 1 {
            orders.send_modify(|orders| orders.listener = next.clone());
        }
    });
    stage.until_served(clients.len()).await;
    let of_first =
        stage.served.lock().expect("no panic").iter().filter(|client| client.listener.name == first.name).count();
    assert!((1..=BATCH).contains(&of_first), "{of_first} were let in for a listener that has them no longer");
    assert_eq!(other.cells.connections.get() as usize, clients.len() - of_first);
    stage.end(loop_).await;
}

#[tokio::test]
async fn a_process_that_took_over_has_who_is_left_after_a_batch() {
    let stage = Stage::new(1000, Overflow::Refuse);
    let clients = stage.clients(2 * BATCH);
    let orders = stage.orders.clone();
    let loop_ = stage.run(move |number| {
        if number == 1 {
            orders.send_modify(|orders| orders.fate = Fate::HandOver);
        }
    });
    timeout(LONG, loop_).await.expect("it ends").expect("no panic").expect("registered");
    let left = std::iter::from_fn(|| stage.socket.accept().ok()).count();
    assert_eq!(stage.served() + left, clients.len());
    assert!((1..=BATCH).contains(&stage.served()), "{}", stage.served());
}

#[tokio::test]
async fn who_waits_when_the_end_comes_is_let_in_and_nobody_after() {
    let stage = Stage::new(1000, Overflow::Refuse);
    let clients = stage.clients(2 * BATCH);
    let life = stage.life.clone();
    let loop_ = stage.run(move |number| {
        if number == 1 {
            life.enter(drain::Stage::Draining);
        }
    });
    timeout(LONG, loop_).await.expect("it ends").expect("no panic").expect("registered");
    assert_eq!(stage.served(), clients.len());
    let refused = TcpStream::connect_timeout(&stage.address, Duration::from_millis(100));
    assert!(refused.is_err(), "newcomers are held back");
}

#[tokio::test]
async fn who_leaves_in_the_midst_of_a_batch_makes_room_for_the_next() {
    let stage = Stage::new(3, Overflow::Refuse);
    let clients = stage.clients(10);
    let served = stage.served.clone();
    let loop_ = stage.run(move |number| {
        // The third leaves at once, and so makes room for the fourth.
        if number == 3 {
            served.lock().expect("no panic").pop();
        }
    });
    let cells = |stage: &Stage| {
        let census = stage.listener().census();
        let refused = census.refused.iter().map(|(_, count)| *count).sum::<u64>();
        (census.connections, refused)
    };
    let all = async {
        while cells(&stage).0 < clients.len() as u64 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(LONG, all).await.expect("all are seen to");
    // Two stay; each of the others came in and left.
    assert_eq!((cells(&stage), stage.served()), ((10, 0), 2));
    let third = stage.clients(1);
    stage.until_served(2).await;
    drop(third);
    stage.end(loop_).await;
}

#[tokio::test]
async fn a_full_house_refuses_all_that_are_too_many_and_lets_in_again() {
    let stage = Stage::new(3, Overflow::Refuse);
    let clients = stage.clients(10);
    let loop_ = stage.run(|_| {});
    let refused = || stage.listener().cells.refused[Refused::MaxConnectionsProcess as usize].get();
    let all = async {
        while refused() < 7 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(LONG, all).await.expect("seven are refused");
    assert_eq!((stage.served(), stage.listener().cells.connections.get()), (3, 10));
    stage.served.lock().expect("no panic").clear();
    let more = stage.clients(2);
    stage.until_served(2).await;
    assert_eq!(refused(), 7);
    stage.end(loop_).await;
    drop((clients, more));
}

#[tokio::test]
async fn with_overflow_wait_each_place_that_is_free_lets_one_in() {
    let stage = Stage::new(2, Overflow::Wait);
    let clients = stage.clients(5);
    let loop_ = stage.run(|_| {});
    for count in [2, 3, 4, 5] {
        stage.until_served(2).await;
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert_eq!((stage.served(), stage.listener().cells.connections.get()), (2, count));
        stage.served.lock().expect("no panic").remove(0);
    }
    assert!(stage.listener().cells.accept_paused.get() >= 0.02, "{}", stage.listener().cells.accept_paused.get());
    stage.end(loop_).await;
    drop(clients);
}

/// The end comes while one waits for a place and others behind it: all of them are let in when there is room.
#[tokio::test]
async fn who_waits_for_a_place_when_the_end_comes_is_let_in() {
    let stage = Stage::new(1, Overflow::Wait);
    let clients = stage.clients(4);
    let loop_ = stage.run(|_| {});
    stage.until_served(1).await;
    stage.life.enter(drain::Stage::Draining);
    let mut clients = clients;
    while let Ok(before) = TcpStream::connect_timeout(&stage.address, Duration::from_millis(100)) {
        clients.push(before);
        assert!(clients.len() < 1000, "newcomers are held back at once");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for _ in 1..clients.len() {
        stage.until_served(1).await;
        stage.served.lock().expect("no panic").clear();
    }
    timeout(LONG, loop_).await.expect("it ends").expect("no panic").expect("registered");
    assert_eq!(stage.listener().cells.connections.get() as usize, clients.len());
}
