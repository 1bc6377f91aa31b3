//! Nobody without the secret joins, triggers or reads anything, or keeps others from it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::tests::hello;
use crate::connection::Timing;
use crate::frame::{self, MAX_HELLO_LEN, MAX_LEN};
use crate::{Config, Error, Hub, Link, News, Order, Report, Request, Secret};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, ServerConfig, ServerConnection, SignatureScheme,
};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

const SOON: Option<Duration> = Some(Duration::from_secs(5));

fn quick() -> Timing {
    Timing {
        handshake: Duration::from_millis(400),
        ping: Duration::from_millis(50),
        silence: Duration::from_millis(600),
        farewell: Duration::from_millis(500),
    }
}

fn hub(secret: &Secret) -> (Hub, SocketAddr) {
    let mut hub = Hub::start_with(secret, Config::new("c", 1), quick()).unwrap();
    let address = hub.listen(TcpListener::bind("127.0.0.1:0").unwrap()).unwrap();
    (hub, address)
}

fn reach(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(SOON).unwrap();
    stream
}

/// What comes until the other side ends the connection.
fn rest(stream: &mut impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    bytes
}

fn hello_frame() -> Vec<u8> {
    frame::encode(Report::Hello(hello("evil"))).unwrap()
}

/// Nobody has joined, nothing was told, and a member still can.
fn check_untouched(hub: &Hub, address: SocketAddr, secret: &Secret) {
    assert_eq!(hub.nodes().unwrap(), Vec::new());
    assert!(hub.news(Some(Duration::ZERO)).unwrap().is_none());
    let link = Link::connect(&[address], secret, hello("good")).unwrap();
    assert!(matches!(link.recv(SOON).unwrap(), Some(Order::Welcome(_))));
}

#[derive(Debug)]
struct AcceptsAnything;

impl ServerCertVerifier for AcceptsAnything {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

/// Shows this certificate and signs with this key, whether they belong together or not.
#[derive(Debug)]
struct Shows(Arc<CertifiedKey>);

impl Shows {
    fn new(certificate: &Secret, key: &Secret) -> Arc<Shows> {
        let key: PrivateKeyDer<'static> = key.key();
        let key = rustls::crypto::ring::sign::any_supported_type(&key).unwrap();
        Arc::new(Shows(Arc::new(CertifiedKey::new(
            vec![certificate.certificate()],
            key,
        ))))
    }
}

impl rustls::client::ResolvesClientCert for Shows {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
    fn has_certs(&self) -> bool {
        true
    }
}

impl rustls::server::ResolvesServerCert for Shows {
    fn resolve(&self, _: rustls::server::ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

fn client(shows: Option<Arc<Shows>>) -> ClientConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AcceptsAnything));
    match shows {
        Some(shows) => builder.with_client_cert_resolver(shows),
        None => builder.with_no_client_auth(),
    }
}

fn talk(config: ClientConfig, address: SocketAddr) -> rustls::StreamOwned<ClientConnection, TcpStream> {
    let name = ServerName::try_from("rethaw").unwrap();
    let connection = ClientConnection::new(Arc::new(config), name).unwrap();
    rustls::StreamOwned::new(connection, reach(address))
}

/// Says hello and wants a checkpoint; what it gets to read.
fn intrude(config: ClientConfig, address: SocketAddr) -> Vec<u8> {
    let mut stream = talk(config, address);
    let _ = stream.write_all(&hello_frame());
    let request = Request {
        stop: true,
        ..Request::default()
    };
    let _ = stream.write_all(&frame::encode(Report::Request(request)).unwrap());
    rest(&mut stream)
}

#[test]
fn without_tls_nobody_joins() {
    let secret = Secret::generate().unwrap();
    let (hub, address) = hub(&secret);
    let mut stream = reach(address);
    stream.write_all(&hello_frame()).unwrap();
    // At most an alert of TLS, 7 bytes.
    assert!(rest(&mut stream).len() <= 7);
    check_untouched(&hub, address, &secret);
}

#[test]
fn without_a_certificate_nobody_joins() {
    let secret = Secret::generate().unwrap();
    let (hub, address) = hub(&secret);
    assert_eq!(intrude(client(None), address), b"");
    check_untouched(&hub, address, &secret);
}

#[test]
fn with_another_certificate_nobody_joins() {
    let (secret, other) = (Secret::generate().unwrap(), Secret::generate().unwrap());
    let (hub, address) = hub(&secret);
    assert_eq!(intrude(client(Some(Shows::new(&other, &other))), address), b"");
    check_untouched(&hub, address, &secret);
}

#[test]
fn with_the_certificate_but_another_key_nobody_joins() {
    let (secret, other) = (Secret::generate().unwrap(), Secret::generate().unwrap());
    let (hub, address) = hub(&secret);
    assert_eq!(intrude(client(Some(Shows::new(&secret, &other))), address), b"");
    check_untouched(&hub, address, &secret);
}

#[test]
fn the_intruders_would_join_with_the_secret() {
    let secret = Secret::generate().unwrap();
    let (hub, address) = hub(&secret);
    assert_ne!(intrude(client(Some(Shows::new(&secret, &secret))), address), b"");
    assert!(matches!(hub.news(SOON).unwrap(), Some(News::Joined(_))));
}

#[test]
fn garbage_is_dropped() {
    let secret = Secret::generate().unwrap();
    let (hub, address) = hub(&secret);
    let mut seed = 1u64;
    for length in [1usize, 5, 64, 1000, 100_000] {
        let mut byte = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 56) as u8
        };
        let mut garbage: Vec<u8> = (0..length).map(|_| byte()).collect();
        for begin in [None, Some(0x16)] {
            // As if a handshake record came.
            begin.into_iter().for_each(|begin| garbage[0] = begin);
            let mut stream = reach(address);
            let _ = stream.write_all(&garbage);
            let _ = stream.shutdown(std::net::Shutdown::Write);
            assert!(rest(&mut stream).len() <= 7);
        }
    }
    check_untouched(&hub, address, &secret);
}

