//! What a transaction pooler would make of a client: a proxy that notes each prepared statement and each execution of one that the client
//! sends while it has no transaction open. Between two such messages a pooler may change the server.
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use super::Database;

pub struct Pooler {
    pub url: String,
    pub address: String,
    split: Arc<Mutex<Vec<String>>>,
    open: Arc<Mutex<Vec<TcpStream>>>,
    down: Arc<AtomicBool>,
}

impl Pooler {
    /// In front of a database's server.
    pub fn of(database: &Database) -> Pooler {
        let address = database.url.split('@').nth(1).unwrap().split('/').next().unwrap().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let own = listener.local_addr().unwrap().to_string();
        let base = database.url.split('?').next().unwrap().replace(&address, &own);
        let split: Arc<Mutex<Vec<String>>> = Arc::default();
        let (open, down): (Arc<Mutex<Vec<TcpStream>>>, Arc<AtomicBool>) = Default::default();
        let (noted, opened, is_down) = (split.clone(), open.clone(), down.clone());
        std::thread::spawn(move || {
            for client in listener.incoming() {
                if is_down.load(Ordering::SeqCst) {
                    continue; // closed at once
                }
                let (Ok(client), Ok(server)) = (client, TcpStream::connect(&address)) else { return };
                opened.lock().unwrap().push(client.try_clone().unwrap());
                let in_transaction: Arc<Mutex<bool>> = Arc::default();
                let (from, to, state) =
                    (server.try_clone().unwrap(), client.try_clone().unwrap(), in_transaction.clone());
                std::thread::spawn(move || answers(from, to, &state));
                let noted = noted.clone();
                std::thread::spawn(move || questions(client, server, &in_transaction, &noted));
            }
        });
        let url = format!("{base}?sslmode=disable&pgbouncer=true");
        Pooler { url, address: own, split, open, down }
    }

    /// As a host that goes: its connections end, and it answers nobody any more.
    pub fn go_down(&self) {
        self.down.store(true, Ordering::SeqCst);
        for client in self.open.lock().unwrap().drain(..) {
            let _ = client.shutdown(Shutdown::Both);
        }
    }

    /// What may have been split between two servers: kind of message and the statement.
    pub fn split(&self) -> Vec<String> {
        self.split.lock().unwrap().clone()
    }
}

/// The length counts itself, not the kind of the message before it.
fn body(from: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let mut message = length.to_vec();
    message.resize(u32::from_be_bytes(length) as usize, 0);
    from.read_exact(&mut message[4..])?;
    Ok(message)
}

fn message(from: &mut TcpStream) -> std::io::Result<(u8, Vec<u8>)> {
    let mut kind = [0];
    from.read_exact(&mut kind)?;
    Ok((kind[0], body(from)?))
}

fn pass_on(to: &mut TcpStream, kind: u8, body: &[u8]) -> std::io::Result<()> {
    to.write_all(&[&[kind], body].concat())
}

fn questions(mut client: TcpStream, mut server: TcpStream, in_transaction: &Mutex<bool>, split: &Mutex<Vec<String>>) {
    let mut pass = || {
        server.write_all(&body(&mut client)?)?;
        loop {
            let (kind, body) = message(&mut client)?;
            if matches!(kind, b'P' | b'B') && !*in_transaction.lock().unwrap() {
                let text = String::from_utf8_lossy(&body[4..]).replace('\0', " ");
                split.lock().unwrap().push(format!("{}: {text}", kind as char));
            }
            pass_on(&mut server, kind, &body)?;
        }
    };
    let _: std::io::Result<()> = pass();
    let _ = server.shutdown(Shutdown::Both);
}

/// ReadyForQuery says whether a transaction is open.
fn answers(mut server: TcpStream, mut client: TcpStream, in_transaction: &Mutex<bool>) {
    let mut pass = || loop {
        let (kind, body) = message(&mut server)?;
        if kind == b'Z' {
            *in_transaction.lock().unwrap() = body[4] != b'I';
        }
        pass_on(&mut client, kind, &body)?;
    };
    let _: std::io::Result<()> = pass();
    let _ = client.shutdown(Shutdown::Both);
}
