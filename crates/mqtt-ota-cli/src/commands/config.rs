use std::path::Path;

use serde::Serialize;

use crate::args::Config;
use crate::line::Line;
use crate::printer::Printer;
use crate::problem::{Exit, Problem};
use crate::settings::{Settings, Source};
use crate::table;

/// Prints every setting and its source.
pub(super) fn run(args: &Config, config: Option<&Path>, printer: &Printer) -> Result<Exit, Problem> {
    let flags = args.serving.add_to(args.connection.flags());
    let flags = args.groups.add_to(args.parallel.add_to(flags));
    let flags = args.boot.add_to(args.waiting.add_to(args.retrying.add_to(flags)));
    let flags = args.checking.add_to(flags);
    let settings = super::settings(flags, config)?;
    if printer.json() {
        objects(&settings).iter().for_each(|object| printer.object(object));
    } else {
        let state = if settings.file_found { "" } else { " (there is no such file)" };
        printer.note(&Line::new().plain(format!("settings file: {}{state}", settings.file.display())));
        let mut rows = vec![["SETTING", "VALUE", "FROM"].map(str::to_owned)];
        for setting in settings.listed() {
            rows.push([
                setting.name.to_owned(),
                setting.value.unwrap_or("none").to_owned(),
                setting.source.to_string(),
            ]);
        }
        for (name, group) in &settings.groups {
            rows.push([format!("@{name}"), group.members.join(", "), group.source.to_string()]);
        }
        table::print(printer, rows, &[]);
    }
    printer.finish()?;
    Ok(Exit::Done)
}

#[derive(Serialize)]
struct Object {
    name: String,
    value: serde_json::Value,
    source: &'static str,
    from: Option<String>,
    file: Option<String>,
}

fn objects(settings: &Settings) -> Vec<Object> {
    let origin = |source: &Source| match source {
        Source::Flag(flag) => ("flag", Some(flag.clone()), None),
        Source::Variable(name) => ("environment", Some(name.clone()), None),
        Source::File { path, key } => ("file", Some(key.clone()), Some(path.display().to_string())),
        Source::Default => ("default", None, None),
    };
    let mut objects = Vec::new();
    for setting in settings.listed() {
        let (source, from, file) = origin(setting.source);
        objects.push(Object {
            name: setting.name.to_owned(),
            value: setting.value.into(),
            source,
            from,
            file,
        });
    }
    for (name, group) in &settings.groups {
        let (source, from, file) = origin(&group.source);
        let value = group.members.clone().into();
        objects.push(Object { name: format!("@{name}"), value, source, from, file });
    }
    objects
}
