//! What variables of the environment change about registries.

use crate::registry_faults::Fake;
use crate::server::{Server, Stored};
use crate::space::{Space, run};

/// An image of a registry, pulled with variables set.
fn pulled(variables: &[(&str, &str)]) {
    let fake = Fake::new(|request, layer| Stored::new(layer).answer(request));
    let space = Space::new();
    let mut command = space.command();
    command.envs(variables.iter().copied()).args(["pull", &fake.name()]);
    let run = run(&mut command);
    assert_eq!(run.code, Some(0), "{variables:?}: {}", run.stderr);
}

#[test]
fn a_registry_of_this_machine_is_asked_without_a_proxy() {
    let proxy = Server::start();
    for name in ["HTTP_PROXY", "http_proxy", "ALL_PROXY"] {
        pulled(&[(name, &proxy.url(""))]);
    }
    assert_eq!(proxy.requests().len(), 0);
}

#[test]
fn a_file_of_credentials_without_a_name_is_none() {
    pulled(&[("REGISTRY_AUTH_FILE", "")]);
}
