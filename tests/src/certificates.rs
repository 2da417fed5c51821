//! A certification authority and a server certificate for loopback.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::command::run;
use crate::place::User;

/// The files that a TLS server and its clients need.
#[derive(Debug)]
pub struct Certificates {
    /// The authority's certificate, for `ca_cert`.
    pub authority: PathBuf,
    /// The server's certificate, for 127.0.0.1 and localhost.
    pub certificate: PathBuf,
    /// The server's key, readable by the server's user only.
    pub key: PathBuf,
}

impl Certificates {
    /// Makes them in `directory`, the key for `owner`.
    ///
    /// # Panics
    ///
    /// When `openssl` fails.
    #[must_use]
    pub fn make(directory: &Path, owner: &User) -> Self {
        std::fs::create_dir_all(directory).expect("a directory for certificates");
        let file = |name: &str| directory.join(name);
        let openssl = |arguments: &str| {
            run(Command::new("openssl").args(arguments.split_whitespace()).current_dir(directory));
        };
        let ec = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
        openssl(&format!(
            "req -x509 {ec} -keyout ca.key -out ca.crt -days 2 -subj /CN=backstay-test-ca"
        ));
        openssl(&format!("req {ec} -keyout server.key -out server.csr -subj /CN=localhost"));
        let extensions = "subjectAltName=DNS:localhost,IP:127.0.0.1\nbasicConstraints=CA:FALSE\n";
        std::fs::write(file("server.ext"), extensions).expect("a file beside the certificates");
        openssl(
            "x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile server.ext -out server.crt",
        );
        // PostgreSQL refuses a key that others may read or somebody else owns
        owner.give(&file("server.key"));
        Self { authority: file("ca.crt"), certificate: file("server.crt"), key: file("server.key") }
    }
}
