//! The record layer of TLS 1.3 (RFC 8446 section 5), in place.
