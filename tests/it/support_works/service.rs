//! The configurations that the tests write are what they mean.

use crate::support::service::{Server, Setup};

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
