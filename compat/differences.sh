#!/bin/sh
# Finds code that was written for go-nsq and may behave differently with this client.
#
#	sh differences.sh [DIRECTORY]
#
# It reads the Go files below DIRECTORY (by default the current one) that import go-nsq or
# this client, except those in vendor. For each place it prints the file, the line, what
# changes, and in brackets the row of docs/MIGRATION.md that says more. It only compares
# lines with patterns, so a place may be fine: read the row and decide. It does not see
# options that come from files or the environment.
#
# Exit code 0: nothing found, 1: something found, 2: wrong usage.
set -u

[ $# -le 1 ] || { echo "usage: sh differences.sh [DIRECTORY]" >&2; exit 2; }
cd "${1:-.}" || exit 2

list=$(mktemp) && found=$(mktemp) || exit 2
trap 'rm -f "$list" "$found"' EXIT
find . -name vendor -prune -o -name '*.go' -exec grep -lE '"github.com/(nsqio/go-nsq|rdyhq/nsq)"' {} + >"$list"

# report ROW HINT notes the places that grep -n has found, except those in comments.
report() {
	grep -vE '^[^:]*:[0-9]+:[[:space:]]*//' | sed -E 's/^(\.\/)?([^:]*:[0-9]+):.*/\2/' |
		while IFS= read -r place; do printf '%s: %s [%s]\n' "$place" "$2" "$1"; done >>"$found"
}

# idiom PATTERN ROW HINT reports all lines that match the pattern, which is one of grep -E.
idiom() {
	while IFS= read -r file; do grep -nE -e "$1" "$file" /dev/null; done <"$list" | report "$2" "$3"
}

# Compiling.
idiom '^[[:space:]]*(import )?\. "github.com/(nsqio/go-nsq|rdyhq/nsq)"' 'Switching' \
	'a dot import may clash with new names'
idiom '^[[:space:]]+\*?[a-z]+\.(Consumer|Producer)$' 'Switching' \
	'a struct that embeds it has new methods, such as Run and Pause'
idiom 'ErrIdentify\{ *[^} R]' 'a literal `ErrIdentify{"text"}`' \
	'must name the field: ErrIdentify{Reason: …}'
idiom '\.(ReadResponse|ReadUnpackedResponse)\(' '`ReadResponse`, `ReadUnpackedResponse`' \
	'with the new import path it takes maxMsgSize'

# The life of a process.
while IFS= read -r file; do
	grep -qE 'StopChan|\.Stopped\(\)|\.Shutdown\(|\.Run\(ctx' "$(dirname "$file")"/*.go ||
		grep -nE '\.NewConsumer\(' "$file" /dev/null
done <"$list" | report 'a process that ends without `Stop`' \
	'nothing in this folder waits for StopChan: up to max_in_flight messages that were handled are delivered again'
idiom 'max_attempts|max-attempts|\.?MaxAttempts[ :]' 'requeues by Stop count as attempts' \
	'a requeue by Stop costs an attempt: is the limit high enough for frequent restarts?'

# Handlers.
while IFS= read -r file; do
	grep -qE 'HandleMessage\(|\.HandlerFunc\(' "$file" && grep -nE '(^|[[:space:]{;])panic\(' "$file" /dev/null
done <"$list" | report 'a handler that panics' \
	'in a handler this requeues the message; it does not end the process'
idiom '\.DisableAutoResponse\(' 'an ack after msg-timeout' \
	'an ack after the end of the lease is not sent, and a message that is never acked is given up'
idiom '= \*(m|msg|message)$|\.Delegate = ' 'a copy of a message' \
	'a copy is the same message: it is acked once'
idiom 'Requeue(WithoutBackoff)?\( *-([^1]|1[^)])' 'negative requeue delay' \
	'means 0; -1 is still the automatic delay'
idiom 'LockOSThread\(|SetGoroutineLabels\(' 'the goroutine of a handler' \
	'a handler that locks its thread or labels its goroutine should undo that before it returns'

# Options.
while IFS= read -r file; do
	grep -nE 'max_backoff_duration|max-backoff-duration|\.MaxBackoffDuration = ' "$file" /dev/null | grep -vE '[,:=] *"?0[a-z]*"?[),]*$'
done <"$list" | report '`max_backoff_duration`' \
	'a value below 2 × backoff_multiplier switched backoff off; now it shortens the pause'
idiom 'low_rdy_(idle_)?timeout|rdy_redistribute_interval|low-rdy-|rdy-redistribute|LowRdy(Idle)?Timeout|RDYRedistributeInterval' \
	'`max_in_flight` below the number of nsqds' 'is only an upper bound; slots move much sooner'
idiom '"tls[_-]|\.TlsConfig|\.TlsV1' '`tls_*` options' \
	'implies tls_v1; connecting fails if nsqd does not offer TLS'
idiom '"max[_-]msg[_-]size"|\.MaxMsgSize' '`max_msg_size`' \
	'bounds the body; a larger message is requeued, and the connection stays'
while IFS= read -r file; do
	grep -qE '"deflate"|\.Deflate = ' "$file" && grep -nE '"snappy"|\.Snappy = ' "$file" /dev/null
done <"$list" | report 'deflate and snappy together' 'the two together are refused'

# Connections.
idiom '\.DisconnectFromNSQD\(' '`DisconnectFromNSQD` of a listed nsqd' \
	'the nsqd stays away until ConnectToNSQD'
idiom '\.DisconnectFromNSQLookupd\(' 'the last nsqlookupd' \
	'the last one can be removed; connections stay'
idiom '\.SetBehaviorDelegate\(|\) Filter\(' '`DiscoveryFilter`' \
	'gets the union of what all nsqlookupds list'
idiom '\) OnIOError\(' '`OnIOError`' 'is called once per connection, before OnClose'
idiom '\) OnClose\([a-z_]* \*[a-z]+\.Conn\)' '`OnClose` of a lost connection' \
	'is called at once, not when all messages are acked'
idiom '\) OnHeartbeat\(' '`OnHeartbeat`' 'is called after the NOP is queued'
idiom '\.WriteCommand\(' '`Conn.WriteCommand`' 'waits as long as nsqd keeps reading'

# What people compare and count.
idiom '\.Messages(Finished|Requeued)' '`MessagesFinished`, `MessagesRequeued`' \
	'counts the FINs and REQs that were given to a connection'
idiom '"go-nsq/' '`user_agent`' 'is this module'"'"'s name and version'
idiom 'err\.Error\(\) *[!=]=|strings\.(Contains|HasPrefix|HasSuffix)\((err|e)\.Error\(\)' 'connect errors' \
	'error texts differ; error values and types are go-nsq'"'"'s'

sort -t: -k1,1 -k2,2n "$found"
[ ! -s "$found" ] && exit 0
echo
echo "$(wc -l <"$found" | tr -d ' ') places. Each may be fine: look up the row in brackets in"
echo "https://github.com/rdyhq/nsq/blob/main/docs/MIGRATION.md#different-on-purpose"
exit 1
