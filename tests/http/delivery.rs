//! A turn lasts until its reply has left the process, and no longer.

use std::net::SocketAddr;
use std::time::Duration;

use axum::body::Body;
use http_body_util::BodyExt;
use tidegate::Gateway;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::client::{Client, PATIENCE};
use super::scene::{BIG, By, SOCKET_BUFFER, Scene, TAIL};

/// A reply that the server has taken and not sent is not delivered. F11, I-14.
#[tokio::test]
async fn a_reply_that_is_not_read_is_in_flight() {
    let scene = Scene::new();
    let mut socket = TcpStream::connect(scene.address).await.expect("listens");
    socket.write_all(b"GET /big HTTP/1.1\r\nhost: test\r\n\r\n").await.expect("writes");
    scene.in_flight(1).await;
    let mut head = [0; 1024];
    socket.read_exact(&mut head).await.expect("it begins");
    scene.close();
    // The turn lasts as long as the client does not read, although hyper has taken all that it can.
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    assert_eq!(scene.gateway.in_flight().user, 1);
    let mut rest = vec![0; BIG - 1024];
    socket.read_exact(&mut rest).await.expect("the rest");
    assert!(rest.ends_with(b"xxx"));
    let idle = tokio::time::timeout(PATIENCE, scene.gateway.idle());
    idle.await.expect("delivered, except the bytes that the sockets hold");
}

/// Connects with a small receive buffer.
async fn narrow(address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(SOCKET_BUFFER).expect("sets");
    socket.connect(address).await.expect("listens")
}

/// The server has taken the whole reply, and the sockets have not. With our server the turn lasts until they have. With
/// another server the turn is over before.
#[tokio::test]
async fn what_the_server_has_taken_and_not_sent_is_in_flight() {
    for by in [By::Ours, By::Axum] {
        let scene = Scene::narrow(by);
        let mut socket = narrow(scene.address).await;
        socket.write_all(b"GET /tail HTTP/1.1\r\nhost: test\r\n\r\n").await.expect("writes");
        let mut head = [0; 1024];
        socket.read_exact(&mut head).await.expect("it begins");
        scene.close();
        if by == By::Axum {
            scene.in_flight(0).await;
            continue;
        }
        for _ in 0..1000 {
            tokio::task::yield_now().await;
        }
        assert_eq!(scene.gateway.in_flight().user, 1);
        let mut rest = vec![0; TAIL - 1024];
        socket.read_exact(&mut rest).await.expect("the rest");
        tokio::time::timeout(PATIENCE, scene.gateway.idle()).await.expect("delivered");
    }
}

/// An HTTP/2 client by hand, since hyper's client would read on by itself. It grants a window for everything.
struct ByHand(TcpStream);

impl ByHand {
    async fn connect(address: SocketAddr) -> ByHand {
        let mut socket = narrow(address).await;
        let window = (1_u32 << 24).to_be_bytes();
        let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        // SETTINGS with INITIAL_WINDOW_SIZE, and WINDOW_UPDATE for the connection.
        bytes.extend([0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 4]);
        bytes.extend(window);
        bytes.extend([0, 0, 4, 8, 0, 0, 0, 0, 0]);
        bytes.extend(window);
        socket.write_all(&bytes).await.expect("writes");
        ByHand(socket)
    }

    /// Sends HEADERS with the whole head, and no body: GET, http, the path, an authority.
    async fn get(&mut self, stream: u8, path: &str) {
        let length = u8::try_from(path.len()).expect("short");
        let mut bytes = vec![0, 0, length + 10, 1, 5, 0, 0, 0, stream, 0x82, 0x86, 0x04, length];
        bytes.extend(path.as_bytes());
        bytes.extend([0x41, 4]);
        bytes.extend(b"test");
        self.0.write_all(&bytes).await.expect("writes");
    }

