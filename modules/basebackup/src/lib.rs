//! What `pg_basebackup` writes, read without a server: its `backup_manifest`, its tar files and its plain directories.
