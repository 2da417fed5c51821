//! `pgbouncer` in front of a server: what a backup must refuse to go through.

use std::fs;
use std::process::Child;
use std::time::Duration;

use crate::command::{find, tied};
use crate::place::{Place, Port, User};
use crate::server::Server;
use crate::wait::wait_until;

/// A running `pgbouncer` that pools transactions.
#[derive(Debug)]
pub struct Pooler {
    port: Port,
    daemon: Child,
    place: Place,
}

impl Pooler {
    /// In front of `server`, on 127.0.0.1 and a Unix socket, for everybody.
    ///
    /// # Panics
    ///
    /// When it does not listen.
    #[must_use]
    pub fn before(server: &Server) -> Self {
        let (place, port, user) = (Place::new(), Port::free(), User::of_servers());
        let own = place.join("p");
        user.make_directory(&own);
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(&own, open).expect("chmod of an own directory");
        let text = format!(
            "[databases]\n* = host={} port={} user=postgres\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = {}\nunix_socket_dir = {}\nauth_type = any\npool_mode = transaction\n\
             ignore_startup_parameters = extra_float_digits,options,search_path,statement_timeout\n",
            server.socket_directory().display(),
            server.port(),
            port.number(),
            own.display()
        );
        fs::write(place.join("pgbouncer.ini"), text).expect("a file in the test's place");
        let program = find("pgbouncer")
            .unwrap_or_else(|| panic!("pgbouncer is missing: run tests/setup/tools"));
        let log =
            fs::File::create(place.join("pgbouncer.log")).expect("a file in the test's place");
        let mut command = tied(program, &user);
        let daemon = command
            .arg(place.join("pgbouncer.ini"))
            .stderr(log)
            .spawn()
            .expect("setpriv can be started");
        let pooler = Self { port, daemon, place };
        wait_until("pgbouncer listens", Duration::from_secs(20), || {
            std::net::TcpStream::connect(("127.0.0.1", pooler.port())).is_ok()
        });
        pooler
    }

    /// The port, of 127.0.0.1 and of the socket.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// The directory of the Unix socket.
    #[must_use]
    pub fn socket_directory(&self) -> std::path::PathBuf {
        self.place.join("p")
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}
