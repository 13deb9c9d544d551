//! What a new user meets in the first hour: typical mistakes, each with what to do next.

use std::fs::Permissions;
use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::support::notify::NotifyStub;
use crate::support::scripted::{File, ScriptedServer};
use crate::support::service::{Server, Setup, Stream};
use crate::support::sftp::SftpServer;
use crate::support::steps::{SOON, one, recorded, run, says};
use crate::support::wait::try_obtain;
use crate::support::zips::zip;

/// Another user than root; `nobody` on most machines.
const OTHER: u32 = 65_534;

fn is_root() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        eprintln!("left out: this test becomes another user, which only root can");
    }
    is_root
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn give(path: &Path, owner: u32) {
    chown(path, Some(owner), Some(owner)).unwrap();
}

/// What a command says that ends by itself; one that does not is killed.
fn ended(mut command: Command) -> Output {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let is_over = try_obtain(SOON, || child.try_wait().unwrap()).is_some();
    if !is_over {
        child.kill().unwrap();
    }
    child.wait_with_output().unwrap()
}

fn as_other(setup: &Setup, command: &[&str]) -> Output {
    let mut command = setup.command(command);
    command.uid(OTHER).gid(OTHER);
    ended(command)
}

/// All that belongs to the service, its configuration included, belongs to the other user.
fn given_away() -> Setup {
    let setup = Setup::new().server(Server::at("omc01", (Ipv4Addr::LOCALHOST, 1).into()));
    let log = format!("[log]\nfile = '{}'\n", setup.directory().join("log/mrosync.log").display());
    let setup = setup.toml(&log);
    std::fs::create_dir(setup.directory().join("log")).unwrap();
    give(&setup.directory(), OTHER);
    for entry in std::fs::read_dir(setup.directory()).unwrap() {
        give(&entry.unwrap().path(), OTHER);
    }
    setup
}

/// interface 1.15
#[test]
fn a_run_as_root_of_what_belongs_to_another_user_is_refused_and_makes_nothing() {
    if !is_root() {
        return;
    }
    let setup = given_away();
    let output = ended(setup.command(&["run"]));
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let said = text(&output);
    assert!(said.contains("sudo -u") && said.contains("mrosync run"), "{said}");
    assert!(said.contains(&setup.directory().join("sync").display().to_string()), "{said}");
    assert!(!setup.directory().join("log/mrosync.log").try_exists().unwrap());
    let output = setup.command(&["check"]).output().unwrap();
    let said = text(&output);
    assert!(output.status.code() == Some(1) && said.contains("failed  owner: this runs as root"), "{said}");
}

/// interface 1.15
#[test]
fn each_part_alone_that_belongs_to_another_user_is_enough() {
    if !is_root() {
        return;
    }
    for part in ["sync", "records.db", "log"] {
        let setup = Setup::new().server(Server::at("omc01", (Ipv4Addr::LOCALHOST, 1).into()));
        let path = setup.directory().join(part);
        let log = format!("[log]\nfile = '{}'\n", setup.directory().join("log/mrosync.log").display());
        let setup = setup.toml(&log);
        match part {
            "log" => std::fs::create_dir(&path).unwrap(),
            "records.db" => std::fs::write(&path, "").unwrap(),
            _ => {}
        }
        give(&path, OTHER);
        let output = ended(setup.command(&["run"]));
        assert_eq!(output.status.code(), Some(2), "{part}: {output:?}");
        assert!(text(&output).contains(&path.display().to_string()), "{part}: {output:?}");
    }
}

/// interface 1.15
#[test]
fn all_that_root_left_behind_is_named_at_once_with_the_way_to_get_it_back() {
    if !is_root() {
        return;
    }
    let setup = given_away();
    let at = |name: &str| setup.directory().join(name);
    std::fs::create_dir(at("sync/.partial")).unwrap();
    let left = ["sync/.partial", "records.db", "log/mrosync.log"].map(|name| at(name).display().to_string());
    for file in ["records.db", "log/mrosync.log"] {
        std::fs::write(at(file), "").unwrap();
        std::fs::set_permissions(at(file), Permissions::from_mode(0o640)).unwrap();
    }
    for (command, status) in [("run", 1), ("check", 1)] {
        let output = as_other(&setup, &[command]);
        let said = text(&output);
        assert_eq!(output.status.code(), Some(status), "{said}");
        let line =
            said.lines().find(|line| line.contains("sudo chown -R")).unwrap_or_else(|| panic!("{said}"));
        assert!(left.iter().all(|path| line.contains(path)), "{command}: {line}");
    }
}

