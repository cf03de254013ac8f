//! What a cluster can do, as far as charts may ask without one.

use super::value::Value;
use super::versions::Version;

/// The cluster a chart is rendered for.
#[derive(Debug, Clone)]
pub struct Capabilities {
    /// Version of Kubernetes.
    pub kube_version: Version,
    /// API groups with versions.
    pub api_versions: Vec<String>,
}

/// The Kubernetes that charts are rendered for: recent enough for what charts require of it, old enough that they
/// still expect it.
const KUBE_VERSION: &str = "1.31.0";

/// The Helm that the rendering behaves like.
const HELM_VERSION: &str = "v3.9.4";

/// Groups and versions that Helm 3 knows without asking a cluster (those of the client library in it).
const API_VERSIONS: [&str; 47] = [
    "v1",
    "admissionregistration.k8s.io/v1",
    "admissionregistration.k8s.io/v1beta1",
    "internal.apiserver.k8s.io/v1alpha1",
    "apps/v1",
    "apps/v1beta1",
    "apps/v1beta2",
    "authentication.k8s.io/v1",
    "authentication.k8s.io/v1beta1",
    "authorization.k8s.io/v1",
    "authorization.k8s.io/v1beta1",
    "autoscaling/v1",
    "autoscaling/v2",
    "autoscaling/v2beta1",
    "autoscaling/v2beta2",
    "batch/v1",
    "batch/v1beta1",
    "certificates.k8s.io/v1",
    "certificates.k8s.io/v1beta1",
    "coordination.k8s.io/v1beta1",
    "coordination.k8s.io/v1",
    "discovery.k8s.io/v1",
    "discovery.k8s.io/v1beta1",
    "events.k8s.io/v1",
    "events.k8s.io/v1beta1",
    "extensions/v1beta1",
    "flowcontrol.apiserver.k8s.io/v1alpha1",
    "flowcontrol.apiserver.k8s.io/v1beta1",
    "flowcontrol.apiserver.k8s.io/v1beta2",
    "networking.k8s.io/v1",
    "networking.k8s.io/v1beta1",
    "node.k8s.io/v1",
    "node.k8s.io/v1alpha1",
    "node.k8s.io/v1beta1",
    "policy/v1",
    "policy/v1beta1",
    "rbac.authorization.k8s.io/v1",
    "rbac.authorization.k8s.io/v1beta1",
    "rbac.authorization.k8s.io/v1alpha1",
    "scheduling.k8s.io/v1alpha1",
    "scheduling.k8s.io/v1beta1",
    "scheduling.k8s.io/v1",
    "storage.k8s.io/v1beta1",
    "storage.k8s.io/v1",
    "storage.k8s.io/v1alpha1",
    "apiextensions.k8s.io/v1beta1",
    "apiextensions.k8s.io/v1",
];

impl Capabilities {
    /// `.Capabilities.HelmVersion`: the Helm whose behaviour this is.
    pub(super) fn helm_version(&self) -> Vec<(&'static str, Value)> {
        let texts =
            [("Version", HELM_VERSION), ("GitCommit", ""), ("GitTreeState", "clean"), ("GoVersion", "")];
        texts.map(|(key, text)| (key, Value::text(text))).to_vec()
    }
}

impl Default for Capabilities {
    fn default() -> Self {
        Self {
            kube_version: Version::parse(KUBE_VERSION).expect("the constant is a version"),
            api_versions: API_VERSIONS.iter().map(|&version| version.to_owned()).collect(),
        }
    }
}
