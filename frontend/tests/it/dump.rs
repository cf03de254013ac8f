//! What the frontend makes of a text, as stable text: findings with places, then the graph, then the image.

use std::collections::HashMap;
use std::fmt::{self, Write};

use frontend::{BaseRequest, Diagnostic, Lowered, Severity};
use solver::{Account, AppSpec, Chown, CopySource, FileOp, ImageSpec, Op, SourceFile, Unpack, VertexDigest};

/// Writes findings as `Kubefile:3:5: error: message`, with the text that the primary label covers.
pub(crate) fn diagnostics(out: &mut String, source: &SourceFile, found: &[Diagnostic]) -> fmt::Result {
    for diagnostic in found {
        let kind = if diagnostic.severity == Severity::Error { "error" } else { "warning" };
        let place = |offset| {
            let position = source.position(offset);
            format!("{}:{}:{}", source.name, position.line, position.column)
        };
        for (index, label) in diagnostic.labels.iter().enumerate() {
            let at = place(label.span.start);
            let covered = source.text.get(label.span.start..label.span.end).expect("spans are in the text");
            match index {
                0 => writeln!(out, "{at}: {kind}: {} [{}]", diagnostic.message, diagnostic.code)?,
                _ => write!(out, "  also {at}")?,
            }
            writeln!(out, "  {covered:?} {}", label.text)?;
        }
        diagnostic.hints.iter().try_for_each(|hint| writeln!(out, "  hint: {hint}"))?;
    }
    Ok(())
}

/// Writes the images asked for.
pub(crate) fn bases(out: &mut String, bases: &[BaseRequest]) -> fmt::Result {
    for base in bases {
        let platform = base.image.platform.as_deref().unwrap_or("-");
        let kind = if base.is_base { "base" } else { "image" };
        writeln!(out, "{kind} {} {platform}", base.image.reference)?;
    }
    Ok(())
}

/// Writes the graph and the image.
pub(crate) fn lowered(out: &mut String, Lowered { definition, image }: &Lowered) -> fmt::Result {
    let mut numbers: HashMap<VertexDigest, usize> = HashMap::new();
    for (number, (digest, vertex, metadata)) in definition.iter().enumerate() {
        numbers.insert(digest, number);
        let inputs: Vec<usize> = vertex.inputs.iter().map(|input| numbers[input]).collect();
        let hidden = if metadata.hidden { " hidden" } else { "" };
        writeln!(out, "#{number} {} {inputs:?} `{}`{hidden}", op(&vertex.op), metadata.name)?;
    }
    let target = definition.target().map(|target| format!("#{}", numbers[&target]));
    writeln!(out, "target {}", target.as_deref().unwrap_or("none"))?;
    facts(out, image, &numbers)
}

fn op(op: &Op) -> String {
    match op {
        Op::Local(local) => format!("local {:?} parents={}", local.pattern, local.parents),
        Op::Git(git) => format!("git {} keep={} {:?}", git.shown(), git.keep_git_dir, git.checksum),
        Op::Http(http) => format!("http {:?} {:?}", http.url, http.checksum),
        Op::Image(image) => format!("image {} {}", image.reference, image.platform),
        Op::File(op) => file(op),
        Op::App(app) => {
            let sources = app.sources.iter().map(|source| {
                let slash = if source.trailing_slash { " slash" } else { "" };
                format!("{:?} {:?}{slash}", source.kind, source.path)
            });
            format!("app {} {}", app.name, sources.collect::<Vec<_>>().join(", "))
        }
        Op::Exec(exec) => {
            let mut text = format!("exec {:?} env={:?}", exec.args, exec.env);
            exec.mounts
                .iter()
                .for_each(|mount| text.push_str(&format!(" mount {} {:?}", mount.target, mount.kind)));
            text.push_str(&format!(
                " network={:?} insecure={} {}",
                exec.network, exec.is_insecure, exec.platform
            ));
            text
        }
        Op::Blob(_) | Op::ContainerImage(_) => unreachable!("no Kubefile says so"),
        Op::State => "state".to_owned(),
    }
}

fn file(op: &FileOp) -> String {
    let sources = op.sources.iter().map(|source| match source {
        CopySource::Input { input, pattern } => format!("{input}:{pattern:?}"),
        CopySource::Inline(inline) => {
            format!("{}={:?}", inline.name, String::from_utf8_lossy(&inline.content))
        }
    });
    let mut text = format!("file {} -> {:?}", sources.collect::<Vec<_>>().join(", "), op.destination);
    if let Some(chown) = &op.chown {
        text.push_str(&format!(" chown={}", owner(chown)));
    }
    if let Some(mode) = &op.chmod {
        text.push_str(&format!(" chmod={mode}"));
    }
    if !op.exclude.is_empty() {
        text.push_str(&format!(" exclude={:?}", op.exclude));
    }
    for (name, set) in [("below", op.below), ("parents", op.parents)] {
        text.push_str(&if set { format!(" {name}") } else { String::new() });
    }
    text.push_str(match op.unpack {
        Unpack::Nothing => "",
        Unpack::Local => " unpack",
        Unpack::Everything => " unpack=everything",
    });
    text
}

/// Numbers as they will be, names in quotes.
fn owner(chown: &Chown) -> String {
    if let Some(owner) = chown.numbers() {
        return format!("{}:{}", owner.uid, owner.gid);
    }
    let one = |account: &Account| match account {
        Account::Id(id) => id.to_string(),
        Account::Name(name) => format!("{name:?}"),
    };
    let group = chown.group.as_ref().map(|group| format!(":{}", one(group)));
    one(&chown.user) + &group.unwrap_or_default()
}

fn facts(out: &mut String, image: &ImageSpec, numbers: &HashMap<VertexDigest, usize>) -> fmt::Result {
    let vertex = |vertex: &Option<VertexDigest>| match vertex {
        Some(vertex) => format!("#{}", numbers[vertex]),
        None => "-".to_owned(),
    };
    writeln!(out, "platform {}, base `{}`", image.platform, image.base.reference)?;
    image.env.iter().try_for_each(|(name, value)| writeln!(out, "env {name}={value:?}"))?;
    writeln!(out, "extension env {:?}", image.extension_env)?;
    image.labels.iter().try_for_each(|(name, value)| writeln!(out, "label {name}={value:?}"))?;
    image.author.iter().try_for_each(|author| writeln!(out, "author {author:?}"))?;
    for app in &image.apps {
        match app {
            AppSpec::Inherited(app) => {
                writeln!(out, "app {} inherited env={:?} cmds={:?}", app.name, app.env, app.cmds)?;
            }
            AppSpec::Declared { name, vertex: files, env, cmds, single_source, values, .. } => {
                let files = vertex(files);
                writeln!(out, "app {name} {files} env={env:?} cmds={cmds:?} single={single_source}")?;
                values.files.iter().try_for_each(|(file, _)| writeln!(out, "  values {}", file.pattern))?;
                values.set.iter().try_for_each(|(text, _)| writeln!(out, "  set {text}"))?;
            }
        }
    }
    writeln!(out, "launch cmds={:?} apps={:?}", image.launch.cmds, image.launch.app_names)?;
    image
        .history
        .iter()
        .try_for_each(|step| writeln!(out, "history {} {:?}", vertex(&step.vertex), step.text))
}
