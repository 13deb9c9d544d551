//! `check`: a line for each thing, an exit status for all, and nothing changed anywhere.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Output;
use std::time::{Duration, Instant};

use crate::support::notify::NotifyStub;
use crate::support::scripted::{CONNECT, File, Rule, ScriptedServer};
use crate::support::service::{Server, Setup};
use crate::support::steps::SOON;
use crate::support::unftp::Unftp;
use crate::support::zips::zip;
use crate::web::page;

fn check(setup: &Setup) -> Output {
    setup.command(&["check"]).output().unwrap()
}

fn lines(output: &Output) -> Vec<String> {
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

/// The one line that holds these words.
#[track_caller]
fn line(output: &Output, words: &str) -> String {
    let lines = lines(output);
    let mut fitting = lines.iter().filter(|line| line.contains(words));
    match (fitting.next(), fitting.next()) {
        (Some(line), None) => line.clone(),
        _ => panic!("not one line with '{words}': {output:?}"),
    }
}

/// interface 1.2
#[test]
fn all_well_is_a_line_for_each_thing_and_exit_status_0() {
    let (ftp, other, notify) = (ScriptedServer::start(), Unftp::start(), NotifyStub::start());
    ftp.put("/a/1.zip", File::new(zip(1, 3000)));
    ftp.put("/2.zip", File::new(zip(2, 3000)));
    let setup =
        Setup::new().server(Server::scripted("omc01", &ftp)).server(Server::anonymous("omc02", &other));
    let output = check(&setup.notify(&notify.url()));
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    for what in ["omc01", "omc02", "records", "disk", "notify"] {
        assert!(line(&output, what).starts_with("ok"), "{what}: {output:?}");
    }
    assert!(lines(&output).iter().all(|line| line.starts_with("ok")), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
}

/// interface 1.12
#[test]
fn it_says_what_is_left_out_and_by_which_settings() {
    let (ftp, notify) = (ScriptedServer::start(), NotifyStub::start());
    for path in ["/old/1.zip", "/LTE_2.zip", "/NR_3.zip"] {
        ftp.put(path, File::new(zip(1, 3000)));
    }
    let server =
        Server::scripted("omc01", &ftp).key("exclude", "['/old/**', 'NR_*']").key("since", "'2000-01-01'");
    let output = check(&Setup::new().server(server).notify(&notify.url()));
    let said = line(&output, "omc01");
    assert!(
        said.contains(
            "/: 1 directory, 2 zips, 2 of them left out; left out by since 2000-01-01T00:00:00Z, exclude"
        ),
        "{said}"
    );
}

/// interface 1.2
#[test]
fn it_downloads_and_announces_nothing_and_makes_no_file() {
    let (ftp, notify) = (ScriptedServer::start(), NotifyStub::start());
    ftp.put("/a/1.zip", File::new(zip(1, 3000)));
    ftp.put("/2.zip", File::new(zip(2, 3000)));
    let setup = Setup::new().server(Server::scripted("omc01", &ftp)).notify(&notify.url());
    let listed = || {
        let mut names: Vec<_> = walk(&setup.directory());
        names.sort_unstable();
        names
    };
    let before = listed();
    let output = check(&setup);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(listed(), before);
    assert_eq!((ftp.count("RETR"), notify.calls().len()), (0, 0));
    assert!(ftp.listings("/") > 0, "it lists");
    for verb in ["STOR", "DELE", "MKD", "RMD", "RNFR"] {
        assert_eq!(ftp.count(verb), 0, "{verb}");
    }
    // a login left behind would count against the server's limit
    crate::support::wait::eventually(SOON, "no login is left", || ftp.open() == 0);
}

fn walk(directory: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| if path.is_dir() { [vec![path.clone()], walk(&path)].concat() } else { vec![path] })
        .collect()
}

/// interface 1.11
#[test]
fn each_fault_fails_its_own_line_alone_and_all_are_told() {
    let (good, locked, hidden) = (ScriptedServer::start(), ScriptedServer::start(), ScriptedServer::start());
    locked.manner(|manner| manner.login = ("mro".to_owned(), "another".to_owned()));
    let nobody = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    let setup = Setup::new()
        .server(Server::scripted("good", &good))
        .server(Server::at("dead", nobody))
        .server(Server::scripted("locked", &locked))
        .server(Server::scripted("hidden", &hidden).key("directories", "['/not-there']"));
    // nobody listens at the notify host of this setup either
    let output = check(&setup);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(line(&output, "server good").starts_with("ok"), "{output:?}");
    for (what, why) in [
        ("server dead", "refused"),
        ("server locked", "530"),
        ("server hidden", "/not-there"),
        ("notify", "refused"),
    ] {
        let line = line(&output, what);
        assert!(line.starts_with("failed") && line.contains(why), "{line}");
    }
    assert!(line(&output, "disk").starts_with("ok"), "{output:?}");
}

/// interface 1.2
#[test]
fn a_dead_server_alone_makes_the_exit_status_1() {
    let (ftp, notify) = (ScriptedServer::start(), NotifyStub::start());
    ftp.go_down();
    let output = check(&Setup::new().server(Server::scripted("omc01", &ftp)).notify(&notify.url()));
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(lines(&output).iter().filter(|line| line.starts_with("failed")).count(), 1, "{output:?}");
}

/// interface 1.11, 8.3
#[test]
fn a_full_disk_and_a_silent_server_fail_within_their_limits() {
    let (ftp, notify) = (ScriptedServer::start(), NotifyStub::start());
    ftp.rule(Rule::on(CONNECT).hang());
    let server = Server::scripted("omc01", &ftp).key("timeout", "'500ms'");
    let setup = Setup::new().server(server).notify(&notify.url()).toml("[quota]\nmax_used_percent = 0.0001");
    let asked = Instant::now();
    let output = check(&setup);
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(line(&output, "server omc01").starts_with("failed"), "{output:?}");
    assert!(line(&output, "disk").starts_with("failed"), "{output:?}");
}

#[test]
fn it_works_beside_a_running_service_and_disturbs_nothing() {
    let (ftp, notify) = (ScriptedServer::start(), NotifyStub::start());
    ftp.put("/1.zip", File::new(zip(1, 3000)));
    let setup = Setup::new().server(Server::scripted("omc01", &ftp)).notify(&notify.url());
    let mut service = setup.started().run();
    service.wait_for(SOON, "the zip", |service| service.mirrored().len() == 1);
    for _ in 0..3 {
        let output = service.mrosync(&["check"], &[]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert!(line(&output, "records").starts_with("ok"), "{output:?}");
    }
    let scans = ftp.listings("/");
    service.wait_for(SOON, "scans go on", |_| ftp.listings("/") > scans + 2);
    assert!(service.is_running() && service.status()["running"] == true);
    assert_eq!((ftp.retrs("/1.zip"), service.records().len()), (1, 1));
}

/// interface 1.10
#[test]
fn what_would_end_the_start_is_named_with_its_key() {
    let ftp = ScriptedServer::start();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let setup = Setup::new().server(Server::scripted("omc01", &ftp));
    let at = |name: &str| setup.directory().join(name).display().to_string();
    std::fs::write(setup.directory().join("file"), "").unwrap();
    let toml = format!(
        "[web]\nlisten = '{}'\n[log]\nfile = '{}'\n[control]\nsocket = '{}'\n[records]\npath = '{}'\n",
        taken.local_addr().unwrap(),
        setup.directory().display(),
        at("file"),
        at("file/records.db"),
    );
    let setup = setup.toml(&toml);
    let output = check(&setup);
    assert_eq!(output.status.code(), Some(1));
    for key in ["web.listen", "log.file", "control.socket", "records.path"] {
        assert!(line(&output, &format!("  {key}: ")).starts_with("failed"), "{key}: {output:?}");
    }
}

/// interface 1.10
#[test]
fn places_that_the_user_cannot_write_are_named_all_at_once() {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;
    if !rustix::process::geteuid().is_root() {
        eprintln!("left out: this test becomes another user, which only root can");
        return;
    }
    let ftp = ScriptedServer::start();
    let setup = Setup::new().server(Server::scripted("omc01", &ftp));
    let open = |path: &std::path::Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    for file in std::fs::read_dir(setup.directory()).unwrap() {
        open(&file.unwrap().path(), 0o755);
    }
    open(&setup.directory(), 0o755);
    let mut command = setup.command(&["check"]);
    let output = command.uid(65_534).gid(65_534).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    for key in ["sync.root", "records.path", "control.socket"] {
        let said = line(&output, &format!("  {key}: "));
        assert!(said.contains("Permission denied") && said.contains("belongs to root"), "{said}");
    }
}

#[test]
fn what_a_service_of_another_user_left_behind_is_named() {
    use std::os::unix::fs::{PermissionsExt, chown};
    use std::os::unix::process::CommandExt;
    if !rustix::process::geteuid().is_root() {
        eprintln!("left out: this test becomes another user, which only root can");
        return;
    }
    let ftp = ScriptedServer::start();
    let setup = Setup::new().server(Server::scripted("omc01", &ftp));
    let partial = setup.directory().join("sync/.partial");
    std::fs::create_dir_all(&partial).unwrap();
    let own = |path: &std::path::Path| chown(path, Some(65_534), Some(65_534)).unwrap();
    for file in std::fs::read_dir(setup.directory()).unwrap() {
        own(&file.unwrap().path());
    }
    own(&setup.directory());
    own(&partial);
    let others = [setup.directory().join("records.db-wal"), partial.join(".lock"), partial.join(".boot")];
    for file in &others {
        std::fs::write(file, "").unwrap();
        std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o644)).unwrap();
    }
    let mut command = setup.command(&["check"]);
    let output = command.uid(65_534).gid(65_534).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(line(&output, "  records.path: ").contains("records.db-wal"), "{output:?}");
    let said = line(&output, "  sync.root: ");
    assert!(said.contains(".lock") && said.contains(".boot"), "{said}");
}

/// interface 1.10
#[test]
fn beside_a_running_service_its_places_are_no_fault() {
    let ftp = ScriptedServer::start();
    let notify = NotifyStub::start();
    let setup = Setup::new()
        .server(Server::scripted("omc01", &ftp))
        .notify(&notify.url())
        .toml("[web]\nlisten = '127.0.0.1:0'\n");
    let service = setup.run();
    // as if the configuration named the port that the page has
    let taken = service.root().with_file_name("page.toml");
    std::fs::write(&taken, format!("[web]\nlisten = '{}'\n", page(&service))).unwrap();
    let output = service.mrosync(&["check"], &["--config", &taken.display().to_string()]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(line(&output, "places").contains("a service is running"), "{output:?}");
}
