//! What the credentials may not do on several servers, told once.

use lockkeeper_model::MissingPermission;

/// Servers that are named in a sentence; more are counted.
const NAMED: usize = 3;

/// Each permission that is missing on some of these servers, once, and on which, unless it is missing on all.
pub(super) fn merged<'a>(
    servers: impl IntoIterator<Item = (String, &'a [MissingPermission])>,
) -> Vec<MissingPermission> {
    let mut merged: Vec<(MissingPermission, Vec<String>)> = Vec::new();
    let mut all = 0;
    for (server, missing) in servers {
        all += 1;
        for missing in missing {
            match merged.iter_mut().find(|(known, _)| known.permission == missing.permission) {
                Some((_, on)) => on.push(server.clone()),
                None => merged.push((missing.clone(), vec![server.clone()])),
            }
        }
    }
    let told = |(mut missing, on): (MissingPermission, Vec<String>)| {
        if on.len() < all {
            missing.costs = format!("{} (on {})", missing.costs, named(&on));
        }
        missing
    };
    merged.into_iter().map(told).collect()
}

fn named(servers: &[String]) -> String {
    let first = servers.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
    match servers.len().saturating_sub(NAMED) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn missing(permission: &str) -> MissingPermission {
        let costs = "something is not seen".to_owned();
        MissingPermission { permission: permission.to_owned(), costs, fix: String::new() }
    }

    #[test]
    fn what_is_missing_on_some_servers_only_is_told_with_their_names() {
        let (both, one) = ([missing("SCAN"), missing("INFO")], [missing("SCAN")]);
        let costs = |servers: &[(&str, &[MissingPermission])]| -> Vec<String> {
            let servers = servers.iter().map(|(name, missing)| ((*name).to_owned(), *missing));
            merged(servers).into_iter().map(|missing| format!("{}: {}", missing.permission, missing.costs)).collect()
        };
        assert_eq!(costs(&[("a", &one)]), ["SCAN: something is not seen"]);
        assert_eq!(
            costs(&[("a", &one), ("b", &both)]),
            ["SCAN: something is not seen", "INFO: something is not seen (on b)"]
        );
        let four: Vec<(&str, &[MissingPermission])> =
            vec![("a", &one), ("b", &one), ("c", &one), ("d", &one), ("e", &[])];
        assert_eq!(costs(&four), ["SCAN: something is not seen (on a, b, c and 1 more)"]);
    }
}
