// The board of bench/board.py for a worker on Node.js: it writes into the file that Python maps.

import { openSync, ftruncateSync, readdirSync, renameSync, writeSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";

const JOIN_TIMEOUT = 60_000; // milliseconds
const [COUNT, START, HEADER, WORD] = [0, 1, 2, 8];

class Board {
  constructor(path, items) {
    const draft = `${path}.new`; // renamed when it has its size: a reader never maps half a file
    this.file = openSync(draft, "w+");
    this.times = HEADER * WORD;
    this.places = this.times + items * WORD;
    ftruncateSync(this.file, this.places + items);
    renameSync(draft, `${path}.board`);
    this.marks = new Uint8Array(items);
    this.word = new BigUint64Array(1);
    this.total = 0;
    this.due = false;
  }

  // Counts one run of this item. The total is written once in each turn of the event loop.
  mark(index) {
    if (!(index in this.marks)) throw new RangeError(`item ${index} is beyond the board`);
    this.marks[index] += 1;
    writeSync(this.file, this.marks, index, 1, this.places + index);
    this.total += 1;
    if (!this.due) {
      this.due = true;
      setImmediate(() => {
        this.due = false;
        this.write(COUNT * WORD, BigInt(this.total));
      });
    }
  }

  // As `mark`, and keeps the time of the first run.
  markTime(index) {
    const now = process.hrtime.bigint(); // the clock of Python's `time.monotonic_ns`
    if (this.marks[index] === 0) this.write(this.times + index * WORD, now);
    this.mark(index);
  }

  // Notes that this process has done its imports.
  start() {
    this.write(START * WORD, process.hrtime.bigint());
  }

  write(position, value) {
    this.word[0] = value;
    writeSync(this.file, this.word, 0, WORD, position);
  }
}

// Makes this process's board, and waits until every worker of the turn has one.
export async function join() {
  const { BENCH_BOARD: directory, BENCH_ITEMS: items, BENCH_WORKERS: workers } = process.env;
  const board = new Board(`${directory}/${process.pid}`, Number(items));
  const limit = performance.now() + JOIN_TIMEOUT;
  while (readdirSync(directory).filter((name) => name.endsWith(".board")).length < Number(workers)) {
    if (performance.now() > limit) throw new Error("the other workers of this turn did not start in time");
    await sleep(1);
  }
  board.start();
  return board;
}
