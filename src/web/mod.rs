//! The status page, and what programs read: `/metrics`, `/healthz`, `/api/…`. Served by actix-web on threads of its
//! own from files inside the binary; nothing is computed while nobody asks.
//!
//! It reaches the service as the console does, by commands; `guard` decides who may ask for what.

mod answers;
mod assets;
mod clients;
mod details;
mod guard;

use std::future::Future;
use std::net::TcpListener;
use std::pin::Pin;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use actix_web::dev::{Server, ServerHandle};
use actix_web::middleware::from_fn;
use actix_web::rt::System;
use actix_web::{App, HttpServer, web};
use anyhow::Context;

use crate::base::blocking;
use crate::base::start_error::StartError;
use crate::config::{RecordsSettings, WebSettings};
use crate::control::Requests;
use crate::status::Roster;

use clients::Clients;

/// Connections at a time, of which browsers hold up to six each. One more takes the place of another (`clients`).
const MAX_CONNECTIONS: usize = 64;
/// Connections that may be open while those that gave way are being closed.
const MAX_CLOSING: usize = 1024;
/// Connections that wait to be accepted; the system may allow less (`net.core.somaxconn`).
const BACKLOG: i32 = 4096;
/// For a client to send the head of its request.
const REQUEST_LIMIT: Duration = Duration::from_secs(5);
/// An idle connection is kept for a page that asks every 2 s.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// A client that takes nothing of its answer for so long is given up.
const DEAF_LIMIT: Duration = Duration::from_secs(30);
/// For the thread to begin to listen.
const START_LIMIT: Duration = Duration::from_secs(10);

/// Whether the record keeper answers.
pub type Alive = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = bool> + Send>> + Send + Sync>;

/// The last lines of the log as JSON: after the line of this number, of this server, no more detailed than this.
pub type LogTail = Arc<dyn Fn(u64, Option<&str>, log::Level) -> String + Send + Sync>;

/// What the page shows and uses of the service.
#[derive(Clone)]
pub struct Parts {
    /// The way in, as the console has it.
    pub requests: Requests,
    /// Asked by `/healthz`.
    pub alive: Alive,
    /// The servers' counters.
    pub servers: Arc<Roster>,
    /// Where the records are, for the newest files and for searches.
    pub records: RecordsSettings,
    /// The last lines of the log.
    pub log: LogTail,
}

/// The bound address, which answers once it is served.
#[derive(Debug)]
pub struct BoundListener {
    listener: TcpListener,
    settings: WebSettings,
}

/// The running page. It ends when this is dropped.
pub struct Page {
    server: ServerHandle,
    rules: web::Data<guard::Rules>,
}

impl Page {
    /// Takes over who may ask for what; the address stays.
    pub fn change(&self, settings: WebSettings) {
        self.rules.change(settings);
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // the command is given here; nobody waits for its end
        drop(self.server.stop(false));
    }
}

impl BoundListener {
    /// Binds the address.
    ///
    /// # Errors
    ///
    /// [`StartError::Refused`] where another program listens there, else what the system refuses.
    pub fn open(settings: WebSettings) -> Result<Self, StartError> {
        let address = settings.listen;
        let listener = TcpListener::bind(address).map_err(|error| match error.kind() {
            std::io::ErrorKind::AddrInUse => {
                StartError::Refused(format!("web.listen: another program listens on {address}"))
            }
            _ => anyhow::Error::new(error).context(format!("web.listen: cannot listen on {address}")).into(),
        })?;
        socket2::SockRef::from(&listener)
            .listen(BACKLOG)
            .with_context(|| format!("web.listen: cannot listen on {address}"))?;
        Ok(Self { listener, settings })
    }

    /// Serves the page from threads of its own.
    ///
    /// # Errors
    ///
    /// When the system gives no threads.
    pub fn serve(self, parts: Parts) -> anyhow::Result<Page> {
        let address = self.listener.local_addr().context("web.listen: the address is gone")?;
        let Self { listener, settings } = self;
        let rules = web::Data::new(guard::Rules::new(settings));
        let (begun, beginning) = mpsc::sync_channel(1);
        let asked = rules.clone();
        let run = move || {
            System::new().block_on(async move {
                match listen(listener, asked, parts) {
                    Ok(server) => {
                        // whoever waits for it has gone after its limit, and then the server ends as well
                        drop(begun.send(Ok(server.handle())));
                        if let Err(error) = server.await {
                            log::error!("the status page ended: {error}");
                        }
                    }
                    Err(error) => drop(begun.send(Err(error))),
                }
            });
        };
        blocking::spawn("status page", run)?;
        let server = beginning.recv_timeout(START_LIMIT).context("the status page does not begin")??;
        log::info!("the status page is at http://{address}/");
        Ok(Page { server, rules })
    }
}

fn listen(listener: TcpListener, rules: web::Data<guard::Rules>, parts: Parts) -> std::io::Result<Server> {
    let parts = web::Data::new(parts);
    let clients = Clients::new(MAX_CONNECTIONS);
    let admitted = clients.clone();
    let app = move || {
        App::new()
            .app_data(rules.clone())
            .app_data(web::Data::new(clients.clone()))
            .app_data(parts.clone())
            .wrap(from_fn(guard::admit))
            .configure(assets::routes)
            .configure(answers::routes)
            .configure(details::routes)
    };
    let server = HttpServer::new(app)
        .workers(1)
        .max_connections(MAX_CONNECTIONS + MAX_CLOSING)
        .client_request_timeout(REQUEST_LIMIT)
        .keep_alive(KEEP_ALIVE)
        .shutdown_timeout(0)
        .disable_signals()
        .on_connect(move |connection, data| {
            if let Some(stream) = connection.downcast_ref::<actix_web::rt::net::TcpStream>() {
                admitted.admit(stream, data);
            }
        })
        .listen(listener)?;
    Ok(server.run())
}
