//! A connector with little memory: in a control group of 64 MB.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::net::Shutdown;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use qemu::host::find_program;
use tests::skip;

use crate::application::{Application, End, Kind, Task, pour};
use crate::ground::on_own_ground;
use crate::pattern::Pattern;
use crate::site::{Door, Site, Terms};

/// The limit of the group.
const LIMIT: u64 = 64 << 20;
/// Sessions that are open beside the bulk.
const SESSIONS: u64 = 1_000;
/// How long bulk goes both ways.
const TIME: Duration = Duration::from_secs(5);
/// Bytes a second each way: as many as there go.
const RATE: u64 = 1 << 40;

#[test]
fn a_connector_with_64_mb_of_memory_announces_what_it_can_carry_and_carries_it() {
    on_own_ground(small);
}

/// A control group with a limit of memory; it goes with this.
struct Group {
    folder: PathBuf,
    /// The file that tells of kills.
    kills: &'static str,
}

impl Group {
    /// A new one. The error is why there can be none.
    fn new() -> Result<Self, String> {
        let versions = [
            ("/sys/fs/cgroup", "memory.max", "memory.events"),
            (
                "/sys/fs/cgroup/memory",
                "memory.limit_in_bytes",
                "memory.oom_control",
            ),
        ];
        let mut why =
            "no control groups that limit memory are mounted at /sys/fs/cgroup".to_owned();
        for (root, limit, kills) in versions {
            let folder = Path::new(root).join(format!("outgate-{}", std::process::id()));
            if let Err(error) = fs::create_dir(&folder) {
                why = format!("{}: {error}", folder.display());
                continue;
            }
            let group = Self { folder, kills };
            match group.set(limit) {
                Ok(()) => return Ok(group),
                Err(error) => why = format!("{limit} of a new control group: {error}"),
            }
        }
        Err(why)
    }

    /// Sets the limit. In a folder that is no group there is no such file.
    fn set(&self, limit: &str) -> io::Result<()> {
        let mut file = File::options().write(true).open(self.folder.join(limit))?;
        file.write_all(LIMIT.to_string().as_bytes())
    }

    /// Processes of the group that were killed for want of memory.
    fn killed(&self) -> u64 {
        let text = fs::read_to_string(self.folder.join(self.kills)).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        line.unwrap().trim().parse().unwrap()
    }

    /// The words before a command that is to run in it.
    fn enter(&self) -> [String; 4] {
        let shell = find_program("sh").unwrap().to_string_lossy().into_owned();
        let script = "echo $$ > \"$0\" && exec \"$@\"".to_owned();
        let processes = self
            .folder
            .join("cgroup.procs")
            .to_string_lossy()
            .into_owned();
        [shell, "-c".to_owned(), script, processes]
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // It can be removed once its processes are gone; what cannot be removed is empty and harms nobody.
        let _ = fs::remove_dir(&self.folder);
    }
}

fn small() {
    let group = match Group::new() {
        Ok(group) => group,
        Err(why) => skip!(why),
    };
    let application = Application::start();
    let words = group.enter();
    let site = Site::start_behind(Terms::default(), &words.each_ref().map(String::as_str));
    let door = site.door();
    let capacity = capacity(&site);
    assert!(
        (SESSIONS..=LIMIT / 16_500).contains(&capacity),
        "{capacity}"
    );
    let mut held = Vec::new();
    for number in 1..=SESSIONS {
        let mut user = door.enter().unwrap();
        let task = task(Kind::Echo, number);
        user.write_all(&task.encode()).unwrap();
        held.push((user, Pattern::new(number)));
    }
    let ways = [Kind::Take, Kind::Give].into_iter().zip(SESSIONS + 1..);
    thread::scope(|scope| {
        for (kind, seed) in ways {
            let (door, application) = (&door, &application);
            scope.spawn(move || bulk(door, application, task(kind, seed)));
        }
    });
    for (user, pattern) in &mut held {
        let bytes = pattern.clone().next(100);
        user.write_all(bytes).unwrap();
        let mut heard = vec![0; bytes.len()];
        user.read_exact(&mut heard).unwrap();
        pattern.check(&heard).unwrap();
    }
    assert_eq!(group.killed(), 0);
    assert_eq!(application.wrong(), Vec::<String>::new());
    drop((held, site));
}

const fn task(kind: Kind, seed: u64) -> Task {
    Task {
        kind,
        seed,
        rate: RATE,
        time: TIME,
    }
}

/// What the connector has told the edge that it can carry.
fn capacity(site: &Site) -> u64 {
    let log = site.connector.log();
    let line = log
        .lines()
        .find_map(|line| line.split("up to ").nth(1)?.split(' ').next());
    line.unwrap().parse().unwrap()
}

fn bulk(door: &Door, application: &Application, task: Task) {
    let mut user = door.enter().unwrap();
    user.write_all(&task.encode()).unwrap();
    let began = std::time::Instant::now();
    let bytes = match task.kind {
        Kind::Take => {
            let sent = pour(&user, task, || Ok(began.elapsed() < TIME)).unwrap();
            user.shutdown(Shutdown::Write).unwrap();
            assert_eq!(user.read(&mut [0]).unwrap(), 0);
            sent
        }
        _ => {
            user.shutdown(Shutdown::Write).unwrap();
            let mut pattern = Pattern::new(task.seed);
            let mut room = vec![0; 64 << 10];
            loop {
                match user.read(&mut room).unwrap() {
                    0 => break pattern.passed(),
                    len => pattern.check(&room[..len]).unwrap(),
                }
            }
        }
    };
    eprintln!("{:?}: {} MiB", task.kind, bytes >> 20);
    assert_eq!(application.end_of(task.seed), Some(End::InOrder(bytes)));
}
