//! Stories of one node: what the manager and the processes say, and everything that the agent does about it.
//!
//! A line of a story is a time and an event:
//!   `assign GENERATION NAME[,stopped][,external][,process][,instance=N][,attempts=N][,grace=N][,hung=N][,rise=N] ...`
//!   `started NAME`, `failed NAME why`, `exited NAME status`, `good NAME`, `bad NAME why` (answers to the newest start
//!   or probe), `trouble NAME why`, `trouble-over NAME`, `connected`, `shutdown`, `wait`.
//! Times of the machine's own are kept in between. The trace leaves out keep-alive reports and, of reports, what did
//! not change. Members are of cluster `c`, restart after 100 ms up to 400 ms, give up at 3, forgive after 5 s, must
//! answer within 2 s of their start, are hung after 3 s of failing, and are probed each second (rise 2, fall 2).

use super::*;
use expect_test::{Expect, expect};
use std::fmt::Write;
use wire::agent::{
    LogSettings, MemberReport, ProbeSettings, ProbeState, ProcessState, RestartSettings, Run, Want,
};

fn assignment(words: &str) -> Assignment {
    let (name, options) = words.split_once(',').unwrap_or((words, ""));
    let has = |option: &str| options.split(',').any(|word| word == option);
    let number = |option: &str, default: u64| {
        let found = options.split(',').find_map(|word| word.strip_prefix(option)?.strip_prefix('='));
        found.map_or(default, |text| text.parse().expect("options are numbers"))
    };
    let launch = Launch {
        command: vec!["serve".into()],
        environment: BTreeMap::new(),
        directory: None,
        user: None,
        port: 0,
        address: None,
        stop_signal: "TERM".into(),
        stop_grace_ms: number("grace", 1_000),
        log: LogSettings { path: None, size_max_bytes: 1, files_max: 1 },
        restart: RestartSettings {
            delay_ms: 100,
            delay_max_ms: 400,
            attempts_max: number("attempts", 3) as u32,
            reset_after_ms: 5_000,
            start_timeout_ms: 2_000,
            hung_after_ms: number("hung", 3_000),
        },
    };
    let address = "10.0.0.9:80".parse().expect("an address");
    Assignment {
        id: MemberId::new("c", name),
        clone_id: name.into(),
        run: if has("external") { Run::External { address } } else { Run::Managed(launch) },
        probe: ProbeSettings {
            kind: if has("process") { ProbeKind::Process } else { ProbeKind::Tcp },
            interval_ms: 1_000,
            timeout_ms: 300,
            rise: number("rise", 2) as u32,
            fall: 2,
        },
        want: if has("stopped") { Want::Stopped } else { Want::Running },
        instance: number("instance", 1),
    }
}

/// An agent, what was asked of the shell and not answered yet, and the trace.
struct Story {
    agent: Agent,
    starts: BTreeMap<MemberId, StartNumber>,
    probes: BTreeMap<MemberId, ProbeNumber>,
    reported: BTreeMap<MemberId, MemberReport>,
    trace: String,
}

impl Story {
    fn step(&mut self, now: Time, input: Input) {
        let outputs = self.agent.step(now, input);
        self.agent.check();
        for output in outputs {
            let line = match output {
                Output::Start { id, start, .. } => {
                    self.starts.insert(id.clone(), start);
                    format!("start {}", id.member)
                }
                Output::Stop { id, signal, .. } => format!("stop {} by {signal}", id.member),
                Output::Kill { id, .. } => format!("kill {}", id.member),
                Output::Probe { id, probe, address, .. } => {
                    self.probes.insert(id.clone(), probe);
                    format!("probe {} at {address}", id.member)
                }
                Output::Report(report) => {
                    self.on_report(now, report);
                    continue;
                }
                Output::Remember { generation, assignments } => {
                    format!("remember generation {generation} with {} members", assignments.len())
                }
                Output::Refused { generation, newest } => format!("refuse {generation}, obeyed {newest}"),
                Output::Tell { id, severity, text } => format!("{severity:?}: {} {text}", id.member),
                Output::Finished => "finished".into(),
            };
            writeln!(self.trace, "{now} {line}").expect("text takes everything");
        }
    }

    fn on_report(&mut self, now: Time, report: Report) {
        let members: BTreeMap<MemberId, MemberReport> =
            report.members.into_iter().map(|member| (member.id.clone(), member)).collect();
        for (id, member) in &members {
            if self.reported.get(id) != Some(member) {
                let MemberReport { process, probe, restarts, reason, .. } = member;
                let process = match process {
                    ProcessState::Running { .. } => "running".into(),
                    ProcessState::Stopping { .. } => "stopping".into(),
                    other => format!("{other:?}").to_lowercase(),
                };
                let probe = match probe {
                    ProbeState::Unknown => "?",
                    ProbeState::Passing => "passing",
                    ProbeState::Failing => "failing",
                };
                writeln!(self.trace, "{now} report {} {process} {probe} {restarts}: {reason}", id.member)
                    .expect("text takes everything");
            }
        }
        for id in self.reported.keys().filter(|id| !members.contains_key(id)) {
            writeln!(self.trace, "{now} report without {}", id.member).expect("text takes everything");
        }
        self.reported = members;
    }

    fn input(&self, words: &str) -> Input {
        let mut parts = words.splitn(3, ' ');
        let verb = parts.next().expect("an event has a verb");
        let name = parts.next().unwrap_or_default();
        let rest = parts.next().unwrap_or_default().to_owned();
        let id = MemberId::new("c", name);
        let start = || self.starts[&id];
        let probe = || self.probes[&id];
        match verb {
            "assign" => {
                let generation = name.parse().expect("a generation");
                Input::Assign { generation, assignments: rest.split_whitespace().map(assignment).collect() }
            }
            "started" => {
                let address = format!("10.0.0.1:{}", 8000 + start().0).parse().expect("an address");
                Input::Started { start: start(), pid: start().0 as u32, address, id }
            }
            "failed" => Input::StartFailed { start: start(), id, why: rest },
            "exited" => Input::Exited { start: start(), id, status: rest, last_line: None },
            "good" => Input::Probed { probe: probe(), id, answer: ProbeAnswer::Good },
            "bad" => Input::Probed { probe: probe(), id, answer: ProbeAnswer::Bad { why: rest } },
            "trouble" => Input::LogTrouble { start: start(), id, trouble: Some(rest) },
            "trouble-over" => Input::LogTrouble { start: start(), id, trouble: None },
            "connected" => Input::Connected,
            "shutdown" => Input::Shutdown,
            "wait" => Input::Tick,
            other => panic!("no such event: {other}"),
        }
    }
}

