// Mounting with a program of ours in the place of mount(8): a real process that fails or hangs.

import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { type Code, isImageError } from '@backing-image/core'
import { mayMount, mountExport, optionsOfTries, sourceOf, unmount } from './mount.ts'

const mount = suite('mount')

interface Rig {
  folder: string
  notices: string[]
  /** What the program was called with. */
  calls: () => Promise<string[]>
  mount: (timeoutMs?: number, options?: string) => Promise<void>
  programs: { mount: string; umount: string }
}

/** `script` is of sh; it has its arguments as `$*`. */
async function withProgram(script: string, test: (rig: Rig) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'backend-nfs-'))
  try {
    const program = join(folder, 'program')
    await writeFile(program, `#!/bin/sh\necho "$*" >>'${folder}/calls'\n${script}\n`)
    await chmod(program, 0o755)
    const programs = { mount: program, umount: program }
    const notices: string[] = []
    await test({
      folder,
      notices,
      programs,
      calls: async () => (await readFile(join(folder, 'calls'), 'utf8')).trim().split('\n'),
      mount: (timeoutMs = 20_000, options) =>
        mountExport({
          // Port 1 of this machine: nobody answers there.
          mount: { server: '127.0.0.1', exportPath: '/x', options: options ?? 'port=1' },
          path: '/where',
          programs,
          timeoutMs,
          onNotice: (text) => notices.push(text),
        }),
    })
  } finally {
    await rm(folder, { recursive: true })
  }
}

async function refused(codes: Code[], work: Promise<unknown>): Promise<Error> {
  const error: unknown = await work.then(
    () => undefined,
    (thrown: unknown) => thrown,
  )
  assert.ok(isImageError(error, ...codes), `expected ${codes.join(' or ')}, found ${String(error)}`)
  return error
}

mount('the newest version that works is taken, with a word for each that does not', () =>
  withProgram(
    'case "$4" in *vers=4.1*) exit 0;; esac; echo "Protocol not supported" >&2; exit 32',
    async (rig) => {
      await rig.mount()
      const calls = await rig.calls()
      const [first = '', second = ''] = calls
      assert.is(calls.length, 2)
      assert.match(first, /^-t nfs -o \S*vers=4\.2\S* 127\.0\.0\.1:\/x \/where$/)
      assert.match(second, 'vers=4.1')
      assert.is(rig.notices.length, 1)
      for (const part of [
        'Protocol not supported',
        '4.2',
        'Trying 4.1',
        '127.0.0.1:/x',
        '/where',
      ]) {
        assert.match(rig.notices.join('\n'), part)
      }
    },
  ),
)

mount('when no version works all that was said is told, once', () =>
  withProgram('echo "no $4"; exit 32', async (rig) => {
    const error = await refused(['unavailable', 'failed_precondition'], rig.mount())
    for (const version of ['4.2', '4.1', '4.0', '3']) assert.match(error.message, `NFS ${version}:`)
    assert.is((await rig.calls()).length, 4)
    assert.is(rig.notices.length, 3)
  }),
)

mount('a version that the operator names is the only one', () =>
  withProgram('exit 32', async (rig) => {
    await refused(['unavailable', 'failed_precondition'], rig.mount(20_000, 'nfsvers=4.1,port=1'))
    assert.is((await rig.calls()).length, 1)
    assert.equal(rig.notices, [])
  }),
)

mount('what no version would help against is not tried again', () =>
  withProgram('echo "must be superuser"; exit 1', async (rig) => {
    const error = await refused(['unavailable', 'failed_precondition'], rig.mount())
    assert.match(error.message, 'must be superuser')
    assert.is((await rig.calls()).length, 1)
  }),
)

mount('a program that hangs is ended with all that it has started', () =>
  withProgram('sleep 1000 & echo $! >"$(dirname "$0")/pid"; wait', async (rig) => {
    const error = await refused(['unavailable'], rig.mount(1_500))
    assert.match(error.message, 'within 1.5 s')
    assert.match(error.message, '127.0.0.1:/x')
    const pid = Number(await readFile(join(rig.folder, 'pid'), 'utf8'))
    for (let waits = 0; isRunning(await status(pid)); waits += 1) {
      assert.ok(waits < 500, 'what it has started still runs')
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
    assert.is((await rig.calls()).length, 1, 'another try after the time was over')
  }),
)

async function status(pid: number): Promise<string> {
  return await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '')
}

/** Neither gone, nor dead and not yet buried by its parent. */
function isRunning(text: string): boolean {
  return text !== '' && !/^State:\s+[ZX]/m.test(text)
}

mount('a program that is missing is told, not thrown', () =>
  withProgram('', async ({ folder }) => {
    const programs = { mount: join(folder, 'none'), umount: join(folder, 'none') }
    const what = { server: '127.0.0.1', exportPath: '/x', options: 'port=1' }
    const rest = { path: '/where', programs, timeoutMs: 5_000, onNotice: () => {} }
    const work = mountExport({ mount: what, ...rest })
    assert.match((await refused(['unavailable', 'failed_precondition'], work)).message, 'ENOENT')
    assert.match((await unmount('/where', programs)) ?? '', 'ENOENT')
  }),
)

mount('what is busy is unmounted from sight', () =>
  withProgram('[ "$1" = -l ] && exit 0; echo busy; exit 32', async (rig) => {
    assert.is(await unmount('/where', rig.programs), undefined)
    assert.equal(await rig.calls(), ['/where', '-l /where'])
  }),
)

mount('options of the operator win over ours, whatever they are called', () => {
  const first = (given?: string): string => optionsOfTries(given)[0]?.options ?? ''
  assert.is(first(), 'hard,timeo=50,retrans=2,actimeo=1,lookupcache=positive,retry=0,vers=4.2')
  assert.is(
    first('soft,acregmax=9,timeo=7'),
    'soft,acregmax=9,timeo=7,retrans=2,lookupcache=positive,retry=0,vers=4.2',
  )
  assert.equal(
    optionsOfTries().map(({ version }) => version),
    ['4.2', '4.1', '4.0', '3'],
  )
  for (const given of ['vers=4.1', 'nfsvers=3', 'v4.2', 'vers=4,minorversion=1']) {
    assert.is(optionsOfTries(given).length, 1, given)
  }
  assert.match(optionsOfTries()[3]?.options ?? '', 'nolock')
  assert.not.match(optionsOfTries('lock')[3]?.options ?? '', 'nolock')
})

mount('a server and an export are checked before any program sees them', () => {
  assert.is(sourceOf({ server: 'nas.lan', exportPath: '/a b' }), 'nas.lan:/a b')
  assert.is(sourceOf({ server: '2001:db8::1', exportPath: '/' }), '[2001:db8::1]:/')
  assert.is(sourceOf({ server: '[::1]', exportPath: '/' }), '[::1]:/')
  for (const server of ['', '-o', 'a b', 'a:b', 'a/b', '$(x)', 'a\n']) {
    assert.throws(() => sourceOf({ server, exportPath: '/x' }), /neither a host name/, server)
  }
  for (const exportPath of ['', 'x', '/a\nb', '/../x', '/a/..']) {
    assert.throws(() => sourceOf({ server: 'nas', exportPath }), /no path/, exportPath)
  }
})

mount('who may mount is read from the capabilities of the process', () => {
  assert.ok(mayMount('Name:\tx\nCapEff:\t000001ffffffffff\n'))
  assert.not(mayMount('Name:\tx\nCapEff:\t00000000a80425fb\n'))
  assert.ok(mayMount('no capabilities are told'))
})

mount.run()