    /// Waits until nothing more arrives. Then the sockets are full, and the server keeps the rest.
    async fn has_filled_its_sockets(&self) {
        let mut bytes = vec![0; 1 << 20];
        let mut had = 0;
        loop {
            let has = self.0.peek(&mut bytes).await.expect("reads");
            if has == had {
                return;
            }
            had = has;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Reads on until the gateway is idle.
    async fn reads_until_idle(&mut self, gateway: &Gateway) {
        let mut piece = vec![0; 64 << 10];
        let over = async {
            let mut idle = gateway.idle();
            loop {
                tokio::select! {
                    _ = &mut idle => break,
                    read = self.0.read(&mut piece) => assert_ne!(read.expect("reads"), 0),
                }
            }
        };
        tokio::time::timeout(PATIENCE, over).await.expect("delivered");
    }
}

/// The same holds over HTTP/2: for a reply that is longer than a stream's buffer, and for a short reply behind it. It
/// also holds for many short replies, which the server takes at once and cannot send.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_server_has_taken_and_not_sent_over_http_2_is_in_flight() {
    for paths in [vec!["/tail", "/origin"], vec!["/piece"; 50], vec!["/trailers"; 50]] {
        let scene = Scene::narrow(By::Ours);
        let mut client = ByHand::connect(scene.address).await;
        let mut turns = 0;
        // The first reply fills the sockets, so that the next ones are not sent.
        client.get(1, "/tail").await;
        scene.in_flight(1).await;
        client.has_filled_its_sockets().await;
        for (stream, path) in (3..).step_by(2).zip(&paths) {
            client.get(stream, path).await;
            turns += 1;
            scene.in_flight(1 + turns).await;
        }
        scene.close();
        for _ in 0..1000 {
            tokio::task::yield_now().await;
        }
        assert_eq!(scene.gateway.in_flight().user, 1 + turns, "{paths:?}");
        client.reads_until_idle(&scene.gateway).await;
    }
}

/// A reply without a window from its client is still in flight.
#[tokio::test]
async fn a_reply_that_the_client_grants_no_window_for_is_in_flight() {
    let scene = Scene::new();
    let mut client = Client::two(scene.address).await;
    let request = client.request("GET", "/big").body(Body::empty()).expect("a request");
    let response = client.send(request).await.expect("a reply");
    scene.close();
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    assert_eq!(scene.gateway.in_flight().user, 1);
    let body = response.into_body().collect().await.expect("the rest").to_bytes();
    assert_eq!(body.len(), BIG);
    let idle = tokio::time::timeout(PATIENCE, scene.gateway.idle());
    idle.await.expect("delivered");
}

/// An upgraded connection is a turn until it ends, although its handler does not keep the turn.
#[tokio::test]
async fn an_upgraded_connection_is_a_turn_until_it_ends() {
    let scene = Scene::new();
    let mut io = Client::one(scene.address).await.upgrade("/upgrade").await;
    scene.close();
    for byte in 0..100 {
        io.write_all(&[byte]).await.expect("writes");
        assert_eq!(io.read_u8().await.expect("reads"), byte);
        assert_eq!(scene.gateway.in_flight().user, 1);
    }
    drop(io);
    tokio::time::timeout(PATIENCE, scene.gateway.idle()).await.expect("it has ended");
}

/// A reply that the client has read is no longer a turn, whichever thread of the server sent it. That does not wait for
/// the next ping.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_reply_that_is_read_ends_its_turn_on_any_thread() {
    let scene = Scene::new();
    let Client::Two(sender) = Client::two(scene.address).await else { unreachable!() };
    for _ in 0..40 {
        let mut asking = tokio::task::JoinSet::new();
        for path in ["/origin", "/empty", "/child", "/nowhere"].repeat(16) {
            let mut client = Client::Two(sender.clone());
            asking.spawn(async move { client.get(path).await.status });
        }
        asking.join_all().await;
        let ended = async {
            while scene.gateway.in_flight().user > 0 {
                tokio::task::yield_now().await;
            }
        };
        let soon = Duration::from_secs(5);
        tokio::time::timeout(soon, ended).await.expect("it is over");
    }
}
