//! The configurations that the tests write are what they mean, and the program is seen as it is.

use std::time::Duration;

use crate::support::scripted::{File, ScriptedServer};
use crate::support::service::{Server, Setup, Stream};
use crate::support::zips::zip;

const SOON: Duration = Duration::from_secs(10);

#[test]
fn the_program_is_seen_through_its_console_its_commands_and_its_disk() {
    let ftp = ScriptedServer::start();
    let content = zip(1, 5000);
    ftp.put("/MR/a.zip", File::new(content.clone()));
    let mut service = Setup::new().server(Server::scripted("omc01", &ftp)).run();
    assert!(service.command("start").starts_with("ok"));
    service.wait_for(SOON, "the zip is there", |service| service.mirrored().len() == 1);
    assert_eq!(service.mirrored()["omc01/MR/a.zip"], content.len() as u64);
    service.wait_for(SOON, "it is recorded", |service| service.records().len() == 1);
    assert_eq!(service.records()[0]["path"], "/MR/a.zip");
    service.wait_for(SOON, "the status shows it", |service| {
        service.server_status("omc01")["files_downloaded"] == 1
    });
    service.wait_line(Stream::Stderr, SOON, "the start is logged", |line| line.contains("started"));
    assert!(service.peak_memory() > 1 << 20);

    service.restart();
    assert_eq!((service.records().len(), service.lines(Stream::Stdout).len()), (1, 0));
    assert!(service.command("nonsense").starts_with("failed"));
    assert_eq!(service.terminate(SOON).code(), Some(0));
    assert!(!service.is_running());
}

#[test]
fn a_later_key_takes_the_place_of_an_earlier_one() {
    let server = Server::at("omc01", "127.0.0.1:2121".parse().unwrap());
    let toml = server.key("user", "'other'").key("connections", "2").toml();
    let lines: Vec<&str> = toml.trim().lines().collect();
    let expected = [
        "[[servers]]",
        "connections = 2",
        "directories = ['/']",
        "host = '127.0.0.1'",
        "name = 'omc01'",
        "password = 'mro-pass'",
        "port = 2121",
        "timeout = '5s'",
        "user = 'other'",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn every_command_gets_all_configurations_in_their_order() {
    let setup = Setup::new().interval("1s").env("MROSYNC_SYNC__ROOT", "/data");
    let command = setup.command(&["check"]);
    let arguments: Vec<_> = command.get_args().map(|argument| argument.to_string_lossy()).collect();
    let directory = setup.directory();
    let file = |name: &str| directory.join(name).display().to_string();
    assert_eq!(arguments, ["check", "--config", &file("0.toml"), "--config", &file("1.toml")]);
    assert!(command.get_envs().any(|(name, value)| name == "MROSYNC_SYNC__ROOT" && value.is_some()));
    assert_eq!(std::fs::read_to_string(file("1.toml")).unwrap(), "[sync]\ninterval = '1s'\n");
}