#[test]
fn who_dawdles_is_dropped_and_keeps_nobody_out() {
    let secret = Secret::generate().unwrap();
    let (hub, address) = hub(&secret);
    let began = Instant::now();
    let mut silent: Vec<TcpStream> = (0..50).map(|_| reach(address)).collect();
    let mut slow = reach(address);
    slow.set_nonblocking(false).unwrap();
    let link = Link::connect(&[address], &secret, hello("good")).unwrap();
    assert!(matches!(link.recv(SOON).unwrap(), Some(Order::Welcome(_))));
    // A byte now and then does not help.
    let hello = [
        0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03, 0, 0, 0, 0, 0,
    ];
    for byte in hello {
        let _ = slow.write_all(&[byte]);
        std::thread::sleep(Duration::from_millis(40));
    }
    for stream in silent.iter_mut().chain([&mut slow]) {
        assert!(rest(stream).len() <= 7);
    }
    assert!(began.elapsed() < Duration::from_secs(3));
    assert_eq!(hub.nodes().unwrap().len(), 1);
}

#[test]
fn a_member_that_does_not_say_who_it_is_is_dropped() {
    let secret = Secret::generate().unwrap();
    let (hub, address) = hub(&secret);
    let member = || client(Some(Shows::new(&secret, &secret)));
    let began = Instant::now();
    let mut silent = talk(member(), address);
    silent.flush().unwrap();
    assert_eq!(rest(&mut silent), b"");
    assert!(began.elapsed() < Duration::from_secs(3));
    // Too long for a hello, too long for anything, something else first.
    let request = frame::encode(Report::Request(Request::default())).unwrap();
    let length = |length: usize| (length as u32).to_be_bytes().to_vec();
    for first in [length(MAX_HELLO_LEN + 1), length(usize::MAX), request] {
        let mut stream = talk(member(), address);
        stream.write_all(&first).unwrap();
        assert_eq!(rest(&mut stream), b"");
    }
    check_untouched(&hub, address, &secret);
}

/// The reason for which the only agent was lost.
fn loss(hub: &Hub) -> String {
    loop {
        if let News::NodeLost { reason, .. } = hub.news(SOON).unwrap().expect("news") {
            return reason;
        }
    }
}

#[test]
fn a_member_with_a_frame_that_is_too_long_is_lost() {
    let secret = Secret::generate().unwrap();
    let (hub, address) = hub(&secret);
    let mut stream = talk(client(Some(Shows::new(&secret, &secret))), address);
    stream.write_all(&hello_frame()).unwrap();
    stream.write_all(&((MAX_LEN + 1) as u32).to_be_bytes()).unwrap();
    rest(&mut stream);
    assert!(loss(&hub).contains("too long"));
}

#[test]
fn a_member_that_is_silent_is_lost() {
    let secret = Secret::generate().unwrap();
    let (hub, address) = hub(&secret);
    let mut stream = talk(client(Some(Shows::new(&secret, &secret))), address);
    stream.write_all(&hello_frame()).unwrap();
    stream.flush().unwrap();
    assert!(loss(&hub).contains("nothing was heard"));
    rest(&mut stream);
}

#[test]
fn a_member_that_does_nothing_is_not_lost() {
    let secret = Secret::generate().unwrap();
    let (hub, address) = hub(&secret);
    let link = Link::connect_with(&[address], &secret, hello("good"), quick()).unwrap();
    std::thread::sleep(quick().silence * 3);
    assert!(matches!(link.recv(SOON).unwrap(), Some(Order::Welcome(_))));
    assert!(link.recv(Some(Duration::ZERO)).unwrap().is_none());
    assert_eq!(hub.nodes().unwrap().len(), 1);
}

/// A coordinator that is none: what it gets to read.
fn impostor(shows: Arc<Shows>) -> (SocketAddr, std::thread::JoinHandle<Vec<u8>>) {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(shows);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let run = move || {
        let (stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(SOON).unwrap();
        let connection = ServerConnection::new(Arc::new(config)).unwrap();
        rest(&mut rustls::StreamOwned::new(connection, stream))
    };
    (address, std::thread::spawn(run))
}

#[test]
fn an_impostor_is_told_nothing() {
    let (secret, other) = (Secret::generate().unwrap(), Secret::generate().unwrap());
    for shows in [Shows::new(&other, &other), Shows::new(&secret, &other)] {
        let (address, thread) = impostor(shows);
        let refusal = Link::connect(&[address], &secret, hello("good"));
        assert!(matches!(refusal, Err(Error::Unreachable { .. })));
        assert_eq!(thread.join().unwrap(), b"");
    }
}

#[test]
fn the_right_one_of_several_addresses_is_found() {
    let (secret, other) = (Secret::generate().unwrap(), Secret::generate().unwrap());
    let (hub, address) = hub(&secret);
    let (impostor, thread) = impostor(Shows::new(&other, &other));
    let closed = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let link = Link::connect(&[closed, impostor, address], &secret, hello("good")).unwrap();
    assert!(matches!(link.recv(SOON).unwrap(), Some(Order::Welcome(_))));
    assert_eq!(hub.nodes().unwrap().len(), 1);
    assert_eq!(thread.join().unwrap(), b"");
    let nowhere = Link::connect(&[closed], &secret, hello("good"))
        .unwrap_err()
        .to_string();
    assert!(nowhere.contains(&closed.to_string()), "{nowhere}");
}