fn check_from(remembered: Option<(u64, Vec<Assignment>)>, story: &str, expected: Expect) {
    let agent = Agent::new(Time(0), "n".into(), 7, remembered);
    let (starts, probes) = (BTreeMap::new(), BTreeMap::new());
    let mut told = Story { agent, starts, probes, reported: BTreeMap::new(), trace: "\n".into() };
    let mut now = Time(0);
    for line in story.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (at, words) = line.split_once(' ').expect("a line is a time and an event");
        let at = Time(at.parse().expect("times are milliseconds"));
        while let Some(wake) = told.agent.wake_at().filter(|wake| *wake < at) {
            // What is overdue happens now.
            now = now.max(wake);
            told.step(now, Input::Tick);
            let is_idle = told.agent.wake_at().is_some_and(|next| next <= now);
            assert!(!is_idle, "the machine wants to be woken at {now} again and again");
        }
        now = at;
        let input = told.input(words);
        told.step(now, input);
    }
    expected.assert_eq(&told.trace);
}

fn check(story: &str, expected: Expect) {
    check_from(None, story, expected);
}

#[test]
fn a_member_is_started_asked_often_and_then_each_second() {
    check(
        "
        0 assign 1 a
        5 started a
        6 bad a refused
        60 bad a refused
        160 good a
        370 good a
        1400 good a
        2500 wait
        ",
        expect![[r#"

            0.000s remember generation 1 with 1 members
            0.000s start a
            0.000s report a stopped ? 0: starting
            0.005s Info: a started as process 1 on 10.0.0.1:8001
            0.005s probe a at 10.0.0.1:8001
            0.005s report a running ? 0: has not answered its probe yet
            0.006s report a running ? 0: has not answered its probe yet: refused
            0.055s probe a at 10.0.0.1:8001
            0.155s probe a at 10.0.0.1:8001
            0.160s report a running ? 0: has not answered its probe yet
            0.205s probe a at 10.0.0.1:8001
            0.370s Info: a answers its probe
            0.370s report a running passing 0: answers its probe
            1.205s probe a at 10.0.0.1:8001
            2.205s probe a at 10.0.0.1:8001
        "#]],
    );
}

#[test]
fn an_exit_is_reported_at_once_and_restarts_come_slower_until_it_gives_up() {
    check(
        "
        0 assign 1 a,process
        5 started a
        50 exited a exited with status 1
        150 started a
        160 exited a exited with status 1
        400 failed a there is no command serve in PATH
        9000 wait
        9001 assign 1 a,process,instance=2
        ",
        expect![[r#"

            0.000s remember generation 1 with 1 members
            0.000s start a
            0.000s report a stopped ? 0: starting
            0.005s Info: a started as process 1 on 10.0.0.1:8001
            0.005s report a running passing 0: runs; being there is its probe
            0.050s Warning: a exited with status 1; starts again after 100 ms (failure 1 of 3)
            0.050s report a backingoff ? 0: exited with status 1; starts again after 100 ms (failure 1 of 3)
            0.150s start a
            0.150s report a backingoff ? 1: starting
            0.160s Warning: a exited with status 1; starts again after 200 ms (failure 2 of 3)
            0.160s report a backingoff ? 1: exited with status 1; starts again after 200 ms (failure 2 of 3)
            0.360s start a
            0.360s report a backingoff ? 2: starting
            0.400s Warning: a there is no command serve in PATH; gave up after 3 failed starts in a row
            0.400s report a gaveup ? 2: there is no command serve in PATH; gave up after 3 failed starts in a row
            9.001s remember generation 1 with 1 members
            9.001s start a
            9.001s report a stopped ? 3: starting
        "#]],
    );
}

#[test]
fn being_healthy_for_long_makes_up_for_failures() {
    check(
        "
        0 assign 1 a,process
        5 started a
        50 exited a exited with status 1
        160 started a
        170 exited a exited with status 1
        400 started a
        5401 exited a was killed by signal KILL
        5600 started a
        ",
        expect![[r#"

            0.000s remember generation 1 with 1 members
            0.000s start a
            0.000s report a stopped ? 0: starting
            0.005s Info: a started as process 1 on 10.0.0.1:8001
            0.005s report a running passing 0: runs; being there is its probe
            0.050s Warning: a exited with status 1; starts again after 100 ms (failure 1 of 3)
            0.050s report a backingoff ? 0: exited with status 1; starts again after 100 ms (failure 1 of 3)
            0.150s start a
            0.150s report a backingoff ? 1: starting
            0.160s Info: a started as process 4 on 10.0.0.1:8004
            0.160s report a running passing 1: runs; being there is its probe
            0.170s Warning: a exited with status 1; starts again after 200 ms (failure 2 of 3)
            0.170s report a backingoff ? 1: exited with status 1; starts again after 200 ms (failure 2 of 3)
            0.370s start a
            0.370s report a backingoff ? 2: starting
            0.400s Info: a started as process 7 on 10.0.0.1:8007
            0.400s report a running passing 2: runs; being there is its probe
            5.401s Warning: a was killed by signal KILL; starts again after 100 ms (failure 1 of 3)
            5.401s report a backingoff ? 2: was killed by signal KILL; starts again after 100 ms (failure 1 of 3)
            5.501s start a
            5.501s report a backingoff ? 3: starting
            5.600s Info: a started as process 12 on 10.0.0.1:8012
            5.600s report a running passing 3: runs; being there is its probe
        "#]],
    );
}

#[test]
fn who_never_answers_is_stopped_and_counted() {
    check(
        "
        0 assign 1 a,attempts=1
        5 started a
        6 bad a refused
        100 bad a refused
        250 bad a refused
        600 bad a refused
        1000 bad a refused
        2010 exited a was killed by signal TERM
        ",
        expect![[r#"

            0.000s remember generation 1 with 1 members
            0.000s start a
            0.000s report a stopped ? 0: starting
            0.005s Info: a started as process 1 on 10.0.0.1:8001
            0.005s probe a at 10.0.0.1:8001
            0.005s report a running ? 0: has not answered its probe yet
            0.006s report a running ? 0: has not answered its probe yet: refused
            0.055s probe a at 10.0.0.1:8001
            0.155s probe a at 10.0.0.1:8001
            0.355s probe a at 10.0.0.1:8001
            0.755s probe a at 10.0.0.1:8001
            1.555s probe a at 10.0.0.1:8001
            2.000s Info: a stopping: did not pass its probe within 2000 ms of its start (refused)
            2.000s stop a by TERM
            2.000s report a stopping ? 0: stopping: did not pass its probe within 2000 ms of its start (refused)
            2.010s Warning: a did not pass its probe within 2000 ms of its start (refused), and was killed by signal TERM; gave up after the first failed start
            2.010s report a gaveup ? 0: did not pass its probe within 2000 ms of its start (refused), and was killed by signal TERM; gave up after the first failed start
        "#]],
    );
}

#[test]
fn a_process_that_ignores_its_stop_signal_is_killed_after_its_grace() {
    check(
        "
        0 assign 1 a,process
        5 started a
        100 assign 1 a,process,stopped
        1200 exited a was killed by signal KILL
        1300 assign 1 a,process
        ",
        expect![[r#"

            0.000s remember generation 1 with 1 members
            0.000s start a
            0.000s report a stopped ? 0: starting
            0.005s Info: a started as process 1 on 10.0.0.1:8001
            0.005s report a running passing 0: runs; being there is its probe
            0.100s remember generation 1 with 1 members
            0.100s Info: a stopping: as asked
            0.100s stop a by TERM
            0.100s report a stopping ? 0: stopping: as asked
            1.100s Warning: a killed: did not stop within 1000 ms
            1.100s kill a
            1.100s report a stopping ? 0: killed: did not stop within 1000 ms
            1.200s Info: a stopped: was killed by signal KILL
            1.200s report a stopped ? 0: stopped: was killed by signal KILL
            1.300s remember generation 1 with 1 members
            1.300s start a
            1.300s report a stopped ? 1: starting
        "#]],
    );
}

#[test]
fn a_higher_instance_replaces_the_process_and_a_lower_one_does_not() {
    check(
        "
        0 assign 1 a,process
        5 started a
        100 assign 1 a,process,instance=2
        200 exited a exited with status 0
        210 started a
        300 assign 2 a,process,instance=1
        400 assign 2 a,process,instance=2
        500 assign 2 a,process,instance=3
        ",
        expect![[r#"

            0.000s remember generation 1 with 1 members
            0.000s start a
            0.000s report a stopped ? 0: starting
            0.005s Info: a started as process 1 on 10.0.0.1:8001
            0.005s report a running passing 0: runs; being there is its probe
            0.100s remember generation 1 with 1 members
            0.100s Info: a stopping: to be started anew
            0.100s stop a by TERM
            0.100s report a stopping ? 0: stopping: to be started anew
            0.200s Info: a exited with status 0; starting anew
            0.200s start a
            0.200s report a stopped ? 1: starting
            0.210s Info: a started as process 4 on 10.0.0.1:8004
            0.210s report a running passing 1: runs; being there is its probe
            0.300s remember generation 2 with 1 members
            0.400s remember generation 2 with 1 members
            0.500s remember generation 2 with 1 members
            0.500s Info: a stopping: to be started anew
            0.500s stop a by TERM
            0.500s report a stopping ? 1: stopping: to be started anew
        "#]],
    );
}

#[test]
fn older_generations_are_refused_and_members_left_out_are_stopped_and_forgotten() {
    check(
        "
        0 assign 5 a,process b,process
        5 started a
        5 started b
        100 assign 4 a,process
        200 assign 5 a,process
        300 exited b exited with status 0
        ",
        expect![[r#"

            0.000s remember generation 5 with 2 members
            0.000s start a
            0.000s start b
            0.000s report a stopped ? 0: starting
            0.000s report b stopped ? 0: starting
            0.005s Info: a started as process 1 on 10.0.0.1:8001
            0.005s report a running passing 0: runs; being there is its probe
            0.005s Info: b started as process 2 on 10.0.0.1:8002
            0.005s report b running passing 0: runs; being there is its probe
            0.100s refuse 4, obeyed 5
            0.200s remember generation 5 with 1 members
            0.200s Info: b stopping: no longer assigned
            0.200s stop b by TERM
            0.200s report b stopping ? 0: stopping: no longer assigned
            0.300s Info: b stopped: exited with status 0
            0.300s report without b
        "#]],
    );
}

#[test]
fn a_stop_before_the_process_is_there_is_not_lost() {
    check(
        "
        0 assign 1 a,process
        1 assign 1 a,process,stopped
        5 started a
        9 exited a was killed by signal TERM
        ",
        expect![[r#"

            0.000s remember generation 1 with 1 members
            0.000s start a
            0.000s report a stopped ? 0: starting
            0.001s remember generation 1 with 1 members
            0.001s Info: a stopping: as asked
            0.001s stop a by TERM
            0.001s report a stopped ? 0: stopping: as asked
            0.005s Info: a started as process 1 on 10.0.0.1:8001
            0.005s report a stopping ? 0: stopping: as asked
            0.009s Info: a stopped: was killed by signal TERM
            0.009s report a stopped ? 0: stopped: was killed by signal TERM
        "#]],
    );
}

#[test]
fn a_member_that_hangs_for_a_moment_is_found_and_left_alone() {
    check(
        "
        0 assign 1 a
        5 started a
        6 good a
        1010 good a
        2310 bad a no answer within 300 ms
        3310 bad a no answer within 300 ms
        4020 good a
        5020 good a
        ",
        expect![[r#"

            0.000s remember generation 1 with 1 members
            0.000s start a
            0.000s report a stopped ? 0: starting
            0.005s Info: a started as process 1 on 10.0.0.1:8001
            0.005s probe a at 10.0.0.1:8001
            0.005s report a running ? 0: has not answered its probe yet
            0.055s probe a at 10.0.0.1:8001
            1.010s Info: a answers its probe
            1.010s report a running passing 0: answers its probe
            1.055s probe a at 10.0.0.1:8001
            2.310s report a running passing 0: answered its probe, but not the last time: no answer within 300 ms
            2.311s probe a at 10.0.0.1:8001
            3.310s Warning: a does not answer its probe: no answer within 300 ms
            3.310s report a running failing 0: does not answer its probe: no answer within 300 ms
            3.311s probe a at 10.0.0.1:8001
            4.020s report a running failing 0: has begun to answer its probe again
            4.311s probe a at 10.0.0.1:8001
            5.020s Info: a answers its probe
            5.020s report a running passing 0: answers its probe
        "#]],
    );
}

#[test]
fn a_member_that_hangs_on_is_stopped_and_started_again() {
    check(
        "
        0 assign 1 a
        5 started a
        6 good a
        56 good a
        1305 bad a no answer within 300 ms
        2305 bad a no answer within 300 ms
        3305 bad a no answer within 300 ms
        4305 bad a no answer within 300 ms
        6310 exited a was killed by signal KILL
        6420 started a
        6421 good a
        6471 good a
        ",
        expect![[r#"

            0.000s remember generation 1 with 1 members
            0.000s start a
            0.000s report a stopped ? 0: starting
            0.005s Info: a started as process 1 on 10.0.0.1:8001
            0.005s probe a at 10.0.0.1:8001
            0.005s report a running ? 0: has not answered its probe yet
            0.055s probe a at 10.0.0.1:8001
            0.056s Info: a answers its probe
            0.056s report a running passing 0: answers its probe
            1.055s probe a at 10.0.0.1:8001
            1.305s report a running passing 0: answered its probe, but not the last time: no answer within 300 ms
            2.055s probe a at 10.0.0.1:8001
            2.305s Warning: a does not answer its probe: no answer within 300 ms
            2.305s report a running failing 0: does not answer its probe: no answer within 300 ms
            3.055s probe a at 10.0.0.1:8001
            4.055s probe a at 10.0.0.1:8001
            5.055s probe a at 10.0.0.1:8001
            5.305s Info: a did not answer its probe for 3.0 s (no answer within 300 ms); restarting
            5.305s stop a by TERM
            5.305s report a stopping ? 0: did not answer its probe for 3.0 s (no answer within 300 ms); restarting
            6.305s Warning: a killed: did not stop within 1000 ms
            6.305s kill a
            6.305s report a stopping ? 0: killed: did not stop within 1000 ms
            6.310s Warning: a did not answer its probe for 3.0 s (no answer within 300 ms), and was killed by signal KILL; starts again after 100 ms (failure 1 of 3)
            6.310s report a backingoff ? 0: did not answer its probe for 3.0 s (no answer within 300 ms), and was killed by signal KILL; starts again after 100 ms (failure 1 of 3)
            6.410s start a
            6.410s report a backingoff ? 1: starting
            6.420s Info: a started as process 24 on 10.0.0.1:8024
            6.420s probe a at 10.0.0.1:8024
            6.420s report a running ? 1: has not answered its probe yet
            6.470s probe a at 10.0.0.1:8024
            6.471s Info: a answers its probe
            6.471s report a running passing 1: answers its probe
        "#]],
    );
}

#[test]
fn hanging_works_out_the_same_without_a_manager() {
    check_from(
        Some((5, vec![assignment("a")])),
        "
        1100 started a
        1101 good a
        1151 good a
        2400 bad a refused
        3400 bad a refused
        6410 exited a exited with status 0
        6600 wait
        ",
        expect![[r#"

            1.000s start a
            1.000s report a stopped ? 0: starting
            1.100s Info: a started as process 1 on 10.0.0.1:8001
            1.100s probe a at 10.0.0.1:8001
            1.100s report a running ? 0: has not answered its probe yet
            1.150s probe a at 10.0.0.1:8001
            1.151s Info: a answers its probe
            1.151s report a running passing 0: answers its probe
            2.150s probe a at 10.0.0.1:8001
            2.400s report a running passing 0: answered its probe, but not the last time: refused
            3.150s probe a at 10.0.0.1:8001
            3.400s Warning: a does not answer its probe: refused
            3.400s report a running failing 0: does not answer its probe: refused
            4.150s probe a at 10.0.0.1:8001
            6.400s Info: a did not answer its probe for 3.0 s (refused); restarting
            6.400s stop a by TERM
            6.400s report a stopping ? 0: did not answer its probe for 3.0 s (refused); restarting
            6.410s Warning: a did not answer its probe for 3.0 s (refused), and exited with status 0; starts again after 100 ms (failure 1 of 3)
            6.410s report a backingoff ? 0: did not answer its probe for 3.0 s (refused), and exited with status 0; starts again after 100 ms (failure 1 of 3)
            6.510s start a
            6.510s report a backingoff ? 1: starting
        "#]],
    );
}

#[test]
fn passing_again_gives_the_whole_time_anew() {
    check(
        "
        0 assign 1 a,rise=1
        5 started a
        6 good a
        1305 bad a refused
        2305 bad a refused
        4905 good a
        5900 bad a refused
        6900 bad a refused
        9899 wait
        9901 wait
        ",
        expect![[r#"

            0.000s remember generation 1 with 1 members
            0.000s start a
            0.000s report a stopped ? 0: starting
            0.005s Info: a started as process 1 on 10.0.0.1:8001
            0.005s probe a at 10.0.0.1:8001
            0.005s report a running ? 0: has not answered its probe yet
            0.006s Info: a answers its probe
            0.006s report a running passing 0: answers its probe
            1.005s probe a at 10.0.0.1:8001
            1.305s report a running passing 0: answered its probe, but not the last time: refused
            2.005s probe a at 10.0.0.1:8001
            2.305s Warning: a does not answer its probe: refused
            2.305s report a running failing 0: does not answer its probe: refused
            3.005s probe a at 10.0.0.1:8001
            4.905s Info: a answers its probe
            4.905s report a running passing 0: answers its probe
            4.906s probe a at 10.0.0.1:8001
            5.900s report a running passing 0: answered its probe, but not the last time: refused
            5.906s probe a at 10.0.0.1:8001
            6.900s Warning: a does not answer its probe: refused
            6.900s report a running failing 0: does not answer its probe: refused
            6.906s probe a at 10.0.0.1:8001
            9.900s Info: a did not answer its probe for 3.0 s (refused); restarting
            9.900s stop a by TERM
            9.900s report a stopping ? 0: did not answer its probe for 3.0 s (refused); restarting
        "#]],
    );
}

#[test]
fn a_good_answer_in_the_last_moment_is_waited_out() {
    check(
        "
        0 assign 1 a b
        5 started a
        5 started b
        6 good a
        6 good b
        56 good a
        56 good b
        1100 bad a refused
        1100 bad b refused
        2100 bad a refused
        2100 bad b refused
        5080 good a
        5080 good b
        6070 good a
        6200 bad b refused
        6300 wait
        ",
        expect![[r#"

            0.000s remember generation 1 with 2 members
            0.000s start a
            0.000s start b
            0.000s report a stopped ? 0: starting
            0.000s report b stopped ? 0: starting
            0.005s Info: a started as process 1 on 10.0.0.1:8001
            0.005s probe a at 10.0.0.1:8001
            0.005s report a running ? 0: has not answered its probe yet
            0.005s Info: b started as process 2 on 10.0.0.1:8002
            0.005s probe b at 10.0.0.1:8002
            0.005s report b running ? 0: has not answered its probe yet
            0.055s probe a at 10.0.0.1:8001
            0.055s probe b at 10.0.0.1:8002
            0.056s Info: a answers its probe
            0.056s report a running passing 0: answers its probe
            0.056s Info: b answers its probe
            0.056s report b running passing 0: answers its probe
            1.055s probe a at 10.0.0.1:8001
            1.055s probe b at 10.0.0.1:8002
            1.100s report a running passing 0: answered its probe, but not the last time: refused
            1.100s report b running passing 0: answered its probe, but not the last time: refused
            2.055s probe a at 10.0.0.1:8001
            2.055s probe b at 10.0.0.1:8002
            2.100s Warning: a does not answer its probe: refused
            2.100s report a running failing 0: does not answer its probe: refused
            2.100s Warning: b does not answer its probe: refused
            2.100s report b running failing 0: does not answer its probe: refused
            3.055s probe a at 10.0.0.1:8001
            3.055s probe b at 10.0.0.1:8002
            5.080s report a running failing 0: has begun to answer its probe again
            5.080s report b running failing 0: has begun to answer its probe again
            5.081s probe a at 10.0.0.1:8001
            5.081s probe b at 10.0.0.1:8002
            6.070s Info: a answers its probe
            6.070s report a running passing 0: answers its probe
            6.081s probe a at 10.0.0.1:8001
            6.200s report b running failing 0: does not answer its probe: refused
            6.200s Info: b did not answer its probe for 4.1 s (refused); restarting
            6.200s stop b by TERM
            6.200s report b stopping ? 0: did not answer its probe for 4.1 s (refused); restarting
        "#]],
    );
}

#[test]
fn hanging_again_and_again_is_given_up() {
    check(
        "
        0 assign 1 a,rise=1,attempts=2
        5 started a
        6 good a
        1305 bad a refused
        2305 bad a refused
        5310 exited a exited with status 0
        5420 started a
        5421 good a
        6500 bad a refused
        7500 bad a refused
        10510 exited a exited with status 0
        ",
        expect![[r#"

            0.000s remember generation 1 with 1 members
            0.000s start a
            0.000s report a stopped ? 0: starting
            0.005s Info: a started as process 1 on 10.0.0.1:8001
            0.005s probe a at 10.0.0.1:8001
            0.005s report a running ? 0: has not answered its probe yet
            0.006s Info: a answers its probe
            0.006s report a running passing 0: answers its probe
            1.005s probe a at 10.0.0.1:8001
            1.305s report a running passing 0: answered its probe, but not the last time: refused
            2.005s probe a at 10.0.0.1:8001
            2.305s Warning: a does not answer its probe: refused
            2.305s report a running failing 0: does not answer its probe: refused
            3.005s probe a at 10.0.0.1:8001
            5.305s Info: a did not answer its probe for 3.0 s (refused); restarting
            5.305s stop a by TERM
            5.305s report a stopping ? 0: did not answer its probe for 3.0 s (refused); restarting
            5.310s Warning: a did not answer its probe for 3.0 s (refused), and exited with status 0; starts again after 100 ms (failure 1 of 2)
            5.310s report a backingoff ? 0: did not answer its probe for 3.0 s (refused), and exited with status 0; starts again after 100 ms (failure 1 of 2)
            5.410s start a
            5.410s report a backingoff ? 1: starting
            5.420s Info: a started as process 14 on 10.0.0.1:8014
            5.420s probe a at 10.0.0.1:8014
            5.420s report a running ? 1: has not answered its probe yet
            5.421s Info: a answers its probe
            5.421s report a running passing 1: answers its probe
            6.420s probe a at 10.0.0.1:8014
            6.500s report a running passing 1: answered its probe, but not the last time: refused
            7.420s probe a at 10.0.0.1:8014
            7.500s Warning: a does not answer its probe: refused
            7.500s report a running failing 1: does not answer its probe: refused
            8.420s probe a at 10.0.0.1:8014
            10.500s Info: a did not answer its probe for 3.0 s (refused); stopping
            10.500s stop a by TERM
            10.500s report a stopping ? 1: did not answer its probe for 3.0 s (refused); stopping
            10.510s Warning: a did not answer its probe for 3.0 s (refused), and exited with status 0; gave up after 2 failed starts in a row
            10.510s report a gaveup ? 1: did not answer its probe for 3.0 s (refused), and exited with status 0; gave up after 2 failed starts in a row
        "#]],
    );
}

#[test]
fn a_bound_of_zero_leaves_a_hanging_member_alone_until_it_is_raised() {
    check(
        "
        0 assign 1 a,rise=1,hung=0
        5 started a
        6 good a
        1305 bad a refused
        2305 bad a refused
        90000 assign 1 a,rise=1,hung=100000
        102400 wait
        ",
        expect![[r#"

            0.000s remember generation 1 with 1 members
            0.000s start a
            0.000s report a stopped ? 0: starting
            0.005s Info: a started as process 1 on 10.0.0.1:8001
            0.005s probe a at 10.0.0.1:8001
            0.005s report a running ? 0: has not answered its probe yet
            0.006s Info: a answers its probe
            0.006s report a running passing 0: answers its probe
            1.005s probe a at 10.0.0.1:8001
            1.305s report a running passing 0: answered its probe, but not the last time: refused
            2.005s probe a at 10.0.0.1:8001
            2.305s Warning: a does not answer its probe: refused
            2.305s report a running failing 0: does not answer its probe: refused
            3.005s probe a at 10.0.0.1:8001
            90.000s remember generation 1 with 1 members
            102.305s Info: a did not answer its probe for 100.0 s (refused); restarting
            102.305s stop a by TERM
            102.305s report a stopping ? 0: did not answer its probe for 100.0 s (refused); restarting
        "#]],
    );
}

#[test]
fn another_probe_gives_a_failing_member_its_time_anew() {
    check(
        "
        0 assign 1 a
        5 started a
        6 good a
        56 good a
        1305 bad a refused
        2305 bad a refused
        5000 assign 1 a,rise=1
        5400 bad a refused
        7900 wait
        8100 wait
        ",
        expect![[r#"

            0.000s remember generation 1 with 1 members
            0.000s start a
            0.000s report a stopped ? 0: starting
            0.005s Info: a started as process 1 on 10.0.0.1:8001
            0.005s probe a at 10.0.0.1:8001
            0.005s report a running ? 0: has not answered its probe yet
            0.055s probe a at 10.0.0.1:8001
            0.056s Info: a answers its probe
            0.056s report a running passing 0: answers its probe
            1.055s probe a at 10.0.0.1:8001
            1.305s report a running passing 0: answered its probe, but not the last time: refused
            2.055s probe a at 10.0.0.1:8001
            2.305s Warning: a does not answer its probe: refused
            2.305s report a running failing 0: does not answer its probe: refused
            3.055s probe a at 10.0.0.1:8001
            5.000s remember generation 1 with 1 members
            5.000s probe a at 10.0.0.1:8001
            6.000s probe a at 10.0.0.1:8001
            8.000s Info: a did not answer its probe for 3.0 s (refused); restarting
            8.000s stop a by TERM
            8.000s report a stopping ? 0: did not answer its probe for 3.0 s (refused); restarting
        "#]],
    );
}

#[test]
fn a_wish_to_stop_outweighs_a_hang() {
    check(
        "
        0 assign 1 a,rise=1
        5 started a
        6 good a
        1305 bad a refused
        2305 bad a refused
        5400 assign 1 a,rise=1,stopped
        6310 exited a was killed by signal KILL
        ",
        expect![[r#"

            0.000s remember generation 1 with 1 members
            0.000s start a
            0.000s report a stopped ? 0: starting
            0.005s Info: a started as process 1 on 10.0.0.1:8001
            0.005s probe a at 10.0.0.1:8001
            0.005s report a running ? 0: has not answered its probe yet
            0.006s Info: a answers its probe
            0.006s report a running passing 0: answers its probe
            1.005s probe a at 10.0.0.1:8001
            1.305s report a running passing 0: answered its probe, but not the last time: refused
            2.005s probe a at 10.0.0.1:8001
            2.305s Warning: a does not answer its probe: refused
            2.305s report a running failing 0: does not answer its probe: refused
            3.005s probe a at 10.0.0.1:8001
            5.305s Info: a did not answer its probe for 3.0 s (refused); restarting
            5.305s stop a by TERM
            5.305s report a stopping ? 0: did not answer its probe for 3.0 s (refused); restarting
            5.400s remember generation 1 with 1 members
            5.400s report a stopping ? 0: stopping: as asked
            6.305s Warning: a killed: did not stop within 1000 ms
            6.305s kill a
            6.305s report a stopping ? 0: killed: did not stop within 1000 ms
            6.310s Info: a stopped: was killed by signal KILL
            6.310s report a stopped ? 0: stopped: was killed by signal KILL
        "#]],
    );
}

#[test]
fn late_news_of_an_old_process_changes_nothing() {
    let mut agent = Agent::new(Time(0), "n".into(), 7, None);
    let a = assignment("a");
    let id = a.id.clone();
    agent.step(Time(0), Input::Assign { generation: 1, assignments: vec![a] });
    let before = format!("{agent:?}");
    let address = "10.0.0.1:1".parse().expect("an address");
    let stale = StartNumber(99);
    for late in [
        Input::Started { id: id.clone(), start: stale, pid: 1, address },
        Input::StartFailed { id: id.clone(), start: stale, why: "late".into() },
        Input::LogTrouble { id: id.clone(), start: stale, trouble: Some("late".into()) },
        Input::Probed { id: id.clone(), probe: ProbeNumber(99), answer: ProbeAnswer::Good },
        Input::Probed { id: MemberId::new("c", "unknown"), probe: ProbeNumber(1), answer: ProbeAnswer::Good },
    ] {
        let outputs = agent.step(Time(1), late.clone());
        assert!(outputs.is_empty(), "{late:?} led to {outputs:?}");
    }
    let strip = |text: String| text.split("numbers").next().map(str::to_owned);
    assert_eq!(strip(format!("{agent:?}")), strip(before));
}

#[test]
fn an_external_member_is_only_probed_and_fails_from_the_beginning() {
    check(
        "
        0 assign 1 a,external
        2 bad a refused
        1002 bad a refused
        2002 good a
        3002 good a
        3500 assign 1
        ",
        expect![[r#"

            0.000s remember generation 1 with 1 members
            0.000s probe a at 10.0.0.9:80
            0.000s report a external ? 0: has not answered its probe yet
            0.002s report a external ? 0: has not answered its probe yet: refused
            1.000s probe a at 10.0.0.9:80
            1.002s Warning: a does not answer its probe: refused
            1.002s report a external failing 0: does not answer its probe: refused
            2.000s probe a at 10.0.0.9:80
            2.002s report a external failing 0: has begun to answer its probe again
            3.000s probe a at 10.0.0.9:80
            3.002s Info: a answers its probe
            3.002s report a external passing 0: answers its probe
            3.500s remember generation 1 with 0 members
            3.500s report without a
        "#]],
    );
}

#[test]
fn a_managed_member_may_become_external_and_come_back() {
    check(
        "
        0 assign 1 a,process
        5 started a
        100 assign 1 a,external
        105 good a
        200 exited a exited with status 0
        300 assign 1 a,process
        ",
        expect![[r#"

            0.000s remember generation 1 with 1 members
            0.000s start a
            0.000s report a stopped ? 0: starting
            0.005s Info: a started as process 1 on 10.0.0.1:8001
            0.005s report a running passing 0: runs; being there is its probe
            0.100s remember generation 1 with 1 members
            0.100s Info: a stopping: as asked
            0.100s stop a by TERM
            0.100s probe a at 10.0.0.9:80
            0.100s report a stopping ? 0: stopping: as asked
            0.200s Info: a stopped: exited with status 0
            0.200s report a external ? 0: has not answered its probe yet
            0.300s remember generation 1 with 1 members
            0.300s start a
            0.300s report a stopped ? 1: starting
        "#]],
    );
}

#[test]
fn lost_output_shows_in_the_reason() {
    check(
        "
        0 assign 1 a,process
        5 started a
        10 trouble a cannot write x.log: no space left
        20 trouble-over a
        ",
        expect![[r#"

            0.000s remember generation 1 with 1 members
            0.000s start a
            0.000s report a stopped ? 0: starting
            0.005s Info: a started as process 1 on 10.0.0.1:8001
            0.005s report a running passing 0: runs; being there is its probe
            0.010s Warning: a its output is dropped: cannot write x.log: no space left
            0.010s report a running passing 0: runs; being there is its probe; its output is dropped: cannot write x.log: no space left
            0.020s Info: a its output is kept again
            0.020s report a running passing 0: runs; being there is its probe
        "#]],
    );
}

#[test]
fn without_a_manager_it_obeys_what_it_remembers_but_never_an_older_one() {
    check_from(
        Some((5, vec![assignment("a,process")])),
        "
        1100 started a
        1200 assign 4 b,process
        1300 assign 6 a,process
        ",
        expect![[r#"

            1.000s start a
            1.000s report a stopped ? 0: starting
            1.100s Info: a started as process 1 on 10.0.0.1:8001
            1.100s report a running passing 0: runs; being there is its probe
            1.200s refuse 4, obeyed 5
            1.300s remember generation 6 with 1 members
        "#]],
    );
}

#[test]
fn a_manager_that_speaks_first_is_obeyed_instead() {
    check_from(
        Some((5, vec![assignment("a,process")])),
        "500 assign 5 b,process\n3000 wait",
        expect![[r#"

        0.500s remember generation 5 with 1 members
        0.500s start b
        0.500s report b stopped ? 0: starting
        2.500s Info: b stopping: did not pass its probe within 2000 ms of its start
        2.500s stop b by TERM
        2.500s report b stopped ? 0: stopping: did not pass its probe within 2000 ms of its start
    "#]],
    );
}

#[test]
fn the_end_stops_everything_with_grace_and_hears_no_new_wishes() {
    check(
        "
        0 assign 1 a,process b,process
        5 started a
        5 started b
        100 shutdown
        110 assign 2 a,process,instance=9
        120 exited a exited with status 0
        1150 exited b was killed by signal KILL
        ",
        expect![[r#"

            0.000s remember generation 1 with 2 members
            0.000s start a
            0.000s start b
            0.000s report a stopped ? 0: starting
            0.000s report b stopped ? 0: starting
            0.005s Info: a started as process 1 on 10.0.0.1:8001
            0.005s report a running passing 0: runs; being there is its probe
            0.005s Info: b started as process 2 on 10.0.0.1:8002
            0.005s report b running passing 0: runs; being there is its probe
            0.100s Info: a stopping: the agent ends
            0.100s stop a by TERM
            0.100s Info: b stopping: the agent ends
            0.100s stop b by TERM
            0.100s report a stopping ? 0: stopping: the agent ends
            0.100s report b stopping ? 0: stopping: the agent ends
            0.120s Info: a stopped: exited with status 0
            0.120s report without a
            1.100s Warning: b killed: did not stop within 1000 ms
            1.100s kill b
            1.100s report b stopping ? 0: killed: did not stop within 1000 ms
            1.150s Info: b stopped: was killed by signal KILL
            1.150s report without b
            1.150s finished
        "#]],
    );
}

#[test]
fn the_end_comes_even_if_a_process_cannot_be_killed() {
    check(
        "0 assign 1 a,process\n5 started a\n100 shutdown\n9000 wait",
        expect![[r#"

        0.000s remember generation 1 with 1 members
        0.000s start a
        0.000s report a stopped ? 0: starting
        0.005s Info: a started as process 1 on 10.0.0.1:8001
        0.005s report a running passing 0: runs; being there is its probe
        0.100s Info: a stopping: the agent ends
        0.100s stop a by TERM
        0.100s report a stopping ? 0: stopping: the agent ends
        1.100s Warning: a killed: did not stop within 1000 ms
        1.100s kill a
        1.100s report a stopping ? 0: killed: did not stop within 1000 ms
        6.100s finished
    "#]],
    );
}

#[test]
fn a_quiet_agent_reports_each_second_and_a_new_manager_at_once() {
    let mut agent = Agent::new(Time(0), "n".into(), 7, None);
    let mut sent = Vec::new();
    for (at, input) in [
        (0, Input::Tick),
        (500, Input::Tick),
        (1000, Input::Tick),
        (1200, Input::Connected),
        (2200, Input::Tick),
    ] {
        for output in agent.step(Time(at), input) {
            let Output::Report(report) = output else { panic!("only reports are expected") };
            sent.push((at, report.incarnation, report.sequence));
        }
    }
    assert_eq!(sent, [(0, 7, 1), (1000, 7, 2), (1200, 7, 3), (2200, 7, 4)]);
}

/// A shell that keeps its promises and a world that keeps none: starts fail, processes end, probes are lost to them,
/// wishes change. Checks after each step that no member ever has two processes and that the end comes.
#[test]
fn an_agent_that_was_overtaken_goes_on_above_and_says_all_at_once() {
    let mut agent = Agent::new(Time(0), "a".into(), 5, None);
    let mut reported = |input| {
        let outputs = agent.step(Time(10), input);
        outputs.iter().find_map(|output| match output {
            Output::Report(report) => Some((report.incarnation, report.sequence)),
            _ => None,
        })
    };
    assert_eq!(reported(Input::Above { incarnation: 9 }), Some((9, 1)));
    assert_eq!(reported(Input::Above { incarnation: 7 }), Some((9, 2)), "it never falls");
}

#[test]
fn whatever_happens_no_member_has_two_processes() {
    for seed in 0..256 {
        let mut world = World::new(seed);
        for _ in 0..400 {
            world.happen();
        }
        world.end();
    }
}

struct World {
    seed: u64,
    chance: crate::seed::Chance,
    now: Time,
    agent: Agent,
    /// Ordered and not answered yet.
    starting: BTreeMap<MemberId, StartNumber>,
    running: BTreeMap<MemberId, StartNumber>,
    probes: Vec<(MemberId, ProbeNumber)>,
    killed: Vec<(MemberId, StartNumber)>,
    is_finished: bool,
}

impl World {
    fn new(seed: u64) -> Self {
        Self {
            seed,
            chance: crate::seed::Chance::new(seed),
            now: Time(0),
            agent: Agent::new(Time(0), "n".into(), 1, None),
            starting: BTreeMap::new(),
            running: BTreeMap::new(),
            probes: Vec::new(),
            killed: Vec::new(),
            is_finished: false,
        }
    }

    fn step(&mut self, input: Input) {
        let seed = self.seed;
        for output in self.agent.step(self.now, input) {
            match output {
                Output::Start { id, start, .. } => {
                    assert!(!self.running.contains_key(&id), "seed {seed}: {id} is started while it runs");
                    let earlier = self.starting.insert(id.clone(), start);
                    assert!(earlier.is_none(), "seed {seed}: {id} is started while it starts");
                }
                Output::Kill { id, start } => self.killed.push((id, start)),
                Output::Probe { id, probe, .. } => self.probes.push((id, probe)),
                Output::Finished => self.is_finished = true,
                Output::Stop { .. }
                | Output::Report(_)
                | Output::Remember { .. }
                | Output::Refused { .. }
                | Output::Tell { .. } => {}
            }
        }
        self.agent.check();
    }

    fn one_of<T: Clone>(&mut self, items: &[T]) -> Option<T> {
        let count = u32::try_from(items.len()).expect("few items");
        (count > 0).then(|| items[self.chance.below(count) as usize].clone())
    }

    fn happen(&mut self) {
        let pause_ms = u64::from(self.chance.below(200));
        self.advance(pause_ms);
        let starting: Vec<_> = self.starting.clone().into_iter().collect();
        let running: Vec<_> = self.running.clone().into_iter().collect();
        match self.chance.below(6) {
            0 => self.assign(),
            1 | 2 => {
                if let Some((id, start)) = self.one_of(&starting) {
                    self.starting.remove(&id);
                    if self.chance.percent(70) {
                        self.running.insert(id.clone(), start);
                        let address = "10.0.0.1:1".parse().expect("an address");
                        self.step(Input::Started { id, start, pid: 1, address });
                    } else {
                        self.step(Input::StartFailed { id, start, why: "no".into() });
                    }
                }
            }
            3 => {
                if let Some((id, start)) = self.one_of(&running) {
                    self.exit(id, start);
                }
            }
            _ => {
                if let Some((id, probe)) = self.probes.pop() {
                    let is_good = self.chance.percent(60);
                    let bad = ProbeAnswer::Bad { why: "no".into() };
                    let answer = if is_good { ProbeAnswer::Good } else { bad };
                    self.step(Input::Probed { id, probe, answer });
                }
            }
        }
    }

    fn assign(&mut self) {
        let mut assignments = Vec::new();
        for name in ["a", "b", "c"] {
            if self.chance.percent(80) {
                let instance = self.chance.below(4);
                let kind = self.one_of(&["", ",stopped", ",external", ",process"]).expect("four kinds");
                assignments.push(assignment(&format!("{name}{kind},instance={instance},attempts=4")));
            }
        }
        let generation = u64::from(self.chance.below(2));
        self.step(Input::Assign { generation, assignments });
    }

    fn exit(&mut self, id: MemberId, start: StartNumber) {
        self.running.remove(&id);
        self.step(Input::Exited { id, start, status: "ended".into(), last_line: None });
    }

    fn advance(&mut self, pause_ms: u64) {
        let until = self.now + pause_ms;
        while let Some(wake) = self.agent.wake_at().filter(|wake| *wake <= until) {
            self.now = self.now.max(wake);
            self.step(Input::Tick);
        }
        self.now = until;
    }

    /// Everything that was killed is gone at last, and then so is the agent.
    fn end(&mut self) {
        self.step(Input::Shutdown);
        for (id, start) in self.starting.clone() {
            self.step(Input::StartFailed { id, start, why: "no".into() });
        }
        self.starting.clear();
        self.advance(1_000);
        for (id, start) in self.running.clone() {
            assert!(self.killed.contains(&(id.clone(), start)), "seed {}: {id} was left alone", self.seed);
            self.exit(id, start);
        }
        assert!(self.is_finished, "seed {}: the end does not come", self.seed);
    }
}
