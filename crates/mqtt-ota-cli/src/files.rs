//! Files to send, with their names on the device.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use mqtt_ota::Payload;
use mqtt_ota::check::Findings;
use mqtt_ota::wire::DevicePath;

use crate::device_path;
use crate::problem::Problem;

/// File with its name on the device.
#[derive(Debug)]
pub(crate) struct Named {
    pub(crate) file: PathBuf,
    pub(crate) path: DevicePath,
}

/// Gives every file its name on the device. No file is touched.
///
/// # Errors
/// Fails on a name that devices refuse, on two files with one name, and if several files are given one name.
pub(crate) fn name(files: &[PathBuf], wanted: Option<&str>) -> Result<Vec<Named>, Problem> {
    if let Some(path) = wanted {
        device_path::check(path, files)?;
    }
    let folder = wanted.filter(|path| path.ends_with('/'));
    if let (Some(path), None, 2..) = (wanted, folder, files.len()) {
        return Err(Problem::usage(format!("--as {path} is one name, and there are {} files", files.len()))
            .hint(format!("for a folder on the device, end it in a slash: --as {path}/")));
    }
    let mut taken = HashSet::new();
    let mut named = Vec::with_capacity(files.len());
    for file in files {
        let path = match (wanted, folder) {
            (Some(path), None) => device_path::parse(path, &format!("--as {path}"))?,
            (_, folder) => {
                let base = base_name(file)?;
                device_path::parse(
                    &format!("{}{base}", folder.unwrap_or_default()),
                    &file.display().to_string(),
                )?
            }
        };
        if !taken.insert(path.clone()) {
            return Err(Problem::usage(format!("two files would both be {path} on the device"))
                .hint("send them one by one, with --as"));
        }
        named.push(Named { file: file.clone(), path });
    }
    Ok(named)
}

fn base_name(file: &Path) -> Result<&str, Problem> {
    let problem = |why: &str| {
        Problem::usage(format!("{:?} {why}", file.display().to_string()))
            .hint("give it a name with --as NAME")
    };
    let base = file.file_name().ok_or_else(|| {
        problem("has no file name").hint("name files; `mqtt-ota sync` sends a folder with all that is in it")
    })?;
    base.to_str().ok_or_else(|| problem("has a name that is not UTF-8"))
}

/// Opens every file, before anything is sent.
///
/// # Errors
/// Fails on the first file that is missing, unreadable or not a regular file.
pub(crate) async fn open(named: &[Named]) -> Result<Vec<Payload>, Problem> {
    let mut payloads = Vec::with_capacity(named.len());
    for Named { file, .. } in named {
        payloads.push(Payload::open(file).await?);
    }
    Ok(payloads)
}

/// Checks the content of the files, and their names.
///
/// # Errors
/// Fails on the first file that cannot be read.
pub(crate) async fn check(named: &[Named], payloads: &[Payload]) -> Result<Findings, Problem> {
    let paths = named.iter().map(|named| &named.path);
    Ok(Findings::of(paths.zip(payloads)).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(files: &[&str], wanted: Option<&str>) -> Result<Vec<String>, Problem> {
        let files: Vec<_> = files.iter().map(PathBuf::from).collect();
        Ok(name(&files, wanted)?.iter().map(|named| named.path.to_string()).collect())
    }

    #[test]
    fn a_file_keeps_its_base_name() {
        assert_eq!(names(&["src/main.py", "../lib.py"], None).unwrap(), ["main.py", "lib.py"]);
    }

    #[test]
    fn a_name_that_ends_in_a_slash_is_a_folder_on_the_device() {
        assert_eq!(names(&["a.py", "x/b.py"], Some("lib/")).unwrap(), ["lib/a.py", "lib/b.py"]);
        assert_eq!(names(&["a.py"], Some("lib/c.py")).unwrap(), ["lib/c.py"]);
    }

    #[test]
    fn several_files_cannot_have_one_name() {
        assert!(names(&["a.py", "b.py"], Some("c.py")).unwrap_err().hint.unwrap().contains("c.py/"));
        assert!(names(&["a/x.py", "b/x.py"], None).is_err());
    }

    #[test]
    fn a_name_that_devices_refuse_is_a_usage_error() {
        let long = "x".repeat(129);
        for bad in [
            "../x",
            "/x",
            "a|b",
            "a//b",
            "x\ny",
            ".mqtt-ota/x",
            ".mqtt-ota./x",
            "MQTT-O~1/x",
            "lib ",
            "",
            "/",
            &long,
        ] {
            let problem = names(&["main.py"], Some(bad)).unwrap_err();
            assert_eq!(problem.exit, crate::problem::Exit::Usage, "{bad:?}");
        }
        for bad in ["a|b.py", "..", "/", "a~1.py", "a.", &long] {
            assert!(names(&[bad], None).is_err(), "{bad:?}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_name_that_is_not_utf_8_needs_another_one() {
        use std::os::unix::ffi::OsStringExt as _;
        let file = PathBuf::from(std::ffi::OsString::from_vec(vec![b'a', 0xff]));
        assert!(name(std::slice::from_ref(&file), None).unwrap_err().hint.unwrap().contains("--as"));
        assert!(name(&[file], Some("main.py")).is_ok());
    }
}
