//! What this kernel and this user allow.
