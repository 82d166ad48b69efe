//! Both directions of one session, and its succession from channel to channel.
