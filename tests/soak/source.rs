//! One of the fourteen servers: its zips, which keep coming, and what it does wrong meanwhile.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, OpenOptions, Permissions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use crate::dice::Dice;
use crate::proxy::Proxy;
use crate::support::daemons::{Daemon, Kind, Options, Tls};
use crate::support::scripted::{CONNECT, Ending, File, Limit, LimitAt, Manner, Rest, Rule, ScriptedServer};
use crate::support::service::Server;
use crate::support::zips::zip;

/// Between one step of an upload and the next, a file's time on the server moves by so much.
const STEP_SECONDS: i64 = 60;
const BEGAN: i64 = 1_795_402_800;

pub struct Source {
    pub name: String,
    pub zips: BTreeMap<String, Zip>,
    host: Host,
}

enum Host {
    Scripted(Box<ScriptedServer>),
    Real(Daemon, Proxy),
}

/// A zip that was put on a server.
pub struct Zip {
    seed: u64,
    size: usize,
    /// Bytes of the archive.
    pub length: usize,
    /// Of its content.
    pub digest: u64,
    /// Bytes uploaded so far.
    uploaded: usize,
    steps: i64,
    /// The server shows another size than it has.
    lied_about: bool,
    /// It was not removed from the server again.
    there: bool,
    /// How often it had been fetched when its record was first seen.
    pub fetched_when_recorded: Option<usize>,
}

pub fn digest(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}

impl Source {
    pub fn scripted(name: &str, number: u64) -> Self {
        let ftp = ScriptedServer::start();
        ftp.manner(|manner| {
            manner.mlsd_in_feat = !number.is_multiple_of(3);
            manner.mlsd_works = manner.mlsd_in_feat;
        });
        Self { name: name.to_owned(), zips: BTreeMap::new(), host: Host::Scripted(Box::new(ftp)) }
    }

    /// A daemon behind a proxy; `None` where this machine has none.
    pub fn real(name: &str, kind: Kind) -> Option<Self> {
        let daemon = Daemon::start(kind, &Options::default())?;
        let proxy = Proxy::before(daemon.addr);
        Some(Self { name: name.to_owned(), zips: BTreeMap::new(), host: Host::Real(daemon, proxy) })
    }

    /// Its entry in the configuration.
    pub fn entry(&self) -> Server {
        let server = match &self.host {
            Host::Scripted(ftp) => Server::scripted(&self.name, ftp),
            Host::Real(daemon, proxy) => Server::daemon(&self.name, daemon, Tls::Off)
                .key("port", &proxy.acceptor.addr().port().to_string()),
        };
        server.key("timeout", "'4s'").key("connections", "3")
    }

    /// How often each path was asked for.
    pub fn fetched(&self) -> HashMap<String, usize> {
        match &self.host {
            Host::Real(_, proxy) => proxy.fetched(),
            Host::Scripted(ftp) => ftp.journal(|journal| {
                let mut fetched = HashMap::new();
                for retr in &journal.retrs {
                    *fetched.entry(String::from_utf8_lossy(&retr.path).into_owned()).or_default() += 1;
                }
                fetched
            }),
        }
    }

    // -- files -----------------------------------------------------------------------------------------------

    /// One more zip: there at once, or uploaded in place bit by bit.
    pub fn add(&mut self, seed: u64, dice: &mut Dice) {
        let most = if dice.percent(5) { 2_000_000 } else { 120_000 };
        let size = dice.between(100, most) as usize;
        let path = format!("/d{}/e{}/MRO_{seed}.ZIP", dice.below(4), dice.below(3));
        let bytes = zip(seed, size);
        let length = bytes.len();
        let uploaded = if dice.percent(40) { dice.below(length as u64) as usize } else { length };
        let zip = Zip {
            seed,
            size,
            length,
            digest: digest(&bytes),
            uploaded,
            steps: 0,
            lied_about: dice.percent(10),
            there: true,
            fetched_when_recorded: None,
        };
        self.show(&path, &zip, &bytes);
        self.zips.insert(path, zip);
    }

    /// Uploads go on, lies are corrected, and some zips that are on record go, as the originals do.
    pub fn go_on(&mut self, dice: &mut Dice) {
        for (path, zip) in &mut self.zips {
            if zip.uploaded < zip.length || (zip.lied_about && dice.percent(10)) {
                zip.uploaded = zip.length.min(zip.uploaded + zip.length / 6 + 1);
                zip.lied_about = false;
                zip.steps += 1;
                Self::show_on(&self.host, path, zip);
            } else if zip.there && zip.fetched_when_recorded.is_some() && dice.percent(1) {
                zip.there = false;
                match &self.host {
                    Host::Scripted(ftp) => ftp.remove(path.as_bytes()),
                    Host::Real(daemon, _) => fs::remove_file(at(&daemon.root, path)).unwrap(),
                }
            }
        }
    }

    /// All uploads come to their end, and nothing is lied about any more.
    pub fn complete(&mut self) {
        for (path, zip) in &mut self.zips {
            if zip.uploaded < zip.length || zip.lied_about {
                (zip.uploaded, zip.lied_about) = (zip.length, false);
                zip.steps += 1;
                Self::show_on(&self.host, path, zip);
            }
        }
    }

    fn show(&self, path: &str, zip: &Zip, bytes: &[u8]) {
        Self::show_bytes(&self.host, path, zip, &bytes[..zip.uploaded]);
    }

