//! S3, by moto: for peers that keep their catalogue there.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::command::{run, tied};
use crate::ec2::boto3;
use crate::place::{Port, User};
use crate::wait::wait_until;

/// moto's server with one empty bucket, ended on drop.
#[derive(Debug)]
pub struct ObjectStore {
    port: Port,
    server: Child,
}

impl ObjectStore {
    /// Starts it.
    ///
    /// # Panics
    ///
    /// When it does not listen or makes no bucket.
    #[must_use]
    pub fn start(bucket: &str) -> Self {
        let port = Port::free();
        let moto = boto3::python().with_file_name("moto_server");
        let mut command = tied(moto, &User::current());
        command.args(["-H", "127.0.0.1", "-p", &port.number().to_string()]);
        let server = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let store = Self { port, server: server.expect("setpriv can be started") };
        wait_until("moto listens", Duration::from_secs(60), || {
            std::net::TcpStream::connect(("127.0.0.1", store.port.number())).is_ok()
        });
        let script = "import boto3, sys; boto3.client('s3', endpoint_url=sys.argv[1]).create_bucket(Bucket=sys.argv[2])";
        let mut python = Command::new(boto3::python());
        run(python.args(["-c", script, &store.endpoint(), bucket]).envs(store.variables()));
        store
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
}

impl Drop for ObjectStore {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}
