#!/usr/bin/env -S node --min-semi-space-size=16
// CommonJS on purpose: Node.js reads ES modules through libuv's thread pool, whose size is fixed at
// its first use. Here nothing has used it yet, so the size can still be set: every image that is
// written or read at the same time wants threads, and four are too few.

'use strict'

process.env.UV_THREADPOOL_SIZE ||= '16'

// Chunks from the network die young, but V8 counts their memory and, with its usual small nursery,
// answers with full collections that take up to a third of the processor time of an upload. The flag
// in the first line gives it a larger one; where that line is not used, this one does half as well.
require('node:v8').setFlagsFromString('--semi-space-growth-factor=16')

// An upload to S3 keeps part buffers, which V8 counts with its small old heap: it may come to collect
// all of it for each 30 MiB that pass. One that may grow by half in between is collected less often;
// one that may grow threefold took 60 MiB more with eight uploads, and was hardly faster.
require('node:v8').setFlagsFromString('--heap-growing-percent=50')

import('../dist/main.js').catch((error) => {
  process.stderr.write(`backing-image-manager: ${error?.stack ?? error}\n`)
  process.exit(1)
})
