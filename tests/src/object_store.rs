//! S3, by moto: for peers that keep their catalogue there.

use serde_json::json;

use crate::moto::Moto;

/// moto's server with one empty bucket, ended on drop.
#[derive(Debug)]
pub struct ObjectStore {
    moto: Moto,
}

impl ObjectStore {
    /// Starts it.
    ///
    /// # Panics
    ///
    /// When it does not listen or makes no bucket.
    #[must_use]
    pub fn start(bucket: &str) -> Self {
        let moto = Moto::start();
        let script = "client('s3').create_bucket(Bucket=data['bucket'])";
        let _ = moto.ask(&json!({"bucket": bucket}), script);
        Self { moto }
    }

    /// As `http://127.0.0.1:23000`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        self.moto.endpoint()
    }

    /// Credentials, and no others.
    #[must_use]
    pub fn variables(&self) -> Vec<(String, String)> {
        self.moto.variables()
    }
}