    fn show_on(host: &Host, path: &str, of: &Zip) {
        Self::show_bytes(host, path, of, &zip(of.seed, of.size)[..of.uploaded]);
    }

    fn show_bytes(host: &Host, path: &str, zip: &Zip, bytes: &[u8]) {
        match host {
            Host::Scripted(ftp) => {
                let file = File::new(bytes).modified(BEGAN + zip.steps * STEP_SECONDS);
                // more or less than there is
                let shown = if zip.seed.is_multiple_of(2) { bytes.len() + 7 } else { bytes.len() / 2 };
                ftp.put(path, if zip.lied_about { file.showing(shown as u64) } else { file });
            }
            Host::Real(daemon, _) => write(&at(&daemon.root, path), bytes),
        }
    }

    // -- misbehaviour ----------------------------------------------------------------------------------------

    /// Something else goes wrong from now on, or nothing.
    pub fn misbehave(&mut self, dice: &mut Dice) {
        self.behave();
        match &self.host {
            Host::Scripted(_) if dice.percent(40) => {}
            Host::Scripted(ftp) => (0..dice.between(1, 3)).for_each(|_| misbehave(ftp, dice)),
            Host::Real(_, proxy) => match dice.below(8) {
                0 => proxy.acceptor.go_down(),
                1 | 2 => proxy.acceptor.drop_connections(),
                3 => proxy.freeze(true),
                _ => {}
            },
        }
    }

    /// Nothing goes wrong from now on.
    pub fn behave(&mut self) {
        match &self.host {
            Host::Scripted(ftp) => {
                ftp.behave();
                ftp.manner(|manner| {
                    let Manner { limit, rest, commands_per_connection, latency, .. } = manner;
                    (*limit, *rest, *commands_per_connection) = (None, Rest::Honoured, None);
                    *latency = Duration::ZERO;
                });
                ftp.release();
                ftp.come_back();
            }
            Host::Real(_, proxy) => {
                proxy.freeze(false);
                proxy.acceptor.come_back();
            }
        }
    }
}

fn misbehave(ftp: &ScriptedServer, dice: &mut Dice) {
    const VERBS: [&str; 12] =
        [CONNECT, "USER", "PASS", "TYPE", "FEAT", "PASV", "EPSV", "CWD", "LIST", "MLSD", "RETR", "SIZE"];
    let rule = Rule::on(dice.pick(&VERBS)).after(dice.below(4) as u32);
    let transfer = Rule::on(dice.pick(&["RETR", "MLSD", "LIST"])).after(dice.below(3) as u32);
    let ending = dice.pick(&[
        Ending::Success,
        Ending::Aborted,
        Ending::AbortedThenSuccess,
        Ending::Silence,
        Ending::Close,
    ]);
    let bytes = dice.below(60_000);
    match dice.below(18) {
        0 | 1 => ftp.rule(rule.hang().times(2)),
        2 => ftp.rule(rule.delay(Duration::from_millis(dice.below(1500)))),
        3 => ftp.rule(rule.reply("500 What was that?\r\n").times(2)),
        4 => ftp.rule(rule.reply_and_close("421 Going away.\r\n").times(2)),
        5 => ftp.rule(rule.reply("200 Fine.\r\n226 And done.\r\n").once()),
        6 => ftp.rule(rule.reply(b"\xff\xfe\0 no reply at all\r\n").once()),
        7 => ftp.rule(Rule::on("PASS").reply("530 Login incorrect.\r\n").once()),
        8 => ftp.manner(|manner| {
            let reply = b"421 There are too many connections.\r\n".to_vec();
            manner.limit = Some(Limit { connections: 1, at: LimitAt::Greeting, reply });
        }),
        9 => ftp.manner(|manner| {
            let reply = b"530 Sorry, the maximum number of clients (2) are already connected.\r\n".to_vec();
            manner.limit = Some(Limit { connections: 2, at: LimitAt::Login, reply });
        }),
        10 => ftp.rule(transfer.cut(bytes, ending).times(3)),
        11 => ftp.rule(transfer.stall(bytes).times(2)),
        12 => ftp.rule(transfer.trickle(3000, Duration::from_millis(20))),
        13 => ftp.rule(transfer.closing("451 Local error.\r\n").times(2)),
        14 => ftp.rule(transfer.closing("226 Done.\r\n226 Done.\r\n").once()),
        15 => ftp.manner(|manner| {
            manner.rest = if bytes.is_multiple_of(2) { Rest::Ignored } else { Rest::Refused }
        }),
        16 => {
            ftp.manner(|manner| manner.commands_per_connection = Some(12));
            ftp.drop_connections();
        }
        _ => ftp.go_down(),
    }
}

fn at(root: &Path, path: &str) -> std::path::PathBuf {
    root.join(path.trim_start_matches('/'))
}

/// Writes what is missing at the end, as an uploader does. The daemons serve as somebody else, who has to read it.
fn write(path: &Path, bytes: &[u8]) {
    let parent = path.parent().unwrap();
    fs::create_dir_all(parent).unwrap();
    for directory in parent.ancestors().take(2) {
        fs::set_permissions(directory, Permissions::from_mode(0o755)).unwrap();
    }
    let there = fs::metadata(path).map_or(0, |metadata| metadata.len()) as usize;
    let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
    file.set_permissions(Permissions::from_mode(0o644)).unwrap();
    file.write_all(&bytes[there..]).unwrap();
}
