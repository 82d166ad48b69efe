//! A data channel from its handshake to the moment when it becomes a session's.
