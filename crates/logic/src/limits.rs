//! Every bound of the decisions, with its reason.

/// Members of one cluster. 1,024: ten times the largest WebSphere cluster, and an index still fits 16 bits.
pub const CLUSTER_MEMBERS_MAX: usize = 1024;

// Routing.

/// Members that one request may try. 15: with its count it fits 32 bytes, and who has seen 15 members fail
/// should hear so rather than wait for the next.
pub const REQUEST_TRIES_MAX: usize = 15;
/// What a request's body must bring on average, once its own time (`body_ms`) is over. A hundred: a line of a modem brings
/// seventy times as much, while a thousand clients that hold a request each must send a hundred kilobytes a second.
pub const BODY_RATE_MIN_BYTES_PER_SECOND: u64 = 100;
/// Members that one request waits for in vain. Two: one that hangs shall fail nobody, but where a second is silent as well
/// the request itself is slow, and its client hears so after twice `response_ms` rather than after one for each member.
pub const REQUEST_SILENCES_MAX: u32 = 2;
/// First pause after a member did not answer a router. One second: the cell's probe has judged it by then.
pub const MARK_PAUSE_MIN_MS: u64 = 1_000;
/// Longest such pause. Ten seconds: a member that only this router cannot reach costs one request in that time.
pub const MARK_PAUSE_MAX_MS: u64 = 10_000;
/// Time in which what is known of a member's speed is half forgotten. Ten seconds: a member that was slow gets a request
/// again within half a minute, and one that is idle for a moment is not taken for another.
pub const LATENCY_HALF_LIFE_MS: u64 = 10_000;
/// Longest latency that counts. A minute: what takes longer is not worse, only waited for longer.
pub const LATENCY_MAX_US: u64 = 60_000_000;
/// Requests of a hundred that `auto` gives out in turn, so that each member is heard from. One: of 16 members a slow
/// one then costs one request in 1,600, which no percentile up to the 99.9th sees.
pub const EXPLORE_PERCENT: u32 = 1;
/// Pairs drawn at most by `auto`. Three: with an eighth of the members slow, one request in 260,000 goes wrong.
pub const DRAWS_MAX: usize = 3;
/// Ejections in a row that make the time out longer. Ten: with the default of ten seconds, a hundred.
pub const EJECTIONS_COUNTED_MAX: u32 = 10;
/// Clone ids looked at in one request. 16: an id is added by each member that took the session over; nobody
/// honest has more, and a hostile cookie must not cost a long search.
pub const CLONE_IDS_MAX: usize = 16;
/// Seconds over which retries are weighed against requests. Ten: long enough that one burst is not a trend.
pub const RETRY_WINDOW_S: usize = 10;
/// Registers of a session sketch. 512: the estimate errs by 4.6 % in the mean, half a kilobyte each.
pub const SKETCH_REGISTERS: usize = 512;
/// Windows of a session count, the running one included. Four: with the length below the count covers between
/// 300 and 400 seconds, which is five minutes and the running window.
pub const SESSION_WINDOWS: usize = 4;
/// Length of such a window. 100 s: three whole ones are the five minutes that people ask for.
pub const SESSION_WINDOW_MS: u64 = 100_000;

/// Sets of callers in the table of a rate limit. 8,192: with eight places each, 65,536 callers in one mebibyte.
pub const RATE_SETS: usize = 8192;
/// Callers of one set. Eight: one look at two lines of the cache, and a set is seldom full before the table is.
pub const RATE_PLACES_PER_KEY: usize = 8;

// HTTP/2. Costs are in units of the cheapest frame (`http2`); a request given up at once costs 11.

/// Credit of a client for frames that bring nothing. 2,000: a page with 180 requests may be left at once.
pub const HTTP2_CREDIT_MAX: i64 = 2_000;
/// What it gets back. 1,000: 90 requests given up in each second, which no person and no healthy program does for long,
/// cost a router less than one in a thousand of its time.
pub const HTTP2_CREDIT_PER_SECOND: i64 = 1_000;

// --- agent ---

/// First pause between probes of a process that has just started; doubles up to the probe's interval.
/// 50: a server that is ready after 200 ms is Up before 350 ms, and a dead one is not hammered.
pub const PROBE_FIRST_PAUSE_MS: u64 = 50;

/// How long an agent that has just started waits for its manager before it obeys the assignments on its disk.
/// 1,000: a manager in the same process answers within 100 ms, and nobody should wait long for their servers.
pub const MANAGER_WAIT_MS: u64 = 1_000;

