//! moto's server, which speaks AWS's protocols as others understand them.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::command::{run, tied};
use crate::ec2::boto3;
use crate::place::{Port, User};
use crate::wait::wait_until;

/// The server, ended on drop.
#[derive(Debug)]
pub struct Moto {
    port: Port,
    server: Child,
}

impl Moto {
    /// Starts it.
    ///
    /// # Panics
    ///
    /// When it does not listen.
    #[must_use]
    pub fn start() -> Self {
        let port = Port::free();
        let program = boto3::python().with_file_name("moto_server");
        let mut command = tied(program, &User::current());
        command.args(["-H", "127.0.0.1", "-p", &port.number().to_string()]);
        let server = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let moto = Self { port, server: server.expect("setpriv can be started") };
        wait_until("moto listens", Duration::from_secs(60), || {
            std::net::TcpStream::connect(("127.0.0.1", moto.port.number())).is_ok()
        });
        moto
    }

    /// As `http://127.0.0.1:23000`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port.number())
    }

    /// Credentials, and no others.
    #[must_use]
    pub fn variables(&self) -> Vec<(String, String)> {
        let pairs = [
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
            ("AWS_DEFAULT_REGION", "us-east-1"),
            ("AWS_CONFIG_FILE", "/dev/null"),
            ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null"),
        ];
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
    }

    /// Runs Python, which has `data` and `client(service, region)`, and gives what it puts into `out`.
    ///
    /// # Panics
    ///
    /// When it ends with an error.
    #[must_use]
    pub fn ask(&self, data: &Value, script: &str) -> Value {
        let before = "
import boto3, json, sys
data, out = json.loads(sys.argv[1]), None
client = lambda service, region='us-east-1': boto3.client(service, endpoint_url=data['endpoint'], region_name=region)
";
        let mut data = data.clone();
        data["endpoint"] = json!(self.endpoint());
        let program = format!("{before}{script}\nprint(json.dumps(out, default=str))");
        let mut python = Command::new(boto3::python());
        python.args(["-c", &program, &data.to_string()]).envs(self.variables());
        let output = run(&mut python);
        serde_json::from_slice(&output.stdout).expect("the script prints JSON")
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}
