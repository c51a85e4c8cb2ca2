// graphile-worker's worker: its `run` with the two tasks. The argument is its settings, JSON.

import { run } from "graphile-worker";

import { join } from "./board.mjs";

const board = await join();

const taskList = {
  noop: ({ index }) => board.mark(index),
  pickup: ({ index }) => board.markTime(index),
};

const worker = { connectionString: process.env.BENCH_URL, ...JSON.parse(process.argv[2]) };
const runner = await run({ preset: { worker }, taskList, parsedCronItems: [] });
await runner.promise;
