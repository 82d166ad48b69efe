//! What the control groups that this process is in leave it of memory: in a container that is less than what
//! the machine has, and whoever takes more is killed.

use std::fs;
use std::path::{Path, PathBuf};

/// How a version of control groups tells of memory.
struct Words {
    /// Below `/sys/fs/cgroup`.
    root: &'static str,
    /// The controllers in a line of `/proc/self/cgroup`.
    controllers: &'static str,
    limit: &'static str,
    used: &'static str,
    /// Pages of files that are given up when memory runs short, in `memory.stat`.
    spare: &'static str,
}

/// Versions 2 and 1.
const VERSIONS: [Words; 2] = [
    Words {
        root: "",
        controllers: "",
        limit: "memory.max",
        used: "memory.current",
        spare: "inactive_file ",
    },
    Words {
        root: "memory",
        controllers: "memory",
        limit: "memory.limit_in_bytes",
        used: "memory.usage_in_bytes",
        spare: "total_inactive_file ",
    },
];

/// Bytes that this process's groups have left; all there are if none of them is limited.
pub fn free() -> u64 {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let left = VERSIONS.iter().map(|words| {
        let root = Path::new("/sys/fs/cgroup").join(words.root);
        words.free(&root, &groups)
    });
    left.min().unwrap_or(u64::MAX)
}

impl Words {
    /// The least that the group named in `groups` and those above it leave.
    fn free(&self, root: &Path, groups: &str) -> u64 {
        let Some(path) = self.path_in(groups) else {
            return u64::MAX;
        };
        let above = Path::new(path).ancestors();
        let left =
            above.map(|group| self.left(&root.join(group.strip_prefix("/").unwrap_or(group))));
        left.min().unwrap_or(u64::MAX)
    }

    /// `5:memory:/a/b`
    fn path_in<'a>(&self, groups: &'a str) -> Option<&'a str> {
        groups.lines().find_map(|line| {
            let (_, rest) = line.split_once(':')?;
            let (controllers, path) = rest.split_once(':')?;
            let is_it = controllers
                .split(',')
                .any(|controller| controller == self.controllers);
            is_it.then_some(path)
        })
    }

    fn left(&self, group: &Path) -> u64 {
        let number = |name: &str| {
            fs::read_to_string(group.join(name))
                .ok()?
                .trim()
                .parse::<u64>()
                .ok()
        };
        // Without a number there is no limit: `max`, or no such group.
        let Some(limit) = number(self.limit) else {
            return u64::MAX;
        };
        let used = number(self.used).unwrap_or(0);
        limit.saturating_sub(used.saturating_sub(self.spare(group.join("memory.stat"))))
    }

    fn spare(&self, stat: PathBuf) -> u64 {
        let text = fs::read_to_string(stat).unwrap_or_default();
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(self.spare)?.parse().ok());
        value.unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tightest_of_the_groups_that_a_process_is_in_decides() {
        let root = std::env::temp_dir().join(format!("outgate-groups-{}", std::process::id()));
        let write = |group: &str, limit: &str, used: &str, spare: u64| {
            let folder = root.join(group);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("memory.max"), format!("{limit}\n")).unwrap();
            fs::write(folder.join("memory.current"), format!("{used}\n")).unwrap();
            let stat = format!("anon 1\ninactive_file {spare}\nactive_file 7\n");
            fs::write(folder.join("memory.stat"), stat).unwrap();
        };
        write("a", "1000", "900", 500);
        write("a/b", "max", "800", 0);
        write("a/c", "400", "100", 60);
        write("a/d", "100", "200", 20);
        let free = |groups: &str| VERSIONS[0].free(&root, groups);
        assert_eq!(free("5:memory:/x\n0::/a/b\n"), 600);
        assert_eq!(free("0::/a/c"), 360);
        assert_eq!(free("0::/a/d"), 0);
        assert_eq!(free("0::/"), u64::MAX);
        assert_eq!(free("5:memory:/a/c\nnonsense"), u64::MAX);
        fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn a_group_of_the_first_version_is_found_among_its_controllers() {
        let groups = "9:name=systemd:/s\n5:cpu,memory:/a/b:c\n0::/other\n";
        assert_eq!(VERSIONS[1].path_in(groups), Some("/a/b:c"));
        assert_eq!(VERSIONS[0].path_in(groups), Some("/other"));
    }
}
