//! Which devices are meant: names and `@groups`.

use std::collections::BTreeMap;

use mqtt_ota::wire::{DeviceName, NameError};

use crate::problem::Problem;

/// The devices of `--to`, groups replaced by their members, each device once, in the order of first
/// mention.
///
/// # Errors
/// A name that is none, a group that is unknown or empty.
pub(crate) fn resolve(
    wanted: &[String],
    groups: &BTreeMap<String, Vec<String>>,
) -> Result<Vec<DeviceName>, Problem> {
    let mut devices = Vec::new();
    let mut add = |name: &str, origin: String| -> Result<(), Problem> {
        let device = name.parse().map_err(|error: NameError| {
            Problem::usage(format!("{name:?} {origin} is no device name"))
                .caused_by(error)
                .hint("a device's name is the first level of its MQTT topics; `mqtt-ota devices` lists them")
        })?;
        if !devices.contains(&device) {
            devices.push(device);
        }
        Ok(())
    };
    for name in wanted {
        let name = name.trim();
        match name.strip_prefix('@') {
            None => add(name, "in --to".to_owned())?,
            Some(group) => {
                let members = groups.get(group).ok_or_else(|| unknown(group, groups))?;
                if members.is_empty() {
                    return Err(Problem::usage(format!("the group @{group} has no devices")));
                }
                if let Some(inner) = members.iter().find(|member| member.starts_with('@')) {
                    return Err(Problem::usage(format!("the group @{group} contains {inner:?}"))
                        .hint("a group lists devices, not other groups"));
                }
                members.iter().try_for_each(|member| add(member, format!("in the group @{group}")))?;
            }
        }
    }
    Ok(devices)
}

fn unknown(group: &str, groups: &BTreeMap<String, Vec<String>>) -> Problem {
    let problem = Problem::usage(format!("there is no group @{group}"));
    if groups.is_empty() {
        return problem.hint(format!(
            "name its devices in the settings file: [groups] {group} = [\"…\"]; `mqtt-ota config` says where that is"
        ));
    }
    let known: Vec<_> = groups.keys().map(|name| format!("@{name}")).collect();
    problem.hint(format!("known groups: {}", known.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn devices(wanted: &[&str]) -> Result<Vec<String>, Problem> {
        let wanted: Vec<_> = wanted.iter().map(ToString::to_string).collect();
        let groups = BTreeMap::from([
            ("lamps".to_owned(), vec!["A".to_owned(), "B".to_owned()]),
            ("none".to_owned(), Vec::new()),
            ("wrong".to_owned(), vec!["@lamps/".to_owned()]),
        ]);
        Ok(resolve(&wanted, &groups)?.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_device_that_is_named_twice_is_sent_to_once() {
        assert_eq!(devices(&["B", "@lamps", "C", "B"]).unwrap(), ["B", "A", "C"]);
    }

    #[test]
    fn a_bad_name_is_an_error_that_says_where_it_stands() {
        for bad in ["a/b", "a+", "#", "", "a\nb", "@nobody", "@none", "@wrong"] {
            assert!(devices(&[bad]).is_err(), "{bad:?}");
        }
        assert!(devices(&["@wrong"]).unwrap_err().error.to_string().contains("@wrong"));
    }

    #[test]
    fn an_unknown_group_is_answered_with_the_known_ones() {
        assert!(devices(&["@lamp"]).unwrap_err().hint.unwrap().contains("@lamps"));
    }
}
