//! libunftp serves a directory, plain, and ends with its handle.

use crate::support::raw::RawClient;
use crate::support::unftp::Unftp;
use crate::support::zips::{mro_name, zip};

#[test]
fn it_serves_its_directory_to_anybody_or_to_one_user() {
    let name = mro_name("OMC1", 456, 13);
    assert_eq!(name, "TD-LTE_MRO_HUAWEI_OMC1_456_20261123031500.zip");
    for (server, password) in
        [(Unftp::start(), "me@here"), (Unftp::start_for("anonymous", "mro-pass"), "mro-pass")]
    {
        let content = zip(7, 200_000);
        server.put(&format!("/MR/{name}"), &content);
        let mut client = RawClient::log_in(server.addr(), "anonymous", password);
        assert!(client.tell("CWD MR").starts_with("250"));
        let (listing, _) = client.fetch("MLSD").unwrap();
        assert!(String::from_utf8_lossy(&listing).contains(&name));
        assert_eq!(client.fetch(format!("RETR {name}")).unwrap().0, content);
        drop(server);
        assert!(client.is_closed());
    }
    let server = Unftp::start_for("mro", "mro-pass");
    let mut client = RawClient::connect(server.addr()).unwrap();
    client.tell("USER mro");
    assert!(client.tell("PASS wrong").starts_with("530"));
}