/// An agent reports at least this often, so that the manager can tell a quiet node from a lost one.
pub const REPORT_INTERVAL_MS: u64 = 1_000;

/// How long an ending agent waits for killed processes to be gone. 5,000: only a process that hangs in the
/// kernel needs longer, and waiting for it helps nobody.
pub const SHUTDOWN_KILL_WAIT_MS: u64 = 5_000;

/// Longest piece of foreign text (last line of output, answer to a probe) within a reason.
/// 200: two lines on a terminal.
pub const FOREIGN_TEXT_MAX_CHARS: usize = 200;

// The manager.

/// How long a manager that has just started waits for agents before it publishes views from what it remembers.
/// An agent that is there finds its manager within half a second; four times that, and a paused machine is not missed.
pub const SETTLE_MS: u64 = 2_000;
/// How long a router that is away is believed to route by its old view and to come back. As for agents: half a second
/// to find the manager, four times over. Longer would hold up every stop in a cell with a broken router.
pub const ROUTER_RETURN_MS: u64 = 2_000;
/// How long after a verdict against its node, or after its connection, an agent's report vouches for the node. Half a
/// second: what was on its way or in a queue when the machine died has come by then.
pub const VOUCH_AFTER_MS: u64 = 500;
/// How long a degraded node, which is heard and may not hear, is used while its link is waited for. 2,500: a keep-alive to
/// its agent and a report back, twice over.
pub const DEGRADED_WAIT_MS: u64 = 2_500;
/// A link that ended so close to a node's last heartbeat ended with the agent, whose machine is there to say so: a machine
/// that dies ends no connection. 500: three heartbeats, and a busy manager.
pub const AGENT_END_MS: u64 = 500;
/// Nodes of one event that are called by their names. 20: more is counted.
pub const NODES_NAMED_MAX: usize = 20;
/// How long requests under way to a member that runs elsewhere may take once it is removed or its address changes.
/// As long as common load balancers give: nobody tells us a stop grace for it.
pub const EXTERNAL_GRACE_MS: u64 = 10_000;
/// Times that one input may move a cluster's operations. Each member moves at most four times (drain, out, goal,
/// gone) and a rollout twice; twice that means a mistake in our own rules.
pub const SETTLE_PASSES_MAX: u32 = 16;

// The store.

/// Longest key. Two names of 64 bytes with their folders, twice over; every engine can index it.
pub const KEY_SIZE_MAX_BYTES: usize = 256;
/// Longest value. 4 MiB: a configuration file of 10,000 members, and small enough to be kept in memory a few times.
pub const VALUE_SIZE_MAX_BYTES: usize = 4 << 20;
/// Checks and writes of one transaction. 65,536: several keys for each of 10,000 members at once.
pub const TXN_PARTS_MAX: usize = 1 << 16;
/// Deleted keys that a store remembers for watchers. More than a watcher can miss while it is away for a moment;
/// beyond that it is told everything, which costs little more.
pub const TOMBSTONES_MAX: usize = 1000;

// clp.conf.

/// Objects at the top of a file. 10,000: thirty-two servers and some hundred groups are what there is.
pub const CLP_CONF_OBJECTS_MAX: usize = 10_000;
/// Notes told about one file. 1,000: more than anybody reads; the rest is counted.
pub const CLP_CONF_NOTES_MAX: usize = 1_000;

// plugin-cfg.xml.

/// Largest file. 16 MiB: 10,000 servers with two transports and their keyrings take 8.
pub const PLUGIN_CFG_SIZE_MAX_BYTES: usize = 16 << 20;
/// Elements, comments and texts between them. A million: what the size above can hold of vendor elements, blanks included.
pub const PLUGIN_CFG_NODES_MAX: u32 = 1_000_000;
/// Attributes of one element. 256: the vendor's largest element has 25.
pub const PLUGIN_CFG_ATTRIBUTES_MAX: usize = 256;
/// Depth of elements. 16: the vendor's files need five, and reading one level takes one frame of the stack.
pub const PLUGIN_CFG_DEPTH_MAX: usize = 16;
/// Pairs of virtual host and URI over all routes. Half a million: what 10,000 routes of 50 pairs make, in 100 MB.
pub const PLUGIN_CFG_PAIRS_MAX: usize = 500_000;
/// Findings told about one file. 500: more than anybody mends before looking again; the rest is counted.
pub const PLUGIN_CFG_FINDINGS_MAX: usize = 500;
/// Files merged at once. 64: which of them have a pair is told by bits, and nobody was seen with more than five.
pub const PLUGIN_CFG_FILES_MAX: usize = 64;
/// Routes that a router makes of it, one for each virtual host and URI of a Route. 200,000: a hundred applications with
/// twenty URIs and a hundred virtual hosts, in 60 MB of memory.
pub const PLUGIN_CFG_ROUTES_MAX: usize = 200_000;
/// Body of one request that is kept so that it can be sent again where the file sets no bound. 16 MiB: a thousand such
/// requests at once still fit a common machine.
pub const PLUGIN_CFG_POST_BUFFER_MAX_BYTES: u64 = 16 << 20;

