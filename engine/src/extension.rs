//! The sealer extension: what every version wrote is read, today's form is written (spec §2.2, §2.5).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use solver::{Application, Launch};

/// `schemaVersion` of every release so far.
pub(crate) const SCHEMA_VERSION: &str = "v1alpha1";

/// The extension as stored in the annotation. Field order is that of sealer's JSON.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Extension {
    /// Who built it.
    #[serde(deserialize_with = "null_as_default")]
    pub build_client: BuildClient,
    /// Always `v1alpha1`.
    pub schema_version: String,
    /// `kube-installer` or `app-installer`.
    #[serde(rename = "type", skip_serializing_if = "String::is_empty")]
    pub image_type: String,
    /// Applications in order.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_as_default")]
    pub applications: Vec<StoredApplication>,
    /// Never stored; filled by `inspect`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "null_as_default")]
    pub labels: BTreeMap<String, String>,
    /// ENV.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "null_as_default")]
    pub env: BTreeMap<String, String>,
    /// What is launched.
    #[serde(deserialize_with = "null_as_default")]
    pub launch: StoredLaunch,
}

/// Versions of the builder.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BuildClient {
    /// Ours.
    pub sealer_version: String,
    /// Empty: there is no buildah inside, but readers expect the key.
    pub buildah_version: String,
}

/// An application in the annotation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StoredApplication {
    /// Name.
    pub name: String,
    /// Type, empty for none.
    #[serde(rename = "type", skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// Launch files; v0.9.0 called them `launchfiles`.
    #[serde(
        alias = "launchfiles",
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_as_default"
    )]
    pub files: Vec<String>,
    /// `v1`.
    pub version: String,
    /// APPENV.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "null_as_default")]
    pub env: BTreeMap<String, String>,
    /// Commands.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_as_default")]
    pub cmds: Vec<String>,
}

/// `launch` in the annotation; always present, maybe empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StoredLaunch {
    /// Commands.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_as_default")]
    pub cmds: Vec<String>,
    /// Applications.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_as_default")]
    pub app_names: Vec<String>,
    /// Where v0.9.1 to v0.9.3 kept APPCMDS. Read only.
    #[serde(rename = "appConfigs", skip_serializing, deserialize_with = "null_as_default")]
    pub app_configs: Vec<AppConfig>,
}

/// APPCMDS of v0.9.1 to v0.9.3.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AppConfig {
    /// Application.
    pub name: String,
    /// Its commands.
    #[serde(deserialize_with = "null_as_default")]
    pub launch: AppConfigLaunch,
}

/// The commands of an [`AppConfig`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AppConfigLaunch {
    /// Commands.
    #[serde(deserialize_with = "null_as_default")]
    pub cmds: Vec<String>,
}

impl Extension {
    /// Applications with everything any version said about them.
    pub fn applications(&self) -> Vec<Application> {
        let of_old = |name: &str| {
            let config = self.launch.app_configs.iter().find(|config| config.name == name);
            config.map(|config| config.launch.cmds.clone()).unwrap_or_default()
        };
        let read = |stored: &StoredApplication| Application {
            name: stored.name.clone(),
            kind: Some(stored.kind.clone()).filter(|kind| !kind.is_empty()),
            files: stored.files.clone(),
            version: stored.version.clone(),
            env: stored.env.clone(),
            cmds: if stored.cmds.is_empty() { of_old(&stored.name) } else { stored.cmds.clone() },
        };
        self.applications.iter().map(read).collect()
    }
}

impl From<&Application> for StoredApplication {
    fn from(app: &Application) -> Self {
        Self {
            name: app.name.clone(),
            kind: app.kind.clone().unwrap_or_default(),
            files: app.files.clone(),
            version: app.version.clone(),
            env: app.env.clone(),
            cmds: app.cmds.clone(),
        }
    }
}

impl From<&Launch> for StoredLaunch {
    fn from(launch: &Launch) -> Self {
        Self { cmds: launch.cmds.clone(), app_names: launch.app_names.clone(), app_configs: Vec::new() }
    }
}

/// JSON as Go's `encoding/json` writes it into the annotation: `&`, `<` and `>` are escaped.
pub(crate) fn go_json(value: &impl Serialize) -> String {
    let text = serde_json::to_string(value).expect("plain data is JSON");
    // Outside strings JSON has none of these characters.
    text.replace('&', "\\u0026")
        .replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('\u{2028}', "\\u2028")
        .replace('\u{2029}', "\\u2029")
}

/// Go writes empty slices, maps and pointers as `null`.
pub(crate) fn null_as_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Extension {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn every_version_is_read_without_loss() {
        let v090 = read(
            r#"{"applications":[{"name":"a","type":"kube","launchfiles":["x.yaml"],"version":"v1"}],"launch":{"app_names":["a"]}}"#,
        );
        assert_eq!(v090.applications()[0].files, ["x.yaml"]);
        let v092 = read(
            r#"{"applications":[{"name":"a"}],"launch":{"appConfigs":[{"name":"a","launch":{"cmds":["go"]}}],"cmds":null}}"#,
        );
        assert_eq!(v092.applications()[0].cmds, ["go"]);
        let nulls = read(
            r#"{"buildClient":null,"applications":[{"name":"a"}],"launch":{"appConfigs":[{"name":"a","launch":null},{"name":"b","launch":{"cmds":null}}]}}"#,
        );
        assert!(nulls.applications()[0].cmds.is_empty());
        assert_eq!(read(r#"{"launch":null}"#), Extension::default());
        let v011 = read(
            r#"{"applications":[{"name":"a","cmds":["x"],"env":{"K":"V"}}],"env":{"A":"1"},"launch":{}}"#,
        );
        assert_eq!(v011.applications()[0].env["K"], "V");
    }

    #[test]
    fn empty_things_are_left_out_and_launch_stays() {
        let written = go_json(&Extension { schema_version: SCHEMA_VERSION.into(), ..Extension::default() });
        assert_eq!(
            written,
            r#"{"buildClient":{"sealerVersion":"","buildahVersion":""},"schemaVersion":"v1alpha1","launch":{}}"#
        );
    }

    #[test]
    fn html_is_escaped_as_go_does() {
        assert_eq!(go_json(&"a && b <c>"), r#""a \u0026\u0026 b \u003cc\u003e""#);
    }
}
