//! Engine B over real sockets, both ends, every byte compared.

mod carrying;
mod control_records;
mod ends;
mod line;
