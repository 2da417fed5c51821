//! What `backup_stop` does beside stopping: it counts rows, if it is asked to.

mod count;
pub(super) mod counting;