// Leases and terms.

/// ρ: how wrong the rate of a clock may be. 1,000: time services turn a clock by 500 millionths at most, and a crystal
/// errs by 100; the rest is ours (failover 7.2).
pub const CLOCK_DRIFT_MAX_PPM: u64 = 1_000;

/// After so long the system has taken an address away that nobody renewed: it counts whole seconds, one of them, and looks up
/// to a quarter of a second late.
pub const ADDRESS_GONE_AFTER_MS: u64 = 1_250;
/// What machines cannot tell apart: their `Time` counts whole milliseconds.
pub const CLOCK_STEP_MS: u64 = 1;
/// Renewals that fit into the time that a holder acts. Three: two may be lost (failover 7.3).
pub const RENEWALS_PER_HOLD_MIN: u64 = 3;
/// Renewals whose end a manager does not know and still remembers. Eight: more than can be sent within a lease; an
/// older one could not lengthen it.
pub const RENEWALS_REMEMBERED_MAX: usize = 8;
/// Highest term. 2^62: a thousand elections in each second for longer than the sun will shine, and adding one cannot
/// wrap. A higher number comes from a fault and is ignored.
pub const TERM_MAX: u64 = 1 << 62;

// Heartbeats. All thresholds are in intervals of the node in question, which says its own in each heartbeat.