/// interface 1.10
#[test]
fn check_and_run_agree_on_each_place_that_cannot_be_written() {
    if !is_root() {
        return;
    }
    for (key, part) in
        [("sync.root", "sync"), ("records.path", "db"), ("log.file", "log"), ("control.socket", "socket")]
    {
        let setup = given_away();
        let at = |name: &str| setup.directory().join(name);
        let toml = format!(
            "[records]\npath = '{}'\n[control]\nsocket = '{}'\n",
            at("db/records.db").display(),
            at("socket/s").display()
        );
        for name in ["db", "socket"] {
            std::fs::create_dir(at(name)).unwrap();
            give(&at(name), OTHER);
        }
        std::fs::set_permissions(at(part), Permissions::from_mode(0o555)).unwrap();
        let setup = setup.toml(&toml);
        for entry in std::fs::read_dir(setup.directory()).unwrap() {
            give(&entry.unwrap().path(), OTHER);
        }
        let checked = text(&as_other(&setup, &["check"]));
        assert!(checked.contains(&format!("failed  {key}: ")), "{key}: {checked}");
        let output = as_other(&setup, &["run"]);
        assert_eq!(output.status.code(), Some(1), "{key}: {output:?}");
    }
}

/// interface 1.10
#[test]
fn what_no_permission_shows_is_found_by_opening_it() {
    let ftp = ScriptedServer::start();
    // where not even root makes anything
    let setup = one(&ftp).toml("[sync]\nroot = '/proc/mrosync'\n[records]\npath = '/proc/mrosync.db'\n");
    let said = text(&setup.command(&["check"]).output().unwrap());
    for key in ["sync.root", "records.path"] {
        assert!(said.contains(&format!("failed  {key}: ")), "{key}: {said}");
    }
}

/// interface 1.16
#[test]
fn somebody_else_who_asks_is_told_as_whom_to_ask() {
    if !is_root() {
        return;
    }
    let setup = Setup::new().server(Server::at("omc01", (Ipv4Addr::LOCALHOST, 1).into()));
    let token = setup.directory().join("token");
    std::fs::write(&token, "0123456789abcdef\n").unwrap();
    std::fs::set_permissions(&token, Permissions::from_mode(0o600)).unwrap();
    std::fs::set_permissions(setup.directory(), Permissions::from_mode(0o755)).unwrap();
    for file in setup.configurations() {
        std::fs::set_permissions(file, Permissions::from_mode(0o644)).unwrap();
    }
    let with_token = format!("[web]\nlisten = '127.0.0.1:0'\ntoken_file = '{}'\n", token.display());
    let page = setup.directory().join("page.toml");
    std::fs::write(&page, with_token).unwrap();
    std::fs::set_permissions(&page, Permissions::from_mode(0o644)).unwrap();
    let service = setup.run();
    crate::support::steps::ready(&service);
    let ask = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mrosync"));
        command.arg("--config").arg(service.directory().join("0.toml"));
        text(&command.args(more).args(["ctl", "status"]).uid(OTHER).gid(OTHER).output().unwrap())
    };
    let by_socket = ask(&[]);
    assert!(by_socket.contains("control socket") && by_socket.contains("sudo -u root"), "{by_socket}");
    let by_file = ask(&["--config", &page.display().to_string()]);
    assert!(by_file.contains("web.token_file") && by_file.contains("sudo -u root"), "{by_file}");
}

/// interface 1.17
#[test]
fn a_refused_password_with_blanks_or_quotes_is_hinted_at_and_not_shown() {
    let (ftp, sftp) = (ScriptedServer::start(), SftpServer::start());
    let directory = tempfile::tempdir().unwrap();
    let mut setup = Setup::new();
    for (n, (content, _)) in ODD.iter().enumerate() {
        let file = directory.path().join(n.to_string());
        std::fs::write(&file, content).unwrap();
        std::fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
        let odd = |server: Server| {
            server.without("password").key("password_file", &format!("'{}'", file.display()))
        };
        setup = setup.server(odd(Server::scripted(&format!("ftp{n}"), &ftp)));
        setup = setup.server(odd(sftp.server(&format!("sftp{n}"))));
    }
    let said = text(&setup.command(&["check"]).output().unwrap());
    for (n, (_, hint)) in ODD.iter().enumerate() {
        for protocol in ["ftp", "sftp"] {
            let line = said.lines().find(|line| line.contains(&format!("server {protocol}{n}: "))).unwrap();
            assert!(line.starts_with("failed") && line.contains(hint), "{line}");
        }
    }
    assert!(!said.contains("mro-pass"), "{said}");
}

/// Contents of password files, and what is said of them.
const ODD: [(&str, &str); 4] = [
    (" mro-pass\n", "begins or ends with a blank"),
    ("mro-pass \n", "begins or ends with a blank"),
    ("\"mro-pass\"\n", "has quotes around it"),
    ("\u{feff}\u{feff}mro-pass\n", "byte order mark"),
];

