//! Password, from a file or the environment and never from an argument.

use std::path::Path;

use super::Password;
use super::origin::Source;
use super::source::{Setting, Sources, variable_of};
use crate::problem::Problem;

/// Maximum length of a password file, in bytes. A longer file is the wrong one.
const MAX_PASSWORD: u64 = 4096;

/// Finds the password in `--password-file`, then `MQTT_OTA_PASSWORD`, then `MQTT_OTA_PASSWORD_FILE`, then
/// `password-file` of the settings file. This is the order of all settings, with the variable of the password itself
/// before that of its file.
pub(super) fn find(sources: &Sources<'_>) -> Result<Setting<Option<Password>>, Problem> {
    let file = sources.path("password-file")?;
    let variable = variable_of("password");
    if let (false, Some(password)) =
        (matches!(file.source, Source::Flag(_)), (sources.environment)(&variable))
    {
        let Ok(password) = password.into_string() else {
            return Err(Problem::usage(format!("the environment variable {variable} is not UTF-8")));
        };
        return Ok(Setting {
            value: Some(Password::Given(password)),
            shown: Some("set, not shown".to_owned()),
            source: Source::Variable(variable),
        });
    }
    let shown = file.shown.map(|path| format!("in the file {path}"));
    Ok(Setting { value: file.value.map(Password::InFile), shown, source: file.source })
}

/// Reads the password from the first line of the file.
///
/// # Errors
/// Fails if the file is unreadable, has an empty first line, is not UTF-8 or is longer than the limit.
pub(crate) fn read_password_file(path: &Path) -> Result<String, Problem> {
    use std::io::Read as _;

    let problem = |why: &str| {
        Problem::failed(format!("the password file {} {why}", path.display()))
            .hint("it is a text file, and its first line is the password; MQTT_OTA_PASSWORD does as well")
    };
    let mut text = String::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(MAX_PASSWORD + 1).read_to_string(&mut text))
        .map_err(|error| problem("cannot be read").caused_by(error))?;
    if text.len() as u64 > MAX_PASSWORD {
        return Err(problem(&format!("has more than {MAX_PASSWORD} bytes")));
    }
    match text.lines().next() {
        Some(password) if !password.is_empty() => Ok(password.to_owned()),
        _ => Err(problem("has an empty first line")),
    }
}
