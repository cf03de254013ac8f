//! Servers on loopback that the workloads need, each as slow as a network is.

pub(crate) mod files;
