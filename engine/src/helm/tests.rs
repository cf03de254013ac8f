//! What charts render to. Expectations in `functions.txt` and for the charts here are what Helm 3.8.1 prints; the
//! tests in `oracle` ask a real one again.

mod charts;
mod functions;
mod given;
mod limits;
mod oracle;

use super::*;

/// Files of a chart: path and text.
type Files<'a> = &'a [(&'a str, &'a str)];

fn files(files: Files<'_>) -> ChartFiles {
    files.iter().map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec())).collect()
}

/// Renders with the stack that builds have. What fails is an error, as it is for Helm.
fn rendered(chart: Files<'_>) -> Result<Rendered, RenderError> {
    let chart = Chart::load(files(chart)).unwrap();
    render_chart(&chart)
}

fn render_chart(chart: &Chart) -> Result<Rendered, RenderError> {
    render_given(chart, &serde_json::json!({}))
}

fn render_given(chart: &Chart, given: &serde_json::Value) -> Result<Rendered, RenderError> {
    let release = Release { name: "dryrun".to_owned(), namespace: "default".to_owned() };
    std::thread::scope(|scope| {
        let work = || {
            let rendered = render(chart, given, &release, &Capabilities::default())?;
            match rendered.failed.first() {
                None => Ok(rendered),
                Some(error) => Err(error.clone()),
            }
        };
        let thread = std::thread::Builder::new().stack_size(crate::session::STACK_SIZE);
        thread.spawn_scoped(scope, work).unwrap().join().unwrap()
    })
}

/// What one template gives, in a chart with these values.
fn shown(template: &str, values: &str) -> Result<String, RenderError> {
    let chart = [
        ("Chart.yaml", "apiVersion: v2\nname: c\nversion: 1.2.3\n"),
        ("values.yaml", values),
        ("templates/x.yaml", template),
    ];
    rendered(&chart).map(|mut rendered| rendered.documents.remove(0).text)
}
