//! A computation on several nodes: how programs of it start others there, how agents are started and led.

pub mod agent;
pub mod environment;
pub mod lead;
pub mod meet;
pub mod part;
pub mod pipe;
pub mod place;
pub mod restart;
pub mod rsh;