/// interface 1.17
#[test]
fn a_server_of_the_other_protocol_is_told_at_once_and_by_its_name() {
    let ftp = ScriptedServer::start();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let ssh = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n").ok();
            // kept open as a server does that waits for the other side
            std::mem::forget(stream);
        }
    });
    let swapped = Server::at("swapped", ftp.addr())
        .key("protocol", "'sftp'")
        .key("host_key", "'SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA'")
        .key("timeout", "'30s'");
    let setup = Setup::new().server(swapped).server(Server::at("other", ssh).key("timeout", "'30s'"));
    let asked = Instant::now();
    let said = text(&setup.command(&["check"]).output().unwrap());
    assert!(asked.elapsed() < Duration::from_secs(25), "{said}");
    let line =
        |name: &str| said.lines().find(|line| line.contains(&format!("server {name}: "))).unwrap().to_owned();
    assert!(line("swapped").contains("protocol = \"ftp\""), "{said}");
    assert!(line("other").contains("protocol = \"sftp\""), "{said}");
}

/// interface 1.12
#[test]
fn a_tree_whose_zips_lie_deeper_does_not_read_like_an_empty_one() {
    let (ftp, notify) = (ScriptedServer::start(), NotifyStub::start());
    ftp.put("/MR/a/1.zip", File::new(zip(1, 3000)));
    let setup = one(&ftp).notify(&notify.url());
    let said = text(&setup.command(&["check"]).output().unwrap());
    assert!(said.contains("/: 1 directory, 0 zips (what lies below is not listed here)"), "{said}");
}

/// interface 2.10
#[test]
fn the_console_says_how_to_begin_and_asks_about_a_near_miss() {
    let ftp = ScriptedServer::start();
    let mut service = one(&ftp).run();
    let ready = service.wait_line(Stream::Stderr, SOON, "it is ready", |line| line.contains("is ready"));
    assert!(ready.contains("'start'") && ready.contains("mrosync ctl start"), "{ready}");
    assert!(service.command("strat").contains("did you mean start?"));
    let service = run(one(&ftp));
    let ready = service.wait_line(Stream::Stderr, SOON, "it is ready", |line| line.contains("is ready"));
    assert!(!ready.contains("'start'"), "{ready}");
    let info = service.lines(Stream::Stderr);
    assert!(info.iter().all(|line| !line.contains("actix_server")), "{info:?}");
}

/// interface 13.14
#[test]
fn a_url_that_ends_where_the_file_belongs_is_called_with_it_once() {
    let (ftp, notify) = (ScriptedServer::start(), NotifyStub::start());
    ftp.put("/1.zip", File::new(zip(1, 3000)));
    let service = run(one(&ftp).notify(&format!("{}?file=", notify.url())));
    recorded(&service, 1);
    notify.wait_for(SOON, "a call", |calls| !calls.is_empty());
    let call = notify.calls().remove(0);
    assert_eq!(call.target, "/dls.php?file=%2Fomc01%2F1.zip");
}

/// interface 1.4, 1.18, 1.19, 1.20
#[test]
fn records_are_shown_newest_first_up_to_a_number_or_counted_and_an_unknown_server_is_an_error() {
    let (ftp, notify) = (ScriptedServer::start(), NotifyStub::start());
    let service = run(one(&ftp).notify(&notify.url()));
    for n in 1..=3 {
        ftp.put(format!("/{n}.zip"), File::new(zip(n, 3000)));
        recorded(&service, n as usize);
    }
    let records = |arguments: &[&str]| service.mrosync(&["records"], arguments);
    let newest = text(&records(&["--newest", "--limit", "2", "--format", "csv"]));
    let paths: Vec<_> = newest.lines().skip(1).map(|line| line.split(',').nth(1).unwrap()).collect();
    assert_eq!(paths, ["/3.zip", "/2.zip"]);
    let counted = text(&records(&["--count", "--format", "json"]));
    let counted: Vec<serde_json::Value> =
        counted.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(counted.iter().map(|count| count["files"].as_u64().unwrap()).sum::<u64>(), 3);
    assert!(counted.iter().all(|count| count["server"] == "omc01"), "{counted:?}");
    assert!(text(&records(&["--count"])).starts_with("SERVER"));
    says(&records(&["--server", "omc1"]), 2, "did you mean omc01?");
    for change in ["forget", "requeue"] {
        let output = service.mrosync(&["records", change], &["--server", "omc1", "--dry-run"]);
        says(&output, 2, "neither the configuration nor the records");
    }
    says(&service.mrosync(&["records", "forget"], &[]), 2, "mrosync records forget");
}
