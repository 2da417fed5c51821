//! The live backup: the keeper that holds it, its protocol, its record.