/// Pause between heartbeats of a node. 150: five in a row are lost once in two days among 10,000 nodes with 1 % loss, and
/// 10,000 nodes cost a manager 67,000 datagrams a second (cell 2.1).
pub const HEARTBEAT_INTERVAL_MS: u16 = 150;
/// Shortest pause that a node may announce. 50: three times as often as we ever ask for is a fault.
pub const HEARTBEAT_INTERVAL_MIN_MS: u16 = 50;
/// Longest. 1,250: four fit into the longest lease.
pub const HEARTBEAT_INTERVAL_MAX_MS: u16 = 1_250;
/// How late a heartbeat may be for no other reason than a busy machine or network. 50: a scheduler's turn, several times.
pub const HEARTBEAT_SLACK_MS: u64 = 50;
/// Heartbeats missed before other managers are asked. Three: happens by loss a few thousand times a day, which costs nothing.
pub const ASK_AFTER_BEATS: u64 = 3;
/// Missed before a node counts as unreachable, if most managers miss it. Five: two managers that lose five each by
/// chance are not seen in the life of a cell, and a crash is known within 0.8 s.
pub const UNREACHABLE_AFTER_BEATS: u64 = 5;
/// Missed before it counts as unreachable if nobody else can be asked. Six: once in half a year by chance (cell 2.1).
pub const UNREACHABLE_ALONE_AFTER_BEATS: u64 = 6;
/// Missed here while others hear it, before a node counts as degraded. Eight: nothing stands still meanwhile, so there
/// is time to be sure.
pub const DEGRADED_AFTER_BEATS: u64 = 8;
/// Missed by another manager for its opinion to be "silent". Two: it is asked when the first missed three, and their
/// clocks for one node differ by less than one.
pub const OPINION_SILENT_AFTER_BEATS: u64 = 2;
/// Heard without a gap before a node that was unreachable counts again. Two; doubled with each relapse.
pub const RETURN_AFTER_BEATS: u64 = 2;
/// Doublings of that. Five: a node that comes and goes must stay for ten seconds.
pub const RELAPSES_COUNTED_MAX: u8 = 5;
/// A relapse counts if the node came back so recently. A minute: a link that fails every 40 s is one that fails.
pub const RELAPSE_WINDOW_MS: u64 = 60_000;
/// Pause between looks at all nodes. 25: adds little to detection, and 10,000 nodes are looked at in some microseconds.
pub const SWEEP_INTERVAL_MS: u64 = 25;
/// A look so much too late means that this manager was not running: it believes in nobody's silence. 250: below the
/// time in which a kernel's buffers overflow at 100,000 heartbeats a second.
pub const SWEEP_LAG_MAX_MS: u64 = 250;
/// Longest time that verdicts wait for others that seem to fall with them. 200: all of a failed rack is silent within one
/// interval of its first (cell 2.2).
pub const CUT_HOLD_MAX_MS: u64 = 200;
/// Pause between questions about one node while it matters.
pub const ASK_INTERVAL_MS: u64 = 100;
/// Pause between questions about one that has been away for long.
pub const ASK_SLOWLY_INTERVAL_MS: u64 = 1_000;
/// An opinion older than that is none. 250: two questions may be lost.
pub const OPINION_AGE_MAX_MS: u64 = 250;
/// Nodes that are sent to ask after one that is not heard. Three: one may be cut off with it, and one may have lost the
/// datagram (cell 2.2).
pub const CARRIERS_MAX: usize = 3;
/// Pause between these questions about one node. 150: three fit between the first and a verdict.
pub const CARRY_INTERVAL_MS: u64 = 150;
/// A reply to a question older than that is none. 500: two rounds may be lost, with time for the way over two links.
pub const REPLY_AGE_MAX_MS: u64 = 500;
/// Nodes that are asked after in this way within one interval. 256: a fallen rack is a mass, of which nobody is taken over
/// from; some thousand small messages a second cost a manager a few percent of a core.
pub const CARRIED_NODES_MAX: usize = 256;
/// Of these, nodes that have long been lost and answered nobody. 16: a rack that is off for a year must not cost more than one
/// that falls, nor keep others from being asked after.
pub const CARRIED_AWAY_MAX: usize = 16;
/// Questions that one node carries within one interval. 16: a hundred datagrams a second are no burden.
pub const ERRANDS_MAX: usize = 16;
/// Carriers that are passed over at most while one is looked for. 64: most nodes are there.
pub const CARRIERS_PASSED_OVER_MAX: usize = 64;
/// Questions that a node replies to between two of its heartbeats. 16: five managers with three carriers each.
pub const REPLIES_PER_BEAT_MAX: u32 = 16;
/// Nodes of one question. 1,024: with ten bytes each it is no burden; the rest follows in the next.
pub const QUESTION_NODES_MAX: usize = 1_024;
/// Of a hundred nodes, so many may fall within the window below and still be taken over from. 20: beyond, a fault of the
/// network or of ourselves is likelier than so many deaths (cell 2.3). One may always fall.
pub const MASS_SILENCE_PERCENT: usize = 20;
/// Nodes that fall within this time fall together. Five seconds: a switch that dies takes its links one after the other.
pub const MASS_SILENCE_WINDOW_MS: u64 = 5_000;
/// Heartbeats that one manager wants to hear in a second. 100,000: what one thread takes with room to spare; with more
/// nodes each is asked to speak less often.
pub const HEARTBEATS_PER_SECOND_MAX: u64 = 100_000;
/// Pause until an interval that was raised for load is lowered by half. Ten seconds: longer than most bursts.
pub const RELIEF_INTERVAL_MS: u64 = 10_000;
/// Doublings of the interval under load. Three: 1.2 s, close to the longest.
pub const RELIEF_LEVEL_MAX: u32 = 3;
/// Highest number of a node, and one more. 16,384: 10,000 nodes, and numbers of those that left.
pub const NODE_NUMBERS_MAX: usize = 16_384;
/// Managers of a cell. Five: two may fail, and more would only vote slower.
pub const MANAGERS_MAX: usize = 5;
/// Pause between words of a manager to each other one that it is there. 250: what it says of nodes counts half a second
/// after its start.
pub const PRESENCE_INTERVAL_MS: u64 = 250;
/// Without a word for so long a manager is shown as down. Two seconds: nothing follows from it, so eight may be lost first.
pub const FELLOW_DOWN_AFTER_MS: u64 = 2_000;
/// Earlier runs of one manager that are known not to be the present one. 64: who wants to pass off an older one must have
/// recorded it before as many starts.
pub const FELLOW_RUNS_MAX: usize = 64;
/// Heartbeats whose sending a node remembers. 64: more than it sends within the longest lease.
pub const HEARTBEATS_REMEMBERED_MAX: usize = 64;
/// Steps of a cluster's view that a router remembers for its clients. 64: a client that calls every few seconds is never
/// so far behind, and what it cannot be told it fetches (cell 4).
pub const CLIENT_STEPS_MAX: usize = 64;
/// Members of which one delta can tell. 350: the shortest name with its quotes and comma has four bytes, and a header for
/// a client 1,400.
pub const CLIENT_STEP_MEMBERS_MAX: usize = 350;
/// Bytes of whole views that a router gives to clients in a second. 16 MiB: an eighth of a gigabit link, so that a thousand
/// clients that start at once do not stand in the way of requests.
pub const SNAPSHOT_BYTES_PER_SECOND: u64 = 16 << 20;
/// What a small view counts as. 16 KiB: a thousand fetches in a second, each of which costs as much as a request.
pub const SNAPSHOT_LEAST_BYTES: u64 = 16 << 10;
/// Whole views that are given at once after a pause, in microseconds of the rate above. A quarter of a second.
pub const SNAPSHOT_BURST_US: u64 = 250_000;
/// Longest time after which a client is asked to come again. 30 s: as an idle client polls.
pub const SNAPSHOT_WAIT_MAX_MS: u64 = 30_000;

