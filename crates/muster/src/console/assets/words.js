// How the console says things: numbers, times, states, and which act makes sense when. No page is touched here.

export const STATES = ["up", "starting", "draining", "down", "failed", "unknown"];
export const ACTS = ["start", "drain", "restart", "stop"];

/** Milliseconds to add to this machine's clock to get the manager's. */
let clockOffset = 0;
export function setClock(managerNow) { clockOffset = managerNow - Date.now(); }
export function now() { return Date.now() + clockOffset; }

export function capital(text) { return text.charAt(0).toUpperCase() + text.slice(1); }

export function count(number) {
  // Not "-0", which is what is left of the rate of something that has ended.
  if (number < 10_000) return (Math.round(number) || 0).toLocaleString("en");
  if (number < 1e6) return `${(number / 1e3).toFixed(number < 1e5 ? 1 : 0)}k`;
  if (number < 1e9) return `${(number / 1e6).toFixed(1)}M`;
  return `${(number / 1e9).toFixed(1)}G`;
}

export function rate(number) {
  if (number > 0 && number < 9.95) return number.toFixed(1);
  return count(number);
}

export function latency(micros) {
  if (micros === 0) return "–";
  if (micros < 1_000) return "<1 ms";
  if (micros < 10_000) return `${(micros / 1e3).toFixed(1)} ms`;
  if (micros < 1e6) return `${Math.round(micros / 1e3)} ms`;
  return `${(micros / 1e6).toFixed(1)} s`;
}

/** A time that was measured to the millisecond. */
export function millis(number) { return `${Math.max(0, Math.round(number)).toLocaleString("en")} ms`; }

