//! One host: namespaces for its network, processes, name and files, with a first process that all others live by.
//!
//! Its home is a directory of the lab; `state` in it is the host's `/var/lib/muster` and outlives a loss of power. Killing
//! the first process kills all of them at once, which is what losing power is.

use crate::network::program;
use crate::wait::until;
use crate::{Doing, Outcome, Problem};
use rustix::process::{Pid, Signal, kill_process};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// What the first process does: a `/var/lib` of the host's own, and what `/sys` says of interfaces; the control groups in there
/// stay. Then it buries whoever dies as an orphan.
const FIRST: &str = "[ -z \"$3\" ] || echo 0 >\"$3/cgroup.procs\"
echo \"$1\" >/proc/sys/kernel/hostname
mount -t tmpfs none /var/lib && mkdir /var/lib/muster || exit 1
if [ -n \"$2\" ]; then mount -t tmpfs -o size=$2 none /var/lib/muster
else mount --bind \"$0/state\" /var/lib/muster; fi || exit 1
mkdir /var/lib/sys && mount -t sysfs none /var/lib/sys || exit 1
for d in class/net devices/virtual/net; do mount --bind /var/lib/sys/$d /sys/$d || exit 1; done
umount /var/lib/sys
echo ready; exec >/dev/null
while :; do sleep 1000 & wait $!; done";
/// What a command does before it is what it is: into the host's control group and its home.
const ENTER: &str = "[ -z \"$1\" ] || echo 0 >\"$1/cgroup.procs\"; shift; cd \"$0\" && exec \"$@\"";
/// Longest wait for something that takes milliseconds on a quiet machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a command said, and how it ended.
#[derive(Debug)]
pub struct Said {
    pub code: Option<i32>,
    /// Its standard output.
    pub data: String,
    /// Its standard error.
    pub talk: String,
}

/// A program that the kernel kills when the thread that started it ends.
pub fn dying_with_us(name: &str) -> Outcome<Command> {
    let mut command = Command::new(program("setpriv")?);
    command.args(["--pdeathsig", "KILL"]).arg(program(name)?);
    // Ctrl-C is for the lab alone, which then ends everybody.
    command.process_group(0);
    Ok(command)
}

#[derive(Debug)]
pub struct Host {
    pub name: String,
    pub address: Ipv4Addr,
    pub namespace: String,
    /// Where its commands start.
    pub home: PathBuf,
    /// How large `/var/lib/muster` is, if it is not as large as the machine's disk. It is lost with the power.
    pub disk: Option<String>,
    /// Its control group, if this system has any: hosts must not see each other's, whose names have numbers of processes.
    group: Option<PathBuf>,
    /// What is put before PATH.
    programs: PathBuf,
    /// The waiting parent of the first process, and the first process itself. None: without power.
    power: Option<(Child, u32)>,
}

impl Host {
    /// A host without power.
    pub fn new(
        name: &str,
        address: Ipv4Addr,
        namespace: String,
        directory: &Path,
        groups: Option<&Path>,
    ) -> Outcome<Self> {
        let home = directory.join(name);
        let state = home.join("state");
        fs::create_dir_all(&state).doing(format_args!("create {}", state.display()))?;
        let group = groups.map(|groups| groups.join(name));
        if let Some(group) = &group {
            fs::create_dir_all(group).doing(format_args!("create {}", group.display()))?;
        }
        let (name, programs) = (name.to_owned(), directory.to_path_buf());
        Ok(Self { name, address, namespace, home, disk: None, group, programs, power: None })
    }

    /// Kills all that runs, without waiting for its end.
    pub fn kill_all(&self) {
        if let Some((_, first)) = &self.power {
            // A way in stops together with what it led to, and would bury it no more.
            ways_in(*first).into_iter().for_each(|pid| send(pid, Signal::KILL));
            send(*first, Signal::KILL);
        }
    }

    /// Nothing of it runs after this, and it runs nothing until `power_on`.
    pub fn power_off(&mut self) {
        self.kill_all();
        if let Some((mut parent, _)) = self.power.take() {
            // It ends with its child; that it was waited for already is no harm.
            let _ = parent.wait();
        }
    }

    pub fn power_on(&mut self) -> Outcome<()> {
        if self.power.is_some() {
            return Ok(());
        }
        let mut command = dying_with_us("nsenter")?;
        command.arg(format!("--net=/run/netns/{}", self.namespace)).arg(program("unshare")?);
        command.args(["--fork", "--kill-child=KILL", "--pid", "--mount", "--uts", "--mount-proc"]);
        command.args(["sh", "-c", FIRST]).arg(&self.home).arg(&self.name);
        command.arg(self.disk.as_deref().unwrap_or_default()).arg(self.group());
        let log = self.log("host");
        let output = File::create(&log).doing(format_args!("write {}", log.display()))?;
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(output);
        let mut parent = command.spawn().doing(format_args!("start host {}", self.name))?;
        let mut line = String::new();
        let output = parent.stdout.take().expect("its output is piped");
        BufReader::new(output).read_line(&mut line).doing(format_args!("hear host {}", self.name))?;
        if line != "ready\n" {
            let _ = parent.wait();
            let said = fs::read_to_string(&log).unwrap_or_default();
            return Err(Problem(format!("host {} did not start; are you root? {said}", self.name)));
        }
        let first = child_of(parent.id()).ok_or_else(|| Problem(format!("host {} has ended", self.name)))?;
        self.power = Some((parent, first));
        Ok(())
    }

    pub fn is_on(&self) -> bool {
        self.power.is_some()
    }

    /// A command on this host, as `nsenter` carries it out. Fails without power.
    pub fn command(&self, words: &[impl AsRef<OsStr>]) -> Outcome<Command> {
        let Some((_, first)) = &self.power else {
            return Err(Problem(format!("host {} is without power", self.name)));
        };
        let mut command = Command::new(program("nsenter")?);
        command.args(self.entry(*first)).args(["sh", "-c", ENTER]);
        command.arg(&self.home).arg(self.group()).args(words);
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{}:{path}", self.programs.display()));
        command.env_remove("MUSTER_API").env_remove("MUSTER_TOKEN").process_group(0);
        Ok(command)
    }

    /// As an argument: empty where there is none.
    fn group(&self) -> &Path {
        self.group.as_deref().unwrap_or(Path::new(""))
    }

    fn entry(&self, first: u32) -> Vec<String> {
        let mut entry = vec!["--target".to_owned(), first.to_string()];
        entry.extend(["--net", "--mount", "--pid", "--uts"].map(str::to_owned));
        entry
    }

    /// How a person gets onto this host, to be typed into a shell.
    pub fn entrance(&self) -> String {
        match &self.power {
            None => format!("# {} is without power", self.name),
            Some((_, first)) => format!(
                "nsenter {} env PATH={}:\"$PATH\" sh -c '{ENTER}' {} '{}' bash",
                self.entry(*first).join(" "),
                self.programs.display(),
                self.home.display(),
                self.group().display()
            ),
        }
    }

    /// Runs a command to its end.
    pub fn run(&self, words: &[impl AsRef<OsStr>]) -> Outcome<Said> {
        let output = self.command(words)?.stdin(Stdio::null()).output();
        let output = output.doing(format_args!("start a command on {}", self.name))?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok(Said { code: output.status.code(), data: text(&output.stdout), talk: text(&output.stderr) })
    }

    pub fn log(&self, name: &str) -> PathBuf {
        self.home.join(format!("{name}.log"))
    }

    /// Starts a command that goes on, with its output behind what its log has already.
    pub fn start(&self, name: &str, words: &[impl AsRef<OsStr>]) -> Outcome<Program> {
        let log = self.log(name);
        let output = File::options().create(true).append(true).open(&log);
        let output = output.doing(format_args!("write {}", log.display()))?;
        let copy = output.try_clone().doing(format_args!("share {}", log.display()))?;
        let mut command = self.command(words)?;
        let child = command.stdin(Stdio::null()).stdout(output).stderr(copy).spawn();
        let child = child.doing(format_args!("start {name} on {}", self.name))?;
        let pid = until(PATIENCE, "a process to start", || {
            child_of(child.id()).ok_or_else(|| Problem(format!("{name} has no process")))
        })?;
        Ok(Program { child, pid, log })
    }

    /// All of its processes but the first, as the lab's own system numbers them.
    fn processes(&self) -> Vec<u32> {
        let Some((_, first)) = &self.power else { return Vec::new() };
        let space = |pid: u32| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
        let own = space(*first);
        let all = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.filter(|pid| pid != first && own.is_some() && space(*pid) == own).collect()
    }

    /// Sends a signal to each process of this host, also to those that are started meanwhile.
    pub fn signal_all(&self, signal: Signal) {
        let mut told: Vec<u32> = Vec::new();
        loop {
            let new: Vec<u32> = self.processes().into_iter().filter(|pid| !told.contains(pid)).collect();
            if new.is_empty() {
                break;
            }
            new.iter().for_each(|pid| send(*pid, signal));
            told.extend(new);
        }
        if let (Some((_, first)), Signal::CONT) = (&self.power, signal) {
            ways_in(*first).into_iter().for_each(|pid| send(pid, signal));
        }
    }

    /// Kills the processes with this in their environment and that among their words. Says how many there were.
    pub fn kill_marked(&self, variable: &str, word: &str) -> usize {
        let mut found = self.processes();
        found.retain(|pid| parts(*pid, "environ").contains(&variable.to_owned()));
        found.retain(|pid| parts(*pid, "cmdline").contains(&word.to_owned()));
        found.iter().for_each(|pid| send(*pid, Signal::KILL));
        found.len()
    }

    /// Sends a signal to the processes with such words.
    pub fn signal_where(&self, signal: Signal, is_meant: impl Fn(&[String]) -> bool) {
        let meant = self.processes().into_iter().filter(|pid| is_meant(&parts(*pid, "cmdline")));
        meant.for_each(|pid| send(pid, signal));
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.power_off();
    }
}

/// A process on a host that goes on. It outlives this value: it ends with its host.
#[derive(Debug)]
pub struct Program {
    child: Child,
    pid: u32,
    log: PathBuf,
}

impl Program {
    pub fn signal(&self, signal: Signal) {
        if signal == Signal::CONT {
            // The way in has stopped with it.
            send(self.child.id(), signal);
        }
        send(self.pid, signal);
    }

    /// As the lab's own system numbers it.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    pub fn log(&self) -> String {
        let bytes = fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    pub fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits until it has ended.
    pub fn wait(&mut self, most: Duration) -> Outcome<()> {
        until(most, "a process to end", || match self.has_ended() {
            true => Ok(()),
            false => Err(Problem("it runs".into())),
        })
    }
}

/// What is between zeros in a file of a process; nothing of one that is gone.
fn parts(pid: u32, file: &str) -> Vec<String> {
    let bytes = fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
    bytes.split(|byte| *byte == 0).map(|part| String::from_utf8_lossy(part).into_owned()).collect()
}

/// Sends a signal; a process that is gone already has nothing to hear.
fn send(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
}

/// The processes that lead from outside to those of a host with this first process, and wait for them.
fn ways_in(first: u32) -> Vec<u32> {
    let wanted = format!("\0--target\0{first}\0");
    let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let leads = |pid: &u32| {
        let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&words).contains(&wanted)
    };
    pids.filter(leads).collect()
}

/// The only child of a process, from the second field behind the name in `/proc/PID/stat`.
fn child_of(parent: u32) -> Option<u32> {
    let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
    pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).find(|pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let behind_name = stat.rfind(')').map_or("", |end| &stat[end + 1..]);
        behind_name.split_whitespace().nth(1) == Some(&parent.to_string())
    })
}
