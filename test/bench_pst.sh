#!/bin/bash
# Exports one PST file with Expost, readpst and pffexport, one after another, and
# prints for each: seconds, seconds of processor, MB/s and messages/s of wall time,
# and the most memory. MB and MESSAGES choose the size of the file, which is made
# by the writer of package pst. Run it with no other load.
set -euo pipefail
cd "$(dirname "$0")/.."
messages=${MESSAGES:-100000} mb=${MB:-1600}
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
file=$dir/bench.pst
make -s build
EXPOST_PST_MESSAGES=$messages EXPOST_PST_MB=$mb EXPOST_PST_FILE=$file go test ./pst -run TestWriterLarge -count=1 >/dev/null
size=$(stat -c %s "$file")
echo "$messages messages, $((size >> 20)) MiB"
printf '%-26s %8s %8s %8s %9s %9s\n' '' 'wall s' 'cpu s' 'MB/s' 'msgs/s' 'memory'
measure() { # name command…
  local name=$1; shift
  rm -rf "$dir/out"; mkdir "$dir/out"
  python3 - "$name" "$size" "$messages" "$@" <<'P'
import os, resource, subprocess, sys, time
name, size, messages = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
start = time.time()
subprocess.run(sys.argv[4:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
wall, use = time.time() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
print(f"{name:26} {wall:8.1f} {use.ru_utime + use.ru_stime:8.1f} {size / 1e6 / wall:8.1f} {messages / wall:9.0f} {use.ru_maxrss / 1024:7.0f} M", flush=True)
P
}
measure "readpst, mbox" readpst -q -D -j 0 -o "$dir/out" "$file"
measure "expost, mbox" bin/expost pst export "$file" "$dir/out" --format mbox
measure "readpst, a file each" readpst -q -D -e -j 0 -o "$dir/out" "$file"
measure "expost, a file each" bin/expost pst export "$file" "$dir/out" --format eml
measure "expost, Maildir (ledger)" bin/expost pst export "$file" "$dir/out/maildir" --format maildir
bin/expost account add a@example.org --no-password --data "$dir/data" >/dev/null
measure "expost, into the store" bin/expost import a@example.org "$file" --data "$dir/data"
if [ -z "${QUICK:-}" ]; then measure "pffexport" pffexport -q -m items -t "$dir/out/p" "$file"; fi
