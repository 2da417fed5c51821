//! Where backups live: clusters, manifests, WAL.
