//! What an image is made of, said once: the Kubefile and the Dockerfiles are written from the same list.

/// Contents of an image, in order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Spec {
    /// Reference of the image below; `None` is `scratch`.
    pub(crate) base: Option<String>,
    pub(crate) steps: Vec<Step>,
}

/// One instruction.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// An application from a file or directory of the context.
    App { name: String, path: String },
    /// An application that is one file behind a URL.
    Remote { name: String, url: String },
    /// A directory of the context.
    Copy { from: String, to: String },
    /// A shell command.
    Run(String),
}

/// How a Dockerfile brings in files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// A COPY each, as a Kubefile does: one changed application is one changed layer.
    Each,
    /// The same with `--link`: a layer that does not depend on those below. Old frontends do not know it.
    Linked,
    /// All local ones in one COPY: fewer steps, and everything again after a change.
    One,
}

impl Form {
    pub(crate) const ALL: [Self; 3] = [Self::Each, Self::Linked, Self::One];

    /// The name of its Dockerfile.
    pub(crate) fn file_name(self) -> &'static str {
        match self {
            Self::Each => "Dockerfile",
            Self::Linked => "Dockerfile.link",
            Self::One => "Dockerfile.one",
        }
    }

    /// How it is told in the name of a tool.
    pub(crate) fn shown(self) -> &'static str {
        match self {
            Self::Each => "",
            Self::Linked => ", --link",
            Self::One => ", one COPY",
        }
    }
}

impl Spec {
    /// The Kubefile; `launch` says which of the possible ends it has.
    pub(crate) fn kubefile(&self, launch: usize) -> String {
        let mut text = self.from();
        let mut apps = Vec::new();
        for step in &self.steps {
            match step {
                Step::App { name, path } => text.push_str(&format!("APP {name} local://{path}\n")),
                Step::Remote { name, url } => text.push_str(&format!("APP {name} {url}\n")),
                Step::Copy { from, to } => text.push_str(&format!("COPY {from} {to}\n")),
                Step::Run(command) => text.push_str(&format!("RUN {command}\n")),
            }
            if let Step::App { name, .. } | Step::Remote { name, .. } = step {
                apps.push(name);
            }
        }
        match apps.get(launch % apps.len().max(1)) {
            Some(app) => text.push_str(&format!("LAUNCH [\"{app}\"]\n")),
            None => text.push_str(&format!("CMDS [\"echo {launch}\"]\n")),
        }
        text
    }

    /// The same image for Docker's syntax.
    pub(crate) fn dockerfile(&self, form: Form, launch: usize) -> String {
        let mut text = self.from();
        let copy = if form == Form::Linked { "COPY --link" } else { "COPY" };
        let mut is_first = true;
        for step in &self.steps {
            match step {
                Step::App { path, .. } if form == Form::One && path.starts_with("apps/") => {
                    if std::mem::take(&mut is_first) {
                        text.push_str("COPY apps /application/apps\n");
                    }
                }
                // A directory's content goes there, a file into it.
                Step::App { name, path } => {
                    text.push_str(&format!("{copy} {path} /application/apps/{name}/\n"));
                }
                Step::Remote { name, url } => {
                    text.push_str(&format!("ADD {url} /application/apps/{name}/\n"));
                }
                Step::Copy { from, to } => text.push_str(&format!("{copy} {from} {to}\n")),
                Step::Run(command) => text.push_str(&format!("RUN {command}\n")),
            }
        }
        text + &format!("CMD [\"launch{launch}\"]\n")
    }

    /// Whether one COPY can do what several do.
    pub(crate) fn has_two_forms(&self) -> bool {
        let is_app = |step: &&Step| matches!(step, Step::App { path, .. } if path.starts_with("apps/"));
        self.steps.iter().filter(is_app).count() > 1
    }

    fn from(&self) -> String {
        format!("FROM {}\n", self.base.as_deref().unwrap_or("scratch"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> Spec {
        let app = |name: &str| Step::App { name: name.into(), path: format!("apps/{name}") };
        let url = "http://h/r.yaml".to_owned();
        Spec { base: None, steps: vec![app("a"), Step::Remote { name: "r".into(), url }, app("b")] }
    }

    #[test]
    fn a_kubefile_ends_with_another_launch_each_time() {
        let text = "FROM scratch\nAPP a local://apps/a\nAPP r http://h/r.yaml\nAPP b local://apps/b\n";
        assert_eq!(spec().kubefile(0), format!("{text}LAUNCH [\"a\"]\n"));
        assert_eq!(spec().kubefile(4), format!("{text}LAUNCH [\"r\"]\n"));
    }

    #[test]
    fn one_copy_stands_for_all_local_applications() {
        let remote = "ADD http://h/r.yaml /application/apps/r/\n";
        let one = format!("FROM scratch\nCOPY apps /application/apps\n{remote}CMD [\"launch0\"]\n");
        assert_eq!(spec().dockerfile(Form::One, 0), one);
        let (a, b) = ("COPY apps/a /application/apps/a/\n", "COPY apps/b /application/apps/b/\n");
        let each = format!("FROM scratch\n{a}{remote}{b}CMD [\"launch1\"]\n");
        assert_eq!(spec().dockerfile(Form::Each, 1), each);
    }
}
