//! Devices that an option names: names and `@groups`.

use std::collections::{BTreeMap, BTreeSet};

use mqtt_ota::wire::{DeviceName, NameError};

use crate::problem::Problem;
use crate::settings::Group;
use crate::similar;

/// Returns the devices that an option names, with groups replaced by their members. Each device appears once, in the
/// order of first mention.
///
/// # Errors
/// Fails on an invalid device name, and on a group that is unknown, empty or contains another group.
pub(crate) fn resolve(
    option: &str,
    wanted: &[String],
    groups: &BTreeMap<String, Group>,
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
            None => add(name, format!("in {option}"))?,
            Some(group) => {
                let members = &groups.get(group).ok_or_else(|| unknown(group, groups))?.members;
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

/// Returns all members of all groups. Invalid names are left out.
pub(crate) fn members(groups: &BTreeMap<String, Group>) -> Vec<DeviceName> {
    let members = groups.values().flat_map(|group| &group.members);
    let names: BTreeSet<_> = members.filter_map(|member| member.parse().ok()).collect();
    names.into_iter().collect()
}

fn unknown(group: &str, groups: &BTreeMap<String, Group>) -> Problem {
    let problem = Problem::usage(format!("there is no group @{group}"));
    let candidates: Vec<_> = groups.keys().map(|name| format!("@{name}")).collect();
    if let Some(question) = similar::question(group, candidates.iter().map(String::as_str)) {
        return problem.hint(question);
    }
    if groups.is_empty() {
        return problem.hint(format!(
            "name its devices in the settings file: [groups] {group} = [\"…\"]; `mqtt-ota config` says where that is"
        ));
    }
    problem.hint(format!("known groups: {}; a device is named without @", candidates.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Source;

    fn devices(wanted: &[&str]) -> Result<Vec<String>, Problem> {
        let wanted: Vec<_> = wanted.iter().map(ToString::to_string).collect();
        let groups = [
            ("lamps", &["A", "B"][..]),
            ("none", &[]),
            ("wrong", &["a/b"]),
            ("nested", &["@lamps"]),
            ("commas", &["desk, left"]),
        ]
        .map(|(name, members)| {
            let members = members.iter().map(ToString::to_string).collect();
            (name.to_owned(), Group { members, source: Source::Default })
        })
        .into();
        Ok(resolve("--to", &wanted, &groups)?.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_device_that_is_named_twice_is_sent_to_once() {
        assert_eq!(devices(&["B", "@lamps", "C", "B"]).unwrap(), ["B", "A", "C"]);
    }

    #[test]
    fn a_group_reaches_a_device_with_a_comma_in_its_name() {
        assert_eq!(devices(&["@commas"]).unwrap(), ["desk, left"]);
    }

    #[test]
    fn a_bad_name_is_an_error_that_says_where_it_stands() {
        for bad in ["a/b", "a+", "#", "", "a\nb", "@nobody", "@none", "@wrong", "@nested"] {
            assert!(devices(&[bad]).is_err(), "{bad:?}");
        }
        assert!(devices(&["@wrong"]).unwrap_err().error.to_string().contains("@wrong"));
    }

    #[test]
    fn an_unknown_group_is_answered_with_the_known_ones() {
        assert_eq!(devices(&["@lamp"]).unwrap_err().hint.unwrap(), "did you mean @lamps?");
        assert!(devices(&["@BOILER"]).unwrap_err().hint.unwrap().contains("@lamps"));
    }
}