export function duration(millis) {
  const seconds = Math.max(0, Math.floor(millis / 1_000));
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3_600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3_600)} h ${Math.floor((seconds % 3_600) / 60)} min`;
  return `${Math.floor(seconds / 86_400)} d ${Math.floor((seconds % 86_400) / 3_600)} h`;
}

export function clock(unixMillis) {
  return new Date(unixMillis).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
}

export function day(unixMillis) {
  const date = new Date(unixMillis);
  const isToday = date.toDateString() === new Date().toDateString();
  return isToday ? "" : date.toLocaleDateString([], { day: "numeric", month: "short" });
}

export function policy(word) {
  return { "round-robin": "weighted round robin", random: "random" }[word] ?? word;
}

/** A text in three parts around a whole name in it; one that does not hold the name says first whom it is about. */
export function around(text, name) {
  if (!name) return [text, "", ""];
  const isPart = (letter) => letter !== undefined && /[\w/-]/.test(letter);
  for (let at = text.indexOf(name); at >= 0; at = text.indexOf(name, at + 1)) {
    const end = at + name.length;
    if (!isPart(text[at - 1]) && !isPart(text[end])) return [text.slice(0, at), name, text.slice(end)];
  }
  return ["", name, `: ${text}`];
}

export function members(number) { return number === 1 ? "1 member" : `${number} members`; }

export function isExternal(member) { return member.process === "external"; }

/** Why an act makes no sense for this member now, or null when it does. */
export function senseless(act, member) {
  if (forbidden()) return forbidden();
  const { state } = member;
  const isStopped = member.process === "stopped" || (isExternal(member) && state === "down");
  if (act === "start" && (state === "up" || state === "starting")) return `It is ${state} already.`;
  if (act === "drain" && state !== "up" && state !== "starting") return `It is ${state}: there is nothing to drain.`;
  if (act === "restart" && isExternal(member)) return "It runs elsewhere: Muster cannot restart it.";
  if (act === "restart" && isStopped) return "It is stopped: start it instead.";
  if (act === "stop" && isStopped) return "It is stopped already.";
  return null;
}

/** Why this person may not act at all, or null. The server decides; this only says so beforehand. */
export function forbidden() {
  const { role } = document.body.dataset;
  return role === "viewer" ? "This needs the role operator; yours is viewer." : null;
}

/** Why an act makes no sense for the whole cluster: it does when it does for one member. */
export function senselessForCluster(act, cluster) {
  if (forbidden()) return forbidden();
  if (cluster.members.length === 0) return "It has no members.";
  const reasons = cluster.members.map((member) => senseless(act, member));
  return reasons.includes(null) ? null : "There is no member for which this makes sense now.";
}

/** What to ask before an act, or null when it can be done at once. */
export function question(act, cluster, member) {
  const others = cluster.members.filter((other) => other.state === "up" && other.member !== member?.member);
  const isLast = member && member.state === "up" && others.length === 0;
  const last = `No other member of ${cluster.cluster} is up, so new requests will be refused meanwhile.`;
  if (!member) {
    const all = `${members(cluster.members.length)} of ${cluster.cluster}`;
    if (act === "restart") {
      return { title: `Restart ${cluster.cluster}?`, text: `The ${all} are drained and restarted one after the other, so that the cluster goes on serving.` };
    }
    if (act === "stop" || act === "drain") {
      const text = act === "stop" ? `All ${all} are drained and stopped.` : `All ${all} go on with their conversations and take no new ones.`;
      return { title: `${capital(act)} ${cluster.cluster}?`, text: `${text} New requests will be refused until a member is started.` };
    }
    return null;
  }
  const sessions = member.sessions > 0 ? ` Its ${count(member.sessions)} sessions are given time to end.` : "";
  const rest = isLast ? last : "Its new requests go to the other members.";
  if (act === "stop") return { title: `Stop ${member.member}?`, text: `It takes no new conversations and is then stopped.${sessions} ${rest}` };
  if (act === "restart") return { title: `Restart ${member.member}?`, text: `It is drained, stopped and started again.${sessions} ${rest}` };
  if (act === "drain" && isLast) return { title: `Drain ${member.member}?`, text: last };
  return null;
}

/** The cell in one sentence, one more for what needs attention, and a mood. */
export function headline(status) {
  const all = status.clusters.flatMap((cluster) => cluster.members);
  const up = all.filter((member) => member.state === "up");
  const lostRouter = status.routers.find((router) => !router.connected);
  const trouble = all.filter((member) => ["down", "failed", "unknown"].includes(member.state));
  if (all.length === 0) return headlineOfGroups(status);
  const deadCluster = status.clusters.find((cluster) => cluster.members.length > 0 && cluster.members.every((member) => !["up", "draining"].includes(member.state)));
  let title = `${up.length} of ${members(all.length)} ${up.length === 1 ? "is" : "are"} up.`;
  if (up.length === all.length) title = all.length === 1 ? "The one member is up." : `All ${all.length} members are up.`;
  if (up.length === 0) title = "No member is up.";
  const parts = [];
  if (lostRouter) parts.push(`The manager does not hear ${lostRouter.router}; it goes on with what it knew last.`);
  if (deadCluster) parts.push(`Requests for ${deadCluster.cluster} are refused.`);
  for (const member of trouble.slice(0, 2)) parts.push(inShort(member));
  if (trouble.length > 2) parts.push(`${trouble.length - 2} more need attention.`);
  const groups = troubledGroups(status);
  if (groups.length > 0) parts.push(groups[0]);
  if (groups.length > 1) parts.push(`${groups.length - 1} more groups need attention.`);
  if (parts.length === 0) {
    const busy = all.filter((member) => member.state !== "up");
    if (busy.length > 0) parts.push(inShort(busy[0]));
    else parts.push("Nothing needs attention.");
  }
  const mood = deadCluster || up.length === 0 ? "bad" : trouble.length > 0 || groups.length > 0 || lostRouter ? "worried" : "calm";
  return { title, text: parts.join(" "), mood };
}

/** The same where there are failover groups and no members. */
function headlineOfGroups(status) {
  const { groups } = status;
  if (groups.length === 0) return { title: "No members are configured.", text: "Add a cluster to the configuration and apply it.", mood: "calm" };
  const online = groups.filter((group) => group.state === "online");
  const many = (number) => (number === 1 ? "1 group" : `${number} groups`);
  let title = `${online.length} of ${many(groups.length)} ${online.length === 1 ? "runs" : "run"}.`;
  if (online.length === groups.length) title = { 1: "The one group runs.", 2: "Both groups run." }[groups.length] ?? `All ${groups.length} groups run.`;
  if (online.length === 0) title = "No group runs.";
  const trouble = troubledGroups(status);
  const busy = groups.find((group) => group.state !== "online");
  const text = trouble[0] ?? (busy ? groupInShort(busy) : "Nothing needs attention.");
  const more = trouble.length > 1 ? ` ${trouble.length - 1} more need attention.` : "";
  const isBad = groups.some((group) => group.state === "failed");
  return { title, text: text + more, mood: isBad ? "bad" : trouble.length > 0 ? "worried" : "calm" };
}

/** A sentence for each group that should run and does not. */
function troubledGroups(status) {
  return status.groups.filter((group) => group.state === "failed" || group.state === "waiting").map(groupInShort);
}

function groupInShort(group) { return `Group ${group.group} is ${group.state}: ${sentence(group.reason.split("; ", 1)[0])}`; }

/** A member's state with the first part of its reason; its card has all of it. */
function inShort(member) {
  return `${member.member} is ${member.state}: ${sentence(member.reason.split("; ", 1)[0])}`;
}

/** A sentence that begins with a capital letter, unless it begins with one of these names. */
export function opening(text, names) {
  const isName = names.some((name) => text.startsWith(name) && !/[\w.-]/.test(text.charAt(name.length)));
  return sentence(isName ? text : capital(text));
}

export function sentence(text) { return /[.!?]$/.test(text) ? text : `${text}.`; }

/** Why a member is in its state, with what is left of its drain and the last time that a router left it out. */
export function standing(member) {
  const parts = [member.reason || "no reason is known"];
  if (member.state === "draining") {
    const sessions = member.sessions === 1 ? "1 session is left" : `${count(member.sessions)} sessions are left`;
    // A drain that nobody has given an end lasts until it is ended.
    const seconds = Math.max(0, Math.ceil((member.drain_ends_ms - now()) / 1000));
    parts.push(member.drain_ends_ms ? `${sessions}, for ${seconds} s at most` : sessions);
  }
  if (member.ejection) {
    const { router, reason, left_ms: leftMs } = member.ejection;
    const when = leftMs > 0 ? `leaves it out for ${Math.ceil(leftMs / 1000)} s more` : "left it out before";
    parts.push(`router ${router} ${when}: ${reason}`);
  }
  return parts.join("; ");
}
