// `daemon` and `data-source`: what the command line makes of Longhorn's flags, and their end.

import { once } from 'node:events'
import { type Server, createServer } from 'node:net'
import { PassThrough, Readable } from 'node:stream'
import type { DaemonOptions, DataSourceOptions, Running } from '@backing-image/daemon/options'
import { Command, CommanderError } from 'commander'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { addDaemon } from './daemon.ts'
import { addDataSource } from './data-source.ts'
import { UsageError } from './terminal.ts'

const commands = suite('cli daemon')

interface Ran {
  daemon?: DaemonOptions
  dataSource?: DataSourceOptions
  /** Of the end of the command; undefined when that was good. */
  error: unknown
  written: string
}

/** Something that really listens until it is closed. */
async function listenSomewhere(): Promise<Running & { server: Server }> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    server,
    close: async () => {
      server.close()
      await once(server, 'close')
    },
  }
}

/** Runs until it is told to stop, which is when it listens. */
async function run(args: string[], env: Record<string, string> = {}): Promise<Ran> {
  const ran: Ran = { error: undefined, written: '' }
  let stop = () => {}
  let running: Awaited<ReturnType<typeof listenSomewhere>> | undefined
  const begin = async () => {
    running = await listenSomewhere()
    setImmediate(() => stop())
    return running
  }
  const terminal = {
    version: '1.2.3',
    gitCommit: 'abc',
    buildDate: 'today',
    env,
    stdin: Readable.from([]),
    stdout: new PassThrough(),
    stderr: new PassThrough(),
    announce: () => {},
    onSignal: (listener: () => void) => (stop = listener),
    abort: () => {},
  }
  const write = (text: string) => void (ran.written += text)
  const program = new Command('program')
    .option('--debug')
    .enablePositionalOptions()
    .exitOverride()
    .configureOutput({ writeOut: write, writeErr: write })
  addDaemon(program, terminal, async (options) => {
    ran.daemon = options
    return await begin()
  })
  addDataSource(program, terminal, async (options) => {
    ran.dataSource = options
    return await begin()
  })
  try {
    await program.parseAsync(args, { from: 'user' })
    assert.not.ok(running?.server.listening)
  } catch (error) {
    ran.error = error
  }
  return ran
}

commands('longhorn-manager starts the daemon with its own flags', async () => {
  const args = ['--debug', 'daemon', '--listen', ':8000', '--sync-listen', ':8001']
  const { daemon, error } = await run(args, { POD_IP: '10.42.0.7' })
  assert.is(error, undefined)
  const { log, fetcher, ...options } = daemon ?? {}
  assert.ok(fetcher)
  assert.equal(options, {
    listen: { host: '', port: 8000 },
    syncListen: { host: '', port: 8001 },
    diskPath: '/data/',
    diskUuid: '',
    portRange: { first: 30_001, last: 31_000 },
    podIp: '10.42.0.7',
    build: { version: '1.2.3', gitCommit: 'abc', buildDate: 'today' },
  })
  assert.ok(log && 'level' in log)
  assert.is(log.level, 'debug')
})

commands('the daemon has other ports, disks and uuids where they are given', async () => {
  const { daemon, error } = await run([
    'daemon',
    '--port-range=5-6',
    '--disk-path=/srv/disk',
    '--disk-uuid=u',
    '--debug',
  ])
  assert.is(error, undefined)
  assert.equal(daemon?.portRange, { first: 5, last: 6 })
  assert.equal(daemon?.listen, { host: 'localhost', port: 8000 })
  assert.equal(daemon?.syncListen, { host: 'localhost', port: 8001 })
  assert.is(daemon?.diskPath, '/srv/disk')
  assert.is(daemon?.diskUuid, 'u')
  assert.is(daemon?.podIp, '')
})

const source = ['data-source', '--name', 'a', '--uuid', 'u', '--source-type']

commands('a data source has all its pairs, with commas and "=" in them', async () => {
  const { dataSource, error } = await run([
    ...source,
    'restore',
    '--parameters',
    'backup-url=s3://bucket@region/?backingImage=a,b',
    '--parameters',
    'concurrent-limit=2',
    '--parameters',
    'empty=',
    '--credential',
    'AWS_SECRET_ACCESS_KEY=a,b=c',
    '--checksum',
    'ab',
  ])
  assert.is(error, undefined)
  const { log, fetcher, ...options } = dataSource ?? {}
  assert.ok(fetcher)
  assert.equal(options, {
    listen: { host: 'localhost', port: 8000 },
    syncListen: { host: 'localhost', port: 8001 },
    diskPath: '/data/',
    podIp: '',
    name: 'a',
    uuid: 'u',
    sourceType: 'restore',
    parameters: {
      'backup-url': 's3://bucket@region/?backingImage=a,b',
      'concurrent-limit': '2',
      empty: '',
    },
    checksum: 'ab',
    credential: { AWS_SECRET_ACCESS_KEY: 'a,b=c' },
  })
  assert.ok(log && 'level' in log)
  assert.is(log.level, 'info')
  assert.equal((await run([...source, 'upload'])).dataSource?.parameters, {})
})

commands('what can not be is told, and nothing is started', async () => {
  for (const [args, text] of [
    [['daemon', '--listen', '8000'], /\[host\]:port is expected/],
    [['daemon', '--sync-listen', 'a:99999'], /\[host\]:port is expected/],
    [['daemon', '--port-range', '5'], /such as 30001-31000/],
    [['daemon', '--disk-path', 'data'], /an absolute path is expected/],
    [['data-source', '--name', 'a', '--uuid', 'u'], /--source-type/],
    [[...source, 'magic'], /download, upload/],
    [[...source, 'upload', '--parameters', 'novalue'], /key=value is expected/],
    [[...source, 'upload', '--parameters', '=x'], /key=value is expected/],
  ] as const) {
    const { error, daemon, dataSource, written } = await run([...args])
    assert.instance(error, CommanderError)
    assert.match(written, text)
    assert.is(daemon ?? dataSource, undefined)
  }
})

commands('a credential that is none is not shown', async () => {
  const { error, written, dataSource } = await run([
    ...source,
    'clone',
    '--credential',
    'very-secret',
  ])
  assert.instance(error, UsageError)
  assert.match(String(error), /--credential: key=value is expected/)
  assert.not.match(`${String(error)}${written}`, 'very-secret')
  assert.is(dataSource, undefined)
})

commands('help teaches, with the defaults in words and examples', async () => {
  const daemon = (await run(['daemon', '--help'])).written
  assert.match(daemon, /--listen <\[host\]:port> .*localhost:8000/s)
  assert.match(daemon, /30001-31000/)
  assert.match(daemon, 'Examples:')
  assert.not.match(daemon, '"port"')
  assert.match((await run(['data-source', '--help'])).written, /snapshot-name.*Examples:/s)
})

commands.run()
