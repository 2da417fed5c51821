//! What volumes are made of, when they are more than entries in a list.

/// The blocks behind volumes and snapshots. A call that answers with an error
/// text makes EC2's call an `InternalError`.
pub trait Storage: std::fmt::Debug + Send {
    /// Makes snapshots: pairs of volume and snapshot. All of them of one moment.
    ///
    /// # Errors
    ///
    /// A text for the answer.
    fn snapshot(&mut self, set: &[(String, String)]) -> Result<(), String>;

    /// Makes a volume of that many GiB, empty or from a snapshot.
    ///
    /// # Errors
    ///
    /// A text for the answer.
    fn create(&mut self, volume: &str, gibibytes: u32, from: Option<&str>) -> Result<(), String>;

    /// The machine `instance` gets the device.
    ///
    /// # Errors
    ///
    /// A text for the answer.
    fn attach(&mut self, volume: &str, instance: &str) -> Result<(), String>;

    /// The machine loses the device, as soon as nothing uses it.
    fn detach(&mut self, volume: &str);

    /// Whether the machine still has a device that it is to lose.
    fn is_busy(&mut self, volume: &str) -> bool;

    /// A volume's blocks are gone.
    fn delete_volume(&mut self, volume: &str);

    /// A snapshot's blocks are gone.
    fn delete_snapshot(&mut self, snapshot: &str);

    /// A snapshot is copied.
    ///
    /// # Errors
    ///
    /// A text for the answer.
    fn copy(&mut self, from: &str, to: &str) -> Result<(), String>;
}

/// No blocks at all.
#[derive(Debug)]
pub(crate) struct Nothing;

impl Storage for Nothing {
    fn snapshot(&mut self, _: &[(String, String)]) -> Result<(), String> {
        Ok(())
    }

    fn create(&mut self, _: &str, _: u32, _: Option<&str>) -> Result<(), String> {
        Ok(())
    }

    fn attach(&mut self, _: &str, _: &str) -> Result<(), String> {
        Ok(())
    }

    fn detach(&mut self, _: &str) {}

    fn is_busy(&mut self, _: &str) -> bool {
        false
    }

    fn delete_volume(&mut self, _: &str) {}

    fn delete_snapshot(&mut self, _: &str) {}

    fn copy(&mut self, _: &str, _: &str) -> Result<(), String> {
        Ok(())
    }
}