// Routers that come back to a manager.

/// Changes of one cluster's view that are kept for routers that come back. 64: a router that was away for a minute of
/// changes.
pub const PAST_CHANGES_MAX: usize = 64;
/// Bytes of whole views that a manager gives to routers that come back, in a millisecond. 64 KiB: half a gigabit link.
pub const RESUME_BYTES_PER_MS: u64 = 64 << 10;
/// Whole views that are given at once after a pause, in milliseconds of the rate above. A quarter of a second: 16 MiB.
pub const RESUME_BURST_MS: u64 = 250;
/// What a view counts as without its members. 500: its rules, as they are on the wire.
pub const RESUME_VIEW_BYTES: u64 = 500;
/// What each of its members counts as. 150: name, address and state, as they are on the wire.
pub const RESUME_MEMBER_BYTES: u64 = 150;

// Several cells.

/// Pause between two messages to other cells. A second: requests find a cell that is overloaded by their own answers
/// sooner, and 100 cells that tell each other everything send three megabytes a second at worst (cell 3.2).
pub const SUMMARY_INTERVAL_MIN_MS: u64 = 1_000;
/// A cell that has no news says that it is there so often. Two seconds: 50 messages a second among a hundred cells.
pub const SUMMARY_KEEP_ALIVE_MS: u64 = 2_000;
/// Silence after which a cell's numbers are no longer gone by. Ten seconds: five times the above, and longer than a new
/// leader of that cell takes.
pub const SUMMARY_SILENCE_MAX_MS: u64 = 10_000;
/// How long what a silent cell told still counts. Ten minutes: its managers may be gone while its routers serve, and
/// requests find out by themselves whether they do; what is older says nothing about today.
pub const SUMMARY_MEMORY_MS: u64 = 600_000;
/// Messages of one cell that are taken in a second. Four: one a second is what it may send, and two after a reconnection.
pub const SUMMARY_BURST_MAX: u32 = 4;
/// How long a cell that sends nonsense is not listened to. A minute: long enough that it costs nothing, short enough that
/// a cell that was mended is back before anybody looks.
pub const SUMMARY_QUARANTINE_MS: u64 = 60_000;
/// Other cells that one listens to. 256: two and a half times the largest super cluster that is simulated.
pub const CELLS_MAX: usize = 256;

// Failover groups.

