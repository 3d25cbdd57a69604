use std::os::unix::fs::lchown;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use nix::unistd::{Uid, User};

use super::{PostgresError, Result};

/// Whom PostgreSQL runs as. It refuses to run as root, so root steps down to somebody unprivileged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    uid: u32,
    gid: u32,
    name: String,
    /// Whether programs and files must be handed over, or are this user's anyway.
    switch: bool,
}

impl Identity {
    /// Root becomes `run_as`, else `postgres`, else `nobody`. Everybody else stays what they are.
    ///
    /// # Errors
    /// `User` if `run_as` does not exist, is root, or differs from the current user without being root.
    pub fn resolve(run_as: Option<&str>) -> Result<Self> {
        let me = Uid::effective();
        if !me.is_root() {
            let user = User::from_uid(me).ok().flatten();
            let name = user.as_ref().map_or_else(|| me.to_string(), |user| user.name.clone());
            if let Some(wanted) = run_as
                && wanted != name
                && wanted != me.to_string()
            {
                return Err(PostgresError::User(format!(
                    "only root can run PostgreSQL as {wanted:?}; this is {name:?}"
                )));
            }
            return Ok(Identity { uid: me.as_raw(), gid: nix::unistd::Gid::effective().as_raw(), name, switch: false });
        }
        let names: &[&str] = match &run_as {
            Some(wanted) => &[*wanted],
            None => &["postgres", "nobody"],
        };
        for name in names {
            if let Some(user) = look_up(name) {
                if user.uid.is_root() {
                    return Err(PostgresError::User(format!(
                        "PostgreSQL refuses to run as root, and {name:?} is root"
                    )));
                }
                return Ok(Identity { uid: user.uid.as_raw(), gid: user.gid.as_raw(), name: user.name, switch: true });
            }
        }
        Err(PostgresError::User(match run_as {
            Some(wanted) => format!("there is no user {wanted:?}"),
            None => "running as root, and there is neither a user \"postgres\" nor \"nobody\" to run PostgreSQL as; \
                     name one with --run-as"
                .to_owned(),
        }))
    }

    /// Name of the user, or its number if it has none.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Number of the user.
    pub fn uid(&self) -> u32 {
        self.uid
    }

    /// Number of the user's group.
    pub fn gid(&self) -> u32 {
        self.gid
    }

    /// Whether this is somebody else than the user walproof runs as.
    pub fn is_switched(&self) -> bool {
        self.switch
    }

    /// Makes a command run as this user. Without extra groups: the standard library clears them when root changes
    /// the user.
    pub fn apply(&self, command: &mut Command) {
        if self.switch {
            command.gid(self.gid).uid(self.uid);
        }
    }

    /// Hands a file, directory or link (itself, not its target) over to this user.
    ///
    /// # Errors
    /// `Io` if the file system refuses.
    pub fn give(&self, path: &Path) -> Result<()> {
        if self.switch {
            lchown(path, Some(self.uid), Some(self.gid)).map_err(PostgresError::io("change the owner of", path))?;
        }
        Ok(())
    }

    /// Hands a directory over with everything below it. Links are not followed.
    ///
    /// # Errors
    /// `Io` if the file system refuses.
    pub fn give_tree(&self, root: &Path) -> Result<()> {
        if !self.switch {
            return Ok(());
        }
        let mut open = vec![root.to_owned()];
        while let Some(path) = open.pop() {
            self.give(&path)?;
            let kind = path.symlink_metadata().map_err(PostgresError::io("look at", &path))?.file_type();
            if kind.is_dir() {
                for entry in std::fs::read_dir(&path).map_err(PostgresError::io("list", &path))? {
                    open.push(entry.map_err(PostgresError::io("list", &path))?.path());
                }
            }
        }
        Ok(())
    }
}

/// By name, or by number where a container has no name for it.
fn look_up(name: &str) -> Option<User> {
    if let Ok(Some(user)) = User::from_name(name) {
        return Some(user);
    }
    let uid = name.parse::<u32>().ok()?;
    User::from_uid(Uid::from_raw(uid)).ok().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_root_and_never_somebody_unknown() {
        let identity = Identity::resolve(None).unwrap();
        assert_ne!(identity.uid(), 0);
        assert_eq!(identity.is_switched(), Uid::effective().is_root());
        assert!(Identity::resolve(Some("no-such-user-here")).is_err());
        assert!(Identity::resolve(Some("root")).is_err());
    }

    #[test]
    fn a_command_runs_as_the_identity() {
        let identity = Identity::resolve(None).unwrap();
        let mut command = Command::new("id");
        command.arg("-u").current_dir("/");
        identity.apply(&mut command);
        let output = command.output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), identity.uid().to_string());
    }
}
