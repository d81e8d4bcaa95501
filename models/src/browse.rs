//! Shows a model in a browser with stateright's explorer. It refuses pages of other sites that the same
//! browser has open. It explores nothing itself.
//!
//! stateright's server answers any client. So it listens on a loopback address that cannot be guessed. Every
//! request to it passes through this module, which checks `Host` and `Origin`.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::str::FromStr;

use tiny_http::{Header, Method, Request, Response, Server};

/// Why a model cannot be shown. `Display` says what the user can do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The address cannot be listened on.
    #[error("cannot listen at {address}: {reason}; give another address with --listen")]
    Listening {
        /// The address.
        address: SocketAddr,
        /// The error of the system.
        reason: String,
    },
}

/// Gives `serve` an address to serve at, and forwards requests from `listen` to it, until the program ends.
pub(crate) fn show(
    listen: SocketAddr,
    serve: impl FnOnce(SocketAddr) + Send + 'static,
) -> Result<(), ServeError> {
    let not_shown = |reason: String| ServeError::Listening { address: listen, reason };
    let inner = unguessable_address().map_err(|error| not_shown(error.to_string()))?;
    let front = Server::http(listen).map_err(|error| not_shown(error.to_string()))?;
    std::thread::spawn(move || serve(inner));
    for request in front.incoming_requests() {
        answer(request, inner);
    }
    Ok(())
}

/// A loopback address that cannot be guessed: 24 bits are random, and the system chooses the port.
fn unguessable_address() -> std::io::Result<SocketAddr> {
    let mut random = [0; 3];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut random)?;
    let [a, b, c] = random;
    TcpListener::bind((Ipv4Addr::new(127, a, b, c.clamp(1, 254)), 0))?.local_addr()
}

fn answer(request: Request, inner: SocketAddr) {
    let of = |name: &'static str| {
        let header = request.headers().iter().find(|header| header.field.equiv(name));
        header.map(|header| header.value.as_str())
    };
    let answered = if is_from_here(of("Host"), of("Origin")) {
        match forward(request.method(), request.url(), inner) {
            Ok(answered) => answered,
            Err(error) => Response::from_string(format!(
                "the model's explorer does not answer: {error}; start tidegate-verify explore again"
            ))
            .with_status_code(502),
        }
    } else {
        Response::from_string(
            "refused: open this page by its address or as localhost, not from another site",
        )
        .with_status_code(403)
    };
    // The client may be gone.
    let _ = request.respond(answered);
}

/// Whether a request comes from the page that is served here. A page of another site names itself in
/// `Origin`. If that site's name resolves to this machine, the name is in `Host`.
fn is_from_here(host: Option<&str>, origin: Option<&str>) -> bool {
    let Some(host) = host else { return false };
    let is_port = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let name = host.rsplit_once(':').filter(|(_, port)| is_port(port)).map_or(host, |it| it.0);
    let name = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    let is_no_name = name.eq_ignore_ascii_case("localhost") || IpAddr::from_str(name).is_ok();
    is_no_name && origin.is_none_or(|origin| origin.strip_prefix("http://") == Some(host))
}

type ProxyResponse = Response<std::io::Cursor<Vec<u8>>>;

/// Forwards the request to the explorer. The explorer reads no bodies, so none is forwarded.
fn forward(method: &Method, url: &str, inner: SocketAddr) -> std::io::Result<ProxyResponse> {
    let mut socket = TcpStream::connect(inner)?;
    write!(socket, "{method} {url} HTTP/1.0\r\nContent-Length: 0\r\n\r\n")?;
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer)?;
    let unreadable = || std::io::Error::other("its answer is not HTTP");
    let end = answer.windows(4).position(|it| it == b"\r\n\r\n").ok_or_else(unreadable)?;
    let body = answer.split_off(end + 4);
    let head = String::from_utf8(answer).map_err(|_| unreadable())?;
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse::<u16>().ok());
    let content_type = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-type")
            .then(|| Header::from_str(&format!("Content-Type:{value}")).ok())?
    });
    let answer = Response::from_data(body).with_status_code(status.ok_or_else(unreadable)?);
    Ok(match content_type {
        Some(content_type) => answer.with_header(content_type),
        None => answer,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_other_sites_are_refused() {
        for host in ["localhost:3000", "127.0.0.1:3000", "[::1]:3000", "10.0.0.7", "LOCALHOST"] {
            assert!(is_from_here(Some(host), None), "{host}");
            assert!(is_from_here(Some(host), Some(&format!("http://{host}"))), "{host}");
            for origin in [
                "null",
                "http://evil.example",
                "https://localhost:3000",
                "http://localhost:3001",
                "",
            ] {
                assert!(!is_from_here(Some(host), Some(origin)), "{host} {origin}");
            }
        }
        for host in [
            "evil.example",
            "evil.example:3000",
            "localhost.evil.example",
            "127.0.0.1.evil.example:80",
            "",
        ] {
            assert!(!is_from_here(Some(host), None), "{host}");
        }
        assert!(!is_from_here(None, None));
    }

    #[test]
    fn what_is_refused_is_not_asked() {
        let front = Server::http("127.0.0.1:0").expect("listens");
        let address = front.server_addr().to_ip().expect("an address");
        // Nothing listens there, so a request that is forwarded is answered with 502.
        let inner = unguessable_address().expect("an address");
        assert!(inner.ip().is_loopback() && inner.ip() != IpAddr::V4(Ipv4Addr::LOCALHOST));
        let served = std::thread::spawn(move || {
            front.incoming_requests().take(2).for_each(|request| answer(request, inner));
        });
        for (host, status) in [("evil.example", "403"), ("127.0.0.1", "502")] {
            let mut socket = TcpStream::connect(address).expect("listens");
            write!(socket, "GET / HTTP/1.0\r\nHost: {host}\r\n\r\n").expect("writes");
            let mut reply = String::new();
            socket.read_to_string(&mut reply).expect("reads");
            assert_eq!(reply.split(' ').nth(1), Some(status), "{reply}");
        }
        served.join().expect("no panic");
    }

    #[test]
    fn what_is_asked_here_is_answered_there() {
        let inner = Server::http("127.0.0.1:0").expect("listens");
        let address = inner.server_addr().to_ip().expect("an address");
        let served = std::thread::spawn(move || {
            let request = inner.recv().expect("asked");
            let asked = format!("{} {}", request.method(), request.url());
            request.respond(Response::from_string(asked)).expect("answers");
        });
        let answer = forward(&Method::Post, "/.runtocompletion", address).expect("answers");
        assert_eq!(answer.status_code(), 200);
        let mut text = String::new();
        answer.into_reader().read_to_string(&mut text).expect("text");
        assert_eq!(text, "POST /.runtocompletion");
        served.join().expect("no panic");
    }
}