/// Wishes of operators that may wait for one group. Sixteen: each waits for one write; more is a program gone wild.
pub const GROUP_ACTS_MAX: usize = 16;
/// Groups that are gone whose last epochs are remembered. Ten thousand: each is a record of a hundred bytes.
pub const GROUPS_GONE_MAX: usize = 10_000;
/// How far ahead of the store a node may say that a group's epoch is, and the next one goes above it. A million: more than a
/// group moves between two copies of a store; beyond that it is nonsense, and must not use all epochs up.
pub const GROUP_EPOCHS_AHEAD_MAX: u64 = 1_000_000;
/// Names of groups in a message.
pub const GROUPS_NAMED_MAX: usize = 20;
/// Pause before a decision about a group is written again after the store has failed. A third of a second: a server that
/// was replaced is found within a few tries, and nothing else waits for it.
pub const GROUP_RETRY_MS: u64 = 300;
/// Pause before a node that could not be fenced is tried again, with all of its fences. Ten seconds: a power switch that was
/// busy is not any more, and one that is broken is not worn out.
pub const FENCE_AGAIN_MS: u64 = 10_000;
/// How long before its link broke a node may have been off without anybody having noticed. Fifteen seconds: a link that says
/// nothing counts as broken after ten, and a program that reads late adds to that.
pub const FENCE_DOUBT_MS: u64 = 15_000;
/// How long a node whose group has to be proven off may go on saying that it cannot give it back, before it is fenced. Twelve
/// seconds: it tries again each five, and what was busy once is often free then.
pub const LEFT_PATIENCE_MS: u64 = 12_000;
/// Fences that are asked at the same time whether they could work. Four: one that hangs does not delay the others for long.
pub const FENCE_CHECKS_AT_ONCE_MAX: usize = 4;
/// A better node must have been able to run a group for so long before the group goes back by itself. Ten seconds: one that
/// comes and goes would take the group along each time.
pub const GROUP_FAILBACK_AFTER_MS: u64 = 10_000;
/// Failures and failovers of a group are counted over this time. An hour: what fails less often is not worth a person's
/// night, what fails more often needs one.
pub const GROUP_FAILOVER_WINDOW_MS: u64 = 3_600_000;
/// How long a node believes that a group was handed over to it in this moment. A second: much longer than a start takes to begin,
/// and short enough that nobody else has taken an address of it meanwhile.
pub const GROUP_HANDED_OVER_MS: u64 = 1_000;
/// What fails so soon after something of it was started has failed at once. A second: longer than what cannot work needs to find out.
pub const GROUP_HASTY_MS: u64 = 1_000;
/// Pause before what has failed at once twice in a row is started again; doubled each time. Half a second: an address that is given
/// up elsewhere, or a port that is still taken, is free by the third.
pub const GROUP_REST_MIN_MS: u64 = 500;
/// Longest of these pauses: half a minute, after which a person may have mended it.
pub const GROUP_REST_MAX_MS: u64 = 30_000;
/// Moves of groups that are kept with their stages, of all groups together. 64: a bad night of a cell of some groups.
pub const GROUP_MOVES_MAX: usize = 64;
/// Stages of one move. 64: a failover of a group of twenty resources has about fifty.
pub const GROUP_STAGES_MAX: usize = 64;
/// How many stages there may be before those of resources are no longer kept, so that there is room for how it ends.
pub const GROUP_RESOURCE_STAGES_MAX: usize = 52;
/// What a node did for a group counts so long: as failures do.
pub const RECOVERY_WINDOW_MS: u64 = GROUP_FAILOVER_WINDOW_MS;
/// A script before a restart, a failover or a final action may take so long. Half a minute: it is there to write down how things
/// are, and the service is down all the while.
pub const RECOVERY_SCRIPT_MS: u64 = 30_000;
/// Groups that are not on a node any more and of which it remembers what it did for them. 1,000: five times as many as a cell has.
pub const RECOVERY_LEDGERS_MAX: usize = 1000;

// Monitors.

/// A node's monitors are reported at least this often, so that counts and times that people see are not old. What changes
/// their state is told at once; five seconds keep a thousand monitors below a thousandth of a core.
pub const MONITORS_REPORT_INTERVAL_MS: u64 = 5_000;
/// Answers in a row without a warning that end a Warning. Three: one in time between slow ones is no end of the trouble.
pub const WARNING_CALM_ANSWERS: u32 = 3;
/// Figures kept of one plugin's answer. 32: what the plugins of distributions print at most in practice.
pub const FIGURES_MAX: usize = 32;
/// Bytes that are read of a server's answer before the body, and of any other protocol. 64 KiB: greetings and heads are a
/// hundredth of that.
pub const MONITOR_HEAD_MAX_BYTES: usize = 64 << 10;
/// Bytes of a body in which a text is looked for. 8 MiB: pages that are made to be looked at are far smaller.
pub const MONITOR_BODY_MAX_BYTES: u64 = 8 << 20;
/// Longest text of an alert. 600: a sentence and an identifier of 255 bytes.
pub const ALERT_TEXT_MAX_CHARS: usize = 600;
