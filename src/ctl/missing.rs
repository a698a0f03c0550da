//! What was not found: the API answers only that something was not.

/// What a path of the API names that the server does not have, and how to see what it has.
pub(super) fn what(path: &str) -> String {
    let path = path.split_once('?').map_or(path, |(path, _)| path);
    let parts: Vec<String> = path.split('/').map(decoded).collect();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let (kind, name, command) = match parts[..] {
        ["sessions", _, "generations" | "restore", ..] => {
            return format!("there is no such earlier history of session '{}'", parts[1]);
        }
        ["sessions", session, "restrictions", name] => {
            return format!("there is no restriction '{name}' in session '{session}'");
        }
        ["sessions", name, ..] => ("session", name, "sessions"),
        ["users", name, ..] => ("connected user with the uid", name, "users"),
        ["banlist", name, ..] => ("ban", name, "bans"),
        ["bans", name, ..] => ("ban", name, "banned"),
        ["reports", name, ..] => ("report", name, "reports --all"),
        ["invitations", name] => ("invitation", name, "invitations"),
        ["people", name, ..] => ("person", name, "person NAME"),
        ["accounts", name, ..] => ("account", name, "accounts"),
        ["ended", name, ..] => ("ended session", name, "ended"),
        ["recordings", name, ..] => ("recording", name, "recordings"),
        _ => {
            return format!("the server has nothing at /api/{path}; is it another program, or an older one?");
        }
    };
    format!("there is no {kind} '{name}'; `drawhall ctl {command}` lists them")
}

/// A path segment without its percent-encoding.
fn decoded(segment: &str) -> String {
    // A plus sign is a blank in forms, but not in paths.
    let form = segment.replace('+', "%2B");
    let mut pairs = url::form_urlencoded::parse(form.as_bytes());
    pairs.next().map_or_else(String::new, |(name, _)| name.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_what_is_not_there_and_which_command_lists_the_others() {
        let cases = [
            ("sessions/lobby?reason=x", "there is no session 'lobby'; `drawhall ctl sessions` lists them"),
            ("sessions/a%20b%2Bc/people", "there is no session 'a b+c'; `drawhall ctl sessions` lists them"),
            ("users/99", "there is no connected user with the uid '99'; `drawhall ctl users` lists them"),
            ("banlist/7", "there is no ban '7'; `drawhall ctl bans` lists them"),
            ("bans/99", "there is no ban '99'; `drawhall ctl banned` lists them"),
            ("people/device%3Ax", "there is no person 'device:x'; `drawhall ctl person NAME` lists them"),
            ("sessions/lobby/restrictions/9", "there is no restriction '9' in session 'lobby'"),
            ("invitations/9", "there is no invitation '9'; `drawhall ctl invitations` lists them"),
            (
                "recordings/a%20b.dprec/picture?format=ora",
                "there is no recording 'a b.dprec'; `drawhall ctl recordings` lists them",
            ),
            ("ended/x/restore", "there is no ended session 'x'; `drawhall ctl ended` lists them"),
        ];
        for (path, text) in cases {
            assert_eq!(what(path), text);
        }
        assert!(what("checks").contains("/api/checks"));
    }
}
